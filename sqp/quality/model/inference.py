"""A model over batches -> arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sqp.networks.inputs import to_device
from sqp.networks.runtime import Accelerated
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityModel, QualityOutput
from sqp.quality.model.symmetries import turned

SYMMETRIES = (0, 4, 2, 6, 1, 3, 5, 7)
"""Turns of `symmetries.turned`: as it is, left-right, upside down and both of them come first, then quarter turns."""


class Outputs(NamedTuple):
    """dice `[n]`, scale `[n]`, features `[n, d]`, float32, and, where it was asked for, error map `[n, h, h]`."""

    dice: np.ndarray
    scale: np.ndarray
    features: np.ndarray
    error_map: np.ndarray | None = None


@torch.inference_mode()
def infer(
    model: QualityModel | Ensemble,
    batches: Iterable[dict[str, Tensor]],
    device: str | torch.device = "cpu",
    *,
    error_map: bool = False,
    run: Callable[[Tensor, Tensor | None], QualityOutput] | None = None,
) -> Outputs:
    """The model in evaluation mode on each batch (planes, scores where it reads them), in order.

    Dice, scale and features are averaged over as many symmetries of the square as the model's spec says (`flips`). So
    is the error map, each turned back before it counts; it costs nothing beside the Dice, which rests on it.
    `run` computes the model in place of PyTorch (`ByOpenVino`).
    """
    error_map = error_map and model.spec.error_map
    model = model.to(device).eval()
    parts = []
    for batch in batches:
        planes, scores = to_device(batch["planes"], device), batch.get("scores")
        scores = None if scores is None else to_device(scores, device)
        outs = []
        for turn in SYMMETRIES[: model.spec.flips]:
            out = (run or model)(turned(planes, turn), scores)
            maps = (turned_back(out.error_map.float(), turn),) if error_map and out.error_map is not None else ()
            outs.append((out.dice.float(), out.scale.float(), out.features.float(), *maps))
        parts.append([torch.stack(values).mean(0).cpu().numpy() for values in zip(*outs, strict=True)])
    if not parts:
        empty = np.zeros(0, np.float32)
        return Outputs(empty, empty, empty.reshape(0, model.features_width))
    return Outputs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


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


def by_runtime(model: QualityModel | Ensemble, runtime: str) -> ByOpenVino | None:
    """What computes a model in place of PyTorch: OpenVINO where that is asked for, and the model is of images."""
    return ByOpenVino(model) if runtime == "openvino" and model.spec.dims == 2 else None


class ByOpenVino:
    """`run(planes, scores)`: a model of images by OpenVINO, as far as it agrees with PyTorch, for any size of batch."""

    def __init__(self, model: QualityModel | Ensemble) -> None:
        self._run = Accelerated(_Filled(model), "the quality model", free=((0,), (0,)))

    def __call__(self, planes: Tensor, scores: Tensor | None) -> QualityOutput:
        """What the model gives."""
        found = self._run(planes) if scores is None else self._run(planes, scores)
        return QualityOutput(*found)


class _Filled(nn.Module):
    """A model's outputs without those that it has not, which come last."""

    def __init__(self, model: QualityModel | Ensemble) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(output for output in self.model(*inputs) if output is not None)
