"""Do two methods differ on the same images? Wilcoxon's signed-rank test, with Holm's correction for many pairs.

A row is one image: average the records of an image first, they are not independent. Differences below 1e-12 are
rounding and count as none; as in Wilcoxon's own rule rows without a difference are left out of the ranks. Without
ties up to 50 rows are tested exactly, else by the normal approximation (scipy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import wilcoxon

from sqp.metrics.notes import join, rows_note
from sqp.metrics.rows import finite_rows

_DECIMALS = 12


@dataclass(frozen=True)
class PairedTest:
    """Method a against b: n shared rows, n_differ of them unequal; differences are a - b; p two-sided.

    `p_holm` is corrected for all the tests made together (alone: p). NaN with fewer than two unequal rows; `note`.
    """

    a: str
    b: str
    n: int
    n_differ: int
    mean_difference: float
    median_difference: float
    p: float
    p_holm: float
    note: str


def signed_rank(x: ArrayLike, y: ArrayLike, a: str = "a", b: str = "b") -> PairedTest:
    """Wilcoxon's signed-rank test of x against y `[n]`, row by row. Wilcoxon 1945.

    >>> test = signed_rank([0.9, 0.8, 0.7, 0.9, 0.6], [0.5, 0.5, 0.5, 0.4, 0.5])
    >>> test.n, test.p  # all five in one direction: 2 of 32 signs are as extreme
    (5, 0.0625)
    """
    u, v = finite_rows(x, y)
    difference = np.round(u - v, _DECIMALS)
    unequal = difference[difference != 0]
    mean, median = (float(f(difference)) if len(difference) else float("nan") for f in (np.mean, np.median))
    p, reason = float("nan"), ""
    if not len(unequal):
        reason = "no row differs: no test" if len(difference) else ""
    elif len(unequal) == 1:
        reason = "one row differs: no test"
    else:
        p = float(wilcoxon(unequal).pvalue)
    note = join(rows_note(x, y), reason)
    return PairedTest(a, b, len(difference), len(unequal), mean, median, p, p, note)


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p `[m]`, in the order given; NaN stays NaN and is no test. Holm 1979.

    >>> holm([0.01, 0.04, 0.03]).round(10).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64).ravel()
    adjusted = np.full(len(values), np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def paired_tests(methods: Mapping[str, ArrayLike], against: str | None = None) -> list[PairedTest]:
    """Every pair of methods, columns `[n]` over the same images, or each one `against` a named one, Holm-corrected.

    ValueError where lengths differ or `against` is not among the methods.
    """
    if against is not None and against not in methods:
        raise ValueError(f"there is no method {against!r}; known: {', '.join(methods)}")
    pairs = combinations(methods, 2) if against is None else ((against, name) for name in methods if name != against)
    tests = [signed_rank(methods[a], methods[b], a, b) for a, b in pairs]
    return [replace(test, p_holm=float(q)) for test, q in zip(tests, holm([t.p for t in tests]), strict=True)]
