"""What the measures promise beyond test_measures.py: no NaN at ±60, EPKL >= MI, and torch-uncertainty's own MI."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from sqp.uncertainty import MEASURES, all_maps


def stack_of(kind, s=8, size=32):
    """Samples of one kind: sure, torn between ±60, near zero, or all over the range."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(s, size, size, generator=g)
    signs = torch.where(torch.rand(s, size, size, generator=g) < 0.5, -60.0, 60.0)
    return {
        "sure": 60 + 0 * noise,
        "torn": signs,
        "nearly agreed": torch.where(torch.arange(s)[:, None, None] == 0, -signs[:1], signs[:1]) + 0 * noise,
        "near zero": 1e-4 * noise,
        "wide": (25 * noise).clamp(-60, 60),
    }[kind]


KINDS = ("sure", "torn", "nearly agreed", "near zero", "wide")


@pytest.mark.parametrize("kind", KINDS)
def test_no_nan_at_60_and_epkl_is_no_less_than_mutual_information(kind):
    maps = all_maps(stack_of(kind))
    for name, found in maps.items():
        assert torch.isfinite(found).all(), name
    assert (maps["epkl"] >= maps["mutual_information"] - 1e-5).all()


@pytest.fixture(scope="module")
def peer():
    """torch-uncertainty's metric, (B, N, C) probabilities -> MI in nats a row; its file alone, on torchmetrics.

    The package as a whole imports `lightning`, which is another distribution than pytorch-lightning.
    """
    package = importlib.util.find_spec("torch_uncertainty")
    if package is None:
        pytest.skip("no torch-uncertainty: pip install -e '.[test]'")
    file = Path(package.origin).parent / "metrics" / "classification" / "mutual_information.py"
    spec = importlib.util.spec_from_file_location("peer_of_mutual_information", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MutualInformation(reduction="none")


@pytest.mark.parametrize("kind", KINDS)
def test_mutual_information_is_that_of_torch_uncertainty(kind, peer):
    logits = stack_of(kind)
    p = torch.stack([torch.sigmoid(-logits.double()), torch.sigmoid(logits.double())], -1)
    expected = peer(p.flatten(1, 2).transpose(0, 1)).view(32, 32) / np.log(2)
    error = (MEASURES["mutual_information"](logits).double() - expected).abs()
    assert (error <= 1e-5 + 1e-5 * expected.abs()).all()
