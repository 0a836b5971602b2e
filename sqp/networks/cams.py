"""Class activation maps of timm models by the package grad-cam, on the layer's own grid, in bounded time.

Which layer of which family, how its output becomes planes, and grad-cam's methods by name. The paper's control,
RandomCAM, weighs each channel by U(-1, 1); here the numbers come from a generator that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import AblationCAM, GradCAM, GradCAMPlusPlus, RandomCAM, ScoreCAM, ablation_cam, score_cam
from pytorch_grad_cam.ablation_layer import AblationLayerVit
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from sqp.core.errors import ConfigError, lookup

LAYERS: dict[str, str] = {
    "EfficientNet": "bn2",
    "ResNet": "layer4.-1",
    "ConvNeXt": "stages.-1",
    "VisionTransformer": "blocks.-1.norm1",
    "SwinTransformer": "layers.-1.blocks.-1.norm1",
}
"""timm's class (MobileNet-v2 is an EfficientNet there) -> its last layer that still has places, as grad-cam advises."""

BATCH = 32  # masked or ablated images at once

for _module in (ablation_cam, score_cam):
    _module.tqdm = SimpleNamespace(tqdm=iter)  # a bar for each image would hide the run's own


class _OnItsGrid:
    """grad-cam's maps, not resized to the input."""

    def get_target_width_height(self, input_tensor: Tensor) -> None:
        return None


class _Grad(_OnItsGrid, GradCAM):
    pass


class _GradPlusPlus(_OnItsGrid, GradCAMPlusPlus):
    pass


class _Score(_OnItsGrid, ScoreCAM):
    """Over the strongest channels only: the others weigh nothing. One image at a time, so memory is bounded."""

    batch_size = BATCH
    channels = 0

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, grads: Any) -> Any:
        weights = np.zeros(activations.shape[:2], np.float32)
        for k, target in enumerate(targets):
            kept = strongest(activations[k], self.channels)
            one = slice(k, k + 1)
            weights[k, kept] = super().get_cam_weights(
                input_tensor[one], target_layer, [target], activations[one][:, kept], grads
            )[0]
        return weights


class _Ablation(_OnItsGrid, AblationCAM):
    pass


class _Random(_OnItsGrid, RandomCAM):
    generator: np.random.Generator

    def get_cam_weights(self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, grads: Any) -> Any:
        return self.generator.uniform(-1, 1, activations.shape[:2])


METHODS: dict[str, Callable[..., Any]] = {
    "gradcam": _Grad,
    "gradcam++": _GradPlusPlus,
    "ablationcam": _Ablation,
    "scorecam": _Score,
    "randomcam": _Random,
}


def heatmaps(
    model: nn.Module,
    pixels: Tensor,
    classes: Sequence[int],
    method: str = "gradcam",
    *,
    layer: str = "",
    channels: int = 64,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Maps `[n, h', w']` in 0-1 of a batch of pixels `[n, 3, h, w]`, one of `classes` each; constant ones are 0.

    `layer` is the target layer's name, else that of `LAYERS`. ScoreCAM and AblationCAM look at the `channels` of
    largest norm (0: all), a forward for each. ConfigError for an unknown method, or layer, or where none is known.
    """
    kind = lookup("CAM method", method, METHODS)
    target = target_layer(model, layer)
    to_planes = planes_of(model)
    options: dict[str, Any] = {}
    if kind is _Ablation:
        axis = _channel_axis(model, target, pixels[:1])
        options = {"ablation_layer": _ZeroedChannel(channels, axis), "batch_size": BATCH}
    cam = kind(model, [target], reshape_transform=to_planes, **options)
    if kind is _Score:
        cam.channels = channels
    if kind is _Random:
        if generator is None:
            raise ValueError("randomcam needs a numpy.random.Generator, see sqp.core.seeding.numpy_generator")
        cam.generator, cam.uses_gradients = generator, False
    try:
        return torch.from_numpy(cam(pixels.clone().requires_grad_(), [ClassifierOutputTarget(k) for k in classes]))
    finally:
        cam.activations_and_grads.release()


def target_layer(model: nn.Module, name: str = "") -> nn.Module:
    """The layer by its dotted name (-1 is the last), else that of the model's family.

    ConfigError naming the layers where the model has none of this name, or its family is not known.
    """
    family = type(model).__name__
    path = name or LAYERS.get(family, "")
    found: Any = model if path else None
    for part in path.split(".") if path else []:
        children = dict(found.named_children())
        found = list(children.values())[-1] if part == "-1" and children else children.get(part)
        if found is None:
            break
    if found is None:
        what = f"has no layer '{name}'" if name else "is of a family whose target layer is not known"
        layers = [key for key, _ in model.named_modules() if len(key) > 0 and key.count(".") < 2]
        raise ConfigError(f"cam: the model ({family}) {what}; give one as the option layer, of: {', '.join(layers)}")
    return found


def planes_of(model: Any) -> Callable[[Tensor], Tensor]:
    """A layer's output -> `[n, c, h, w]`: tokens lose those that have no place, channels come first."""

    def planes(x: Tensor) -> Tensor:
        if x.ndim == 3:
            x = x[:, getattr(model, "num_prefix_tokens", 0) :].unflatten(1, tuple(model.patch_embed.grid_size))
            return x.permute(0, 3, 1, 2)
        return x.permute(0, 3, 1, 2) if getattr(model, "output_fmt", "") == "NHWC" else x

    return planes


def strongest(activations: np.ndarray, channels: int) -> np.ndarray:
    """Numbers of the `channels` planes of `[c, h, w]` of largest norm, ascending; 0 for all.

    Examples:
        >>> strongest(np.array([[[1.0]], [[-3.0]], [[2.0]]]), 2)
        array([1, 2])
    """
    n = len(activations)
    if not 0 < channels < n:
        return np.arange(n)
    norm = np.linalg.norm(activations.reshape(n, -1), axis=1)
    return np.sort(np.argsort(-norm, kind="stable")[:channels])


class _ZeroedChannel(AblationLayerVit):
    """The layer's output with a channel set to 0, as AblationCAM's authors define it (grad-cam: minus 1e7 where the
    output has negative values), for the strongest channels only."""

    def __init__(self, channels: int, axis: int) -> None:
        super().__init__()
        self.channels, self.axis = channels, axis

    def activations_to_be_ablated(self, activations: np.ndarray, ratio_channels_to_ablate: float = 1.0) -> np.ndarray:
        self.indices = strongest(activations, self.channels)
        return self.indices

    def __call__(self, x: Tensor) -> Tensor:
        for one, channel in zip(self.activations, self.indices, strict=False):
            one.select(self.axis, int(channel)).zero_()
        return self.activations


def _channel_axis(model: nn.Module, layer: nn.Module, pixels: Tensor) -> int:
    """Where the channels of the layer's output for one image are: last for tokens and NHWC, else first."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        model(pixels)
    handle.remove()
    return -1 if seen[0].ndim == 3 or getattr(model, "output_fmt", "") == "NHWC" else 0
