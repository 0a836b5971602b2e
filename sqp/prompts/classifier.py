"""Classifiers of whole images, for class activation maps: fitted by sqp, or timm's with ImageNet's 1,000 classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.core.frame import Frame
from sqp.networks.checkpoint import IMAGENET_MEAN, IMAGENET_STD, load_weights, read_header
from sqp.networks.inputs import network_input
from sqp.networks.timm_models import DIVISOR, create, fixed_size, pixels_of


@dataclass(frozen=True)
class ClassifierSpec:
    """What a classifier is.

    model: a timm model's name; size: longer side of its input in pixels; classes: their names, in the order of its
    logits; mean, std: of the pixels in 0-1, by channel.
    """

    kind: ClassVar[str] = "classifier"
    model: str
    size: int
    classes: tuple[str, ...]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class Classifier:
    """A network in eval mode with what it is."""

    spec: ClassifierSpec
    network: Any

    def pixels(self, image: np.ndarray, stride: int = 1) -> tuple[Tensor, Frame]:
        """uint8 `[h, w, 3]` -> its input `[1, 3, h', w']`, and the frame of an output of `stride`.

        Args:
            image: uint8 `[h, w, 3]`.
            stride: pixels of the input a cell of the output.

        Returns:
            Pixels and frame.
        """
        return network_input(image, self.spec, classifier_divisor(self.spec), stride)

    def class_index(self, target: str, logits: Tensor) -> int:
        """`predicted`, a class by name or by number -> its index. ConfigError for one that the model does not have.

        Args:
            target: predicted, or a class by name or by number.
            logits: `[1, classes]`.

        Returns:
            The index from 0 on.

        Raises:
            ConfigError: the model has no such class.
        """
        classes = self.spec.classes
        if target == "predicted":
            return int(logits.argmax())
        if target in classes and not target.isdecimal():
            return classes.index(target)
        if not target.lstrip("-").isdecimal():
            known = ", ".join(classes) if len(classes) <= 20 else f"numbers from 0 to {len(classes) - 1}"
            raise ConfigError(f"cam: the model has no class '{target}'; known: predicted, {known}")
        if not 0 <= int(target) < len(classes):
            raise ConfigError(f"cam: the class index {target} is out of range; the model has {len(classes)} classes")
        return int(target)


def classifier_divisor(spec: ClassifierSpec) -> int:
    """What the sides of its input are multiples of: the size itself where the model takes no other."""
    return spec.size if fixed_size(spec.model) else DIVISOR


def build_classifier(spec: ClassifierSpec, pretrained: bool = False, file: Path | None = None) -> nn.Module:
    """The timm model of a spec, from timm's hub, a file or random weights; a head of other classes is random.

    Args:
        spec: what the classifier is.
        pretrained: whether it starts from timm's hub.
        file: weights, in place of the hub.

    Returns:
        The network.

    Raises:
        ConfigError: timm does not know the model, or the size does not suit it.
    """
    if spec.size % DIVISOR:
        raise ConfigError(f"size is {spec.size}; the input of a classifier must be a multiple of {DIVISOR}")
    options = {"img_size": spec.size} if fixed_size(spec.model) else {}
    return create(spec.model, pretrained, file, num_classes=len(spec.classes), **options)


@lru_cache(maxsize=4)
def load_classifier(checkpoint: str = "", model: str = "", weights: str = "", size: int = 224) -> Classifier:
    """A checkpoint of `sqp fit classifier`, or a timm model with ImageNet's classes from a file of weights or the hub.

    Read once a process.

    Args:
        checkpoint: a file of `sqp fit classifier`.
        model: a timm model's name.
        weights: its file; empty: the hub.
        size: longer side of its input in pixels.

    Returns:
        The classifier, in eval mode.

    Raises:
        ConfigError: neither or both are given, or a file does not fit.
    """
    if bool(checkpoint) == bool(model):
        raise ConfigError(
            "cam needs a classifier: give one of --prompter_options.checkpoint FILE (of `sqp fit classifier`) and "
            "--prompter_options.model NAME (timm's, with its ImageNet weights)"
        )
    if model:
        spec = ClassifierSpec(model, size, tuple(map(str, range(1000))), *pixels_of(model))
        network = build_classifier(spec, not weights, Path(weights).expanduser() if weights else None)
    else:
        path = Path(checkpoint).expanduser()
        spec = read_header(path, ClassifierSpec).spec
        network = build_classifier(spec)
        load_weights(network, path, spec.kind)
    return Classifier(spec, network.eval().requires_grad_(False))
