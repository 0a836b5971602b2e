"""Figures of the evidence: what must be in the axes is there, degenerate input draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.metrics.pooled import PixelCalibration
from sqp.metrics.selective import risk_coverage
from sqp.report.evaluation_figures import (
    bland_altman,
    coverage_figure,
    forest,
    pixel_calibration,
    raters_figure,
    risk_curves,
    tier_boxes,
)

RNG = np.random.default_rng(0)
NAN = float("nan")


def test_the_forest_is_sorted_and_says_what_is_undefined():
    table = pd.DataFrame(
        {"method": ["quality_model", "area", "constant"], "spearman": [0.6, 0.1, NAN], "mae": [0.1, 0.3, 0.2]}
        | {f"{name}_{end}": [0.0, 0.1, NAN] for name in ("spearman", "mae") for end in ("low", "high")}
    )
    left, right = forest(table).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["constant", "area", "quality_model"]
    own, others = left.lines
    assert own.get_xydata().tolist() == [[0.6, 2]] and others.get_xydata().tolist() == [[0.1, 1]]
    assert [text.get_text() for text in left.texts] == ["undefined"] and not right.texts


def test_bland_altman_draws_bias_and_limits():
    rows = pd.DataFrame({"dice": RNG.random(40), "predicted_dice": RNG.random(40)})
    axes = bland_altman({"natural": rows, "empty": rows.head(0)}).axes
    error = rows["predicted_dice"] - rows["dice"]
    expected = [error.mean(), error.mean() - 1.96 * error.std(), error.mean() + 1.96 * error.std()]
    assert [line.get_ydata()[0] for line in axes[0].lines] == pytest.approx(expected)
    assert axes[0].get_title() == "natural (n = 40)" and not axes[1].lines


def test_risk_curves_hold_every_method_and_both_references():
    score, risk = RNG.random(50), RNG.random(50)
    curves = {"quality_model": risk_coverage(score, risk), "none": risk_coverage([], [])}
    curves |= {"true order": risk_coverage(-risk, risk), "no order": risk_coverage(0 * risk, risk)}
    figure = risk_curves({"natural": curves})
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["quality_model", "none", "true order", "no order"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), curves["quality_model"][1][2:])  # from 5 % of 50
    assert axes.get_ylim()[0] == 0


def test_tier_boxes_draw_empty_tiers_too():
    axes = tier_boxes({"quality_model": [np.array([0.9, 0.8]), np.array([]), np.array([0.2])]}).axes[0]
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["high\nn = 2 (67%)", "moderate\nn = 0 (0%)", "low\nn = 1 (33%)"]


def test_coverage_has_a_panel_a_way_of_calibrating():
    table = pd.DataFrame({"level": [0.5, 0.9], "coverage": [0.4, 0.7], "coverage_low": 0.3, "coverage_high": 0.8})
    assert len(coverage_figure({"natural": table}, "").axes) == 1
    apart = table.assign(**{f"coverage_apart{end}": 0.9 for end in ("", "_low", "_high")})
    left, right = coverage_figure({"natural": apart}, "area").axes
    assert left.lines[1].get_ydata().tolist() == [0.4, 0.7] and right.lines[1].get_ydata().tolist() == [0.9, 0.9]


class Scaled:
    """One segmenter, not scaled: there was no temperature."""

    segmenter = "unet"

    def __init__(self) -> None:
        self.before, self.after = PixelCalibration(), PixelCalibration()
        self.before.update(RNG.random((9, 9)), RNG.random((9, 9)) < 0.5)


def test_pixel_calibration_draws_what_there_is():
    one = Scaled()
    numbers = pd.DataFrame({"ece": [0.1, 0.2, NAN], "dice": [0.9, 0.8, 0.7]})
    left, right = pixel_calibration([one], numbers).axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["calibrated", f"unet, as it is\nECE {one.before.ece:.3f}"]
    np.testing.assert_allclose(left.lines[1].get_ydata(), one.before.table()["target"])
    assert right.get_title() == "Images (Spearman -1.000)"


def test_raters_and_nothing_at_all_draw():
    images = pd.DataFrame({"disagreement": [0.1, 0.3, NAN], "error": [0.2, 0.1, 0.5]})
    axes = raters_figure(images).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()][1] == "image (n = 2)"
    assert axes.get_xlim()[1] > 0.3
    raters_figure(images.head(0))
    for draw in (bland_altman, risk_curves, tier_boxes):
        draw({})
