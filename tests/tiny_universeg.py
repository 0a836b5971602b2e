"""A small UniverSeg with random weights as a checkpoint file, for every room's tests."""

from __future__ import annotations

from pathlib import Path

import torch

from sqp.networks.checkpoint import save_checkpoint
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.universeg import build_network

TINY = NetworkSpec("universeg", size=32, width=4, dropout=0.0)


def write_universeg(path: Path, fitted_images: tuple[str, ...] = ()) -> Path:
    """Weights from a fixed seed; the header says that it was fitted on these."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(TINY)
    return save_checkpoint(path, network.state_dict(), TINY, {"data": {"fitted_images": list(fitted_images)}})
