"""Plain networks as segmenters: geometry, dropout, checkpoints, and what is said of wrong ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_networks import SMALL, write_checkpoint
from torch.nn.modules.dropout import _DropoutNd

from sqp.config.fit import PLAIN, VOLUMETRIC
from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Prompt
from sqp.networks.checkpoint import load_weights, read_header
from sqp.segmenters import SEGMENTERS, build_segmenter
from sqp.segmenters.dropout import find_sites
from sqp.segmenters.plain import NETWORKS, NetworkSpec, PlainSegmenter, build_network
from sqp.segmenters.volume_plain import VOLUME_NETWORKS
from sqp.uncertainty import sample

PROMPT = Prompt(box=(1, 2, 30, 40))


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    return build_segmenter("unet", write_checkpoint(tmp_path_factory.mktemp("unet") / "unet.safetensors"))


def test_the_tables_agree():
    assert set(PLAIN) == set(SMALL) <= set(SEGMENTERS)
    assert set(PLAIN) - set(VOLUMETRIC) == set(NETWORKS) and set(VOLUMETRIC) == set(VOLUME_NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_layers_of_the_asked_rate_change_the_output(name):
    network = build_network(replace(SMALL[name], dropout=0.3))
    layers = [m for m in network.modules() if isinstance(m, _DropoutNd) and m.p > 0]
    assert layers and {m.p for m in layers} == {0.3}
    network.eval()
    pixels = torch.randn(1, 3, 64, 64)
    still = network(pixels)
    assert torch.equal(network(pixels), still)
    for layer in layers:
        layer.train()
    assert not torch.allclose(network(pixels), still)


@pytest.mark.parametrize("name", NETWORKS)
def test_mc_dropout_finds_them(name):
    network = build_network(SMALL[name])
    sites = find_sites(network)["own"]
    assert len(sites) == sum(isinstance(m, _DropoutNd) and m.p > 0 for m in network.modules())


def test_mc_dropout_samples(unet, image):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return sample(unet, image, PROMPT, 4, generator, sampler="mc_dropout").logits

    one = draw(0)
    still = unet.decode(unet.encode(image), [PROMPT]).logits[0, 0]
    torch.testing.assert_close(one[0], still)
    assert one.var(0).mean() > 0 and torch.equal(one, draw(0)) and not torch.equal(one, draw(1))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(48, 64), (64, 48), (100, 31), (3, 200)])
def test_any_shape_of_image(name, size):
    segmenter = PlainSegmenter(SMALL[name], build_network(SMALL[name]))
    embedding = segmenter.encode(np.full((*size, 3), 90, np.uint8))
    decoded = segmenter.decode(embedding, [PROMPT] * 2)
    assert decoded.logits.shape == (2, 1, *embedding.frame.grid) and max(decoded.grid) == 64
    assert torch.isfinite(decoded.logits).all() and torch.isnan(decoded.iou).all()


def test_prompts_are_ignored_and_the_network_runs_once(unet, image):
    runs = []
    handle = unet.network.register_forward_hook(lambda *_: runs.append(1))
    decoded = unet.decode(unet.encode(image), [PROMPT, Prompt(points=((3, 4),), labels=(1,)), Prompt()])
    handle.remove()
    assert len(runs) == 1
    assert torch.equal(decoded.logits[0], decoded.logits[1]) and torch.equal(decoded.logits[0], decoded.logits[2])


def test_a_checkpoint_gives_the_logits_of_the_network_it_came_from(tmp_path, image):
    path = write_checkpoint(tmp_path / "a.safetensors", seed=5)
    again = build_network(SMALL["unet"])
    load_weights(again, path)
    one = PlainSegmenter(SMALL["unet"], again)
    two = build_segmenter("unet", path)
    assert torch.equal(*(s.decode(s.encode(image), [PROMPT]).logits for s in (one, two)))
    assert read_header(path, NetworkSpec).spec == SMALL["unet"]
    other = build_segmenter("unet", write_checkpoint(tmp_path / "b.safetensors", seed=6))
    assert not torch.equal(*(s.decode(s.encode(image), [PROMPT]).logits for s in (one, other)))
    assert other.weights_sha256 != two.weights_sha256


def test_the_same_weights_are_the_same_bytes(tmp_path):
    one, two = (write_checkpoint(tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert one.read_bytes() == two.read_bytes()


def test_bfloat16_is_near(unet, image):
    half = PlainSegmenter(unet.spec, unet.network, precision="bfloat16")
    one, two = (s.decode(s.encode(image), [PROMPT]).logits for s in (unet, half))
    assert two.dtype == torch.float32
    assert 0 < (one - two).abs().max() < 0.1 * one.abs().max()


def test_no_weights_no_segmenter(tmp_path):
    with pytest.raises(ConfigError, match=r"unet comes without weights: train it with `sqp fit segmenter`"):
        build_segmenter("unet")
    with pytest.raises(ConfigError, match="no such file"):
        build_segmenter("unet", tmp_path / "nowhere.safetensors")


def test_wrong_checkpoints(tmp_path):
    path = write_checkpoint(tmp_path / "unet.safetensors")
    with pytest.raises(ConfigError, match="holds the weights of unet, not of swin_unet"):
        build_segmenter("swin_unet", path)
    (tmp_path / "noise.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(ConfigError, match="is no safetensors file"):
        build_segmenter("unet", tmp_path / "noise.safetensors")
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(3)}, tmp_path / "bare.safetensors")
    with pytest.raises(ConfigError, match="does not say which network it holds"):
        build_segmenter("unet", tmp_path / "bare.safetensors")
    with pytest.raises(ConfigError, match="its weights do not fit its own spec"):
        load_weights(build_network(replace(SMALL["unet"], width=8)), path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "unett"}, "unknown network 'unett', did you mean 'unet'"),
        ({"size": 72}, "size is 72; the input of unet must be a multiple of 16"),
        ({"encoder": "resnet18"}, "unet has no timm encoder"),
        ({"name": "swin_unet", "width": 10}, "must be a multiple of 12"),
        ({"name": "fpn_resnet50", "encoder": "resnet18"}, "for resnet18 take the network fpn"),
        ({"name": "fpn", "encoder": "resnet81"}, "unknown timm model 'resnet81', did you mean 'resnet18'"),
        ({"name": "fpn", "encoder": "vit_tiny_patch16_224"}, "takes one size of image only"),
    ],
)
def test_wrong_specs(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_network(replace(SMALL["unet"], **changes))


def test_an_image_that_is_none(unet, image):
    with pytest.raises(CaseError, match="RGB uint8"):
        unet.encode(image.astype(float))


def test_nan_is_refused(unet, image):
    embedding = unet.encode(image)
    embedding.features[0, 0, 0, 0] = math.nan
    with pytest.raises(CaseError, match="NaN logits"):
        unet.decode(embedding, [PROMPT])
