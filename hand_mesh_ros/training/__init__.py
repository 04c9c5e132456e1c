"""What the networks learn from, and how; the datasets need no torch."""
