"""The quality model: record -> predicted Dice, its interval, its bundle. It reads record sets only.

The names are imported when they are first asked for, so that a process that only decodes planes stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "BACKBONES": "model.backbones",
    "LOSSES": "model.losses",
    "Bundle": "bundle.storage",
    "error_maps": "judging.error_map",
    "QualityModel": "model.module",
    "QualityOutput": "model.module",
    "predict_records": "judging.predict",
    "verdict": "judging.verdict",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sqp.quality' has no attribute '{name}'")
    return getattr(import_module(f"sqp.quality.{_HOMES[name]}"), name)
