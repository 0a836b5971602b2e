"""Plain networks as segmenters: they take the image and ignore the prompt. `sqp fit segmenter` trains them.

A checkpoint says what its network is (`NetworkSpec`). What the last layer reads is kept as one vector a mask: the
network's own features, at hardly any cost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import get_ident
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqp.core.errors import CaseError, ConfigError, lookup
from sqp.core.frame import Frame
from sqp.core.types import Decoded, Embedding, Prompt, Segmenter
from sqp.networks.checkpoint import IMAGENET_MEAN, IMAGENET_STD, load_weights, read_header
from sqp.networks.inputs import normalise, to_device
from sqp.networks.runtime import Accelerated
from sqp.segmenters.weights import locate


@dataclass(frozen=True)
class NetworkSpec:
    """What a plain network is: enough to build it again before its weights are read.

    size: longer side of its input in pixels; dropout: share dropped in its MC-dropout layers; encoder: a timm
    model's name (fpn); width: channels of its narrowest stage (unet, swin_unet) or of its pyramid (fpn), 0 the
    network's own; mean, std: of the pixels in 0-1, by channel. Of a network of volumes: spacing: (d, h, w) in mm at
    which it works, 0 for an axis that stays as it is; patch: (d, h, w) voxels that it sees at once; neighbours: slices
    below and above (2.5D).
    """

    kind: ClassVar[str] = "segmenter"
    name: str
    size: int = 192
    dropout: float = 0.1
    encoder: str = ""
    width: int = 0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    spacing: tuple[float, ...] = ()
    patch: tuple[int, ...] = ()
    neighbours: int = 0


@contextmanager
def inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a layer is given while the context lasts, in this thread."""
    read: list[Tensor] = []
    own = get_ident()

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if get_ident() == own:
            read.append(inputs[0])

    handle = layer.register_forward_pre_hook(keep)
    try:
        yield read
    finally:
        handle.remove()


class _Reading(nn.Module):
    """A network's output, and what its last layer reads."""

    def __init__(self, network: nn.Module, last: str) -> None:
        super().__init__()
        self.network, self.last = network, last

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with inputs_of(self.network.get_submodule(self.last)) as read:
            output = self.network(pixels)
        return output, read[0]


def pooled(features: Tensor, logits: Tensor, padded: tuple[int, int]) -> Tensor:
    """`[2 c]`: the means of `[1, c, h', w']` over the image, and over its mask as the probability of `logits` says.

    logits `[1, 1, *grid]`; features are those of the input, `padded` to (h, w), of which the grid is the upper left.

    Args:
        features: `[1, c, h', w']`.
        logits: `[1, 1, *grid]`.
        padded: (h, w) of the input.

    Returns:
        float32 `[2 c]`.
    """
    grid = logits.shape[2:]
    h, w = (max(1, round(side * n / whole)) for side, n, whole in zip(grid, features.shape[2:], padded, strict=True))
    valid = features[0, :, :h, :w]
    weight = F.adaptive_avg_pool2d(logits.sigmoid(), (h, w))[0]
    inside = (valid * weight).sum((1, 2)) / weight.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return torch.cat([valid.mean((1, 2)), inside])


@dataclass(frozen=True)
class Network:
    """A kind of network: its module here with `build(spec, pretrained, file)`, and what its input is a multiple of.

    `last` is the name of its last layer, which reads the features that the mask is drawn from.
    """

    module: str
    divisor: int
    last: str


NETWORKS: dict[str, Network] = {
    "unet": Network("unet", 16, "final_conv"),
    "fpn_resnet50": Network("fpn", 32, "head"),
    "fpn": Network("fpn", 32, "head"),
    "swin_unet": Network("swin_unet", 32, "out"),
}


def build_network(spec: NetworkSpec, pretrained: bool = False, file: Path | None = None) -> nn.Module:
    """The network of a spec with random weights: normalised pixels `[n, 3, h, w]` -> logits `[n, 1, h, w]`.

    Args:
        spec: what the network is.
        pretrained: whether a timm encoder starts from timm's hub.
        file: weights of the encoder, in place of the hub.

    Returns:
        The network.

    Raises:
        ConfigError: the name is unknown, or the network has no such option.
    """
    kind = lookup("network", spec.name, NETWORKS)
    if spec.size < kind.divisor or spec.size % kind.divisor:
        raise ConfigError(f"size is {spec.size}; the input of {spec.name} must be a multiple of {kind.divisor}")
    build: Callable[..., nn.Module] = import_module(f"sqp.segmenters.{kind.module}").build
    return build(spec, pretrained, file).to(memory_format=torch.channels_last)  # 1.6 x the speed on a CPU


def no_encoder(spec: NetworkSpec, pretrained: bool, file: Path | None) -> None:
    """ConfigError where a network without a timm encoder is asked for one."""
    if spec.encoder or pretrained or file is not None:
        raise ConfigError(
            f"{spec.name} has no timm encoder: leave out encoder, pretrained and pretrained_file, or take fpn"
        )


class NetworkSegmenter:
    """A network of a spec, in eval mode on its device, that ignores prompts: what images and volumes share."""

    promptable = False

    def __init__(
        self,
        spec: NetworkSpec,
        network: nn.Module,
        *,
        weights_sha256: str = "",
        device: str | torch.device = "cpu",
        precision: str = "float32",
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        self.precision = precision
        self.network = network.eval().requires_grad_(False).to(self.device)


class PlainSegmenter(NetworkSegmenter):
    """A plain network behind the protocol `sqp.core.types.Segmenter`: every prompt gets the same logits, IoU is NaN.

    The embedding keeps the normalised pixels, padded to a square; the network runs once a call of `decode`, on the
    image's own rectangle, so that a call with dropout switched on in `network` draws another sample. `precision`
    "bfloat16" runs it under autocast. Results are on the CPU. The token of its mask is what the last layer read of the
    image, averaged over all of it and over the mask, `[2 c]`: the network's own features, at hardly any cost.
    """

    def __init__(self, spec: NetworkSpec, network: nn.Module, **options: Any) -> None:
        super().__init__(spec, network, **options)
        self.runtime = "torch"
        self.accelerated: Accelerated | None = None

    @property
    def _reading(self) -> _Reading:
        """The network, whichever it is now."""
        return _Reading(self.network, NETWORKS[self.spec.name].last)

    def use_openvino(self) -> None:
        """Run the network by OpenVINO, as far as it agrees with PyTorch, and where nothing is dropped from it."""
        self.runtime = "openvino"
        self.accelerated = Accelerated(self._reading, self.name, self.precision, free=((2, 3),))

    @property
    def divisor(self) -> int:
        """What the sides of the network's input are multiples of."""
        return NETWORKS[self.spec.name].divisor

    def frame(self, original: tuple[int, int]) -> Frame:
        """The geometry of an image of (h, w) pixels."""
        return Frame(original, size=self.spec.size)

    @torch.no_grad()
    def encode(self, image: np.ndarray) -> Embedding:
        """uint8 `[h, w, 3]` -> features: normalised pixels `[1, 3, size, size]` float32, zeros right and below.

        Args:
            image: uint8 `[h, w, 3]`.

        Returns:
            The embedding.

        Raises:
            CaseError: the image is of another type or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise CaseError(f"the image is {image.dtype} {list(image.shape)}; RGB uint8 [h, w, 3] is needed")
        frame = self.frame(image.shape[:2])
        return Embedding(to_device(frame.pad(normalise(frame.image_to_input(image), self.spec)), self.device), frame)

    @torch.no_grad()
    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """Logits `[n, 1, *grid]` float32, the same for each prompt; IoU `[n, 1]` NaN. Raises CaseError for NaN.

        Args:
            embedding: what `encode` gave.
            prompts: n prompts in pixels of the image.

        Returns:
            logits, IoU, and tokens `[n, 1, 2 c]`.

        Raises:
            CaseError: a logit is NaN, or a prompt lies outside of the image.
        """
        h, w = (-(-side // self.divisor) * self.divisor for side in embedding.frame.grid)
        pixels = embedding.features[..., :h, :w].contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output, read = (self.accelerated or self._reading)(pixels)
        logits = embedding.frame.crop_to_grid(output).float().cpu().contiguous()
        if torch.isnan(logits).any():
            raise CaseError(f"{self.name} returned NaN logits; try precision float32 or look at the image")
        n = len(prompts)
        token = pooled(read.float(), logits.to(read.device), (h, w)).cpu()
        return Decoded(logits.repeat(n, 1, 1, 1), torch.full((n, 1), torch.nan), token.repeat(n, 1, 1))


def from_checkpoint(
    name: str,
    checkpoint: str | os.PathLike | None,
    build: Callable[[NetworkSpec], nn.Module],
    kind: Callable[..., Segmenter],
    **options: Any,
) -> Segmenter:
    """The network of a checkpoint of `sqp fit segmenter`, of the name that is asked for, as a segmenter.

    Args:
        name: the network's name.
        checkpoint: a file of `sqp fit segmenter`.
        build: its spec -> the network, without weights.
        kind: `PlainSegmenter`, or another class that takes spec, network and these options.
        **options: device, precision; `multimask` says nothing here, as a plain network has one candidate.

    Returns:
        The segmenter.

    Raises:
        ConfigError: the file is missing, no checkpoint, or of another network.
    """
    if checkpoint is None:
        raise ConfigError(needs_checkpoint(name))
    path, sha256 = locate(name, checkpoint)
    spec = read_header(path, NetworkSpec).spec
    if spec.name != name:
        raise ConfigError(f"--checkpoint {path} holds the weights of {spec.name}, not of {name}")
    network = build(spec)
    load_weights(network, path)
    options.pop("multimask", None)
    return kind(spec, network, weights_sha256=sha256, **options)


def build_plain(name: str, checkpoint: str | os.PathLike | None = None, **options: Any) -> Segmenter:
    """A network of `NETWORKS`. The arguments are those of `from_checkpoint`."""
    return from_checkpoint(name, checkpoint, build_network, PlainSegmenter, **options)


def needs_checkpoint(name: str) -> str:
    """What is said where no checkpoint was given."""
    return f"{name} comes without weights: train it with `sqp fit segmenter`, then give --segmenter.checkpoint FILE"
