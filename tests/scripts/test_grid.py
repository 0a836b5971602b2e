"""The grid on a tiny record set: every cell, one decoded cache, nothing done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from recordsets import SPLITS, make_record_set
from scipy.stats import pearsonr

from sqp.cli import from_mapping
from sqp.errors import ConfigError, script_status
from sqp.io import RecordSet, frozen
from sqp.stages import train_members

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


def test_a_table_of_all_cells_and_a_second_run_trains_nothing(script, told, records, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(frozen, "SD_RANGE", (0.0, 1.0))
    grid, out = script("grid"), tmp_path / "out"
    grid.main([write(tmp_path, told), str(out), "--methods", "tta"])
    table = pd.read_csv(out / "grid.csv")
    cells = table.groupby(["map", "framework"])["subset"].apply(set)
    assert len(cells) == 4 and all({"natural", "spread"} <= subsets for subsets in cells)
    assert set(table["method"]) == {"tta"} and table[["r2", "mae_low", "mae_high"]].notna().all(axis=None)
    assert len(list((out / "tta" / "cache").iterdir())) == 1
    assert "Mean of a map over the image" in (out / "grid.md").read_text()

    means = pd.read_csv(out / "map_means.csv").set_index(["map", "subset"])
    source = RecordSet(records)
    natural = source.table.query("split == 'test' and variant == 'natural'")
    mean = [np.float64(source.maps(r)["self/epkl"]).mean() for r in natural.record_id]
    assert means.loc[("epkl", "natural"), "pearson"] == pytest.approx(pearsonr(mean, natural.dice)[0], abs=1e-5)
    assert means.loc[("epkl", "natural"), "n"] == 30

    monkeypatch.setattr(train_members, "fit", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(grid, "compare", lambda *a, **k: pytest.fail("tested again"))
    grid.main([write(tmp_path, told), str(out), "--methods", "tta"])
    pd.testing.assert_frame_equal(pd.read_csv(out / "grid.csv"), table)


def test_wrong_names_are_told(script, told, tmp_path, capsys) -> None:
    grid = script("grid")
    arguments = [write(tmp_path, told), str(tmp_path / "out"), "--methods", "tat"]
    with pytest.raises(ConfigError, match=r"unknown method of the grid 'tat', did you mean 'tta'"):
        grid.main(arguments)
    assert script_status("grid", lambda: grid.main(arguments)) == 2
    assert capsys.readouterr().err.startswith("grid: unknown method")


def test_the_config_in_the_repository_is_the_papers_grid(script) -> None:
    told = yaml.safe_load((ROOT / "configs" / "grid_ham10000.yaml").read_text())
    grid = script("grid")
    assert len(told["methods"]) * len(list(grid.cells(told))) == 3 * 4 * 2
    for name, method in told["methods"].items():
        config = from_mapping("generate", {**told["generate"], **method, "out": "x"})
        assert config.sampler.name == name
    for _, _, inputs in grid.cells(told):
        from_mapping("train", {**told["train"], "records": ["x"], "out": "y", "inputs": inputs})
