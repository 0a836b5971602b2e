"""The comparison of methods, end to end on synthetic lesions with a small network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from sqp.core.errors import ConfigError
from sqp.data.synthetic import write_synthetic
from studies import methods, methods_report
from tests.plain_networks import write_checkpoint
from tests.tiny_volumes import write_data

FRACTIONS = {"calibration": 0.3, "val": 0.3, "test": 0.4}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    data = write_synthetic(folder / "data", 20, size=(48, 64), fractions=FRACTIONS)
    network = {"name": "unet", "checkpoint": str(write_checkpoint(folder / "unet.safetensors"))}
    told = {
        "generate": {"images": str(data), "out": "unused", "segmenter": network, "prompter": "otsu"},
        "fit": {"images": 3, "pixels": 50},
        "samplers": {"normal": {"name": "deterministic", "n": 1}, "noise": {"name": "noise", "n": 3, "sigma": 0.3}},
        "pooled": {"all": ["normal", "noise"]},
        "fusions": {"power_law": [{"alpha": 0.5}, {"alpha": 2}], "learned": [{}]},
        "always": {"power_law": {"alpha": 2}},
        "steps": [
            {"name": "otsu", "of": "all", "binarise": "otsu"},
            {"name": "filter", "of": "noise", "filter": "percentile", "options": [{"q": 50}, {"q": 90}]},
            {"name": "class T midpoint", "of": "noise", "refine": "ur_sam_midpoint"},
            {"name": "unc_fnc", "of": "noise", "refine": "unc_fnc", "options": [{"threshold": t} for t in (0.5, 0.9)]},
        ],
    }
    (folder / "methods.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    methods.main([str(folder / "methods.yaml"), str(folder / "run"), "--workers", "0"])
    return folder / "run"


def test_options_are_chosen_on_val_and_only_those_run_on_test(run: Path) -> None:
    load = methods_report.load
    val, test = load(run / "val"), load(run / "test")
    means = val.groupby(["of", "step", "options"]).dice.mean()
    best = {key: part.max() for key, part in means.groupby(level=["of", "step"])}
    for of, step, options in test.groupby(["of", "step", "options"]).groups:
        always = (step, options) == ("power_law", '{"alpha": 2}')
        assert always or means[of, step, options] == pytest.approx(best[of, step])
    assert set(val.image_id).isdisjoint(test.image_id)
    counted = test.groupby("name").size()
    assert (counted == test.image_id.nunique()).all()
    assert not {"normal power_law alpha=2", "normal learned"} & set(counted.index)


def test_a_run_goes_on_where_it_stopped(run: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in (run / "test").glob("*.json")}
    gone = next(iter(files))
    rows = gone.read_text()
    gone.unlink()
    methods.main([str(run.parent / "methods.yaml"), str(run), "--workers", "0"])
    assert gone.read_text() == rows
    assert all(path.stat().st_mtime_ns == time for path, time in files.items() if path != gone)


def test_the_report_has_a_row_a_method_with_its_interval_and_tests(run: Path, tmp_path: Path) -> None:
    report = methods_report
    report.main([str(run), str(tmp_path)])
    rows, table = report.load(run / "test"), pd.read_csv(tmp_path / "methods.csv")
    assert table.method.tolist() == list(dict.fromkeys(rows.name))
    for row in table.itertuples():
        assert row.dice == pytest.approx(rows[rows.name == row.method].dice.mean(), abs=1e-6)
        assert row.dice_low <= row.dice <= row.dice_high or np.isnan(row.dice_low)
    assert table.dice_p_holm.isna().iloc[0] and table.method.iloc[0] == "normal"
    chosen = pd.read_csv(tmp_path / "chosen.csv")
    assert chosen.groupby(["of", "step"]).chosen.sum().ge(1).all()
    assert "unc_fnc" in (tmp_path / "ur_sam.md").read_text() and (tmp_path / "boxes.png").stat().st_size > 10_000


def test_on_volumes_the_fusion_is_learned_and_slices_are_refined(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", 5)
    rows = [f"{data}/images/v{k:02d}.nii.gz,{data}/labels/v{k:02d}.nii.gz" for k in range(5)]
    splits = ["calibration", "calibration", "val", "test", "test"]
    lines = ["image,truth,split", *(f"{row},{split}" for row, split in zip(rows, splits, strict=True))]
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    network = {"name": "unet3d", "checkpoint": str(write_checkpoint(tmp_path / "w.safetensors", "unet3d"))}
    cases = {"images": str(tmp_path / "cases.csv"), "label": [1, 2], "prompter": "truth_box"}
    told = {
        "generate": cases | {"out": "unused", "segmenter": network},
        "fit": {"images": 2, "pixels": 500},
        "samplers": {"dropout": {"name": "mc_dropout", "n": 3, "p": 0.3}},
        "fusions": {"learned": [{}]},
        "steps": [{"name": "unc_fnc", "of": "dropout", "refine": "unc_fnc", "options": [{"threshold": 0.9}]}],
    }
    (tmp_path / "methods.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    methods.main([str(tmp_path / "methods.yaml"), str(tmp_path / "run"), "--workers", "0"])
    table = methods_report.load(tmp_path / "run" / "test")
    means = table.groupby("step").dice.mean()
    assert set(means.index) == {"mean", "learned", "unc_fnc"} and table.groupby("step").size().eq(2).all()
    assert (tmp_path / "run" / "fusion-dropout.json").exists() and table.dice.between(0, 1).all()
    otsu = told | {"generate": {**told["generate"], "prompter": "otsu"}}
    (tmp_path / "otsu.yaml").write_text(yaml.safe_dump(otsu, sort_keys=False))
    with pytest.raises(ConfigError, match="unknown prompter of volumes 'otsu'"):
        methods.main([str(tmp_path / "otsu.yaml"), str(tmp_path / "otsu"), "--workers", "0"])
