"""Small quality models with random weights, and planes for them."""

from __future__ import annotations

import pytest
import torch

from sqp.quality.model.module import QualityModel

CHANNELS = ("image", "mask", "self/entropy")
SIZE = 64


def network(backbone: str = "compact", size: int = SIZE, **options: object) -> QualityModel:
    """An untrained model, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = {"channels": CHANNELS, "size": size, "backbone": backbone} | options
        return QualityModel(spec).eval()


@pytest.fixture(scope="session")
def model() -> QualityModel:
    return network()


@pytest.fixture
def planes() -> torch.Tensor:
    return torch.rand(3, 5, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
