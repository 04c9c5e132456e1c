"""Recordings in (bags, videos, images), files out: bags, overlays, tables, meshes, a summary."""
