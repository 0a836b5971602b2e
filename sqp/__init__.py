"""sqp: how good is this segmentation, when nobody has drawn the ground truth?"""

__version__ = "0.1.0"
