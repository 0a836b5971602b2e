"""A quality model beside every analytic score on the same rows.

The names are imported when they are first asked for, so that a table can be read without a network.
"""

from __future__ import annotations

from sqp.core.lazy import lazy

_HOMES = {
    "Evaluation": "result",
    "Rows": "rows",
    "compare": "comparison",
    "compare_runs": "runs",
    "compare_subsets": "subsets",
    "evaluate": "result",
    "load_rows": "rows",
    "read_runs": "runs",
}
__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
