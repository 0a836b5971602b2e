"""Small plain networks with random weights as checkpoint files, for every room's tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sqp.networks.checkpoint import save_checkpoint
from sqp.segmenters.plain import NetworkSpec, build_network
from sqp.segmenters.volume_plain import VOLUME_NETWORKS, build_volume_network

SMALL = {
    "unet": NetworkSpec("unet", size=64, width=4),
    "fpn": NetworkSpec("fpn", size=64, encoder="mobilenetv2_035", width=8),
    "fpn_resnet50": NetworkSpec("fpn_resnet50", size=64, encoder="resnet50", width=8),
    "swin_unet": NetworkSpec("swin_unet", size=64, width=12),
    "unet3d": NetworkSpec("unet3d", width=4, spacing=(2.0, 1.0, 1.0), patch=(16, 16, 16)),
    "unet25d": NetworkSpec("unet25d", width=4, spacing=(0.0, 1.0, 1.0), patch=(1, 16, 16), neighbours=1),
}
INPUTS = {"unet3d": (2, 1, 16, 16, 16), "unet25d": (2, 3, 16, 16)}


def write_checkpoint(
    path: Path, name: str = "unet", seed: int = 0, fitted_images: tuple[str, ...] = (), **changed: Any
) -> Path:
    """A network of `SMALL`; its statistics of batch normalisation are not those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        build = build_volume_network if name in VOLUME_NETWORKS else build_network
        spec = replace(SMALL[name], **changed)
        network = build(spec)
        network.train()(torch.randn(INPUTS.get(name, (2, 3, 64, 64))))
    return save_checkpoint(path, network.state_dict(), spec, {"data": {"fitted_images": list(fitted_images)}})
