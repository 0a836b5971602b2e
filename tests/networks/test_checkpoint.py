"""One format for every kind of network, and none is taken for another."""

from __future__ import annotations

import pytest
import torch
from plain_networks import write_checkpoint
from safetensors.torch import save_file
from tiny_prompters import CLASSIFIERS, LOCALIZER, write_classifier, write_localizer

from sqp.core.errors import ConfigError
from sqp.networks.checkpoint import fitted_images, load_weights, read_header
from sqp.prompts.classifier import ClassifierSpec, build_classifier
from sqp.prompts.localizer import LocalizerSpec
from sqp.segmenters.plain import NetworkSpec

WRITERS = {NetworkSpec: write_checkpoint, LocalizerSpec: write_localizer, ClassifierSpec: write_classifier}


@pytest.mark.parametrize("cls", WRITERS)
def test_a_kind_is_read_as_itself_alone(cls, tmp_path):
    path = WRITERS[cls](tmp_path / "a.safetensors", fitted_images=("ab", "cd"))
    assert isinstance(read_header(path, cls).spec, cls) and fitted_images(path) == ["ab", "cd"]
    for other in set(WRITERS) - {cls}:
        with pytest.raises(ConfigError, match=rf"which network it holds: give a checkpoint .*`sqp fit {other.kind}`"):
            read_header(path, other)


def test_specs_come_back_as_they_went(tmp_path):
    assert read_header(write_localizer(tmp_path / "l.safetensors"), LocalizerSpec).spec == LOCALIZER
    path = write_classifier(tmp_path / "c.safetensors")
    assert read_header(path, ClassifierSpec).spec == CLASSIFIERS["cnn"]
    with pytest.raises(ConfigError, match=r"weights do not fit its own spec .*`sqp fit classifier`"):
        load_weights(build_classifier(CLASSIFIERS["resnet"]), path, "classifier")


def test_a_file_that_is_none_of_sqp_s(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert fitted_images(tmp_path / "a.safetensors") == []
    (tmp_path / "b.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="is no safetensors file"):
        fitted_images(tmp_path / "b.pt")
