"""Segmentation by examples: nearest patches by closed forms, and the geometry of patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_sam import tiny_sam

from sqp.core.frame import Frame
from sqp.core.types import Embedding
from sqp.segmenters.personalised import SIDE, PersonalisedSegmenter, nearest, patches, shares_of
from sqp.segmenters.sam import PromptableSegmenter, min_max


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return PromptableSegmenter("tiny", tiny_sam(), min_max, weights_sha256="t")


def kinds(rows):
    """Features `[3, h, w]` of patches of three kinds, which are orthogonal."""
    return torch.nn.functional.one_hot(torch.tensor(rows), 3).permute(2, 0, 1).float()


def test_masks_alone_decide_and_what_is_outside_is_the_rest(base):
    segmenter = PersonalisedSegmenter(base)
    assert segmenter.weights_sha256 == "t"
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(3)]
    query, *supports = [segmenter.features(image, segmenter.base.encode(image)) for image in images]
    masks = [np.zeros((40, 56), bool), np.zeros((40, 56), bool)]
    masks[0][10:30, 5:25] = True
    run = segmenter.transfer(query, supports)
    drawn = run(masks)
    assert (run([~masks[0], ~masks[1]]) + drawn - 1).abs().max() < 1e-5
    assert run([masks[1], masks[1]]).max() == 0


def test_a_patch_takes_the_share_of_the_patches_of_its_kind(base):
    segmenter = PersonalisedSegmenter(base, neighbours=2)
    query = kinds([[0, 1], [2, 0]])
    supports = [kinds([[0, 0], [1, 1]]), kinds([[2, 2], [2, 2]])]
    first = np.zeros((4, 4), bool)
    first[:2] = True  # kind 0
    second = np.zeros((4, 4), bool)
    second[0, :2] = True  # half of one patch of kind 2, and its like are not drawn
    drawn = segmenter.transfer(query, supports)([first, second])
    assert drawn[0].tolist() == [1.0, 0.0] and drawn[1, 1] == 1.0
    assert drawn[1, 0] in (0.0, 0.25)  # two of the four that tie


def test_the_say_of_a_neighbour_falls_with_its_cosine():
    query = torch.tensor([1.0, 0.0]).view(2, 1, 1)
    near, far = torch.tensor([0.8, 0.6]), torch.tensor([0.6, 0.8])
    index, weight = nearest(query, [far.view(2, 1, 1), near.view(2, 1, 1)], 9, 0.1)
    assert index.tolist() == [[1, 0]]
    assert weight[0, 0] / weight[0, 1] == pytest.approx(np.e**2, rel=1e-4)  # (0.8 - 0.6) / 0.1


@pytest.mark.parametrize(("original", "shape"), [((300, 600), (16, 32)), ((600, 300), (32, 16)), ((90, 64), (32, 23))])
def test_patches_are_of_the_image_and_not_of_the_padding(original, shape):
    frame = Frame(original, size=256, stride=4)
    h, w = (max(1, round(side / 4)) for side in frame.resized)
    features = torch.full((1, 2, 64, 64), -1e6)
    features[0, 0, :h, :w], features[0, 1, :h, :w] = 3.0, 4.0
    found = patches(Embedding(features, frame))
    assert found.shape == (2, *shape) and max(shape) == SIDE
    assert torch.allclose(found[:, 0, 0], torch.tensor([0.6, 0.8])) and torch.allclose(found, found[:, :1, :1])


def test_a_small_encoding_is_not_averaged(base):
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    assert patches(base.encode(image)).shape == (32, 3, 4)


def test_a_structure_smaller_than_a_patch_counts_by_its_share():
    mask = np.zeros((64, 64), bool)
    mask[0, 0] = True
    shares = shares_of(mask, (4, 4))
    assert shares[0, 0] == 1 / 256 and shares.sum() == shares[0, 0]
