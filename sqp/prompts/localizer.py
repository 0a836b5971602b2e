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
from sqp.prompts.heatmap_network import STRIDE, LocalizerSpec, build_localizer
from sqp.types import Prompt


def localizer(
    image: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
    checkpoint: str = "",
    margin: float = 0.0,
    threshold: float = 0.5,
) -> list[Prompt]:
    """The box of the heatmap of `checkpoint` (a file of `sqp fit localizer`), grown by `margin` of its size.

    Where the heatmap nowhere reaches `threshold` half of its peak is taken, and the prompter is `localizer_fallback`.
    ConfigError without a checkpoint, or for a threshold outside of 0 to 1.
    """
    if not 0 < threshold < 1:
        raise ConfigError(f"localizer: threshold is {threshold}; it must lie between 0 and 1")
    if not checkpoint:
        raise ConfigError("the prompter 'localizer' needs a network: fit one with `sqp fit localizer`, then give "
                          "--prompter_options.checkpoint FILE")  # fmt: skip
    spec, network = load_localizer(Path(checkpoint).expanduser())
    pixels, frame = network_input(image, spec, DIVISOR, STRIDE)
    with torch.no_grad():
        heatmap = torch.sigmoid(network(pixels))[0, 0]
    box, sure = heatmap_box(heatmap, frame.resized, threshold)
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


def heatmap_box(heatmap: Tensor, size: tuple[int, int], threshold: float = 0.5) -> tuple[Box, bool]:
    """(box `xyxy` in pixels of an input of `size` (h, w), did the heatmap reach the threshold).

    The heatmap `[h', w']` in 0-1, a cell 8 x 8 pixels, is brought to pixels bilinearly; of the components above the
    threshold, or above half of the peak where there is none, the one of most weight is boxed.
    """
    h, w = size
    full = F.interpolate(heatmap[None, None].float(), scale_factor=STRIDE, mode="bilinear", align_corners=False)
    p = full[0, 0, :h, :w].numpy()
    peak = float(p.max())
    sure = peak >= threshold
    labels, n = ndimage.label(p >= (threshold if sure else peak / 2))
    weight = np.bincount(labels.ravel(), p.ravel(), minlength=n + 1)
    weight[0] = -1
    return tight_box(labels == weight.argmax()), sure
