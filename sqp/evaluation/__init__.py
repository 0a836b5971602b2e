"""A quality model beside every analytic score on the same rows.

The names are imported when they are first asked for, so that a table can be read without a network.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sqp.evaluation' has no attribute '{name}'")
    return getattr(import_module(f"sqp.evaluation.{_HOMES[name]}"), name)
