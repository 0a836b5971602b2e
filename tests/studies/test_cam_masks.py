"""studies/cam_masks.py: its rows against the same measures by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny_prompters import write_classifier

from sqp.core.errors import ConfigError
from sqp.data import find_cases
from sqp.data.synthetic import write_synthetic
from sqp.metrics.overlap import dice
from sqp.prompts.cam import at_image, class_heatmap
from sqp.prompts.classifier import load_classifier
from sqp.records.load import load_case
from studies import cam_masks


def test_rows_and_summary(tmp_path):
    lesions = write_synthetic(tmp_path / "data", 20, seed=3, size=(48, 64))
    checkpoint = str(write_classifier(tmp_path / "c.safetensors"))
    argv = [str(tmp_path / "out"), f"tiny={checkpoint}", "--images", str(lesions), "--split", "test"]
    argv += ["--methods", "gradcam", "randomcam", "--percentiles", "50", "99", "--threshold_at", "image", "grid"]
    cam_masks.main(argv)
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    cases = {case.image_id: case for case in find_cases(lesions).cases if case.split == "test"}
    assert set(rows.image_id) == set(cases) and len(summary) == 2 * 2 * 2 and set(summary.images) == {len(cases)}
    one_of_four = rows[(rows.threshold_at == "grid") & (rows.percentile == 99)]
    assert (one_of_four.sampled | one_of_four.flat).all() and one_of_four.sampled.any()
    row = rows[(rows.method == "gradcam") & (rows.threshold_at == "image") & (rows.percentile == 50)].iloc[0]
    loaded = load_case(cases[row.image_id])
    heatmap = at_image(*class_heatmap(load_classifier(checkpoint), loaded.image, "gradcam")).numpy()
    assert row.dice == pytest.approx(dice(heatmap >= np.percentile(heatmap, 50), loaded.truth))
    assert summary.dice.tolist() == pytest.approx(
        rows.groupby(["classifier", "method", "threshold_at", "percentile"], sort=False).dice.mean().tolist(),
        abs=1e-5,  # both tables are rounded
    )


def test_what_it_refuses(tmp_path):
    argv = [str(tmp_path / "out"), "tiny=nowhere.safetensors", "--images", str(tmp_path)]
    with pytest.raises(ConfigError, match=r"--checkpoint nowhere\.safetensors: no such file"):
        cam_masks.main(argv)
