"""Out of distribution: the Mahalanobis distance to the training features (Lee et al., NeurIPS 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.covariance import LedoitWolf


@dataclass(frozen=True)
class OodStatistics:
    """Mean `[d]` and precision `[d, d]` of the training features, both float32; beyond `threshold` is out.

    The covariance is shrunk by Ledoit and Wolf's rule (scikit-learn). `quantile` is the share of the
    calibration records that lies within the threshold.
    """

    mean: np.ndarray
    precision: np.ndarray
    threshold: float
    quantile: float

    @classmethod
    def fit(cls, training: np.ndarray, calibration: np.ndarray, quantile: float = 0.999) -> OodStatistics:
        """From features `[n, d]` of the training and of the calibration records."""
        estimate = LedoitWolf().fit(training.astype(np.float64))
        mean, precision = estimate.location_.astype(np.float32), estimate.precision_.astype(np.float32)
        threshold = float(np.quantile(mahalanobis(calibration, mean, precision), quantile, method="higher"))
        return cls(mean, precision, threshold, quantile)

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distances `[n]` of features `[n, d]`; NaN features give NaN."""
        return mahalanobis(features, self.mean, self.precision)

    def is_out(self, distance: np.ndarray) -> np.ndarray:
        """bool `[n]`: further than the threshold, or NaN."""
        return ~(np.asarray(distance) <= self.threshold)


def mahalanobis(features: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """sqrt((x - mean)' precision (x - mean)) for each row of `[n, d]`."""
    centred = features.astype(np.float64) - mean
    squared = np.einsum("nd,de,ne->n", centred, precision.astype(np.float64), centred, optimize=True)
    return np.sqrt(np.where(squared < 0, 0.0, squared))
