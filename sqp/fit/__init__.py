"""Training of the networks that the generator uses. Nothing heavy is imported here."""
