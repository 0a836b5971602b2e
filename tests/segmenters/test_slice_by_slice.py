"""A 2D segmenter on a volume: each slice as if alone, the 3D box, propagation, and what is encoded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import FakeSegmenter
from tiny_sam import tiny_sam
from tiny_volumes import SPACING, bright, ellipsoid

from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt
from sqp.core.volume import Geometry, Volume
from sqp.data.volumes import windowed
from sqp.segmenters.sam import PromptableSegmenter, standardise
from sqp.segmenters.slice_by_slice import OUTSIDE, SliceSegmenter, as_image
from sqp.uncertainty import sample

SHAPE = (9, 24, 32)
MASK = ellipsoid(SHAPE, (0.45, 0.5, 0.4), 0.3)
BOX = Prompt(box=(4, 5, 22, 19), depth=(2, 7))


@pytest.fixture
def volume():
    """Dark inside, as the fake likes it."""
    return Volume(-bright(MASK), Geometry.plain(SHAPE, SPACING))


def test_each_slice_of_the_depth_is_segmented_as_an_image(volume):
    inner = FakeSegmenter(size=32, stride=1)
    segmenter = SliceSegmenter(inner)
    embedding = segmenter.encode(volume)
    decoded = segmenter.decode(embedding, [BOX, Prompt(box=(6, 5, 22, 19), depth=(6, 8))])
    assert decoded.logits.shape == (2, 1, *SHAPE) and decoded.grid == SHAPE == embedding.frame.grid
    assert (decoded.logits[0, 0, [0, 1, 7, 8]] == OUTSIDE).all()
    alone, pixels = FakeSegmenter(size=32, stride=1), windowed(volume.voxels)
    for z in range(2, 7):
        image = np.repeat(pixels[z][..., None], 3, 2)
        best = alone.decode(alone.encode(image), [Prompt(box=BOX.box)]).best()
        assert torch.equal(decoded.logits[0, 0, z], best.logits[0, 0])
    assert inner.encoded == 6  # slices 2 to 7; the middle one was encoded before
    assert inner.decoded == [1, 1, 1, 1, 2, 1]
    assert decoded.iou.tolist() == [[pytest.approx(0.9)]] * 2
    segmenter.decode(embedding, [BOX])
    assert inner.encoded == 6  # encode once, decode many


def test_propagation_follows_the_mask_and_stops_where_it_ends(volume):
    inner = FakeSegmenter(size=32, stride=1, k=1)
    segmenter = SliceSegmenter(inner, propagate=True)
    whole = Prompt(box=(0, 0, 32, 24), depth=(0, 9))
    logits = segmenter.decode(segmenter.encode(volume), [whole]).logits[0, 0]
    reached = (logits != OUTSIDE).flatten(1).any(1)
    seen = MASK.any(axis=(1, 2))
    assert reached[seen].all()  # all of the structure
    first, last = np.flatnonzero(seen)[[0, -1]]
    assert reached.nonzero()[:, 0].tolist() == list(range(first - 1, last + 2))  # and one empty slice at each end
    mask = (logits >= 0).numpy()
    assert 2 * (mask & MASK).sum() / (mask.sum() + MASK.sum()) > 0.8


def test_an_empty_mask_ends_propagation_at_once(volume):
    inner = FakeSegmenter(size=32, stride=1, k=1, shift=-50)
    segmenter = SliceSegmenter(inner, propagate=True)
    assert (segmenter.decode(segmenter.encode(volume), [BOX]).logits < 0).all()
    assert inner.decoded == [1]


@pytest.mark.parametrize("sampler", ["deterministic", "prompt_jitter", "tta", "noise", "mc_dropout"])
def test_every_sampler(volume, sampler):
    segmenter = SliceSegmenter(FakeSegmenter(size=32, stride=4))
    samples = sample(segmenter, volume, BOX, 4, torch_generator(0), sampler=sampler)
    assert samples.logits.shape == (1 if sampler == "deterministic" else 4, 9, 6, 8)
    if sampler == "tta":  # the fake treats all pixels alike: what is flipped there and back is the same
        assert samples.logits[1] == pytest.approx(samples.logits[0], abs=2e-3)
        assert torch.equal(samples.logits[1], samples.logits[0])
    elif sampler != "deterministic":
        assert not torch.equal(samples.logits[1], samples.logits[0])


def test_percentiles_of_the_volume_are_black_and_white():
    pixels = windowed(np.linspace(-1000, 3000, 24_000, dtype=np.float32).reshape(10, 40, 60))
    assert pixels.min() == 0 and pixels.max() == 255 and abs(float(pixels.mean()) - 127.5) < 1
    assert (windowed(np.full((2, 3, 4), 7.0, np.float32)) == 0).all()


def test_a_window_is_black_and_white_in_the_units_of_the_volume(volume):
    hu = np.array([[[-1000, -160, 40, 240, 3000]]], np.float32)
    assert windowed(hu, (-160, 240)).ravel().tolist() == [0, 0, 128, 255, 255]
    inner, window = FakeSegmenter(size=32, stride=1), (-90.0, -30.0)
    segmenter = SliceSegmenter(inner, window=window)
    seen = segmenter.decode(segmenter.encode(volume), [BOX]).logits[0, 0, 4]
    for told, same in ((window, True), ((), False)):
        image = as_image(windowed(volume.voxels, told)[4])
        alone = inner.decode(inner.encode(image), [Prompt(box=BOX.box)]).best().logits[0, 0]
        assert torch.equal(seen, alone) == same


@pytest.mark.parametrize("sampler", ["prompt_jitter", "mc_dropout"])
def test_what_sam_s_decoder_recalls_of_one_image_is_not_taken_for_another_slice(volume, sampler):
    inner = PromptableSegmenter("tiny", tiny_sam(), standardise, multimask=True)
    samples = sample(SliceSegmenter(inner), volume, BOX, 2, torch_generator(0), sampler=sampler)
    pixels = windowed(volume.voxels)
    for z in range(2, 7):
        embedding = inner.encode(np.repeat(pixels[z][..., None], 3, 2))
        best = inner.decode(embedding, [Prompt(box=BOX.box)]).best()
        torch.testing.assert_close(samples.logits[0, z], best.logits[0, 0], atol=1e-4, rtol=1e-4)
    assert not torch.equal(samples.logits[1], samples.logits[0])
