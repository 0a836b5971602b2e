"""The quality model: record -> predicted Dice, its interval, its bundle. It reads record sets only.

The names are imported when they are first asked for, so that a process that only decodes planes stays light.
"""

from __future__ import annotations

from sqp.core.lazy import lazy

_HOMES = {
    "BACKBONES": "model.backbones",
    "LOSSES": "model.losses",
    "Bundle": "bundle.storage",
    "ErrorMapStore": "judging.error_map",
    "error_maps": "judging.error_map",
    "QualityModel": "model.module",
    "QualityOutput": "model.module",
    "predict_records": "judging.predict",
    "verdict": "judging.verdict",
}
__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
