"""Columns of equal length in, rows without gaps out: how every statistic here treats NaN and groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def columns(*arrays: ArrayLike) -> list[np.ndarray]:
    """The arrays as float64 `[n]`. ValueError where their lengths differ.

    Args:
        *arrays: columns `[n]`.

    Returns:
        float64 `[n]` each.

    Raises:
        ValueError: lengths differ.
    """
    result = [np.asarray(array, dtype=np.float64).ravel() for array in arrays]
    if len({len(array) for array in result}) > 1:
        raise ValueError(f"columns differ in length: {[len(array) for array in result]}")
    return result


def finite(*arrays: np.ndarray) -> np.ndarray:
    """bool `[n]`: rows in which no column is NaN or infinite.

    Args:
        *arrays: columns `[n]`.

    Returns:
        The rows that count.
    """
    return np.logical_and.reduce([np.isfinite(array) for array in arrays])


def finite_rows(*arrays: ArrayLike) -> list[np.ndarray]:
    """The columns as float64 without the rows in which any is NaN or infinite.

    Args:
        *arrays: columns `[n]`.

    Returns:
        float64 `[m]` each, m at most n.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> finite_rows([1, 2, float("nan")], [4, float("inf"), 6])
        [array([1.]), array([4.])]
    """
    cols = columns(*arrays)
    keep = finite(*cols)
    return [col[keep] for col in cols]


def group_codes(group: ArrayLike, n: int) -> tuple[np.ndarray, int]:
    """(code `[n]` of each row's group, number of groups), coded in the sorted order of their names.

    Args:
        group: the group of each row `[n]`.
        n: number of rows.

    Returns:
        The codes from 0 on, and their number.

    Raises:
        ValueError: `group` has not n entries.
    """
    names = np.asarray(group).ravel()
    if len(names) != n:
        raise ValueError(f"{len(names)} groups for {n} rows")
    unique, codes = np.unique(names, return_inverse=True)
    return codes.ravel(), len(unique)


def one_of_each(group: ArrayLike, generator: np.random.Generator) -> np.ndarray:
    """Rows, ascending: of each group one that is drawn at random, each of its rows alike.

    Args:
        group: the group of each row `[n]`.
        generator: what draws.

    Returns:
        int `[g]`.

    Examples:
        >>> one_of_each(["a", "b", "a"], np.random.default_rng(0)).tolist()
        [1, 2]
    """
    names = pd.Series(np.asarray(group)).sample(frac=1, random_state=generator)
    return np.sort(names.drop_duplicates().index)
