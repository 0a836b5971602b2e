"""UniverSeg: against a naive CrossConv, any number of supports in any order, files of our own and of the release."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_networks import write_checkpoint
from safetensors.torch import save_file
from tiny_universeg import TINY, write_universeg

from sqp.core.errors import ConfigError
from sqp.segmenters.crossblock import LEVELS, CrossBlock, CrossConv2d, UniverSeg
from sqp.segmenters.personalised import halves_of
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.universeg import (
    RELEASED,
    build_network,
    build_universeg,
    from_release,
    grey,
)


def episode(b=2, n=3, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(b, n, 1, side, side, generator=generator)
    return torch.rand(b, 1, side, side, generator=generator), images, (images > 0.5).float()


def naive(layer, query, support):
    """Every pair by itself: channels concatenated, then an ordinary convolution."""
    pairs = [[torch.cat([q, s])[None] for s in some] for q, some in zip(query, support, strict=True)]
    return torch.stack([torch.cat([F.conv2d(p, layer.weight, layer.bias, padding=1) for p in row]) for row in pairs])


@pytest.mark.parametrize(("of_query", "of_support"), [(1, 2), (4, 4)])
def test_cross_convolution_is_that_of_every_pair(of_query, of_support):
    torch.manual_seed(0)
    layer = CrossConv2d(of_query, of_support, 5)
    query, support = torch.randn(2, of_query, 6, 7), torch.randn(2, 3, of_support, 6, 7)
    assert torch.allclose(layer(query, support), naive(layer, query, support), atol=1e-5)


def test_a_block_takes_the_mean_over_the_supports():
    torch.manual_seed(0)
    block = CrossBlock(1, 2, 4)
    query, support = torch.randn(2, 1, 8, 8), torch.randn(2, 3, 2, 8, 8)
    pairs = naive(block.cross, query, support)
    new_query, new_support = block(query, support)
    assert torch.allclose(new_query, F.leaky_relu(block.query(pairs.mean(1))), atol=1e-5)
    for i in range(3):
        assert torch.allclose(new_support[:, i], F.leaky_relu(block.support(pairs[:, i])), atol=1e-5)


def test_the_published_size():
    """1.2 M parameters at 64 channels and four levels (Butoi et al. 2023)."""
    network = UniverSeg()
    unread = 64 * 64 * 9 + 64  # a convolution of the release that nothing reads
    assert sum(p.numel() for p in network.parameters()) + unread == pytest.approx(1.2e6, rel=0.02)
    assert len(network.encoder) == LEVELS and len(network.decoder) == LEVELS - 1


@pytest.mark.parametrize("n", [1, 2, 32])
def test_any_number_of_supports_in_any_order(n):
    torch.manual_seed(0)
    network = UniverSeg(4).eval()
    query, images, masks = episode(n=n)
    with torch.no_grad():
        logits = network(query, images, masks)
        order = torch.randperm(n)
        again = network(query, images[:, order], masks[:, order])
        twice = network(query, images.repeat(1, 2, 1, 1, 1), masks.repeat(1, 2, 1, 1, 1))
    assert logits.shape == (2, 1, 16, 16) and logits.std() > 0
    assert torch.allclose(logits, again, atol=1e-5) and torch.allclose(logits, twice, atol=1e-5)


def test_episodes_of_a_batch_do_not_meet():
    torch.manual_seed(0)
    network = UniverSeg(4).eval()
    parts = episode()
    with torch.no_grad():
        whole, alone = network(*parts), network(*(part[1:] for part in parts))
    assert torch.allclose(whole[1:], alone, atol=1e-5)


def test_every_weight_learns():
    torch.manual_seed(0)
    network = UniverSeg(4)
    network(*episode()).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def released(network):
    """Its weights under the names of the authors' release, with the convolution that nothing reads."""
    back = (
        ("encoder", "enc_blocks"), ("decoder", "dec_blocks"), (r"\.cross\.", ".cross.cross_conv."),
        (r"\.query\.", ".target.vmapped.conv."), (r"\.support\.", ".support.vmapped.conv."), ("^head", "out_conv.conv"),
    )  # fmt: skip
    state = {}
    for name, value in network.state_dict().items():
        for ours, theirs in back:
            name = re.sub(ours, theirs, name)
        state[name] = value.contiguous()
    last = f"dec_blocks.{LEVELS - 2}"
    for part in ("weight", "bias"):
        state[f"{last}.support.vmapped.conv.{part}"] = state[f"{last}.target.vmapped.conv.{part}"].clone()
    return state


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_weights_of_the_release_are_read(tmp_path, ending):
    torch.manual_seed(0)
    network = build_network(NetworkSpec("universeg", width=4, size=128))
    state = released(network)
    assert len(state) == 2 * (3 * LEVELS + 3 * (LEVELS - 1) + 1) and all(
        any(re.search(pattern, name) for pattern, _ in RELEASED) for name in state
    )
    assert from_release(state).keys() == network.state_dict().keys()
    path = tmp_path / f"universeg.{ending}"
    torch.save(state, path) if ending == "pt" else save_file(state, path, {"format": "pt"})
    found = build_universeg(None, path)
    assert found.spec.size == 128 and found.spec.width == 4
    with torch.no_grad():
        assert torch.equal(found.network(*episode()), network.eval()(*episode()))


def test_a_file_of_ours_tells_its_size_and_another_network_is_refused(tmp_path):
    found = build_universeg(None, write_universeg(tmp_path / "w.safetensors"))
    assert found.spec == TINY and len(found.weights_sha256) == 64
    with pytest.raises(ConfigError, match="holds the weights of unet, not of universeg"):
        build_universeg(None, write_checkpoint(tmp_path / "unet.safetensors"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="is not a checkpoint of universeg"):
        build_universeg(None, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"without weights: give --referee\.weights"):
        build_universeg(None)
    with pytest.raises(ConfigError, match="multiple of 8"):
        build_network(NetworkSpec("universeg", size=50))


def test_padding_is_no_part_of_the_answer(tmp_path):
    """A wide image: as high as its own rows, and what lies below in the square changes no reference's mask."""
    segmenter = build_universeg(None, write_universeg(tmp_path / "w.safetensors"))
    image = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    query = segmenter.features(image)
    assert query.shape == (1, 16, 32) and query.min() == 0 and query.max() == 1
    drawn = segmenter.transfer(query, [query])([np.ones((30, 60), bool)])
    assert drawn.shape == (16, 32)
    square = F.pad(query, (0, 0, 0, 16))
    below = F.pad(torch.ones(1, 16, 32), (0, 0, 0, 16))
    with torch.no_grad():
        expected = segmenter.network(square[None], square[None, None], below[None, None])[0, 0, :16].sigmoid()
    assert torch.allclose(drawn, expected, atol=1e-6)


def test_grey_is_stretched_over_the_valid_part():
    image = torch.tensor([[[10.0, 20.0, 99.0]]]).repeat(3, 1, 1)
    valid = torch.tensor([[[True, True, False]]])
    assert grey(image, valid).tolist() == [[[0.0, 1.0, 0.0]]]
    assert grey(torch.full((3, 2, 2), 7.0)).abs().max() == 0


def test_a_small_structure_is_not_lost():
    mask = np.zeros((64, 64), bool)
    assert halves_of(mask, (8, 8)).sum() == 0
    mask[:3, :3] = True
    assert np.argwhere(halves_of(mask, (8, 8))).tolist() == [[0, 0]]
    assert halves_of(~mask, (8, 8)).sum() == 64  # 9 of 64 pixels are no hole
