"""References in place of a prompt: which of them are shown, and that an image is never its own example."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_universeg import write_universeg

from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Prompt
from sqp.segmenters import IN_CONTEXT_SEGMENTERS, build_segmenter
from sqp.segmenters.by_examples import Reference, content_of_image

PROMPT = Prompt(box=(0, 0, 40, 24))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_universeg(tmp_path_factory.mktemp("weights") / "w.safetensors")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (24, 40, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture(scope="module")
def references(file, images):
    inner = IN_CONTEXT_SEGMENTERS["universeg"](None, file)
    masks = [np.arange(40)[None] + np.zeros((24, 1)) < 8 + 5 * i for i in range(5)]
    return [
        Reference(f"r{i}", content_of_image(image), inner.features(image), mask)
        for i, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]


@pytest.fixture
def segmenter(file, references):
    return build_segmenter("universeg", file, references=references[:4])


def test_without_references_it_says_what_it_needs(file):
    with pytest.raises(ConfigError, match="universeg is shown examples of the task: give --references DIR"):
        build_segmenter("universeg", file)


def test_every_prompt_gets_what_the_references_show(segmenter, images):
    decoded = segmenter.decode(segmenter.encode(images[4]), [PROMPT, Prompt()])
    assert decoded.logits.shape == (2, 1, 19, 32) and torch.equal(decoded.logits[0], decoded.logits[1])
    assert decoded.iou.isnan().all() and decoded.logits.std() > 0


def test_an_image_is_no_example_for_itself(segmenter, file, references, images):
    """Also where it is disturbed: what is shown is settled by the image itself."""
    assert segmenter.apart_from(images[4]) is segmenter
    apart = segmenter.apart_from(images[0])
    without = build_segmenter("universeg", file, references=references[1:4])
    encoded = segmenter.encode(255 - images[0])
    assert torch.equal(apart.decode(encoded, [PROMPT]).logits, without.decode(encoded, [PROMPT]).logits)
    only = build_segmenter("universeg", file, references=references[:1])
    with pytest.raises(CaseError, match="the image is the only reference"):
        only.apart_from(images[0])


def test_halves_are_the_same_whatever_the_order_of_the_references(segmenter, file, references):
    def names(some):
        return [{reference.name for reference in half.shown} for half in some.halves(6)]

    assert all(len(half) == 2 for half in names(segmenter)) and len(set(map(frozenset, names(segmenter)))) > 1
    assert names(segmenter) == names(build_segmenter("universeg", file, references=references[3::-1]))
    assert names(segmenter)[:2] == names(segmenter)[:2]


def test_a_single_reference_has_no_halves(file, references, images):
    with pytest.raises(ConfigError, match="halves of the references, and there is one"):
        build_segmenter("universeg", file, references=references[:1]).halves(2)
    two = build_segmenter("universeg", file, references=references[:2])
    with pytest.raises(CaseError, match="halves of the references"):  # of this image alone
        two.apart_from(images[0]).halves(2)


def test_those_of_its_group_are_no_examples_for_an_image_either(file, references, images):
    """Slices of one volume: a neighbour would tell nearly all."""
    grouped = [replace(reference, group="ab"[i // 2]) for i, reference in enumerate(references[:4])]
    segmenter = build_segmenter("universeg", file, references=grouped)
    assert [reference.name for reference in segmenter.apart_from(images[0]).shown] == ["r2", "r3"]
    assert segmenter.apart_from(images[4]) is segmenter
