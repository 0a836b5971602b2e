"""What a training says of itself where the mean, or the free scores, know more."""

from __future__ import annotations

import pandas as pd
import pytest

from sqp.evaluation.val_report import FEW, expectation, reservations


def comparison(**of_subsets):
    """`subset=(own, mean, fitted)` mean absolute errors -> the table of `compare_subsets`."""
    methods = ("quality_model", "predict_the_mean", "nonneg_regression")
    rows = [
        {"subset": subset, "dataset": dataset, "method": method, "mae": mae + (dataset != "all")}
        for subset, errors in of_subsets.items()
        for dataset in ("all", "isic2018")
        for method, mae in zip(methods, errors, strict=True)
    ]
    return pd.DataFrame(rows)


def test_a_model_that_is_better_has_nothing_to_say():
    assert reservations(comparison(natural=(0.1, 0.2, 0.15))) == []
    assert reservations(comparison(natural=(0.1, 0.2, float("nan")))) == []
    assert reservations(comparison(natural=(0.1, float("nan"), 0.1))) == []


def test_no_better_than_the_mean_is_said_with_both_figures():
    for own in (0.357, float("nan"), 0.323):
        (sentence,) = reservations(comparison(natural=(own, 0.323, 0.4)))
        assert "no better than the mean" in sentence and f"MAE {own:.3f}, 0.323" in sentence


def test_fitted_scores_that_err_less_are_offered():
    (sentence,) = reservations(comparison(natural=(0.1, 0.2, 0.09)))
    assert "nonneg_regression" in sentence and "0.090" in sentence and "--backbone tabular" in sentence
    assert len(reservations(comparison(natural=(0.3, 0.2, 0.1)))) == 2


def test_all_kinds_of_masks_together_count():
    better_on_all = {"natural": (0.3, 0.2, 0.1), "spread": (0.1, 0.2, 0.3), "all": (0.1, 0.2, 0.3)}
    assert reservations(comparison(**better_on_all)) == []
    assert len(reservations(comparison(**better_on_all | {"all": (0.3, 0.2, 0.1)}))) == 2


@pytest.mark.parametrize(("images", "told"), [(60, True), (FEW - 1, True), (FEW, False)])
def test_few_images_are_told_before_anything_is_trained(images, told):
    rows = pd.DataFrame({"image_id": [f"i{k // 2}" for k in range(2 * images)], "dataset": "mine"})
    assert expectation(rows).startswith(f"{images} images: below some 300") == told
    assert bool(expectation(rows)) == told
