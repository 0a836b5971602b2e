"""`--precision auto`: bfloat16 where the CPU multiplies in it, else float32; what is stored says which it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml

from sqp.bundles import bundle_folder
from sqp.config.predict import PredictConfig
from sqp.core import names
from sqp.core.errors import ConfigError
from sqp.data.synthetic import write_synthetic
from sqp.quality.bundle.expected_config import generate_config
from sqp.records.make import make_record_set
from sqp.segmenters import BFLOAT16, precision_for


@pytest.fixture(params=[True, False])
def cpu_has_it(request, monkeypatch) -> bool:
    for name in BFLOAT16:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, BFLOAT16[-1], lambda: request.param, raising=False)
    return request.param


def test_auto_is_what_the_cpu_is_fast_in(cpu_has_it):
    assert precision_for("auto", "cpu") == ("bfloat16" if cpu_has_it else "float32")
    assert precision_for("auto", "cuda") == "float32"
    assert {precision_for(name, "cpu") for name in ("float32", "bfloat16")} == {"float32", "bfloat16"}
    assert set(get_args(names.Precision)) == {"float32", "bfloat16", "auto"}


def test_a_torch_that_cannot_tell_computes_in_float32(monkeypatch):
    for name in BFLOAT16:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert precision_for("auto", "cpu") == "float32"


def test_predict_hands_it_on_and_the_records_say_what_it_was(cpu_has_it, tmp_path):
    write_synthetic(tmp_path, 1, seed=0, size=(48, 48))
    expects = json.loads((bundle_folder(Path("fast")) / "bundle.json").read_text())["expects"]
    given = {"images": tmp_path / "images", "masks": tmp_path / "masks", "model": Path("fast"), "workers": 0}
    plain = generate_config(PredictConfig(**given, out=tmp_path / "out"), expects, ())
    assert plain.segmenter.precision == "float32"
    config = generate_config(PredictConfig(**given, out=tmp_path / "out", precision="auto"), expects, ())
    assert config.segmenter.precision == "auto"
    make_record_set(config)
    stored = yaml.safe_load((tmp_path / "out" / "records" / "run.yaml").read_text())["config"]
    assert stored["segmenter"]["precision"] == precision_for("auto", "cpu")


def test_a_bundle_of_records_in_bfloat16_never_asks_a_cpu_to_emulate_it():
    expects = json.loads((bundle_folder(Path("any")) / "bundle.json").read_text())["expects"]
    assert expects[0]["segmenter"]["precision"] == "bfloat16"  # as the machine computed that made them
    for asked, expected in (({}, "auto"), ({"precision": "bfloat16"}, "bfloat16"), ({"device": "cuda"}, "bfloat16")):
        given = PredictConfig(Path("any"), Path("out"), images=Path("images"), masks=Path("masks"), **asked)
        config = generate_config(given, expects, ("referee", "references"))
        assert config.segmenter.precision == expected


def test_it_is_refused_for_records_that_are_made_already(tmp_path):
    with pytest.raises(ConfigError, match="--precision is about records that are made of --images"):
        PredictConfig(records=[tmp_path], precision="auto")
