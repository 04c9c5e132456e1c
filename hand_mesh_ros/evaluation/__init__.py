"""How good it is: errors against a known truth."""
