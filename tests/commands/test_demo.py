"""The demo end to end, with the fake segmenter in LiteMedSAM's place; CI runs the real one."""

from __future__ import annotations

import pandas as pd
import pytest

from sqp import segmenters
from sqp.cli.main import main
from sqp.commands import demo
from sqp.config.demo import LEAST_IMAGES, DemoConfig
from sqp.core.errors import ConfigError
from sqp.data import find_cases
from sqp.data.synthetic import write_synthetic
from sqp.quality.bundle.storage import Bundle


def test_the_demo_ends_with_table_picture_and_report(fake_segmenter, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(segmenters.SEGMENTERS, "litemedsam", segmenters.SEGMENTERS["fake"])
    out = tmp_path / "demo"
    args = ["demo", "--out", str(out), "--images", "60", "--size", "[48, 64]", "--epochs", "2", "--workers", "0"]
    assert main(args) == 0
    shown = capsys.readouterr().out
    assert "quality_model" in shown and "pairwise_dice" in shown
    for name in ("predicted_vs_true.png", "report.html"):
        path = out / "evaluation" / name
        assert str(path) in shown and path.stat().st_size > 1000
    assert (out / "predictions" / "predictions.csv").exists()
    assert Bundle.load(out / "model" / "bundle").channels
    table = pd.read_csv(out / "evaluation" / "evaluation.csv")
    assert set(table.subset) == {"natural", "spread", "spread_unseen", "all"}
    built = len(fake_segmenter)
    assert main(args) == 0  # again: nothing is segmented or trained anew
    assert len(fake_segmenter) == built


def test_too_few_images_are_refused():
    with pytest.raises(ConfigError, match="at least"):
        demo.run(DemoConfig(images=LEAST_IMAGES - 1))


@pytest.mark.parametrize("seed", range(5))
def test_the_least_number_of_images_fills_every_split(seed, tmp_path):
    cases = find_cases(write_synthetic(tmp_path, LEAST_IMAGES, seed, (16, 16), demo.FRACTIONS))
    groups = {split: {c.group for c in cases if c.split == split} for split in demo.FRACTIONS}
    assert len(groups["calibration"]) >= 9 and all(groups.values())
