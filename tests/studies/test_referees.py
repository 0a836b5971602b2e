"""Candidates for a referee on tiny images: every candidate on the same images, means of maps, Dice by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fakes import put_fake
from plain_networks import write_checkpoint

from sqp.data import find_cases
from sqp.data.split_files import write_splits
from sqp.data.splits import make_splits
from sqp.metrics.overlap import dice
from sqp.records.load import load_case
from sqp.segmenters import SEGMENTERS
from studies import referees


@pytest.fixture
def out(lesions, tmp_path, monkeypatch):
    put_fake(monkeypatch)
    monkeypatch.setitem(SEGMENTERS, "litemedsam", SEGMENTERS["fake"])
    write_splits(tmp_path / "splits.json", make_splits(find_cases(lesions).cases))
    network = write_checkpoint(tmp_path / "unet.safetensors")
    asked = [str(lesions), str(tmp_path / "splits.json"), str(tmp_path / "out"), "--network", str(network)]
    referees.main([*asked, "--most", "3"])
    return tmp_path


def test_every_candidate_is_judged_on_the_same_images(out, lesions):
    table = pd.read_csv(out / "out" / "dice.csv")
    counts = table.groupby("candidate")["image_id"].agg(["nunique", "size"])
    assert (counts["size"] == counts["nunique"]).all() and counts["size"].nunique() == 1
    assert set(table.candidate) == {
        "network, as it is", "network", "otsu", "network's box", "network and LiteMedSAM in its box",
    }  # fmt: skip
    candidates = referees.Candidates(out / "unet.safetensors", None)
    case = next(case for case in find_cases(lesions).cases if case.image_id == table.image_id[0])
    loaded = load_case(case)
    maps = candidates(loaded.image)
    first = table[table.image_id == case.image_id].set_index("candidate")["dice"]
    for name, p in maps.items():
        assert first[name] == pytest.approx(dice(p >= 0.5, loaded.truth), abs=1e-6)
    both = (maps["network"] + maps["network's box"]) / 2
    assert np.array_equal(maps["network and LiteMedSAM in its box"], both)
    assert "| network's box |" in (out / "out" / "referees.md").read_text().replace("  ", "")
