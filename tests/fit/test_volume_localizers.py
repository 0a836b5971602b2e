"""Localizers of volumes: fitted, at once prompters of `generate`, and wrong options told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_volumes import write_data

from sqp.commands import generate
from sqp.config.fit import FitLocalizerConfig
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.core.errors import ConfigError
from sqp.data.volumes import read_structure, read_volume
from sqp.fit import run as fit
from sqp.prompts import PROMPTERS
from sqp.prompts.volume_prompts import box_iou_3d, prompt_box, volume_box
from sqp.records import RecordSet


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("volumes"), 10)


def config(data, out, method, **more):
    told = {"epochs": 16, "patience": 16, "batch_size": 4, "learning_rate": 0.003, "width": 4, "cube": 16, "window": 16}
    told |= {"label": [1, 2], "supports": 2, "progress": False, "accelerator": "cpu"}
    return FitLocalizerConfig(images=data, out=out, method=method, **(told | more))


@pytest.mark.parametrize("method,prompter", [("heatmap3d", "localizer"), ("landmarks", "landmarks")])
def test_fitted_and_used(data, tmp_path, method, prompter, fake_segmenter):
    told = config(data, tmp_path / "fit", method)
    result = fit.fit_network(told)
    (checkpoint, value), *_ = result.checkpoints.items()
    assert f"--prompter {prompter} --prompter_options.checkpoint" in result.next and result.watched == "box_iou"
    assert fit.fit_network(told).checkpoints == result.checkpoints

    overlaps = []
    for path in sorted((data / "images").iterdir()):
        volume, (mask, _) = read_volume(path), read_structure(data / "labels" / path.name, (1, 2))
        (prompt,) = PROMPTERS[prompter](volume, checkpoint=str(checkpoint), margin=0.0)
        overlaps.append(box_iou_3d(prompt_box(prompt), volume_box(mask)))
    whole = box_iou_3d(np.array([[0, 0, 0], volume.shape]), volume_box(mask))
    assert np.mean(overlaps) > 1.4 * whole and value > 0.4  # bright on dark: easy

    records = GenerateConfig(
        images=data,
        out=tmp_path / "records",
        label=[1, 2],
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig("deterministic", n=1),
        prompter=prompter,
        prompter_options={"checkpoint": str(checkpoint)},
        only=["val", "test"],
    )
    assert generate.run(records).skipped == {}
    table = RecordSet(records.out).table
    assert {json.loads(text)["made_by"] for text in table["prompt"]} == {prompter}
    with pytest.raises(ConfigError, match=r"was fitted on it, so it cannot serve in split train"):
        generate.run(replace(records, out=tmp_path / "seen", only=["train"]))
    with pytest.raises(ConfigError, match="unknown option of the prompter"):
        generate.run(replace(records, prompter_options={"checkpoint": str(checkpoint), "flips": 2}))


def test_what_is_refused(data, tmp_path, lesions):
    told = config(data, tmp_path, "landmarks")
    for change, message in (
        ({"method": "landmark"}, "unknown method 'landmark', did you mean 'landmarks'"),
        ({"spacing": [1.0]}, "give three numbers in mm"),
        ({"pretrained": True}, "landmarks has no timm encoder"),
        ({"window": 20}, "patch is 20; that of landmarks must be a multiple of 8"),
        ({"method": "heatmap3d", "cube": 20}, "size is 20; a localizer of volumes needs a multiple of 8"),
        ({"images": lesions, "label": []}, r"no case \(a volume\) with truth, for method landmarks, is in split"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit.fit_network(replace(told, overwrite=True, **change))
    for prompter in ("landmarks", "localizer"):
        with pytest.raises(ConfigError, match=f"the prompter '{prompter}' needs a network"):
            generate.run(GenerateConfig(images=data, out=tmp_path / "x", label=[1, 2], prompter=prompter))
