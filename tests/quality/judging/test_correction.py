"""What references teach of a task: a forest of the model's errors, by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.quality.judging.conformal import Conformal
from sqp.quality.judging.correction import Correction

NAMES = ("referee_dice", "rca_mean")
CONFORMAL = Conformal(2.0, 0.1, 9, 900)


def task(images: int, seed: int, off: float = -0.3, strange: float = 0.5) -> pd.DataFrame:
    """Masks of a task on which one score tells the Dice and the model is off by as much, and knows little."""
    rng = np.random.default_rng(seed)
    n = 20 * images
    dice = rng.uniform(0, 1, n)
    return pd.DataFrame(
        {
            "image_id": np.repeat([f"image_{i}" for i in range(images)], 20),
            "group": np.repeat([f"image_{i}" for i in range(images)], 20),
            "dice": dice,
            "referee_dice": (0.5 * dice + rng.normal(0, 0.03, n)).clip(0, 1),
            "rca_mean": np.where(rng.random(n) < 0.2, np.nan, rng.random(n)),
            "predicted_dice": (0.5 + 0.3 * (dice - 0.5) + off + rng.normal(0, 0.05, n)).clip(0, 1),
            "scale": 0.1,
            "low": 0.0,
            "high": 1.0,
            "strangeness": strange * rng.uniform(0.9, 1.1, n),
        }
    ).assign(ood=lambda rows: rows["strangeness"] > 1)


def error(table: pd.DataFrame) -> float:
    return float((table["predicted_dice"] - table["dice"]).abs().mean())


def test_it_mends_what_the_model_gets_wrong_on_the_task():
    correction = Correction.learn(task(8, 0), NAMES, CONFORMAL)
    new = task(30, 1)
    corrected = correction(new)
    assert error(corrected) < error(new) / 2.5
    assert corrected["predicted_dice"].corr(corrected["dice"]) > new["predicted_dice"].corr(new["dice"])
    assert correction.error == pytest.approx(error(corrected), abs=0.03)
    assert (correction.references, correction.records) == (8, 160)
    assert f"{correction.error:.3f}" in correction.sentence()


def test_where_there_is_nothing_to_mend_it_does_little_harm():
    rng = np.random.default_rng(0)
    right = task(8, 0).assign(predicted_dice=lambda rows: (rows["dice"] + rng.normal(0, 0.03, len(rows))).clip(0, 1))
    new = task(30, 1).assign(predicted_dice=lambda rows: (rows["dice"] + rng.normal(0, 0.03, len(rows))).clip(0, 1))
    assert error(Correction.learn(right, NAMES, CONFORMAL)(new)) < error(new) + 0.01


def test_an_interval_is_so_many_scales_of_the_error_that_is_left():
    corrected = Correction.learn(task(8, 0), NAMES, CONFORMAL)(task(30, 1))
    half = 2 * corrected["scale"]
    assert corrected["low"].to_numpy() == pytest.approx((corrected["predicted_dice"] - half).clip(0, 1))
    assert corrected["high"].to_numpy() == pytest.approx((corrected["predicted_dice"] + half).clip(0, 1))
    inside = corrected["dice"].between(corrected["low"], corrected["high"])
    assert 0.85 < inside.mean() <= 1 and (corrected["high"] - corrected["low"]).mean() < 0.4


def test_a_task_that_is_strange_as_a_whole_is_not_abstained_from():
    """Of its masks those are that are stranger than the references' own; of a task that is not strange, as ever."""
    correction = Correction.learn(task(8, 0, strange=2.0), NAMES, CONFORMAL)
    assert task(30, 1, strange=2.0)["ood"].all()
    assert correction(task(30, 1, strange=2.0))["ood"].mean() < 0.1
    assert correction(task(30, 1, strange=4.0))["ood"].all()
    ordinary = Correction.learn(task(8, 0), NAMES, CONFORMAL)
    assert not ordinary(task(30, 1))["ood"].any() and ordinary(task(30, 1, strange=2.0))["ood"].all()
    unknown = task(8, 2).assign(strangeness=np.nan, ood=True)
    assert correction(unknown)["ood"].all()


def test_rows_without_a_prediction_stay_so_and_teach_nothing():
    rows = task(8, 0)
    rows.loc[:4, "predicted_dice"] = np.nan
    correction = Correction.learn(rows, NAMES, CONFORMAL)
    assert correction.records == 155
    corrected = correction(rows)
    assert corrected["predicted_dice"].isna().sum() == 5 and corrected.loc[:4, "scale"].eq(0.1).all()
    assert rows.loc[5, "scale"] == 0.1  # the table that was handed over is as it was
    nothing = rows.assign(predicted_dice=np.nan)
    assert correction(nothing) is nothing
