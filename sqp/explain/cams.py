"""Class activation maps of the predicted Dice, by the package grad-cam, for any backbone that has a spatial layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

from sqp.errors import lookup
from sqp.explain.layers import Layer
from sqp.explain.target import EFFECTS, Logit, frozen
from sqp.quality.ensemble import Ensemble
from sqp.quality.inference import over_symmetries
from sqp.quality.module import QualityModel

CAMS: dict[str, str] = {
    "grad_cam": "GradCAM",  # Selvaraju et al., ICCV 2017
    "grad_cam_plusplus": "GradCAMPlusPlus",  # Chattopadhyay et al., WACV 2018
    "hires_cam": "HiResCAM",  # Draelos and Carin, arXiv 2011.08891
    "layer_cam": "LayerCAM",  # Jiang et al., TIP 2021
    "eigen_cam": "EigenCAM",  # Muhammad and Yeasin, IJCNN 2020: no gradient, so no sign either
}
"""Name -> class of `pytorch_grad_cam`."""


def cam_maps(
    model: QualityModel | Ensemble,
    planes: Tensor,
    scores: Tensor | None,
    layer: Layer,
    name: str = "grad_cam",
    effect: str = "lowers",
) -> np.ndarray:
    """planes `[n, c, s, s]` -> float32 `[n, s, s]`, each scaled to 0-1 and brought up bilinearly to the planes' frame.

    Volumes `[n, c, s, s, s]` have maps `[n, s, s, s]` (brought up by a spline, grad-cam's way).

    Averaged over the symmetries that the prediction is averaged over. Where nothing has the effect that is asked for
    the map is 0. Several modules in `layer`: the mean of their maps. ConfigError for an unknown name.
    """
    made = getattr(import_module("pytorch_grad_cam"), lookup("CAM", name, CAMS))
    sign = lookup("effect", effect, EFFECTS)
    with frozen(model):
        make = partial(_one_pass, model=model, scores=scores, layer=layer, made=made, sign=sign)
        return over_symmetries(make, planes, model.spec.flips)


def branch_maps(
    model: QualityModel | Ensemble,
    planes: Tensor,
    scores: Tensor | None,
    layers: dict[str, Layer],
    name: str = "grad_cam",
    effect: str = "lowers",
) -> dict[str, np.ndarray]:
    """For a backbone with a branch a channel: the CAM of each branch by channel; else empty."""
    names: Sequence[str] = [channel for channel in model.spec.channels if channel in layers]
    return {channel: cam_maps(model, planes, scores, layers[channel], name, effect) for channel in names}


def _one_pass(
    planes: Tensor, *, model: QualityModel | Ensemble, scores: Tensor | None, layer: Layer, made: Any, sign: float
):  # type: ignore[no-untyped-def]
    """One orientation: hooks live inside the `with` alone."""
    targets = [lambda row: sign * row[0]] * len(planes)
    planes = planes.detach().clone().requires_grad_()
    with made(Logit(model, scores), list(layer.modules), reshape_transform=layer.maps) as cam:
        maps = cam(planes, targets)
        cam.outputs = None
    return np.nan_to_num(np.asarray(maps, np.float32))
