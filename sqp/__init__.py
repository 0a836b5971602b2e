"""sqp: how good is this segmentation, when nobody has drawn the ground truth?

`model = sqp.load()`, then `model.assess(image, mask)`, or `model.judge(images, masks)` of many: see `sqp.api`, which is
imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Assessment", "Model", "__version__", "load", "to_frame"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sqp' has no attribute '{name}'")
    return getattr(import_module("sqp.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
