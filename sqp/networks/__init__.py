"""What every network of sqp shares: its checkpoint file, its pixels, timm's models, CAM. Nothing heavy here."""
