"""Out-of-distribution statistics as a bundle keeps them: tensors, and numbers for its JSON.

Those of the model's own features lie at the top, as they did when there were no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sqp.quality.judging.strangeness import IMAGE, MODEL, Neighbours, OodStatistics, Space

PREFIXES = {MODEL: "ood.", IMAGE: "ood.image."}


def tensors_of(ood: OodStatistics) -> dict[str, Tensor]:
    """`ood.mean`, `ood.precision`, `ood.reference`, and the same of the image's features."""
    found: dict[str, Tensor] = {}
    for name, space in ood.spaces.items():
        arrays = {"mean": space.mean, "precision": _folded(space.precision)}
        arrays |= {"reference": space.neighbours.reference} if space.neighbours else {}
        found |= {PREFIXES[name] + key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
    return found


def described(ood: OodStatistics) -> dict[str, Any]:
    """Quantile, thresholds and k."""
    told = {name: _described(space) for name, space in ood.spaces.items()}
    return {"quantile": ood.quantile, **told.pop(MODEL), **told}


def read_ood(told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> OodStatistics:
    """What both were written from; bundles may be older than the neighbours, and than the image's features."""
    spaces = {MODEL: _read(told, tensors, PREFIXES[MODEL])}
    if IMAGE in told:
        spaces[IMAGE] = _read(told[IMAGE], tensors, PREFIXES[IMAGE])
    return OodStatistics(spaces, _number(told, "quantile"))


def _described(space: Space) -> dict[str, Any]:
    near = space.neighbours
    told: dict[str, Any] = {"threshold": space.threshold}
    return told if near is None else told | {"neighbours": {"threshold": near.threshold, "k": near.k}}


def _read(told: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> Space:
    near = told.get("neighbours")
    if near is not None:
        reference, k = tensors[f"{prefix}reference"].numpy(), near["k"]
        if not isinstance(k, int) or not 1 <= k <= len(reference):
            raise ValueError(f"k is {k!r}")
        near = Neighbours(reference, _number(near, "threshold"), k)
    mean, precision = tensors[f"{prefix}mean"].numpy(), _unfolded(tensors[f"{prefix}precision"].numpy())
    return Space(mean, precision, _number(told, "threshold"), near)


def _number(told: Mapping[str, Any], name: str) -> float:
    """TypeError where it is none."""
    if not isinstance(told[name], int | float) or isinstance(told[name], bool):
        raise TypeError(f"{name} is {told[name]!r}")
    return float(told[name])


def _folded(matrix: np.ndarray) -> np.ndarray:
    """The lower triangle `[d (d + 1) / 2]` of a symmetric matrix `[d, d]`, row by row; any other as it is."""
    return matrix[np.tril_indices(len(matrix))] if np.array_equal(matrix, matrix.T) else matrix


def _unfolded(stored: np.ndarray) -> np.ndarray:
    """The matrix of which it is the triangle; bundles from before hold the matrix.

    >>> _unfolded(_folded(np.array([[2.0, 1.0], [1.0, 3.0]]))).tolist()
    [[2.0, 1.0], [1.0, 3.0]]
    """
    if stored.ndim == 2:
        return stored
    d = int(np.sqrt(2 * len(stored)))
    matrix = np.zeros((d, d), stored.dtype)
    matrix[np.tril_indices(d)] = stored
    return matrix + np.tril(matrix, -1).T
