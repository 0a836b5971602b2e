"""A run of Lightning's Trainer, and augmentation, as every network of sqp is trained."""
