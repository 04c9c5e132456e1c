"""The networks, one file per system, and the files that their weights are kept in."""
