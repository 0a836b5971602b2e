"""Fusion: samples' logits `[s, *grid]` -> one probability map `[*grid]`, surer samples weighing more, pixel by pixel.

Σ_i w_i p_i with weights that add up to 1 over the samples, from u_i = H(p_i) in bits, at least `LEAST`; computed in
log-space (a softmax), so that no weight is divided by zero. Mean, inverse, exponential and power law are those of
"Biomedical Image Segmentation Based on Foundation Models Adapted Without Retraining", section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sqp.config.checks import check_options
from sqp.core.errors import ConfigError, lookup
from sqp.uncertainty.learned_fusion import learned
from sqp.uncertainty.moments import Moments, by_slabs

LEAST = 1e-6
"""bits: below it samples count as equally sure."""


def log_uncertainty(logits: Tensor | Moments) -> tuple[Tensor, Tensor]:
    """u_i = H(p_i) in bits `[s, *grid]`, `LEAST` to 1, and its natural logarithm.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        The two, float32 `[s, *grid]`.
    """
    u = (Moments.of(logits).nats_of_each / math.log(2)).clamp(LEAST, 1)
    return u, u.log()


def mean(logits: Tensor | Moments) -> Tensor:
    """p̄: every sample weighs the same.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid]` in 0..1.

    Examples:
        >>> mean(torch.tensor([[60.0], [-60.0]])).tolist()
        [0.5]
    """
    return Moments.of(logits).mean_p


def inverse(logits: Tensor | Moments) -> Tensor:
    """w ∝ 1/u: the power law with α = 1.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid]` in 0..1.
    """
    return power_law(logits, alpha=1.0)


def exponential(logits: Tensor | Moments, *, lam: float = 1.0) -> Tensor:
    """w ∝ exp(-λu); λ >= 0 is chosen on val, 0 is the mean.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.
        lam: λ, at least 0.

    Returns:
        float32 `[*grid]` in 0..1.

    Raises:
        ConfigError: λ is negative.

    Examples:
        >>> [round(float(v), 3) for v in exponential(torch.tensor([[60.0], [0.0]]), lam=2.0)]
        [0.94]
    """
    _check("lam", lam)
    m = Moments.of(logits)
    return _weighted(m, -lam * log_uncertainty(m)[0])


def power_law(logits: Tensor | Moments, *, alpha: float = 2.0) -> Tensor:
    """w ∝ u^-α; α >= 0 is chosen on val, 0 is the mean and 1 the inverse.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.
        alpha: α, at least 0.

    Returns:
        float32 `[*grid]` in 0..1.

    Raises:
        ConfigError: α is negative.

    Examples:
        >>> [round(float(v), 3) for v in power_law(torch.tensor([[60.0], [0.0], [0.0]]))]
        [1.0]
    """
    _check("alpha", alpha)
    m = Moments.of(logits)
    return _weighted(m, -alpha * log_uncertainty(m)[1])


FUSIONS: dict[str, Callable[..., Tensor]] = {
    "mean": mean,
    "inverse": inverse,
    "exponential": exponential,
    "power_law": power_law,
    "learned": learned,
}
"""name -> (logits or Moments, **its own options) -> fused probability `[*grid]`."""


def fuse(logits: Tensor | Moments, rule: str = "mean", **options: Any) -> Tensor:
    """The fused probability map `[*grid]`, float32 in 0..1, by a rule of `FUSIONS` with its own options.

    Every cell is fused by itself, so a volume some slices at a time.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.
        rule: a name of `FUSIONS`.
        **options: the rule's own.

    Returns:
        float32 `[*grid]`.

    Raises:
        ConfigError: the rule is unknown, or an exponent negative.
    """
    return by_slabs(partial(lookup("fusion", rule, FUSIONS), **options), logits).clamp(0, 1)


def check_fusion(rule: str, options: Mapping[str, Any]) -> None:
    """ConfigError for an unknown rule or option, one that is missing or wrong, or a file that holds no stack.

    Args:
        rule: a name of `FUSIONS`.
        options: the rule's own.

    Raises:
        ConfigError: the sentence says which of these it is.
    """
    run = lookup("fusion", rule, FUSIONS)
    check_options(f"the fusion '{rule}'", run, options, lambda: run(torch.zeros(2, 1), **options))


def _weighted(m: Moments, log_weight: Tensor) -> Tensor:
    return (torch.softmax(log_weight, 0) * m.p).sum(0)


def _check(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ConfigError(f"fusion: {name} is {value}; give a number of at least 0")
