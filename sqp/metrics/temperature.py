"""Temperature scaling of a segmenter: one number T, fitted on calibration maps, by which logits are divided.

p = sigmoid(logit / T); T > 1 where the segmenter is overconfident. The mask at p >= 0.5 stays. The maps stream: their
logits fall into narrow bins, of which only weight and sum are kept, so memory is constant. Guo et al. 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from sqp.metrics.calibration import EPS, pixels
from sqp.metrics.nan_reasons import join
from sqp.metrics.overlap import as_mask

_REACH = 40.0  # logits beyond share the last bin, where the likelihood is straight
_BINS = 8000  # 0.01 wide: an error of the mean NLL below 2e-6 at T = 1, less at any higher T
BOUNDS = (0.05, 20.0)


@dataclass(frozen=True)
class Temperature:
    """The fitted T, the mean NLL (nats a pixel) at T = 1 and at T; NaN where there is no fit, and why."""

    value: float
    nll_before: float
    nll_after: float
    n_maps: int
    n_pixels: int
    note: str


@dataclass
class TemperatureFit:
    """Collects maps, then fits. Every pixel counts `weight`: 1 / pixels of a map gives every image the same say."""

    n_maps: int = 0
    n_pixels: int = 0
    left_out: int = 0
    _weight: np.ndarray = field(default_factory=lambda: np.zeros(_BINS), init=False, repr=False)
    _sum: np.ndarray = field(default_factory=lambda: np.zeros(_BINS), init=False, repr=False)
    _foreground: float = field(default=0.0, init=False, repr=False)  # weighted sum of the logits of true foreground

    def update(self, logits: ArrayLike, truth: ArrayLike, weight: float = 1.0) -> None:
        """Add one map of logits `[*space]` and its mask; with a NaN or infinity it is left out whole.

        Args:
            logits: logits `[*space]`.
            truth: mask of the same shape.
            weight: what each of its pixels counts, above 0.

        Raises:
            ValueError: shapes differ, or `weight` is not above 0.
        """
        z, t = np.asarray(logits, dtype=np.float64), as_mask(truth)
        if z.shape != t.shape:
            raise ValueError(f"logits and truth differ in shape: {z.shape} and {t.shape}")
        if not 0 < weight < float("inf"):
            raise ValueError(f"a weight must be above 0, not {weight}")
        if not np.isfinite(z).all():
            self.left_out += 1
            return
        self.n_maps += 1
        self.n_pixels += z.size
        flat = z.ravel()
        index = np.clip((flat + _REACH) * (_BINS / (2 * _REACH)), 0, _BINS - 1).astype(np.intp)
        self._weight += weight * np.bincount(index, minlength=_BINS)
        self._sum += weight * np.bincount(index, weights=flat, minlength=_BINS)
        self._foreground += weight * float(flat[t.ravel()].sum())

    def update_probability(self, probability: ArrayLike, truth: ArrayLike, weight: float = 1.0) -> None:
        """The same from a probability map in 0..1, kept 1e-7 from its ends.

        Args:
            probability: foreground probability `[*space]`.
            truth: mask of the same shape.
            weight: what each of its pixels counts, above 0.

        Raises:
            ValueError: shapes differ, a value is no probability, or `weight` is not above 0.
        """
        pixels(probability, truth)
        self.update(logit(np.clip(np.asarray(probability, dtype=np.float64), EPS, 1 - EPS)), truth, weight)

    def nll(self, temperature: float) -> float:
        """Mean NLL at a temperature, in nats a pixel; NaN without pixels.

        Args:
            temperature: T, above 0.

        Returns:
            nats a pixel.
        """
        filled = self._weight > 0
        weight, total = self._weight[filled], self._weight.sum()
        if not total:
            return float("nan")
        z = self._sum[filled] / weight / temperature
        return float((weight @ np.logaddexp(0, z) - self._foreground / temperature) / total)

    def _slope(self, temperature: float) -> float:
        """The derivative of the NLL by 1 / T; it grows with 1 / T, so one sign change is the only minimum."""
        filled = self._weight > 0
        sums = self._sum[filled]
        return float(sums @ expit(sums / self._weight[filled] / temperature) - self._foreground)

    def fit(self) -> Temperature:
        """The T in 0.05..20 with the least NLL. Where that lies at a bound, or there is nothing to fit, T is NaN.

        Returns:
            T with the NLL before and after, and why there is none.
        """
        before = self.nll(1.0)
        left = f"{self.left_out} of {self.n_maps + self.left_out} maps hold a NaN: left out" if self.left_out else ""
        cold, hot = BOUNDS
        reason = ""
        if not self.n_maps:
            reason = "no maps: no temperature"
        elif not np.any(self._sum):
            reason = "all logits are 0: any temperature is the same"
        elif self._slope(cold) <= 0:
            reason = f"the masks are perfect, or nearly: the likelihood grows beyond T = {cold}"
        elif self._slope(hot) >= 0:
            reason = f"the logits tell no more than chance: the likelihood grows beyond T = {hot}"
        note = join(left, reason)
        if reason:
            return Temperature(float("nan"), before, float("nan"), self.n_maps, self.n_pixels, note)
        optimum = minimize_scalar(
            lambda log_t: self.nll(float(np.exp(log_t))),
            bounds=(np.log(cold), np.log(hot)),
            method="bounded",
            options={"xatol": 1e-7},
        )
        value = float(np.exp(optimum.x))
        return Temperature(value, before, self.nll(value), self.n_maps, self.n_pixels, note)


def rescale(probability: ArrayLike, temperature: float) -> np.ndarray:
    """The probability map at another temperature, float64 `[*space]` in 0..1. ValueError unless T is above 0.

    Args:
        probability: foreground probability `[*space]` in [0, 1].
        temperature: T, above 0.

    Returns:
        sigmoid(logit(p) / T).

    Raises:
        ValueError: T is not above 0.

    Examples:
        >>> rescale([0.5, 0.9], 2.0).round(6).tolist()
        [0.5, 0.75]
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"a temperature must be above 0, not {temperature}")
    return expit(logit(np.asarray(probability, dtype=np.float64)) / temperature)
