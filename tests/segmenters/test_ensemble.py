"""An ensemble behind the protocol: its name, its hash, what it refuses."""

import pytest
import torch
from fakes import FakeSegmenter

from sqp.core.errors import ConfigError
from sqp.core.types import Prompt
from sqp.segmenters.ensemble import EnsembleSegmenter, ensemble_sha256


def member(sha256, **options):
    made = FakeSegmenter(**options)
    made.weights_sha256 = sha256
    return made


def test_the_first_member_stands_for_all(image):
    one, two = member("1" * 64), member("2" * 64, shift=1.0)
    both = EnsembleSegmenter([one, two])
    assert both.name == "fake" and both.promptable
    assert both.weights_sha256 == ensemble_sha256(["1" * 64, "2" * 64]) != ensemble_sha256(["2" * 64, "1" * 64])
    embedding = both.encode(image)
    assert torch.equal(embedding.features, one.encode(image).features) and len(embedding.extra["members"]) == 2
    prompts = [Prompt(box=(3, 3, 40, 40))]
    assert torch.equal(both.decode(embedding, prompts).logits, one.decode(embedding, prompts).logits)
    assert two.decoded == []


def test_what_is_no_ensemble(image):
    with pytest.raises(ConfigError, match="an ensemble of 1: give at least 2"):
        EnsembleSegmenter([member("1" * 64)])
    with pytest.raises(ConfigError, match="two of the 2 checkpoints of the ensemble have the same weights"):
        EnsembleSegmenter([member("1" * 64), member("1" * 64)])
    with pytest.raises(ConfigError, match="different grids"):
        EnsembleSegmenter([member("1" * 64), member("2" * 64, size=32)]).encode(image)
