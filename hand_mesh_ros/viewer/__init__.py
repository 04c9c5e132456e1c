"""Pictures for people: overlays drawn into the camera image, and the page of `hand-mesh view`."""
