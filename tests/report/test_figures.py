"""Figures: what must be in the axes is there, the numbers printed are right, degenerate input draws."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from sqp.report import figures


def frame(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dice = rng.uniform(0, 1, n)
    predicted = np.clip(dice + rng.normal(0, 0.1, n), 0, 1)
    return pd.DataFrame({"dice": dice, "predicted_dice": predicted, "low": predicted - 0.15, "high": predicted + 0.15})


def identity(axes) -> np.ndarray:
    (line,) = [line for line in axes.lines if line.get_gid() == "identity"]
    return line.get_xydata()


def test_scatter_has_points_identity_band_and_right_numbers():
    data = frame(200)
    data.loc[0, "dice"] = data.loc[1, "predicted_dice"] = np.nan
    known = data.iloc[2:]
    axes = figures.predicted_vs_true({"natural": data}).axes[0]
    np.testing.assert_array_equal(identity(axes), [[0, 0], [1, 1]])
    band, points = axes.collections
    np.testing.assert_allclose(points.get_offsets(), known[["predicted_dice", "dice"]])
    assert np.ptp(band.get_paths()[0].vertices[:, 0]) == pytest.approx(np.ptp(known["predicted_dice"]))
    text = axes.texts[0].get_text()
    numbers = dict(re.findall(r"(.+) = (.+)", text))
    assert numbers["n"] == "198"
    assert numbers["Pearson"] == f"{stats.pearsonr(known.dice, known.predicted_dice).statistic:.3f}"
    assert numbers["MAE"] == f"{(known.dice - known.predicted_dice).abs().mean():.3f}"
    inside = ((known.dice >= known.low) & (known.dice <= known.high)).mean()
    assert f"covered {inside:.1%}, width 0.300" in text


def test_panels_per_subset():
    figure = figures.predicted_vs_true({"natural": frame(50), "spread": frame(30), "a": frame(5), "b": frame(2)})
    assert [axes.get_title() for axes in figure.axes if axes.axison] == ["natural", "spread", "a", "b"]


def test_calibration_draws_the_bin_means():
    data = frame(400)
    axes = figures.calibration({"natural": data, "tiny": frame(2)}).axes[0]
    np.testing.assert_array_equal(identity(axes), [[0, 0], [1, 1]])
    line = next(line for line in axes.lines if "natural" in str(line.get_label()))
    expected = data.groupby(np.minimum(data.predicted_dice * 10 // 1, 9)).dice.mean()
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "identity",
        "natural (n = 400)",
        "tiny (n = 2)",
    ]


@pytest.mark.parametrize("data", [frame(0), frame(1), frame(40).assign(dice=0.5, predicted_dice=0.5)])
def test_degenerate_rows_still_draw(data, tmp_path):
    for name, figure in (
        ("s", figures.predicted_vs_true({"x": data})),
        ("c", figures.calibration({"x": data})),
    ):
        path = figures.save(figure, tmp_path / f"{name}.png")
        with Image.open(path) as image:
            assert min(image.size) > 400


def test_a_prediction_without_intervals_has_no_band():
    data = frame(50).assign(low=np.nan, high=np.nan)
    axes = figures.predicted_vs_true({"x": data}).axes[0]
    assert "covered" not in axes.texts[0].get_text()
    assert len(axes.collections) == 1
