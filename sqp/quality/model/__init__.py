"""The regressor: channels, backbones, losses, caches and its training."""
