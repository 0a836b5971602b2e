"""A small network that was fitted on masks says where the lesion lies: the box of its heatmap."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from sqp.errors import ConfigError
from sqp.networks.checkpoint import load_weights, read_header
from sqp.networks.pixels import network_input
from sqp.networks.timm_models import DIVISOR
from sqp.prompts.boxes import Box, margin_box, tight_box
from sqp.prompts.fitted import check_threshold, checkpoint_file
from sqp.prompts.heatmap_network import STRIDE, LocalizerSpec, build_localizer
from sqp.types import Prompt

FLIPS = ((), (1,), (0,), (0, 1))
"""Axes of an image that are flipped: none, left-right, upside down, both."""


def localizer(
    image: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
    checkpoint: str = "",
    margin: float = 0.0,
    threshold: float = 0.5,
    flips: int = 4,
) -> list[Prompt]:
    """The box of the heatmap of `checkpoint` (a file of `sqp fit localizer`), grown by `margin` of its size.

    The heatmap is averaged over `flips` flips of the image: 1 (as it is), 2 (left-right too) or 4 (all). Where it
    nowhere reaches `threshold` half of its peak is taken, and the prompter is `localizer_fallback`.
    ConfigError without a checkpoint, for a threshold outside of 0 to 1, or other `flips`.
    """
    check_threshold(threshold)
    if flips not in (1, 2, 4):
        raise ConfigError(f"localizer: flips is {flips}; it must be 1, 2 or 4")
    spec, network = load_localizer(checkpoint_file("localizer", checkpoint, "localizer"))
    views = [network_input(np.flip(image, axes).copy(), spec, DIVISOR, STRIDE) for axes in FLIPS[:flips]]
    frame = views[0][1]
    with torch.no_grad():
        heatmaps = torch.sigmoid(network(torch.cat([pixels for pixels, _ in views])))
    maps = input_pixels(heatmaps, frame.resized)
    box, sure = map_box(torch.stack([m.flip(axes) for m, axes in zip(maps, FLIPS, strict=False)]).mean(0), threshold)
    at_image = tuple(float(v) for v in np.asarray(box) / np.tile(frame.scale_xy, 2))
    name = "localizer" if sure else "localizer_fallback"
    return [Prompt(box=margin_box(at_image, margin, frame.original), prompter=name)]


@lru_cache(maxsize=4)
def load_localizer(path: Path) -> tuple[LocalizerSpec, nn.Module]:
    """Spec and network in eval mode of a checkpoint; read once a process. ConfigError where it is no localizer's."""
    spec = read_header(path, LocalizerSpec).spec
    network = build_localizer(spec)
    load_weights(network, path, spec.kind)
    return spec, network.eval().requires_grad_(False)


def input_pixels(heatmaps: Tensor, size: tuple[int, int]) -> Tensor:
    """Heatmaps `[n, 1, h', w']`, a cell 8 x 8 pixels, bilinearly at the pixels `[n, h, w]` of inputs of `size`."""
    h, w = size
    return F.interpolate(heatmaps.float(), scale_factor=STRIDE, mode="bilinear", align_corners=False)[:, 0, :h, :w]


def map_box(heatmap: Tensor, threshold: float = 0.5) -> tuple[Box, bool]:
    """(box `xyxy` of the heaviest part of a heatmap `[h, w]` in 0-1, in its pixels; did it reach the threshold)."""
    part, sure = heaviest_part(heatmap.numpy(), threshold)
    return tight_box(part), sure


def heaviest_part(p: np.ndarray, threshold: float) -> tuple[np.ndarray, bool]:
    """(bool mask of a part of a heatmap in 0-1, of any dimensions; did it reach the threshold).

    Of the components above the threshold, or above half of the peak where there is none, that of most weight.
    """
    peak = float(p.max())
    sure = peak >= threshold
    labels, n = ndimage.label(p >= (threshold if sure else peak / 2))
    weight = np.bincount(labels.ravel(), p.ravel(), minlength=n + 1)
    weight[0] = -1
    return labels == weight.argmax(), sure
