"""Out of distribution: how far a record's features lie from those of the training records.

Two kinds of features: the quality model's own (`model`), and the segmenter's of the image alone (`image`), where the
records keep them. A quality model is trained to tell masks apart, so its features say little about a strange image; a
segmenter's encoder has seen far more than dermoscopy, and knows one. Each is measured in two ways: Mahalanobis (Lee et
al., NeurIPS 2018) asks how far from the middle, in units of the spread; the distance to the k-th nearest training
record (Sun et al., ICML 2022) asks whether anything like it was there. Both rest on one record of each training image:
its other masks have the same image, so they would count as neighbours, and as evidence of spread, that nobody saw.
Thresholds are set together: the asked share of the calibration groups lies within all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sqp.core.seeding import numpy_generator
from sqp.core.tables import evenly_spaced
from sqp.metrics.rows import one_of_each

NEAREST = 10
MOST_KEPT = 800
"""Training images that a bundle keeps for the nearest neighbours, evenly spaced: more take it beyond 20 MB."""

MODEL, IMAGE = "model", "image"
COLUMNS = {MODEL: ("ood_distance", "ood_knn_distance"), IMAGE: ("ood_image_distance", "ood_image_knn_distance")}
"""Features -> the columns of their Mahalanobis and k-NN distance."""
PREFIXES = {MODEL: "ood.", IMAGE: "ood.image."}
"""Features -> what the names of their tensors in a bundle begin with."""

FOLDS = 10

Features = Mapping[str, np.ndarray]
"""`[n, d]` by kind of features; rows of NaN where a record has none."""


@dataclass(frozen=True)
class Neighbours:
    """Features of training images `[m, d]` float16 of length 1; beyond `threshold` from the `k`-th nearest is out."""

    reference: np.ndarray
    threshold: float
    k: int

    @classmethod
    def fit(cls, training: np.ndarray) -> Neighbours:
        """From features `[n, d]`, nothing is out yet; k is `NEAREST`, or less where there are fewer rows."""
        rows = evenly_spaced(len(training), MOST_KEPT)
        return cls(unit(training[rows]).astype(np.float16), np.inf, min(NEAREST, len(rows)))

    @cached_property
    def points(self) -> Tensor:
        """The reference in float64, in which distances near 0 keep their digits; made once."""
        return torch.from_numpy(self.reference.astype(np.float64))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Distance `[n]`, in 0 to 2, of features `[n, d]` of length 1 to the k-th nearest; NaN gives NaN."""
        known = np.isfinite(features).all(axis=1)
        out = np.full(len(features), np.nan)
        if known.any():
            distances = torch.cdist(torch.from_numpy(unit(features[known]).astype(np.float64)), self.points)
            out[known] = distances.kthvalue(self.k, dim=1).values.numpy()
        return out


@dataclass(frozen=True)
class Space:
    """One kind of features: mean `[d]` and precision `[d, d]` of the training images, float32; the neighbours.

    The covariance is shrunk by Ledoit and Wolf's rule (scikit-learn). Beyond `threshold` (Mahalanobis) is out. Bundles
    made before there were neighbours have None.
    """

    mean: np.ndarray
    precision: np.ndarray
    threshold: float
    neighbours: Neighbours | None = None

    @classmethod
    def fit(cls, training: np.ndarray) -> Space:
        """From features `[n, d]`; nothing is out yet."""
        from sklearn.covariance import LedoitWolf  # seconds to import; a prediction needs none of it

        found = LedoitWolf().fit(training.astype(np.float64))
        precision = ((found.precision_ + found.precision_.T) / 2).astype(np.float32)  # symmetric to the last bit
        mean = found.location_.astype(np.float32)
        return cls(mean, precision, np.inf, Neighbours.fit(training))

    def distances(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mahalanobis and k-NN distance `[n]` of `[n, d]`; NaN features give NaN, as does what is not there."""
        near = self.neighbours
        knn = np.full(len(features), np.nan) if near is None else near.distance(features)
        return mahalanobis(features, self.mean, self.precision), knn

    def limits(self) -> tuple[float, float]:
        """The thresholds of both distances."""
        return self.threshold, np.inf if self.neighbours is None else self.neighbours.threshold

    def limited(self, threshold: float, knn_threshold: float) -> Space:
        """The same with these thresholds."""
        near = self.neighbours and replace(self.neighbours, threshold=knn_threshold)
        return replace(self, threshold=threshold, neighbours=near)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a bundle keeps as tensors."""
        near = {"reference": self.neighbours.reference} if self.neighbours else {}
        return {"mean": self.mean, "precision": _folded(self.precision), **near}

    def description(self) -> dict[str, Any]:
        """What a bundle keeps in its JSON: thresholds and k."""
        near = self.neighbours
        return {"threshold": self.threshold} | (
            {"neighbours": {"threshold": near.threshold, "k": near.k}} if near else {}
        )

    @classmethod
    def read(cls, stored: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Space:
        """From its description and arrays. ValueError, TypeError or KeyError where they are damaged."""
        near = stored.get("neighbours")
        if near is not None:
            reference, k = arrays["reference"], near["k"]
            if not isinstance(k, int) or not 1 <= k <= len(reference):
                raise ValueError(f"k is {k!r}")
            near = Neighbours(reference, _number(near, "threshold"), k)
        return cls(arrays["mean"], _unfolded(arrays["precision"]), _number(stored, "threshold"), near)


@dataclass(frozen=True)
class OodStatistics:
    """Spaces by kind of features; `quantile` is the share of the calibration groups within all thresholds."""

    spaces: Mapping[str, Space]
    quantile: float

    @classmethod
    def fit(
        cls,
        training: Features,
        calibration: Features,
        quantile: float = 0.98,
        group: Sequence[Any] | None = None,
        image: Sequence[Any] | np.ndarray | None = None,
        calibration_image: Sequence[Any] | np.ndarray | None = None,
        seed: int = 0,
    ) -> OodStatistics:
        """From the features of training and calibration records.

        Of the training records of an `image` one is drawn, a `group` of calibration records counts once; without them
        each record is its own. Features that the training records lack rest on the calibration records themselves, one
        of each `calibration_image`; each is measured from the groups of other folds.

        The share of the calibration groups that is nearer makes distances comparable; of a record the greatest of its
        shares counts, and every distance is cut where these have their quantile.
        """
        rows = _one_of_each(training, image, seed)
        spaces = {name: Space.fit(features[rows]) for name, features in training.items()}
        found = [d for name, space in spaces.items() for d in space.distances(calibration[name])]
        n = len(next(iter(calibration.values())))
        _, index, counts = np.unique(
            np.arange(n) if group is None else np.asarray(group), return_inverse=True, return_counts=True
        )
        rows = _one_of_each(calibration, calibration_image, seed)
        for name in calibration.keys() - training.keys():
            spaces[name] = Space.fit(calibration[name][rows])
            found += _out_of_fold(calibration[name], index, rows)
        weights = (1.0 / counts)[index]
        shares = [_shares(d, weights) for d in found]
        greatest = np.max(shares, axis=0)
        cut = float(np.min(greatest[_shares(greatest, weights) >= quantile - 1e-9]))
        limits = [float(d[share <= cut].max()) for d, share in zip(found, shares, strict=True)]
        pairs = zip(limits[::2], limits[1::2], strict=True)
        return cls({name: spaces[name].limited(*pair) for name, pair in zip(spaces, pairs, strict=True)}, quantile)

    def columns(self, features: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
        """What a prediction says of it: each distance `[n]`, `ood`, bool `[n]`, and `strangeness` `[n]`.

        Strangeness is the greatest of the distances, each as a share of its threshold: above 1 is out; NaN where none
        could be measured. Out is what lies beyond any threshold, and what has no features of the model (NaN). Features
        of the image may be lacking: what cannot be measured is not out.
        """
        n = len(features[MODEL])  # type: ignore[arg-type]
        columns: dict[str, np.ndarray] = {}
        out = np.asarray(~np.isfinite(features[MODEL]).all(axis=1))  # type: ignore[arg-type]
        strange = np.full(n, np.nan)
        for name, pair in COLUMNS.items():
            given, space = features.get(name), self.spaces.get(name)
            missing = space is None or given is None
            found = (np.full(n, np.nan),) * 2 if missing else space.distances(given)  # type: ignore[union-attr,arg-type]
            columns |= dict(zip(pair, found, strict=True))
            if space is not None:
                for distance, limit in zip(found, space.limits(), strict=True):
                    out = out | (distance > limit)
                    share = distance / limit if limit > 0 else np.where(distance > 0, np.inf, distance)
                    above = np.maximum(share, np.nextafter(1.0, 2.0))  # what is out is above 1 to the last bit
                    strange = np.fmax(strange, np.where(distance > limit, above, share))
        return columns | {"ood": out, "strangeness": strange}

    def tensors(self) -> dict[str, Tensor]:
        """`ood.mean`, `ood.precision`, `ood.reference`, and the same of the image's features."""
        return {
            PREFIXES[name] + key: torch.from_numpy(np.ascontiguousarray(array))
            for name, space in self.spaces.items()
            for key, array in space.arrays().items()
        }

    def description(self) -> dict[str, Any]:
        """Quantile, thresholds and k. Those of the model's own features lie at the top, as in the first bundles."""
        spaces = {name: space.description() for name, space in self.spaces.items()}
        return {"quantile": self.quantile, **spaces.pop(MODEL), **spaces}

    @classmethod
    def read(cls, stored: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> OodStatistics:
        """From its description and tensors; bundles may be older than the neighbours, and the image's features."""
        spaces = {}
        for name, values in ({MODEL: stored} | ({IMAGE: stored[IMAGE]} if IMAGE in stored else {})).items():
            prefix = PREFIXES[name]
            arrays = {key.removeprefix(prefix): t.numpy() for key, t in tensors.items() if key.startswith(prefix)}
            spaces[name] = Space.read(values, arrays)
        return cls(spaces, _number(stored, "quantile"))


def _one_of_each(features: Features, image: Sequence[Any] | np.ndarray | None, seed: int) -> np.ndarray:
    """A row of each image, or all rows."""
    n = len(next(iter(features.values())))
    return np.arange(n) if image is None else one_of_each(image, numpy_generator(seed, "strangeness"))


def _out_of_fold(features: np.ndarray, group: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both distances `[n]` of `[n, d]` from those of `rows` whose groups (0, 1, 2 ...) are in other folds."""
    found = np.full((2, len(features)), np.nan)
    fold = group % FOLDS
    for held in np.unique(fold):
        others = rows[fold[rows] != held]
        found[:, fold == held] = Space.fit(features[others]).distances(features[fold == held])
    return found[0], found[1]


def _shares(values: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """The share `[n]` of the weight at or below each value.

    Examples:
        >>> _shares([3, 1, 2, 2], np.array([1.0, 1.0, 1.0, 1.0])).tolist()
        [1.0, 0.25, 0.75, 0.75]
    """
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weights[order])
    return mass[np.searchsorted(np.asarray(values)[order], values, side="right") - 1] / mass[-1]


def mahalanobis(features: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """sqrt((x - mean)' precision (x - mean)) for each row of `[n, d]`."""
    centred = features.astype(np.float64) - mean
    squared = np.einsum("nd,de,ne->n", centred, precision.astype(np.float64), centred, optimize=True)
    return np.sqrt(np.where(squared < 0, 0.0, squared))


def unit(features: np.ndarray) -> np.ndarray:
    """Rows of `[n, d]` scaled to length 1, float32; a row of zeros stays.

    Examples:
        >>> unit(np.array([[3.0, 4.0]])).tolist() == [[np.float32(0.6), np.float32(0.8)]]
        True
    """
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.where(length > 0, length, 1)).astype(np.float32)


def _number(stored: Mapping[str, Any], name: str) -> float:
    """TypeError where it is none."""
    if not isinstance(stored[name], int | float) or isinstance(stored[name], bool):
        raise TypeError(f"{name} is {stored[name]!r}")
    return float(stored[name])


def _folded(matrix: np.ndarray) -> np.ndarray:
    """The lower triangle `[d (d + 1) / 2]` of a symmetric matrix `[d, d]`, row by row; any other as it is."""
    return matrix[np.tril_indices(len(matrix))] if np.array_equal(matrix, matrix.T) else matrix


def _unfolded(stored: np.ndarray) -> np.ndarray:
    """The matrix of which it is the triangle; bundles from before hold the matrix.

    Examples:
        >>> _unfolded(_folded(np.array([[2.0, 1.0], [1.0, 3.0]]))).tolist()
        [[2.0, 1.0], [1.0, 3.0]]
    """
    if stored.ndim == 2:
        return stored
    d = int(np.sqrt(2 * len(stored)))
    matrix = np.zeros((d, d), stored.dtype)
    matrix[np.tril_indices(d)] = stored
    return matrix + np.tril(matrix, -1).T
