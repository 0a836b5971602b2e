"""Out of distribution: how far a record's features lie from those of the training records, measured in two ways.

Mahalanobis (Lee et al., NeurIPS 2018) asks how far from their middle, in units of their spread; the distance to the
k-th nearest training record (Sun et al., ICML 2022) asks whether anything like it was there. Each has its threshold,
the same quantile of the calibration records; a record beyond either one is out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

NEAREST = 10
MOST_KEPT = 1000
"""Training records that a bundle keeps for the nearest neighbours, evenly spaced."""


@dataclass(frozen=True)
class Neighbours:
    """Training features `[m, d]` float16 of length 1; beyond `threshold` from the `k`-th nearest is out."""

    reference: np.ndarray
    threshold: float
    k: int

    @classmethod
    def fit(cls, training: np.ndarray, calibration: np.ndarray, quantile: float) -> Neighbours:
        """From features `[n, d]`; k is `NEAREST`, or less where there are fewer training records."""
        rows = np.unique(np.linspace(0, len(training) - 1, min(MOST_KEPT, len(training))).astype(int))
        reference = unit(training[rows]).astype(np.float16)
        k = min(NEAREST, len(reference))
        distance = cls(reference, np.inf, k).distance(calibration)
        return cls(reference, float(np.quantile(distance, quantile, method="higher")), k)

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Distance `[n]`, in 0 to 2, of features `[n, d]` of length 1 to the k-th nearest; NaN gives NaN."""
        known = np.isfinite(features).all(axis=1)
        out = np.full(len(features), np.nan)
        if known.any():
            search = NearestNeighbors(n_neighbors=self.k).fit(self.reference.astype(np.float32))
            out[known] = search.kneighbors(unit(features[known]))[0][:, -1]
        return out


@dataclass(frozen=True)
class OodStatistics:
    """Mean `[d]` and precision `[d, d]` of the training features, both float32; beyond `threshold` is out.

    The covariance is shrunk by Ledoit and Wolf's rule (scikit-learn). `quantile` is the share of the
    calibration records that lies within each threshold. Bundles made before there were `neighbours` have None.
    """

    mean: np.ndarray
    precision: np.ndarray
    threshold: float
    quantile: float
    neighbours: Neighbours | None = None

    @classmethod
    def fit(cls, training: np.ndarray, calibration: np.ndarray, quantile: float = 0.999) -> OodStatistics:
        """From features `[n, d]` of the training and of the calibration records."""
        estimate = LedoitWolf().fit(training.astype(np.float64))
        mean, precision = estimate.location_.astype(np.float32), estimate.precision_.astype(np.float32)
        threshold = float(np.quantile(mahalanobis(calibration, mean, precision), quantile, method="higher"))
        return cls(mean, precision, threshold, quantile, Neighbours.fit(training, calibration, quantile))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distances `[n]` of features `[n, d]`; NaN features give NaN."""
        return mahalanobis(features, self.mean, self.precision)

    def knn_distance(self, features: np.ndarray) -> np.ndarray:
        """`Neighbours.distance`; NaN where the bundle keeps no neighbours."""
        return np.full(len(features), np.nan) if self.neighbours is None else self.neighbours.distance(features)

    def is_out(self, distance: np.ndarray, knn_distance: np.ndarray | None = None) -> np.ndarray:
        """bool `[n]`: further than a threshold, or NaN; the second distance counts where there are neighbours."""
        out = ~(np.asarray(distance) <= self.threshold)
        if self.neighbours is None or knn_distance is None:
            return out
        return out | ~(np.asarray(knn_distance) <= self.neighbours.threshold)


def mahalanobis(features: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """sqrt((x - mean)' precision (x - mean)) for each row of `[n, d]`."""
    centred = features.astype(np.float64) - mean
    squared = np.einsum("nd,de,ne->n", centred, precision.astype(np.float64), centred, optimize=True)
    return np.sqrt(np.where(squared < 0, 0.0, squared))


def unit(features: np.ndarray) -> np.ndarray:
    """Rows of `[n, d]` scaled to length 1, float32; a row of zeros stays.

    >>> unit(np.array([[3.0, 4.0]])).tolist() == [[np.float32(0.6), np.float32(0.8)]]
    True
    """
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.where(length > 0, length, 1)).astype(np.float32)
