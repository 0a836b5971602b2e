"""A frozen set cannot be chosen, thinned or redrawn after the fact."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from recordsets import make_record_set

from sqp.core.errors import ConfigError
from sqp.core.files import write_mask
from sqp.records import RecordSet, frozen
from sqp.records.frozen import freeze, frozen_rows, keep_balanced, read_frozen, write_frozen


@given(st.lists(st.integers(0, 999).map(lambda n: (n + 0.5) / 1000), max_size=200), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_no_bin_is_too_full_and_no_row_is_lost_without_need(dice, seed):
    dice = np.array(dice)
    kept = keep_balanced(dice, np.random.default_rng(seed))
    counts, before = (np.histogram(np.minimum(d, 0.9999), 10, (0, 1))[0] for d in (dice[kept], dice))
    assert kept.sum() == 0 or counts.max() <= 0.2 * kept.sum()
    full = counts < before
    assert not full.any() or len(set(counts[full])) == 1  # thinned bins are equally full


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "SD_RANGE", (0.0, 1.0))
    make_record_set(tmp_path / "r", {"test": 30, "train": 2}, ("natural", "erosion", "blob_cut", "shift"))
    return RecordSet(tmp_path / "r")


def test_frozen_and_read_back(records, tmp_path):
    made = freeze(records, "test", ["shift"])
    write_frozen(tmp_path / "f.json", made)
    for _ in range(2):  # into a folder of folders that are not there, and again
        write_frozen(tmp_path / "spread" / "new" / "f.json", made)
    assert read_frozen(tmp_path / "f.json") == made
    assert set(made["families"]["spread_unseen"]) == {"shift"}
    assert set(made["families"]["spread"]) <= {"erosion", "blob_cut"}
    dice = records.table.set_index("record_id").dice[sorted(made["masks"])]
    assert sum(made["counts"].values()) == len(dice)
    unseen = dice.index.str.contains("shift")
    for name, part in (("spread", dice[~unseen]), ("spread_unseen", dice[unseen])):
        assert made["sd_dice"][name] == pytest.approx(np.std(part), abs=5e-5)
    rows = records.table.assign(record_set=str(records.folder))
    rows = rows[rows.split == "test"]
    kept = rows[frozen_rows(made, rows)]
    assert (kept.variant == "natural").sum() == 30
    assert set(kept.record_id[kept.variant != "natural"]) == set(made["masks"])


def test_bins_are_thinned_as_far_as_the_spread_asks(records, monkeypatch):
    shares = {"narrow": (0.0, 1.0), "wide": (0.255, 1.0)}
    table = records.table
    corrupted = (table["split"] == "test") & table["variant"].isin(["erosion", "blob_cut"])
    table.loc[corrupted, "dice"] = np.resize([0.05, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.95, 0.45, 0.55, 0.55], 60)
    made = {}
    for name, limits in shares.items():
        monkeypatch.setattr(frozen, "SD_RANGE", limits)
        made[name] = freeze(records, "test", ["shift"])
    assert made["narrow"]["sd_dice"]["spread"] < 0.255 <= made["wide"]["sd_dice"]["spread"]
    assert made["narrow"]["rule"].endswith("over 20 %") and not made["wide"]["rule"].endswith("over 20 %")
    assert made["wide"]["counts"]["spread"] < made["narrow"]["counts"]["spread"]


def test_another_mask_a_missing_one_and_an_edited_list_are_refused(records, tmp_path):
    made = freeze(records, "test", ["shift"])
    rows = records.table.assign(record_set=str(records.folder))
    name = next(iter(made["masks"]))
    with pytest.raises(ConfigError, match=f"not among the records, {min(made['masks'])}"):
        frozen_rows(made, rows[rows.record_id != min(made["masks"])])
    write_mask(records.folder / "masks" / f"{name}.png", ~records.mask(name))
    with pytest.raises(ConfigError, match=f"{name} is not the frozen one"):
        frozen_rows(made, rows)
    made["masks"].pop(name)
    (tmp_path / "f.json").write_text(json.dumps(made))
    with pytest.raises(ConfigError, match="edited after"):
        read_frozen(tmp_path / "f.json")
    with pytest.raises(ConfigError, match="no frozen set"):
        read_frozen(tmp_path / "nowhere.json")


def test_a_set_without_spread_is_refused(tmp_path):
    make_record_set(tmp_path / "r", {"test": 8}, ("natural", "erosion"), dice={"test": 0.9})
    with pytest.raises(ConfigError, match=r"SD\(Dice\)"):
        freeze(RecordSet(tmp_path / "r"), "test", ["shift"])
