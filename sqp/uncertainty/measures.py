"""Measures: samples' logits `[s, *grid]` -> a float32 map `[*grid]`, higher = less certain (but certainty).

Each takes logits or `Moments`, so that several measures of the same samples share their work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sqp.core.errors import lookup
from sqp.uncertainty.moments import SLAB, Moments


def certainty(logits: Tensor | Moments) -> Tensor:
    """|2p̄ - 1|, 0 to 1: the one measure that is higher where the samples are surer.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid]`.

    Examples:
        >>> certainty(torch.tensor([[0.0, 50.0]])).tolist()
        [0.0, 1.0]
    """
    m = Moments.of(logits)
    return (m.mean_p - m.mean_q).abs()


def entropy(logits: Tensor | Moments) -> Tensor:
    """Total (predictive) entropy H(p̄) in bits, 0 to 1.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid]`.

    Examples:
        >>> entropy(torch.tensor([[0.0], [0.0]])).tolist()
        [1.0]
    """
    return Moments.of(logits).total_entropy


def mutual_information(logits: Tensor | Moments) -> Tensor:
    """H(p̄) - mean_s H(p_s) in bits, 0 to 1: the epistemic part (BALD, Houlsby et al., arXiv 1112.5745).

    Two opposite samples: 1 bit.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid]`.

    Examples:
        >>> mutual_information(torch.tensor([[60.0], [-60.0]])).tolist()
        [1.0]
    """
    m = Moments.of(logits)
    if m.n == 1:
        return torch.zeros_like(m.mean_p)
    return (m.total_entropy - m.sample_entropy).clamp_min(0)


def epkl(logits: Tensor | Moments) -> Tensor:
    """Expected pairwise KL: mean KL(p_i || p_j) over all s² ordered pairs, in bits; >= MI, unbounded.

    In closed form the population covariance over samples of p and the logit, / ln 2 (Malinin & Gales, arXiv
    2002.07650).

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid]`, at least 0.

    Examples:
        >>> round(float(epkl(torch.tensor([[1.0], [-1.0]]))[0]), 4)
        0.3333
    """
    m = Moments.of(logits)
    if m.n == 1:
        return torch.zeros_like(m.mean_p)
    # cov(p, l) = -cov(q, l): the smaller of p and q keeps the digits of differences in saturated cells.
    foreground = m.mean_p > 0.5
    tail = torch.where(foreground, m.mean_q - m.q, m.p - m.mean_p)
    spread = m.logits - m.logits.mean(0)
    return ((tail * spread).mean(0) / math.log(2)).clamp_min(0)


def variance(logits: Tensor | Moments) -> Tensor:
    """Population variance of p over samples, 0 to 0.25.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid]`.

    Examples:
        >>> variance(torch.tensor([[60.0], [-60.0]])).tolist()
        [0.25]
    """
    m = Moments.of(logits)
    if m.n == 1:
        return torch.zeros_like(m.mean_p)
    return m.p.var(0, correction=0)


MEASURES: dict[str, Callable[[Tensor | Moments], Tensor]] = {
    "certainty": certainty,
    "entropy": entropy,
    "mutual_information": mutual_information,
    "epkl": epkl,
    "variance": variance,
}


def all_maps(logits: Tensor | Moments, names: Iterable[str] = tuple(MEASURES)) -> dict[str, Tensor]:
    """Every named measure of the same samples, float32 `[*grid]` each.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.
        names: names of `MEASURES`.

    Returns:
        name -> float32 `[*grid]`.

    Raises:
        ConfigError: a measure is unknown.

    Examples:
        >>> list(all_maps(torch.zeros(2, 3, 3), ["entropy", "epkl"]))
        ['entropy', 'epkl']
    """
    m = Moments.of(logits)
    return {name: lookup("measure", name, MEASURES)(m) for name in names}


def slab_maps(logits: Tensor, names: Iterable[str] = tuple(MEASURES)) -> tuple[Moments, dict[str, Tensor]]:
    """`all_maps` of a volume's samples `[s, d, h, w]`, some slices at a time, and the moments that the scores need.

    So p and 1 - p of every sample, and what the measures make of them, are never in memory as a whole.

    Args:
        logits: samples' logits `[s, d, h, w]`.
        names: names of `MEASURES`.

    Returns:
        The moments, and name -> float32 `[d, h, w]`.

    Raises:
        ConfigError: a measure is unknown.

    Examples:
        >>> moments, maps = slab_maps(torch.zeros(2, 5, 3, 3), ["entropy"])
        >>> tuple(maps["entropy"].shape), float(moments.mean_p.max())
        ((5, 3, 3), 0.5)
    """
    names, kept = list(names), ("mean_p", "mean_q", "total_entropy")
    parts: list[dict[str, Tensor]] = []
    for slab in logits.split(SLAB, dim=1):
        m = Moments.of(slab)
        parts.append(all_maps(m, names) | {f"moments/{name}": getattr(m, name) for name in kept})
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    known = {name: whole.pop(f"moments/{name}") for name in kept}
    return Moments.settled(logits.float(), **known), whole
