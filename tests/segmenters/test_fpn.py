"""The feature pyramid's encoder: pretrained weights from a file, its normalisation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from plain_networks import SMALL
from safetensors.torch import save_file

from sqp.core.errors import ConfigError
from sqp.networks.timm_models import pixels_of
from sqp.segmenters.plain import build_network

SPEC = SMALL["fpn"]


def test_the_weights_of_a_file_reach_the_encoder(tmp_path, caplog):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        source = timm.create_model(SPEC.encoder)
    save_file({k: v.clone() for k, v in source.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = build_network(SPEC, file=tmp_path / "w.safetensors").encoder.body.state_dict()
    for key, value in loaded.items():
        assert torch.equal(value, source.state_dict()[key]), key
    assert caplog.text == ""  # timm does not warn of the classifier


def test_the_file_of_another_model(tmp_path):
    state = timm.create_model("resnet18").state_dict()
    save_file({k: v for k, v in state.items() if "layer4" not in k}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"holds no weights of resnet18 in timm's keys: no layer4"):
        build_network(replace(SPEC, encoder="resnet18"), file=tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"cannot load the weights of .*w.safetensors"):
        build_network(replace(SPEC, encoder="mobilenetv2_100"), file=tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="does not exist"):
        build_network(SPEC, file=tmp_path / "nowhere.safetensors")


def test_normalisation_is_that_of_the_pretrained_weights():
    assert pixels_of("tf_efficientnet_lite0") == ((0.5,) * 3, (0.5,) * 3)
    assert pixels_of("resnet50")[0] == pytest.approx((0.485, 0.456, 0.406))
