"""Images held beside references of their own and of another kind, by encodings that are known: who is told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fakes import Seeing
from tiny_tasks import write_tasks
from tiny_volumes import write_data

from sqp.data.split_files import write_splits
from sqp.data.splits import Splits
from studies import unlike_references
from studies.unlike_references import VOLUMES, Image, mean_told, references, told


def images(axis, groups, splits, rng):
    """Encodings about an axis, in so many dimensions that all lie alike far from each other; one a group and split."""
    noise = 0.05 * torch.tensor(rng.normal(size=(len(groups), 64)), dtype=torch.float32)
    return [Image(*one, torch.eye(64)[axis] + n) for *one, n in zip(splits, groups, noise, strict=True)]


def test_another_kind_is_told_and_the_own_one_is_not():
    rng = np.random.default_rng(0)
    splits = ["train"] * 8 + ["val"] * 3
    groups = [str(i) for i in range(11)]
    found = {"a": images(0, groups, splits, rng), "b": images(1, groups, splits, rng)}
    table = told(found, "a", 4, draws=3)
    assert table["of"].tolist() == ["a"] * 3 + ["b"] * 3 and table["group"].tolist() == ["8", "9", "10"] * 2
    assert table["told"].tolist() == pytest.approx([0, 0, 0, 1, 1, 1])
    row = mean_told(table, "all", 50)
    assert row["n_all"] == 6 and row["all"] == pytest.approx(0.5) and row["all_low"] <= 0.5 <= row["all_high"]


def test_of_volumes_the_slices_of_four_are_shown():
    rng = np.random.default_rng(0)
    pool = images(0, [f"v{i // 5}" for i in range(40)], ["train"] * 40, rng)
    assert len({one.group for one in references(pool, VOLUMES, 16, 0)}) == 4
    assert len(references(pool, VOLUMES, 32, 0)) == 20  # no more slices than these volumes have


def test_the_whole_page(tmp_path, monkeypatch):
    labels = write_tasks(tmp_path / "data", ["dark", "bright"])
    write_data(tmp_path / "volumes", 6)
    names = {"train": [f"v{i:02d}" for i in range(4)], "val": ["v04", "v05"]}
    write_splits(tmp_path / "splits.json", Splits({s: {name: (name,) for name in some} for s, some in names.items()}))
    volumes = {"images": str(tmp_path / "volumes"), "splits": str(tmp_path / "splits.json")}
    settings = {
        "tasks": {name: {"labels": str(labels)} for name in ("dark", "bright")}
        | {"mr": volumes | {"slices": 6, "slice_licence": "CC0"}},
        "most": {"train": 8, "calibration": 4, "val": 2},
        "volumes": {"task": "mr", "train": 4, "val": 2, "slices": 2},
        "ks": [4],
        "draws": 2,
        "n_resamples": 20,
    }
    (tmp_path / "unlike.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(unlike_references, "build_segmenter", lambda *args: Seeing(size=64, stride=4))
    unlike_references.main([str(tmp_path / "unlike.yaml"), str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "unlike_references.csv").set_index("task")
    assert {"dark", "bright", VOLUMES, "mean of tasks"} <= set(table.index)
    assert (table.loc[["dark", "bright"], "n_own"] == 6).all() and table["own"].between(0, 1).all()
    assert "of other tasks" in (tmp_path / "out" / "unlike_references.md").read_text()
