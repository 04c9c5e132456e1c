"""Hand models: the open hand that ships with the package, and the user's own MANO."""
