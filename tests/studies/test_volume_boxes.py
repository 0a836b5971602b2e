"""Boxes of prompters against the truth's: the true box is perfect, the whole volume is not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny_volumes import SHAPE, write_data

from sqp.cli.parser import from_mapping
from sqp.data.volumes import read_structure
from sqp.prompts.volume_prompts import volume_box
from studies import volume_boxes

ROOT = Path(__file__).parents[2]


def test_the_true_box_wins(tmp_path, capsys) -> None:
    data = write_data(tmp_path / "data", 3)
    told = {"images": str(data), "out": str(tmp_path / "records"), "label": [1, 2], "prompter": "whole_image"}
    told["variants"] = {"test": {"prompters": ["truth_box"]}}
    rows = "".join(f"{data}/images/v{k:02d}.nii.gz,{data}/labels/v{k:02d}.nii.gz,test\n" for k in range(3))
    (tmp_path / "cases.csv").write_text("image,truth,split\n" + rows)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(told | {"images": str(tmp_path / "cases.csv")}))
    volume_boxes.main([str(tmp_path / "c.yaml"), str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "boxes.csv").set_index(["prompter", "image_id"])
    assert (table.loc["truth_box", "iou"] == 1).all() and (table["slices"] == 1).all()
    for name, row in table.loc["whole_image"].iterrows():
        low, high = volume_box(read_structure(data / "labels" / f"{name}.nii.gz", (1, 2))[0])
        assert row["iou"] == pytest.approx((high - low).prod() / (SHAPE[0] * SHAPE[1] * SHAPE[2]), abs=1e-5)
    assert "truth_box" in capsys.readouterr().out


def test_the_configs_in_the_repository_fit_each_other() -> None:
    told = yaml.safe_load((ROOT / "configs" / "prompters_hippocampus.yaml").read_text())
    config = from_mapping("generate", told)
    files = {str(config.prompter_options["checkpoint"]), *(one["checkpoint"] for one in config.prompters.values())}
    made = set()
    for name in ("localizer", "landmarks"):
        fit = yaml.safe_load((ROOT / "configs" / f"fit_{name}_hippocampus.yaml").read_text())
        one = from_mapping("fit localizer", fit)
        made.add(f"{one.out}/localizer-{one.method}-seed0.safetensors")
        assert (one.label, one.splits, one.train_splits) == (config.label, config.splits, ["segmenter"])
    assert files == made
