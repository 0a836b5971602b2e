from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from sqp.core.errors import ConfigError
from sqp.quality.model.backbones import BACKBONES, build_backbone
from sqp.quality.model.backbones.siamese import LUMA
from sqp.quality.model.channels import plane_names
from sqp.quality.model.module import ModelSpec, QualityModel

TINY = "timm:test_efficientnet"  # timm's own miniature, 0.4 M parameters
PEER = ("image", "mask", "self/epkl")


@pytest.mark.parametrize("channels", [("mask",), ("image", "mask"), ("mask", "self/epkl", "referee/probability")])
@pytest.mark.parametrize("name", [*(name for name in BACKBONES if name not in ("siamese_slip", "tabular")), TINY])
def test_planes_to_features(name: str, channels: tuple[str, ...]) -> None:
    backbone = build_backbone(name, channels, 80)
    features = backbone(torch.rand(2, len(plane_names(channels)), 80, 80))
    assert features.shape == (2, backbone.width)
    features.sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_tabular_reads_scores_alone() -> None:
    model = QualityModel(ModelSpec(("mask",), 32, "tabular", scores=("area",))).eval()
    scores = torch.rand(2, 2)
    empty, full = (model(torch.full((2, 1, 32, 32), value), scores) for value in (0.0, 1.0))
    assert torch.equal(empty.dice, full.dice) and empty.features.shape == (2, model.features_width)
    assert not torch.equal(empty.dice, model(torch.zeros(2, 1, 32, 32), 1 - scores).dice)
    with pytest.raises(ConfigError, match="'tabular' reads scores and features alone: give --scores all"):
        QualityModel(ModelSpec(("mask",), 32, "tabular"))


def test_siamese_is_the_peers_network() -> None:
    model = QualityModel(ModelSpec(PEER, 300, "siamese", loss="mse"))
    assert sum(p.numel() for p in model.parameters()) == 1_430_705


def test_a_branch_of_siamese_is_the_peers() -> None:
    """Five 3x3 convolutions 64-64-32-32-16, 2x2 max-pooling between; dense 128-128."""
    network = build_backbone("siamese", PEER, 300)
    layers = [(m.out_channels, m.kernel_size, m.padding) for m in network.branches[0] if isinstance(m, nn.Conv2d)]
    assert layers == [(n, (3, 3), (0, 0)) for n in (64, 64, 32, 32, 16)]
    assert [type(m).__name__ for m in network.branches[0]].count("MaxPool2d") == 4
    assert [tuple(m.weight.shape) for m in network.dense if isinstance(m, nn.Linear)] == [
        (128, 3 * 16 * 14**2),
        (128, 128),
    ]


def test_the_slip_puts_the_map_into_the_images_branch() -> None:
    """One set of weights in both: the slip sees what the plain network sees with a map for an image."""
    torch.manual_seed(0)
    plain, slip = (QualityModel(ModelSpec(PEER, 78, name, loss="mse")).eval() for name in ("siamese", "siamese_slip"))
    slip.load_state_dict(plain.state_dict())
    planes = torch.rand(2, 5, 78, 78, generator=torch.Generator().manual_seed(0))
    grey = planes.clone()
    grey[:, :3] = planes[:, 4:]  # three equal colours: their luma is the map
    other = planes.clone()
    other[:, :3] = 0
    with torch.no_grad():
        torch.testing.assert_close(slip(planes).dice, plain(grey).dice)
        assert torch.equal(slip(planes).dice, slip(other).dice)
        assert not torch.equal(plain(planes).dice, plain(other).dice)


@pytest.mark.parametrize("channels", [("image", "mask"), ("mask", "self/epkl")])
def test_the_slip_needs_image_and_map(channels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="'siamese_slip' needs the image and an uncertainty map"):
        build_backbone("siamese_slip", channels, 78)


def test_siamese_refuses_a_size_that_its_convolutions_eat_up() -> None:
    build_backbone("siamese", PEER, 78)
    with pytest.raises(ConfigError, match="size of at least 78, not 77"):
        build_backbone("siamese", PEER, 77)


def test_compact_has_less_than_a_million_parameters() -> None:
    assert sum(p.numel() for p in build_backbone("compact", PEER, 128).parameters()) < 1_000_000


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_pretrained_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    source = timm.create_model("test_efficientnet")
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(source.state_dict(), path)
    backbone = build_backbone(TINY, PEER, 64, pretrained_file=str(path))
    stem, adapted = source.conv_stem.weight, backbone.model.conv_stem.weight
    torch.testing.assert_close(adapted[:, :3], stem * 3 / 5)
    torch.testing.assert_close(adapted[:, 3:], stem[:, :2] * 3 / 5)
    assert backbone.image_mean == source.pretrained_cfg["mean"]
    assert build_backbone(TINY, ("mask",), 64, pretrained_file=str(path)).image_mean is None


def test_a_transformer_is_built_for_the_size() -> None:
    backbone = build_backbone("timm:test_vit", PEER, 96)
    assert backbone(torch.rand(1, 5, 96, 96)).shape == (1, backbone.width)


def test_wrong_names_and_files() -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'compct', did you mean 'compact'\? known: .*timm:NAME"):
        build_backbone("compct", PEER, 64)
    with pytest.raises(ConfigError, match=r"unknown timm model 'resnet5', did you mean 'resnet"):
        build_backbone("timm:resnet5", PEER, 64)
    with pytest.raises(ConfigError, match=r"pretrained_file nowhere\.pth does not exist"):
        build_backbone(TINY, PEER, 64, pretrained_file="nowhere.pth")
    with pytest.raises(ConfigError, match="'compact' has no pretrained weights"):
        build_backbone("compact", PEER, 64, pretrained=True)


def test_weights_of_another_model(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"other\.safetensors holds no weights of test_eff"):
        build_backbone(TINY, PEER, 64, pretrained_file=str(tmp_path / "other.safetensors"))


def test_siamese_sees_the_luma_of_the_image() -> None:
    """Two images of one luma and other colours are the same to it, after normalisation too."""
    model = QualityModel(ModelSpec(PEER, 78, "siamese", loss="mse")).eval()
    model.set_normalization([0.7, 0.5, 0.4, 0.3, 1], [0.1, 0.2, 0.3, 0.4, 2])
    one = torch.rand(2, 5, 78, 78, generator=torch.Generator().manual_seed(0)) * 0.8
    other = one.clone()
    other[:, 0] += 0.1
    other[:, 1] -= 0.1 * 0.299 / 0.587
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(one), model.backbone(other), atol=1e-5, rtol=1e-4)
        assert torch.allclose(model(one).features, model(other).features, atol=1e-5)
        other[:, 2] += 0.1
        assert not torch.allclose(model(one).features, model(other).features, atol=1e-5)
    pixel = Image.new("RGB", (1, 1), (200, 90, 30))
    luma = (np.array([200, 90, 30]) * LUMA).sum()
    assert pixel.convert("L").getpixel((0, 0)) == round(luma)
