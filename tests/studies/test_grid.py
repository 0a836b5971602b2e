"""The grid on a tiny record set: every cell, one decoded cache, nothing done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fakes import put_fake
from recordsets import SPLITS, make_record_set
from scipy.stats import pearsonr
from volumesets import make_volume_set

from sqp.cli.parser import from_mapping
from sqp.core.errors import ConfigError
from sqp.data.split_files import read_splits
from sqp.data.synthetic import write_synthetic
from sqp.quality.model import training
from sqp.records import RecordSet, frozen
from studies import grid
from studies.runner import status

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_record_set(tmp_path_factory.mktemp("grid") / "records", {**SPLITS, "test": 30})


@pytest.fixture
def told(records: Path) -> dict:
    return {
        "methods": {"tta": {"records": str(records)}, "ensemble": {"records": str(records)}},
        "maps": ["certainty", "epkl"],
        "frameworks": ["mask+uncertainty", "image+mask+uncertainty"],
        "train": {"size": 32, "epochs": 1, "batch_size": 32, "progress": False},
        "n_resamples": 50,
    }


def write(folder: Path, told: dict) -> str:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(told))
    return str(path)


def test_a_table_of_all_cells_and_a_second_run_trains_nothing(told, records, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(frozen, "SD_RANGE", (0.0, 1.0))
    out = tmp_path / "out"
    told |= {"frozen": str(tmp_path / "spread_{method}.json"), "paper": "Theirs."}
    grid.main([write(tmp_path, told), str(out), "--methods", "tta", "--freeze"])
    assert (tmp_path / "spread_tta.json").exists() and not (out / "grid.csv").exists() and not list(out.glob("tta/*"))
    grid.main([write(tmp_path, told), str(out), "--methods", "tta"])
    assert not (out / "tta" / "spread.json").exists()
    assert "\n\nTheirs.\n\n## Quality model" in (out / "grid.md").read_text()
    table = pd.read_csv(out / "grid.csv")
    cells = table.groupby(["map", "framework"])["subset"].apply(set)
    assert len(cells) == 4 and all({"natural", "spread"} <= subsets for subsets in cells)
    assert set(table["method"]) == {"tta"} and table[["r2", "mae_low", "mae_high"]].notna().all(axis=None)
    assert len(list((out / "tta" / "cache").glob("*/done"))) == 1
    assert "Mean of a map over the image" in (out / "grid.md").read_text()

    means = pd.read_csv(out / "map_means.csv").set_index(["map", "subset"])
    source = RecordSet(records)
    natural = source.table.query("split == 'test' and variant == 'natural'")
    mean = [np.float64(source.maps(r)["self/epkl"]).mean() for r in natural.record_id]
    assert means.loc[("epkl", "natural"), "pearson"] == pytest.approx(pearsonr(mean, natural.dice)[0], abs=1e-5)
    assert means.loc[("epkl", "natural"), "n"] == 30
    row = means.loc[("rank_average", "natural")]
    alone = means.loc[(row["over"], "natural"), "spearman"] * (1 if row["over"] == "certainty" else -1)
    assert row["spearman"] - alone == pytest.approx(row["spearman_gain"], abs=1e-5)
    assert row["spearman_gain_low"] <= row["spearman_gain"] <= row["spearman_gain_high"]
    assert np.isnan(means.loc[("nonneg_regression", "natural"), "spearman"])  # here each map has the wrong sign

    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(grid, "compare", lambda *a, **k: pytest.fail("tested again"))
    grid.main([write(tmp_path, told), str(out), "--methods", "tta"])
    pd.testing.assert_frame_equal(pd.read_csv(out / "grid.csv"), table)


def test_a_grid_of_volumes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(frozen, "SD_RANGE", (0.0, 1.0))
    monkeypatch.setattr(frozen, "MOST", (1.0,))  # six masks do not fill five bins
    records = make_volume_set(tmp_path / "records", {"train": 4, "val": 2, "calibration": 10, "test": 6})
    told = {
        "methods": {"tta": {"records": str(records)}},
        "maps": ["epkl"],
        "frameworks": ["image+mask+uncertainty"],
        "train": {"size": 32, "epochs": 1, "progress": False, "backbone": "compact3d"},
        "n_resamples": 20,
    }
    out = tmp_path / "out"
    grid.main([write(tmp_path, told), str(out)])
    table = pd.read_csv(out / "grid.csv").set_index("subset")
    spread = frozen.read_frozen(out / "tta" / "spread.json")
    assert table.loc["natural", "n"] == 6 and spread["counts"]["spread_unseen"] == 6
    name, digest = next(iter(spread["masks"].items()))
    assert frozen.mask_hash(RecordSet(records).volume_mask(name)[0]) == digest
    assert pd.read_csv(out / "map_means.csv").set_index(["subset", "map"]).loc[("spread", "epkl"), "n"] == 6


def test_records_are_made_in_passes(tmp_path, monkeypatch) -> None:
    lesions = write_synthetic(tmp_path / "lesions", 12, seed=0, size=(48, 64))
    put_fake(monkeypatch)
    told = {
        "generate": {"images": str(lesions), "segmenter": {"name": "fake"}, "sampler": {"n": 2}},
        "passes": [{"only": ["train"], "max_images": 2}, {"only": ["test"]}],
    }
    table = RecordSet(grid.record_set(told, {}, tmp_path / "tta")).table
    images = table.groupby("split")["image_id"].nunique()
    assert images["train"] == 2 and set(images.index) == {"train", "test"}


def test_wrong_names_are_told(told, tmp_path, capsys) -> None:
    arguments = [write(tmp_path, told), str(tmp_path / "out"), "--methods", "tat"]
    with pytest.raises(ConfigError, match=r"unknown method of the grid 'tat', did you mean 'tta'"):
        grid.main(arguments)
    assert status(grid.main, arguments) == 2
    assert ": unknown method" in capsys.readouterr().err


@pytest.mark.parametrize("name,backbone", [("ham10000", "compact"), ("hippocampus", "compact3d")])
def test_the_configs_in_the_repository_are_the_papers_grid(name, backbone) -> None:
    told = yaml.safe_load((ROOT / "configs" / f"grid_{name}.yaml").read_text())
    assert len(told["methods"]) * len(list(grid.cells(told))) == 3 * 4 * 2
    for method, keys in told["methods"].items():
        config = from_mapping("generate", {**told["generate"], **keys, "out": "x"})
        assert config.sampler.name == method
    for _, _, inputs in grid.cells(told):
        config = from_mapping("train", {**told["train"], "records": ["x"], "out": "y", "inputs": inputs})
        assert config.backbone == backbone


def test_the_config_of_the_papers_networks_names_each_by_itself() -> None:
    told = yaml.safe_load((ROOT / "configs" / "grid_networks_ham10000.yaml").read_text())
    for method, keys in told["methods"].items():
        config = from_mapping("generate", {**told["generate"], **keys, "out": "x"})
        assert config.segmenter.name == method and config.sampler.name == "mc_dropout"
        assert config.segmenter.checkpoint.name == f"{method}-seed0.safetensors"
    assert len(list(grid.cells(told))) == len(told["maps"])


def test_the_hippocampus_networks_see_the_split_and_label_of_the_grid() -> None:
    names = ("fit_unet3d", "grid")
    fit, grid = (yaml.safe_load((ROOT / "configs" / f"{n}_hippocampus.yaml").read_text()) for n in names)
    assert all(fit[key] == grid["generate"][key] for key in ("images", "label", "splits"))
    splits = read_splits(ROOT / fit["splits"])
    assert sum(split["images"] for split in splits.counts().values()) == 260 and "segmenter" in splits.splits
    assert from_mapping("fit segmenter", fit).members == 5
