from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sqp.segmenters import onednn
from sqp.segmenters.onednn import OneDnnLinear, OneDnnPointwise, use_onednn

needs_onednn = pytest.mark.skipif(not onednn.available(), reason="this PyTorch has no oneDNN")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(6, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, 2)]
    return nn.Sequential(*layers, nn.Flatten(2), nn.Linear(36, 5), nn.Linear(5, 4, bias=False)).requires_grad_(False)


@needs_onednn
def test_same_values_and_only_plain_layers_are_taken() -> None:
    plain, fast, x = network(), use_onednn(network()), torch.randn(2, 6, 12, 12)
    torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)
    kinds = [type(layer) for layer in fast]
    assert kinds == [OneDnnPointwise, nn.Conv2d, nn.Conv2d, nn.Conv2d, nn.Flatten, OneDnnLinear, OneDnnLinear]
    assert fast.state_dict().keys() == plain.state_dict().keys()


@needs_onednn
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 4, 7)])
def test_any_leading_shape_and_strides(shape: tuple[int, ...]) -> None:
    layer = nn.Linear(7, 3).requires_grad_(False)
    x = torch.randn(*shape[::-1]).permute(*reversed(range(len(shape))))
    torch.testing.assert_close(use_onednn(nn.Sequential(layer))(x), F.linear(x, layer.weight, layer.bias))


@needs_onednn
def test_other_precisions_keep_their_own_way() -> None:
    fast, x = use_onednn(network()), torch.randn(1, 6, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        got = fast(x)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network()(x)
    assert got.dtype == torch.bfloat16 and torch.equal(got, expected)
    assert fast.double()(x.double()).dtype == torch.float64


def test_nothing_is_touched_where_there_is_no_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "available", lambda: False)
    assert not any(isinstance(layer, OneDnnLinear | OneDnnPointwise) for layer in use_onednn(network()))
