"""What the quality model looks at: maps of it, how true they are, its features, and what it cannot do without."""
