"""What a quality model looks at, whether that is where the errors are, and what it cannot do without.

The names are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Explanation": "explanation",
    "Material": "data",
    "cam_maps": "cams",
    "explain_records": "explanation",
    "group_maps": "attribution",
    "load_material": "data",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sqp.explain' has no attribute '{name}'")
    return getattr(import_module(f"sqp.explain.{_HOMES[name]}"), name)
