"""The `hand-mesh` command."""
