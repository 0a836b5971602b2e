"""Losses: predicted Dice and its scale against the true Dice, one number a record.

Noise is heteroscedastic: where mask and image are clear the Dice can be told to a few percent, where the
border is vague it cannot, and the interval has to know. The mean comes from a sigmoid, so it stays inside [0,
1]; a Beta likelihood would do that too, but it is singular at the Dice of exactly 0 that swapped and empty
masks have. The plain Gaussian likelihood underfits rows of large variance, whose gradient it divides by it;
beta-NLL (Seitzer et al., ICLR 2022) weights each row by variance^beta, held fixed: beta 1 has the mean
squared error's gradient on the mean, beta 0 is the likelihood, 0.5 is the paper's choice and the default.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def beta_nll(mean: Tensor, scale: Tensor, target: Tensor, beta: float) -> Tensor:
    """Gaussian negative log likelihood times variance^beta, `[n]`; scale is the standard deviation."""
    nll = scale.log() + 0.5 * ((target - mean) / scale) ** 2
    return nll * scale.detach() ** (2 * beta)


def laplace_nll(mean: Tensor, scale: Tensor, target: Tensor, beta: float) -> Tensor:
    """The same with Laplace's density, scale its mean absolute deviation: it aims at the MAE."""
    nll = scale.log() + (target - mean).abs() / scale
    return nll * scale.detach() ** beta


def mse(mean: Tensor, scale: Tensor, target: Tensor, beta: float) -> Tensor:
    """Squared error, the peer's loss; the model then has no scale of its own (it is 1 everywhere)."""
    return (target - mean) ** 2


LOSSES: dict[str, Loss] = {"beta_nll": beta_nll, "laplace_nll": laplace_nll, "mse": mse}
"""name -> (mean, scale, target, beta) -> loss `[n]`."""


def record_weights(image_ids: list[str], dice: Tensor, balance: float = 0.0, bins: int = 10) -> Tensor:
    """Weight of each record in the loss, mean 1: every image counts the same however many records it has.

    `balance` in [0, 1] moves from the natural share of each Dice bin (0) to equal shares of all bins that
    occur (1).

    Examples:
        >>> record_weights(["a", "a", "b"], torch.tensor([0.1, 0.9, 0.9])).tolist()
        [0.75, 0.75, 1.5]
    """
    index = {name: i for i, name in enumerate(dict.fromkeys(image_ids))}
    image = torch.tensor([index[name] for name in image_ids])
    weights = 1.0 / torch.bincount(image)[image].double()
    if balance:
        bin_of = (dice.double() * bins).long().clamp(0, bins - 1)
        share = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, weights) / weights.sum()
        weights = weights * share[bin_of] ** -balance
    return (weights / weights.mean()).float()
