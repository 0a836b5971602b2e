"""A model over batches -> arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sqp.quality.module import QualityModel


class Outputs(NamedTuple):
    """dice `[n]`, scale `[n]`, features `[n, d]`, float32."""

    dice: np.ndarray
    scale: np.ndarray
    features: np.ndarray


@torch.inference_mode()
def infer(model: QualityModel, batches: Iterable[dict[str, Tensor]], device: str | torch.device = "cpu") -> Outputs:
    """The model in evaluation mode on each batch (planes, scores where it reads them), in order."""
    model = model.to(device).eval()
    parts = []
    for batch in batches:
        scores = batch.get("scores")
        out = model(batch["planes"].to(device), None if scores is None else scores.to(device))
        parts.append([value.float().cpu().numpy() for value in (out.dice, out.scale, out.features)])
    if not parts:
        empty = np.zeros(0, np.float32)
        return Outputs(empty, empty, empty.reshape(0, model.head.in_features))
    dice, scale, features = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Outputs(dice, scale, features)
