"""Class activation maps of the predicted Dice, by the package grad-cam, for any backbone that has a spatial layer.

The layers whose maps a CAM can be made of, by backbone: a table, and one sentence where there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sqp.core.errors import ConfigError, lookup, unknown_name
from sqp.explain.target import EFFECTS, Logit, frozen
from sqp.quality.model.backbones import TIMM, Backbone, dims_of
from sqp.quality.model.channels import space
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.inference import over_symmetries
from sqp.quality.model.module import QualityModel

AUTO = "auto"
FEWEST_CELLS = 8
"""`auto` takes the deepest layer whose maps have at least this side: a map of 4 x 4 cells cannot point at a border."""


@dataclass(frozen=True)
class Layer:
    """A named layer: the modules whose outputs are its maps, and their side; several: one a branch, or a member.

    `slices`: rows of the outputs are the slices of volumes, so many of each.
    """

    name: str
    modules: tuple[nn.Module, ...]
    side: int
    prefix: int = 0  # tokens before those of the image
    channels_last: bool = False
    slices: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """A module's output -> `[n, c, h, w]`, of volumes `[n, c, d, h, w]`; tokens are laid out on their square."""
        if self.slices:
            return output.unflatten(0, (-1, self.slices)).transpose(1, 2)
        if output.ndim == 3:
            tokens = output[:, self.prefix :]
            side = round(tokens.shape[1] ** 0.5)
            return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        return output.permute(0, 3, 1, 2) if self.channels_last else output


def _compact(backbone: Any) -> dict[str, list[nn.Module]]:
    return {f"stages.{i}": [stage] for i, stage in enumerate(backbone.stages)}


def _siamese(backbone: Any) -> dict[str, list[nn.Module]]:
    """The last convolution of every branch together, and of each one by its channel."""
    ends = {name: [branch[-1]] for name, branch in zip(backbone.channels, backbone.branches, strict=True)}
    return {**ends, "branches": [end for ends_of in ends.values() for end in ends_of]}


def _timm(backbone: Any) -> dict[str, list[nn.Module]]:
    """timm's own list of stages (`feature_info`); no gradient reaches the last block's tokens but the class token."""
    model = backbone.model
    modules = dict(model.named_modules())
    names = dict.fromkeys(info.get("module", "") for info in getattr(model, "feature_info", None) or [])
    known = [name for name in names if name and name in modules]
    if getattr(model, "global_pool", "") == "token":
        known = known[:-1]
    return {name: [modules[name]] for name in known}


def _compact3d(backbone: Any) -> dict[str, list[nn.Module]]:
    return {f"layer{i}": [getattr(backbone.network, f"layer{i}")] for i in range(1, 5)}


def _slices(backbone: Any) -> dict[str, list[nn.Module]]:
    return _compact(backbone.slices)


LAYERS: dict[str, Callable[[Any], dict[str, list[nn.Module]]]] = {
    "compact": _compact,
    "siamese": _siamese,
    "siamese_slip": _siamese,
    "compact3d": _compact3d,
    "slices": _slices,
    TIMM: _timm,
}
"""Backbone -> its candidate layers, the deepest last."""


def spatial_layers(model: QualityModel | Ensemble) -> dict[str, Layer]:
    """The layers of the model's backbone whose maps have more than one cell, the deepest last; all members' together.

    ConfigError that lists the backbone's layers where there is none.
    """
    name = model.spec.backbone
    find = LAYERS.get(TIMM if name.startswith(TIMM) else name)
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    by_member = [find(member.backbone) if find else {} for member in members]
    candidates = {key: [module for layers_of in by_member for module in layers_of[key]] for key in by_member[0]}
    shapes = _shapes(members, [module for modules in candidates.values() for module in modules])
    backbone: Any = members[0].backbone
    network = getattr(backbone, "model", None)
    prefix = int(getattr(network, "num_prefix_tokens", 0) or 0)
    last = getattr(network, "output_fmt", "") == "NHWC"
    slices = int(model.spec.size) if name == "slices" else 0
    layers = {}
    for key, modules in candidates.items():
        side = min((_side(shapes.get(id(module)), prefix, last) for module in modules), default=0)
        if side > 1:
            layers[key] = Layer(key, tuple(modules), side, prefix, last, slices)
    if not layers:
        raise ConfigError(
            f"backbone '{name}' has no spatial layer that a CAM could be made of; its layers are "
            f"{_listed(backbone)}: give --cams [] to explain it without CAMs"
        )
    return layers


def choose_layer(layers: dict[str, Layer], name: str = AUTO) -> Layer:
    """The layer of this name; `auto` is the deepest one of at least `FEWEST_CELLS` cells a side, else the finest."""
    if name != AUTO:
        if name not in layers:
            raise unknown_name("layer", name, [AUTO, *layers])
        return layers[name]
    deepest_first = list(reversed(layers.values()))
    return next(
        (layer for layer in deepest_first if layer.side >= FEWEST_CELLS), max(deepest_first, key=lambda x: x.side)
    )


@torch.no_grad()
def _shapes(members: Sequence[Any], modules: list[nn.Module]) -> dict[int, torch.Size]:
    """The shape of what each module puts out for one empty record, by the module's id."""
    shapes: dict[int, torch.Size] = {}

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[id(module)] = output.shape

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        for member in members:
            training, size = member.training, member.spec.size
            try:
                shape = space(size, dims_of(member.spec.backbone))
                member.eval().backbone(torch.zeros(1, len(member.mean), *shape, device=member.mean.device))
            finally:
                member.train(training)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _side(shape: torch.Size | None, prefix: int, channels_last: bool) -> int:
    """Cells of the shorter side; 0 where the output is no map."""
    if shape is None or len(shape) not in (3, 4, 5):
        return 0
    if len(shape) == 5:
        return min(shape[2:])
    if len(shape) == 3:
        tokens = max(shape[1] - prefix, 0)
        side = round(tokens**0.5)
        return side if side * side == tokens else 0
    return min(shape[1:3]) if channels_last else min(shape[2:4])


def _listed(backbone: Backbone, most: int = 12) -> str:
    """The names of a backbone's modules that have weights of their own."""
    names = [name for name, module in backbone.named_modules() if name and list(module.parameters(recurse=False))]
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])]) or "none"


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
