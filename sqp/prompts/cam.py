"""Where a classifier looks: box and points out of a class activation map, without any mask in training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sqp.core.boxes import clip_box
from sqp.core.errors import CaseError, ConfigError, lookup
from sqp.core.frame import Frame
from sqp.core.types import Prompt
from sqp.prompts.activation import activation_prompt
from sqp.prompts.classifier import Classifier, load_classifier

USES = ("both", "box", "points")
PLACES = ("image", "grid")


def cam(
    image: np.ndarray,
    *,
    generator: np.random.Generator | None = None,
    checkpoint: str = "",
    model: str = "",
    weights: str = "",
    size: int = 224,
    method: str = "gradcam",
    target: str = "predicted",
    layer: str = "",
    channels: int = 64,
    percentile: float = 80.0,
    num_points: int = 5,
    amplification: float = 4.0,
    threshold_at: str = "image",
    use: str = "both",
    clean_up: float = 0.0,
    negatives: int = 0,
) -> list[Prompt]:
    """Box and points of `activation_prompt` on the heatmap of a classifier; `use` is both, box or points.

    The prompter is `cam_sampled` where too few pixels were active, `cam_flat` where the heatmap is constant.

    Args:
        image: uint8 `[h, w, 3]`.
        generator: what draws points.
        checkpoint: a file of `sqp fit classifier`.
        model: in its place a timm model with ImageNet's classes.
        weights: file of the timm model's weights; empty: its hub.
        size: longer side in pixels of the timm model's input.
        method: gradcam, gradcam++, ablationcam, scorecam or randomcam.
        target: predicted, or a class by name or by number.
        layer: name of the layer whose maps are read; empty: the last one with space.
        channels: how many planes the methods that go plane by plane look at; 0 for all.
        percentile: percentile from which a pixel is active, 0 to 100.
        num_points: how many points are drawn.
        amplification: exponent by which high pixels are drawn more often.
        threshold_at: the image (the paper: after resizing) or the heatmap's own grid.
        use: both, box or points.
        clean_up: components smaller than this share of the largest one are dropped.
        negatives: points of label 0.

    Returns:
        One prompt.

    Raises:
        ConfigError: an option is wrong.
        CaseError: the image is smaller than the heatmap's grid, or the heatmap is not finite.
        ValueError: there is no generator.
    """
    for kind, name, known in (("use", use, USES), ("threshold_at", threshold_at, PLACES)):
        lookup(f"value of cam's {kind}", name, dict.fromkeys(known))
    numbers = {"percentile": (percentile, 0, 100), "num_points": (num_points, 1, 10_000),
               "amplification": (amplification, 0, 1000), "clean_up": (clean_up, 0, 1),
               "negatives": (negatives, 0, 10_000), "channels": (channels, 0, 1_000_000)}  # fmt: skip
    for name, (value, low, high) in numbers.items():
        if not low <= value <= high:
            raise ConfigError(f"cam: {name} is {value}; it must lie between {low} and {high}")
    if generator is None:
        raise ValueError("cam: sampled points need a numpy.random.Generator, see sqp.core.seeding.numpy_generator")
    classifier = load_classifier(str(checkpoint), model, str(weights), size)
    grid, frame = class_heatmap(
        classifier, image, method, str(target), layer=layer, channels=channels, generator=generator
    )
    heatmap = at_image(grid, frame) if threshold_at == "image" else grid
    found = activation_prompt(heatmap.numpy(), generator, percentile, num_points, amplification, clean_up, negatives)
    cell = np.array((1.0, 1.0)) if threshold_at == "image" else frame.stride / np.array(frame.scale_xy)
    box = clip_box(tuple(np.array(found.box) * np.tile(cell, 2)), frame.original)
    h, w = frame.original
    points = tuple((float(min(x * cell[0], w - 0.5)), float(min(y * cell[1], h - 0.5))) for x, y in found.points)
    name = "cam_flat" if found.flat else "cam_sampled" if found.sampled else "cam"
    if use == "box":
        return [Prompt(box=box, prompter=name)]
    return [Prompt(None if use == "points" else box, points, found.labels, name)]


def class_heatmap(
    classifier: Classifier,
    image: np.ndarray,
    method: str,
    target: str = "predicted",
    *,
    layer: str = "",
    channels: int = 64,
    generator: np.random.Generator | None = None,
) -> tuple[Tensor, Frame]:
    """The heatmap on its own grid `[h', w']` in 0-1 (0 where it is constant), and the frame that leads to the image.

    Args:
        classifier: the network with its spec.
        image: uint8 `[h, w, 3]`.
        method: gradcam, gradcam++, ablationcam, scorecam or randomcam.
        target: predicted, or a class by name or by number.
        layer: name of the layer whose maps are read; empty: the last one with space.
        channels: how many planes the methods that go plane by plane look at; 0 for all.
        generator: what randomcam draws from.

    Returns:
        Heatmap and frame.

    Raises:
        CaseError: the image is smaller than that grid, or the heatmap is not finite.
        ConfigError: the method, the layer or the class is unknown.
    """
    from sqp.networks.cams import heatmaps  # grad-cam takes a second to import

    pixels, frame = classifier.pixels(image)
    with torch.no_grad():
        index = classifier.class_index(target, classifier.network(pixels)[0])
    with torch.enable_grad():
        (whole,) = heatmaps(
            classifier.network, pixels, [index], method, layer=layer, channels=channels, generator=generator
        )
    stride = pixels.shape[-1] // whole.shape[-1]
    frame = Frame(frame.original, frame.size, stride)
    if any(side < cells for side, cells in zip(frame.original, frame.grid, strict=True)):
        (h, w), (gh, gw) = frame.original, frame.grid
        raise CaseError(f"the image is {h} x {w} pixels, smaller than the heatmap's grid of {gh} x {gw}: leave it out")
    grid = frame.crop_to_grid(whole)
    if not torch.isfinite(grid).all():
        raise CaseError(f"{method} gave a heatmap that is not finite on this image: take another CAM method")
    return _scaled(grid), frame


def at_image(grid: Tensor, frame: Frame) -> Tensor:
    """The heatmap at the image's size, bilinear, 0-1 again.

    Args:
        grid: heatmap `[h', w']` in 0-1.
        frame: of the image.

    Returns:
        `[h, w]`.
    """
    return _scaled(frame.grid_to_image(grid).clamp(0, 1))


def _scaled(heatmap: Tensor) -> Tensor:
    """0-1 over its own range; 0 where it is constant."""
    low, high = heatmap.min(), heatmap.max()
    return (heatmap - low) / (high - low) if high > low else torch.zeros_like(heatmap)
