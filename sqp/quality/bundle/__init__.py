"""A trained quality model on disk: save, load, check; where it comes from and what it fits."""
