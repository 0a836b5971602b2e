"""Pixel calibration over the pixels of many maps, one map at a time, in constant memory.

Every pixel counts the same, so a large image counts more than a small one; for the mean over images average the single
maps. One map pooled alone has exactly the numbers of `pixel_ece`, `brier` and `nll`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.calibration import BinSums, bin_sums, check_bins, error_of, log_loss, pixels, table_of


@dataclass
class PixelCalibration:
    """Running sums over maps. A map with a NaN is left out whole and counted in `left_out`.

    Examples:
        >>> pool = PixelCalibration()
        >>> pool.update(np.array([[1.0, 0.5]]), np.array([[True, False]]))
        >>> pool.update(np.array([[0.0]]), np.array([[False]]))
        >>> pool.n_maps, pool.n_pixels, round(pool.brier, 4)
        (2, 3, 0.0833)
    """

    bins: int = 15
    n_maps: int = 0
    n_pixels: int = 0
    left_out: int = 0
    _sums: BinSums = field(init=False, repr=False)
    _squares: float = field(default=0.0, init=False, repr=False)
    _log_loss: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_bins(self.bins)
        self._sums = BinSums(np.zeros(self.bins, dtype=np.int64), *(np.zeros(self.bins) for _ in range(3)))

    def update(self, probability: ArrayLike, truth: ArrayLike) -> None:
        """Add the pixels of one map `[*space]` in 0..1 and its mask. ValueError where the shapes differ."""
        p, t = pixels(probability, truth)
        if not np.isfinite(p).all():
            self.left_out += 1
            return
        self.n_maps += 1
        self.n_pixels += p.size
        self._sums = self._sums + bin_sums(p, t, None, self.bins)
        self._squares += float(np.square(p - t).sum())
        self._log_loss += float(log_loss(p, t).sum())

    def add(self, other: PixelCalibration) -> None:
        """Add the maps of another pool. ValueError where it has other bins."""
        if other.bins != self.bins:
            raise ValueError(f"a pool of {other.bins} bins cannot be added to one of {self.bins}")
        self.n_maps += other.n_maps
        self.n_pixels += other.n_pixels
        self.left_out += other.left_out
        self._sums = self._sums + other._sums
        self._squares += other._squares
        self._log_loss += other._log_loss

    def table(self) -> dict[str, np.ndarray]:
        """The bins of the ECE: low, high, n, weight, mean confidence, mean target, gap; empty bins NaN."""
        return table_of(self._sums)

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]; NaN without pixels."""
        return error_of(self.table())

    @property
    def brier(self) -> float:
        """Mean squared error of the probability, in [0, 1]; NaN without pixels."""
        return self._squares / self.n_pixels if self.n_pixels else float("nan")

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood, in nats; NaN without pixels."""
        return self._log_loss / self.n_pixels if self.n_pixels else float("nan")

    @property
    def note(self) -> str:
        """What is missing, in a few words; empty where nothing is."""
        if self.left_out:
            return f"{self.left_out} of {self.n_maps + self.left_out} probability maps hold a NaN: left out"
        return "" if self.n_maps else "no probability map: no calibration of pixels"

    def summary(self) -> dict[str, float | str]:
        """n_maps, n_pixels, ece, brier, nll and the note."""
        return {
            "n_maps": self.n_maps,
            "n_pixels": self.n_pixels,
            "ece": self.ece,
            "brier": self.brier,
            "nll": self.nll,
            "note": self.note,
        }
