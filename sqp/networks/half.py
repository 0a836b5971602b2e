"""Weights in half precision: rounded once, before anything is measured with them, and then kept without loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each float32 tensor at the nearest values of half precision; one that overflows there stays as it is.

    >>> rounded({"w": torch.tensor([1.0001]), "v": torch.tensor([1e6])})
    {'w': tensor([1.]), 'v': tensor([1000000.])}
    """
    return {name: _half_and_back(value) for name, value in state.items()}


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each float32 tensor that half precision holds exactly in half precision: nothing is lost.

    >>> [value.dtype for value in packed({"w": torch.tensor([0.5]), "v": torch.tensor([0.1])}).values()]
    [torch.float16, torch.float32]
    """
    return {name: value.half() if _fits(value) else value for name, value in state.items()}


def _fits(value: Tensor) -> bool:
    return value.dtype == torch.float32 and torch.equal(value.half().float(), value)


def _half_and_back(value: Tensor) -> Tensor:
    near = value.half().float()
    return near if value.dtype == torch.float32 and torch.isfinite(near).all() else value
