"""Encodings kept by content: read again to the last bit, never of other pixels or weights, damage is mended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import FakeSegmenter
from tiny_sam import tiny_sam

from sqp.records.encodings import encoded, references_encoded_once
from sqp.segmenters.sam import PromptableSegmenter, min_max


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def small(weights: str = "a") -> PromptableSegmenter:
    torch.manual_seed(0)
    return PromptableSegmenter("litemedsam", tiny_sam(), min_max, weights_sha256=weights)


def test_an_encoding_is_read_again_to_the_last_bit(image, tmp_path, monkeypatch):
    segmenter = small()
    first = encoded(segmenter, image, tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1
    monkeypatch.setattr(segmenter, "encode", lambda image: pytest.fail("it was encoded again"))
    again = encoded(segmenter, image, tmp_path / "kept")
    assert torch.equal(first.features, again.features)
    assert first.frame == again.frame


def test_other_pixels_weights_and_precision_are_other_files(image, tmp_path):
    encoded(small(), image, tmp_path)
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    encoded(small(), changed, tmp_path)
    encoded(small("b"), image, tmp_path)
    encoded(small(), image.reshape(56, 40, 3), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'", b"text"])
def test_a_damaged_file_is_written_anew(image, tmp_path, content):
    segmenter = small()
    first = encoded(segmenter, image, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert torch.equal(encoded(segmenter, image, tmp_path).features, first.features)
    assert torch.equal(torch.from_numpy(np.load(file)), first.features)


def test_a_reference_is_encoded_once_for_all_that_is_made_beside_it(image, monkeypatch):
    segmenter, encode, seen = small(), PromptableSegmenter.encode, []
    monkeypatch.setattr(PromptableSegmenter, "encode", lambda self, image: seen.append(image) or encode(self, image))
    with references_encoded_once():
        first = encoded(segmenter, image, of_reference=True)
        with references_encoded_once():
            again = encoded(small(), image)  # built anew, and now it is an image that is judged
        assert torch.equal(first.features, again.features) and first.frame == again.frame
        other = image.copy()
        other[0, 0, 0] ^= 1
        encoded(segmenter, other)
        encoded(segmenter, other)  # no reference, so it is not kept
        encoded(small("b"), image)
        assert len(seen) == 4
    encoded(segmenter, image, of_reference=True)
    assert len(seen) == 5


def test_nothing_is_kept_without_a_folder_or_of_a_plain_network(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoded(small(), image)
    plain = FakeSegmenter()
    plain.promptable = False
    encoded(plain, image, tmp_path / "kept")
    assert not list(tmp_path.iterdir())
