"""The verdict in words: it says what the numbers say, and nothing that they do not."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sqp.quality.judging.risk import Choice, RiskRule
from sqp.report.findings import best_free_score, evaluation_findings, prediction_findings


def comparison(**model: float) -> pd.DataFrame:
    """A model that is better than a free score and than a guess, by differences clear of 0; `model` changes its row."""
    rows = [
        {"method": "quality_model", "n": 200, "spearman": 0.7, "mae": 0.05, "mae_low": 0.04, "mae_high": 0.06,
         "coverage": 0.9, "coverage_low": 0.86, "coverage_high": 0.93} | model,
        {"method": "predict_the_median", "n": 200, "mae": 0.2, "mae_difference_low": -0.2, "mae_difference_high": -0.1},
        {"method": "area", "n": 200, "spearman": 0.4, "mae": 0.15, "spearman_difference_low": 0.2,
         "mae_difference_low": -0.2, "mae_difference_high": -0.1},
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(subset="natural")


def rows(n: int = 200) -> pd.DataFrame:
    """Half is accepted (three quarters of it rightly, a tenth truly bad), a quarter rejected (rightly)."""
    verdict = np.array(["accept"] * (n // 2) + ["reject"] * (n // 4) + ["review"] * (n - n // 2 - n // 4))
    dice = np.full(n, 0.75)
    dice[: 3 * n // 8] = 0.9
    dice[3 * n // 8 : 3 * n // 8 + n // 20] = 0.3
    dice[verdict == "reject"] = 0.4
    return pd.DataFrame({"verdict": verdict, "dice": dice})


def test_images_that_were_skipped_belong_to_the_verdict():
    table = rows(4).assign(predicted_dice=0.8, image_id=list("abcd"))
    found = prediction_findings(table, 0.8, 0.7, skipped={"e": "truncated", "f": "no mask"})
    assert found.headline.endswith(" need a person's eye. 2 of 6 images were skipped.")
    assert "skipped" not in prediction_findings(table, 0.8, 0.7).headline


def test_a_model_that_is_worth_it():
    found = evaluation_findings(comparison(), rows(), 0.8, 0.7, 0.9)
    text = " ".join(found.points)
    assert found.headline == (
        "The quality model is worth it: on these 200 masks it is clearly better than every free score."
    )
    for part in (
        "about the 200 natural masks",
        "off by 0.050 on average (0.040 to 0.060); guessing the median for every mask would be off by 0.200",
        "of 0.70, where 1 is perfect; the best free score by Spearman (those fitted on calibration masks "
        "count), area, has 0.40.",
        "Accepted: 100 of 200 (50%). Of these 75 of 100 (75%) truly reach 0.8; 10 are truly below 0.7",
        "Rejected: 50 of 200 (25%). Of these 50 of 50 (100%) are truly below 0.7.",
        "The 90% intervals hold the truth for 90% of the masks, as promised.",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spearman_difference_low": -0.1}, "has no clear advantage over area"),
        ({"mae_difference_high": 0.1}, "has no clear advantage over area"),
        ({"mae_difference_low": 0.1, "mae_difference_high": 0.2}, "Do not rely on .* less exact than area"),
        ({"spearman_difference_low": np.nan, "mae_difference_high": np.nan}, "is worth it"),  # the guess is left
    ],
)
def test_the_headline_follows_the_differences(change, says):
    table = comparison()
    for name, value in change.items():
        table.loc[table["method"] == "area", name] = value
    assert pd.Series(evaluation_findings(table, rows(), 0.8, 0.7).headline).str.contains(says).all()


def test_without_any_difference_nothing_is_claimed():
    table = comparison().drop(columns=["spearman_difference_low", "mae_difference_low", "mae_difference_high"])
    table = table.assign(spearman_difference_low=np.nan, mae_difference_high=np.nan, mae_difference_low=np.nan)
    assert "cannot be told" in evaluation_findings(table, rows(), 0.8, 0.7).headline


@pytest.mark.parametrize(
    ("ends", "level", "says", "warned"),
    [
        ((0.6, 0.7), 0.9, "they are too narrow", True),
        ((0.92, 0.97), 0.9, "wider than they need to be", False),
        ((0.6, 0.7), None, "The intervals hold the truth for 90% of the masks.", False),
    ],
)
def test_coverage_is_held_against_the_level(ends, level, says, warned):
    table = comparison(coverage_low=ends[0], coverage_high=ends[1])
    found = evaluation_findings(table, rows(), 0.8, 0.7, level)
    assert says in found.points[-1] and ("do not act on its verdicts" in found.headline) == warned


def test_few_rows_and_no_accepted_mask_are_told():
    few = rows(8).assign(verdict="review")
    text = " ".join(evaluation_findings(comparison(mae=np.nan, spearman=np.nan), few, 0.8, 0.7).points)
    assert "Only 8 masks were tested" in text and "Not one mask was accepted" in text and "cannot be told" in text
    assert "nan" not in text


def test_few_groups_are_few_however_many_masks():
    many = rows(200).assign(group=np.arange(200) // 20)
    assert evaluation_findings(comparison(), many, 0.8, 0.7).points[-1].startswith("Only 200 masks of 10 groups were")
    assert "Only" not in evaluation_findings(comparison(), rows(200), 0.8, 0.7).points[-1]


def test_a_guess_is_held_against_the_model_on_the_masks_that_both_have():
    table = comparison()
    table.loc[table["method"] == "predict_the_median", "mae_difference"] = -0.12
    assert (
        "guessing the median for every mask would be off by 0.170"
        in evaluation_findings(table, rows(), 0.8, 0.7).points[1]
    )


def test_predictions_in_words(predictions):
    found = prediction_findings(predictions.assign(reason=["", *["empty mask"] * 11]), 0.8, 0.7, 0.9)
    text = " ".join(found.points)
    assert found.headline == (
        "2 of 12 (17%) masks can be taken as they are, 6 should be drawn again, 4 need a person's eye."
    )
    assert "the low end of the mask's 90% interval reaches 0.8" in text
    assert "No answer for 1 (1 empty mask)" in text
    error = (predictions["dice"] - predictions["predicted_dice"]).abs().mean()
    assert f"(11 masks) the prediction is off by {error:.3f} on average" in text
    assert "no threshold" not in text
    unknown = predictions.assign(predicted_dice=np.nan, dice=np.nan, verdict="abstain")
    assert "nan" not in " ".join(prediction_findings(unknown, 0.8, 0.7).points)
    assert prediction_findings(predictions.head(0), 0.8, 0.7).headline == "There are no masks to judge."


def test_a_chosen_risk_in_words(predictions):
    found = prediction_findings(predictions, 0.8, 0.7, 0.9, Choice(RiskRule(), 0.6125, 400, 240, 7))
    assert found.headline.startswith("2 of 12 (17%) masks can be taken as they are")
    promise = "with 90% confidence at most 5% of the accepted have a Dice below 0.7"
    assert f"interval reaches 0.613, chosen so that {promise}" in found.points[0]
    assert "(tested on 400 calibration groups: 240 reached it, 7 of these failed)" in found.points[0]
    nothing = predictions.assign(verdict=predictions["verdict"].replace("accept", "review"))
    found = prediction_findings(nothing, 0.8, 0.7, 0.9, Choice(RiskRule(), math.inf, 12, 0, 0))
    assert found.headline.startswith(
        "At the chosen risk no mask can be taken as it is, 6 should be drawn again, 6 need"
    )
    assert (
        f"nothing is accepted, since no threshold is safe: tested on 12 calibration groups, none lets one say {promise}"
        in found.points[0]
    )


def test_the_best_free_score_is_chosen_on_masks_that_it_shares_with_the_model():
    """`own` has the higher Spearman, but only of the easy masks, where the model is better still."""
    rows = pd.DataFrame(
        {
            "method": ["quality_model", "predict_the_mean", "own", "fitted", "none"],
            "n": [200, 200, 50, 200, 0],
            "n_paired": [math.nan, 200, 50, 200, 0],
            "spearman": [0.7, math.nan, 0.65, 0.6, math.nan],
            "spearman_difference": [math.nan, math.nan, 0.3, 0.1, math.nan],
        }
    ).set_index("method")
    assert best_free_score(rows) == "fitted"
    assert best_free_score(rows.drop(columns="spearman_difference")) == "own"  # nothing else to go by
    assert best_free_score(rows.drop(index=["own", "fitted"])) is None


def test_a_best_score_of_fewer_masks_says_so():
    table = comparison().assign(n_paired=[math.nan, 200, 50], spearman_difference=[math.nan, math.nan, 0.3])
    text = " ".join(evaluation_findings(table, rows(), 0.8, 0.7, 0.9).points)
    assert "area, has 0.40 on the 50 masks that it says something of." in text
