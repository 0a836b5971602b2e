"""The quality model: record -> predicted Dice, its interval, its bundle. It reads record sets only.

The names are imported when they are first asked for, so that a process that only decodes planes stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "BACKBONES": "backbones",
    "LOSSES": "losses",
    "Bundle": "bundle",
    "error_maps": "error_map",
    "QualityModel": "module",
    "QualityOutput": "module",
    "predict_records": "predict",
    "verdict": "verdict",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sqp.quality' has no attribute '{name}'")
    return getattr(import_module(f"sqp.quality.{_HOMES[name]}"), name)
