"""Do two methods differ on the same rows? Wilcoxon's signed-rank test by group, with Holm's correction for many pairs.

Only rows that both methods have are compared, and rows of a group (the masks of an image, the images of a lesion) are
not independent: their differences are averaged, and a group is one observation of the test. Differences below 1e-12 are
rounding and count as none; as in Wilcoxon's own rule groups without a difference are left out of the ranks. Without
ties up to 50 groups are tested exactly, else by the normal approximation (scipy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import wilcoxon

from sqp.metrics.nan_reasons import join, rows_note
from sqp.metrics.rows import columns, finite, group_codes

_DECIMALS = 12


@dataclass(frozen=True)
class PairedTest:
    """Method a against b: n shared rows of n_groups groups, n_differ of these unequal; p two-sided, by group.

    Differences are a - b, over the rows. `p_holm` is corrected for all the tests made together (alone: p). NaN with
    fewer than two unequal groups; `note`.
    """

    a: str
    b: str
    n: int
    n_groups: int
    n_differ: int
    mean_difference: float
    median_difference: float
    p: float
    p_holm: float
    note: str


def signed_rank(x: ArrayLike, y: ArrayLike, a: str = "a", b: str = "b", group: ArrayLike | None = None) -> PairedTest:
    """Wilcoxon's signed-rank test of x against y `[n]` on the rows that both have, by `group` `[n]`. Wilcoxon 1945.

    Args:
        x: values `[n]` of method a, such as absolute errors.
        y: values `[n]` of method b, on the same rows.
        a: name of the first method.
        b: name of the second method.
        group: the group of each row `[n]`; without, each row is its own.

    Returns:
        The test, by scipy; `p_holm` is p.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> test = signed_rank([0.9, 0.8, 0.7, 0.9, 0.6], [0.5, 0.5, 0.5, 0.4, 0.5])
        >>> test.n, test.p  # all five in one direction: 2 of 32 signs are as extreme
        (5, 0.0625)
        >>> test = signed_rank([0.9, 0.8, 0.7, 0.9, 0.6], [0.5, 0.5, 0.5, 0.4, 0.5], group=list("aabbc"))
        >>> test.n, test.n_groups, test.p  # three groups: 2 of 8 signs
        (5, 3, 0.25)
    """
    u, v = columns(x, y)
    keep = finite(u, v)
    codes, n_groups = group_codes(
        (np.arange(len(u)) if group is None else np.asarray(group).ravel())[keep], int(keep.sum())
    )
    difference = (u - v)[keep]
    by_group = np.bincount(codes, difference, n_groups) / np.bincount(codes, minlength=n_groups)
    by_group = np.round(by_group, _DECIMALS)
    unequal = by_group[by_group != 0]
    difference = np.round(difference, _DECIMALS)
    mean, median = (float(f(difference)) if len(difference) else float("nan") for f in (np.mean, np.median))
    word = "row" if n_groups == len(difference) else "group"
    p, reason = float("nan"), ""
    if not len(unequal):
        reason = f"no {word} differs: no test" if len(difference) else ""
    elif len(unequal) == 1:
        reason = f"one {word} differs: no test"
    else:
        p = float(wilcoxon(unequal).pvalue)
    note = join(rows_note(x, y), reason)
    return PairedTest(a, b, len(difference), n_groups, len(unequal), mean, median, p, p, note)


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p `[m]`, in the order given; NaN stays NaN and is no test. Holm 1979.

    Args:
        p: p-values `[m]` in [0, 1].

    Returns:
        float64 `[m]`, at most 1.

    Examples:
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


def paired_tests(
    methods: Mapping[str, ArrayLike], against: str | None = None, group: ArrayLike | None = None
) -> list[PairedTest]:
    """Every pair of methods, columns `[n]` over the same rows, or each one `against` a named one, Holm-corrected.

    Args:
        methods: name -> column `[n]`, all of the same rows.
        against: the method with which each other one is compared; without, all pairs.
        group: the group of each row `[n]`; without, each row is its own.

    Returns:
        a test a pair, in the order of the methods.

    Raises:
        ValueError: lengths differ, or `against` is not among the methods.
    """
    if against is not None and against not in methods:
        raise ValueError(f"there is no method {against!r}; known: {', '.join(methods)}")
    pairs = combinations(methods, 2) if against is None else ((against, name) for name in methods if name != against)
    tests = [signed_rank(methods[a], methods[b], a, b, group) for a, b in pairs]
    return [replace(test, p_holm=float(q)) for test, q in zip(tests, holm([t.p for t in tests]), strict=True)]
