from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from explain.conftest import network
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.explain.cams import choose_layer, spatial_layers
from sqp.quality.model import backbones
from sqp.quality.model.backbones import Backbone


class Flat(Backbone):
    """Means of the planes through a dense layer: nothing in it has a place."""

    width = 4

    def __init__(self, channels: Sequence[str], size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(len(channels) + 2, 4)

    def forward(self, planes: Tensor) -> Tensor:
        return self.dense(planes.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("backbone", "size", "sides", "auto"),
    [
        ("compact", 128, {"stages.0": 32, "stages.1": 16, "stages.2": 8, "stages.3": 4}, "stages.2"),
        ("compact", 32, {"stages.0": 8, "stages.1": 4, "stages.2": 2}, "stages.0"),
        ("siamese", 200, {"image": 8, "mask": 8, "self/entropy": 8, "branches": 8}, "branches"),
        ("timm:resnet10t", 64, {"act1": 32, "layer1": 16, "layer2": 8, "layer3": 4, "layer4": 2}, "layer2"),
        (
            "timm:tf_efficientnet_lite0",
            64,
            {f"blocks.{i}": 32 // 2**k for k, i in enumerate((0, 1, 2, 4, 6))},
            "blocks.2",
        ),
    ],
)
def test_the_table_of_each_backbone(backbone, size, sides, auto):
    layers = spatial_layers(network(backbone, size))
    assert {name: layer.side for name, layer in layers.items()} == sides
    assert choose_layer(layers).name == auto


def test_tokens_of_a_transformer_become_a_map_without_the_class_token():
    model = network("timm:vit_tiny_patch16_224", 64)
    layers = spatial_layers(model)
    assert len(layers) == 11 and {layer.side for layer in layers.values()} == {4}
    tokens = torch.arange(17.0)[None, :, None].expand(1, 17, 2)
    maps = choose_layer(layers).maps(tokens)
    assert maps.shape == (1, 2, 4, 4) and maps[0, 0].flatten().tolist() == list(range(1, 17))


def test_a_transformer_whose_maps_have_their_channels_last():
    layers = spatial_layers(network("timm:swin_tiny_patch4_window7_224", 224))
    layer = layers["layers.2"]
    assert layer.side == 14 and layer.maps(torch.zeros(1, 14, 14, 5)).shape == (1, 5, 14, 14)


def test_unknown_layers_name_the_nearest():
    layers = spatial_layers(network())
    assert choose_layer(layers, "stages.1").name == "stages.1"
    with pytest.raises(
        ConfigError, match=r"unknown layer 'stage\.1', did you mean 'stages\.1'\? known: auto, stages\.0"
    ):
        choose_layer(layers, "stage.1")


def test_a_backbone_without_a_spatial_layer(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "flat", Flat)
    with pytest.raises(ConfigError, match=r"backbone 'flat' has no spatial layer .* its layers are dense: give --cams"):
        spatial_layers(network("flat"))


def test_hooks_and_mode_are_as_before():
    model = network().train()
    spatial_layers(model)
    assert model.training and not any(module._forward_hooks for module in model.modules())
