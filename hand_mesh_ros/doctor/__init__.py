"""What `hand-mesh doctor` looks at: one check a function, each answer with its mend."""
