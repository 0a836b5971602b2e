"""OpenVINO in place of PyTorch: the same outputs within the tolerance, or PyTorch and a warning."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from sqp.core.errors import ConfigError
from sqp.networks import runtime
from sqp.networks.runtime import PAYS_AFTER, TELEMETRY, TOLERANCE, Accelerated, runtime_for
from sqp.segmenters.dropout import injected_dropout


class Small(nn.Module):
    """Two outputs of a grid of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.first(x).relu()
        return self.second(features), features.mean((2, 3))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval().requires_grad_(False)


def image(h: int, w: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(seed))


def compiled(accelerated: Accelerated) -> list[bool]:
    """Of each shape that came, whether OpenVINO runs it."""
    return [found is not None for found in accelerated._compiled.values()]


@pytest.mark.parametrize(
    ("asked", "device", "images", "installed", "found"),
    [
        ("auto", "cpu", PAYS_AFTER, True, "openvino"),
        ("auto", "cpu", PAYS_AFTER - 1, True, "torch"),
        ("auto", "cpu", PAYS_AFTER, False, "torch"),
        ("auto", "cuda", PAYS_AFTER, True, "torch"),
        ("openvino", "cpu", 1, True, "openvino"),
        ("torch", "cpu", PAYS_AFTER, True, "torch"),
    ],
)
def test_auto_is_openvino_where_it_is_there_and_pays(asked, device, images, installed, found, monkeypatch):
    monkeypatch.setattr(runtime, "find_spec", lambda name: object() if installed else None)
    assert runtime_for(asked, device, images) == found


@pytest.mark.parametrize(
    ("device", "installed", "says"),
    [("cpu", False, r"pip install 'sqp\[openvino\]'"), ("cuda", True, "is for a CPU, and --device is cuda")],
)
def test_what_cannot_be_is_one_sentence(device, installed, says, monkeypatch):
    monkeypatch.setattr(runtime, "find_spec", lambda name: object() if installed else None)
    with pytest.raises(ConfigError, match=says):
        runtime_for("openvino", device, 1)


def test_the_same_outputs_at_any_size_and_in_a_copy(network):
    pytest.importorskip("openvino")
    accelerated = Accelerated(network, "it", free=((2, 3),))
    for one in (accelerated, pickle.loads(pickle.dumps(accelerated))):
        for x in (image(16, 24), image(32, 8), image(16, 24, seed=1)):
            for found, wanted in zip(one(x), network(x), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        assert compiled(one) == [True, True]


def test_while_a_hook_drops_pytorch_runs_it(network):
    pytest.importorskip("openvino")
    accelerated, x = Accelerated(network, "it"), image(8, 8)
    plain = accelerated(x)[0]
    with injected_dropout(network, ["convolutions"], 0.5) as dropout, dropout.drawing([torch.Generator()]):
        assert not torch.allclose(accelerated(x)[0], plain, atol=1e-2)
    assert torch.equal(accelerated(x)[0], plain)


def test_another_output_and_what_it_cannot_run_are_told_once(network, monkeypatch):
    pytest.importorskip("openvino")
    x = image(8, 8)
    monkeypatch.setitem(TOLERANCE, "float32", 0.0)
    accelerated = Accelerated(network, "the encoder")
    with pytest.warns(UserWarning, match=r"other numbers than PyTorch \(by .* of their length\): PyTorch runs the enc"):
        first = accelerated(x)
    assert torch.equal(accelerated(x)[0], network(x)[0]) and torch.equal(first[1], network(x)[1])
    lacking = Accelerated(nn.Sequential(nn.Flatten(), Lgamma()), "it")
    with pytest.warns(UserWarning, match="OpenVINO cannot run it .*: PyTorch runs it"):
        assert torch.equal(lacking(x), torch.lgamma(x.flatten(1)))
    assert compiled(lacking) == [False]


class Lgamma(nn.Module):
    """An operator that OpenVINO has not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.lgamma(x)


def test_bfloat16_may_be_farther_from_float32(network):
    pytest.importorskip("openvino")
    assert TOLERANCE["float32"] < TOLERANCE["bfloat16"]
    x = image(16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = Accelerated(network, "it", "bfloat16")(x)[0]
    torch.testing.assert_close(found.float(), network(x)[0], rtol=0.1, atol=0.1)


def test_many_sizes_end_with_pytorch(network, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(runtime, "SHAPES", 1)
    accelerated = Accelerated(network, "it", free=((2, 3),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for side in (8, 16):
            accelerated(image(side, side))
    assert compiled(accelerated) == [True, False]


def test_no_word_of_it_leaves_the_machine():
    """OpenVINO tells its makers when it is imported, and when a network is converted."""
    pytest.importorskip("openvino")
    code = (
        "import sys, torch; from torch import nn; from sqp.networks.runtime import Accelerated;"
        "Accelerated(nn.Linear(2, 2).eval().requires_grad_(False), 'it')(torch.ones(1, 2));"
        f"print('openvino' in sys.modules, [name for name in sys.modules if name.startswith('{TELEMETRY}')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True []"
