"""The features that a plain network's last layer reads, as the token of its mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_networks import SMALL
from torch import nn

from sqp.core.types import Prompt
from sqp.segmenters.plain import NETWORKS, PlainSegmenter, build_network, inputs_of, pooled


def test_means_over_the_image_and_over_the_mask_leave_the_padding_out():
    features = torch.arange(8.0).reshape(1, 2, 2, 2)
    features[..., 1] = 1e6  # the right half is padding
    sure = torch.full((1, 1, 8, 4), -30.0)
    sure[..., :4, :] = 30  # the mask is the upper half
    assert pooled(features, sure, (8, 8)).tolist() == pytest.approx([1, 5, 0, 4])


def test_an_empty_mask_has_finite_features():
    assert torch.isfinite(pooled(torch.rand(1, 3, 4, 4), torch.full((1, 1, 8, 8), -200.0), (8, 8))).all()


def test_the_hook_lasts_as_long_as_its_context():
    layer = nn.Linear(2, 1)
    with inputs_of(layer) as read:
        layer(torch.ones(1, 2))
    layer(torch.zeros(1, 2))
    assert len(read) == 1 and read[0].tolist() == [[1, 1]] and not layer._forward_pre_hooks


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_layer_turns_the_features_into_the_logits(name):
    network = build_network(SMALL[name]).eval()
    layer = network.get_submodule(NETWORKS[name].last)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), inputs_of(layer) as read:
        output = network(pixels)
        torch.testing.assert_close(F.interpolate(layer(read[0]), (64, 64), mode="bilinear"), output)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_prompt_gets_the_token(name):
    segmenter = PlainSegmenter(SMALL[name], build_network(SMALL[name]))
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    tokens = segmenter.decode(segmenter.encode(image), [Prompt(box=(1, 2, 30, 40))] * 2).tokens
    assert tokens.shape[:2] == (2, 1) and torch.equal(tokens[0], tokens[1]) and torch.isfinite(tokens).all()
    assert tokens.std() > 0
