"""The table of the paper's analytic part, on a small record set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from recordsets import make_record_set

from studies import paper000


def test_quantities_by_hand(tmp_path):
    records = make_record_set(tmp_path / "records", {"train": 30}, ("natural",), maps=("probability",))
    table = pd.read_parquet(records / "records.parquet")
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(0, 1, len(table)) for name in paper000.ABLATION if name != "sigmoid_mask"}
    table.assign(**scores).to_parquet(records / "records.parquet")
    paper000.main([str(records), str(tmp_path / "out" / "paper000")])
    found = pd.read_csv(tmp_path / "out" / "paper000.csv").set_index("quantity")["sqp"]
    assert float(found["Dice, mean"].split()[0]) == pytest.approx(table["dice"].mean(), abs=1e-3)
    pearson = np.corrcoef(scores["max_confidence"], table["dice"])[0, 1]
    assert float(found["max p: Pearson with Dice"].split()[0]) == pytest.approx(pearson, abs=1e-3)
    text = (tmp_path / "out" / "paper000.md").read_text()
    assert f"{len(table)} images" in text and "Cohen's d to high" in text
