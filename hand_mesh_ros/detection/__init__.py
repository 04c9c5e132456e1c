"""Hands in an image: boxes, sides and 2D landmarks."""
