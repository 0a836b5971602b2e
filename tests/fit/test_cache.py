"""Decoded images: geometry as the segmenter's, broken files told, batches cut to what they hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sqp.core.frame import Frame
from sqp.data import find_cases, read_image, read_mask
from sqp.data.synthetic import write_synthetic
from sqp.fit.cache import CachedImages, build_cache, loader


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return list(find_cases(write_synthetic(tmp_path_factory.mktemp("data"), 9, seed=1, size=(48, 64))))


@pytest.fixture(scope="module")
def cache(cases, tmp_path_factory):
    return build_cache(cases, 32, tmp_path_factory.mktemp("cache"), progress=False)


def test_rows_are_what_the_segmenter_sees(cache, cases):
    frame = Frame((48, 64), 32)
    for row in (0, 5):
        pixels = frame.image_to_input(read_image(cases[row].image_path))[0]
        assert np.abs(cache.images[row, :, :24, :32] - pixels.numpy()).max() <= 0.5
        assert (cache.truth[row, :24] == frame.mask_to_grid(read_mask(cases[row].truth_paths[0])).numpy()).all()
    assert not cache.images[:, :, 24:].any() and (cache.sizes == (24, 32)).all() and cache.broken == {}


def test_it_is_built_once(cache, cases, monkeypatch):
    monkeypatch.setattr("sqp.fit.cache.read", None)
    again = build_cache(cases, 32, cache.folder.parent, progress=False)
    assert again.folder == cache.folder


def test_a_broken_file_is_told_and_the_rest_is_read(cases, tmp_path):
    bad = tmp_path / "bad.png"
    Image.new("L", (10, 10)).save(bad)
    broken = [cases[0], replace(cases[1], truth_paths=(bad,)), cases[2]]
    cache = build_cache(broken, 32, tmp_path / "cache", progress=False)
    assert list(cache.broken) == [1] and "10x10" in cache.broken[1]
    assert cache.truth[2].any()
    assert build_cache(broken, 32, tmp_path / "cache").broken == cache.broken


def test_batches_are_cut_and_every_row_comes_once(cache):
    data = CachedImages(cache, np.arange(1, 9), divisor=8)
    batch = data.__getitems__([0, 3])
    assert batch["image"].shape == (2, 3, 24, 32) and batch["valid"].all()
    wide = CachedImages(cache, np.arange(1, 9), divisor=16).__getitems__([0, 3])
    assert wide["image"].shape == (2, 3, 32, 32)
    assert wide["valid"][:, :, :24].all() and not wide["valid"][:, :, 24:].any()
    seen = torch.cat([b["image"] for b in loader(data, 3)])
    assert torch.equal(seen, torch.from_numpy(np.array(cache.images[1:9, :, :24])))


def test_the_order_is_that_of_seed_and_epoch(cache):
    data = CachedImages(cache, np.arange(9), divisor=8)

    def order(seed, epoch):
        batches = loader(data, 3, seed).batch_sampler
        batches.sampler.set_epoch(epoch)
        return [row for batch in batches for row in batch]

    assert sorted(order(0, 0)) == list(range(9))
    assert order(0, 0) == order(0, 0) != order(0, 1) and order(0, 0) != order(1, 0)
    assert len(loader(data, 4, seed=0)) == 2 and len(loader(data, 4)) == 3
