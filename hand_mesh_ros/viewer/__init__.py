"""Pictures for people: overlays drawn into the camera image."""
