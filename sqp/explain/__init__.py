"""What a quality model looks at, whether that is where the errors are, and what it cannot do without.

The names are imported when they are first asked for.
"""

from __future__ import annotations

from sqp.core.lazy import lazy

_HOMES = {
    "Explanation": "explanation",
    "Material": "data",
    "cam_maps": "cams",
    "explain_records": "explanation",
    "group_maps": "attribution",
    "load_material": "data",
}
__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
