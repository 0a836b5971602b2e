"""A model over batches -> arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sqp.quality.model.augment import turned
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityModel

SYMMETRIES = (0, 4, 2, 6, 1, 3, 5, 7)
"""Turns of `augment.turned`: as it is, left-right, upside down and both of them come first, then quarter turns."""


class Outputs(NamedTuple):
    """dice `[n]`, scale `[n]`, features `[n, d]`, float32."""

    dice: np.ndarray
    scale: np.ndarray
    features: np.ndarray


@torch.inference_mode()
def infer(
    model: QualityModel | Ensemble, batches: Iterable[dict[str, Tensor]], device: str | torch.device = "cpu"
) -> Outputs:
    """The model in evaluation mode on each batch (planes, scores where it reads them), in order.

    Dice, scale and features are averaged over as many symmetries of the square as the model's spec says (`flips`).
    """
    model = model.to(device).eval()
    parts = []
    for batch in batches:
        planes, scores = batch["planes"].to(device), batch.get("scores")
        scores = None if scores is None else scores.to(device)
        outs = []
        for turn in SYMMETRIES[: model.spec.flips]:
            out = model(turned(planes, turn), scores)
            outs.append((out.dice.float(), out.scale.float(), out.features.float()))
        parts.append([torch.stack(values).mean(0).cpu().numpy() for values in zip(*outs, strict=True)])
    if not parts:
        empty = np.zeros(0, np.float32)
        return Outputs(empty, empty, empty.reshape(0, model.features_width))
    dice, scale, features = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Outputs(dice, scale, features)


def over_symmetries(make: Callable[[Tensor], np.ndarray], planes: Tensor, flips: int) -> np.ndarray:
    """The mean of `make(planes)` `[n, h, h]` over the symmetries that the model's prediction is averaged over.

    Of volumes `[n, h, h, h]`. Each map is turned back before it counts, so the mean lies in the frame of `planes`.
    """
    turns = SYMMETRIES[:flips]
    return np.mean([turned_back(torch.from_numpy(make(turned(planes, t))), t).numpy() for t in turns], axis=0)


def turned_back(maps: Tensor, turn: int) -> Tensor:
    """The inverse of `turned` on `[n, s, s]`: turned back, then flipped back; flips of volumes undo themselves."""
    if maps.ndim == 4:
        return turned(maps[:, None], turn)[:, 0]
    maps = torch.rot90(maps, -(turn % 4), dims=(-2, -1))
    return maps.flip(-1) if turn >= 4 else maps
