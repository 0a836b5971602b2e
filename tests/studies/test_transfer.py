"""Falls of Pearson on sets made alike: none of the same rows, paired where the images are the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from studies.comparisons import transferred

MODEL = {"quality_model": "predicted_dice"}


@pytest.fixture
def home() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    dice = np.concatenate([rng.uniform(0, 1, 300), rng.uniform(0.9, 1, 900)])
    home = pd.DataFrame({"dice": dice, "group": np.arange(1200), "predicted_dice": dice + rng.normal(0, 0.1, 1200)})
    return home.assign(peer=rng.uniform(0, 1, 1200), agreement=dice**2, lacking=np.where(dice > 0.5, dice, np.nan))


def test_sets_are_made_alike_and_every_predictor_falls_on_the_same_rows(home: pd.DataFrame) -> None:
    away = home.iloc[:300].assign(predicted_dice=lambda rows: rows["predicted_dice"] + 0.1)
    away["group"] += 5000
    found = transferred(home, away, MODEL | {"peer": "peer"}, ["agreement", "lacking"], 200).set_index("method")
    assert list(found.index) == ["quality_model", "peer", "agreement"]  # the other score has gaps
    model = found.loc["quality_model"]
    assert model["sd_home"] == pytest.approx(model["sd_away"], abs=0.02)
    assert home["dice"].std() < away["dice"].std() - 0.02  # as they came they are not alike
    assert model["bias_away"] - model["bias_home"] == pytest.approx(0.1, abs=0.02)
    assert model["fall_low"] < 0 < model["fall_high"] and abs(model["fall"]) < 0.02
    assert abs(found.loc["peer", "pearson_home"]) < 0.2 < 0.9 < model["pearson_home"]
    assert np.isnan(found.loc["agreement", "mae_home"]) and found.loc["agreement", "pearson_away"] > 0.9
    assert found["n_home"].nunique() == found["n_away"].nunique() == 1


def test_the_same_images_are_resampled_as_pairs(home: pd.DataFrame) -> None:
    part = home.iloc[:300]
    same = transferred(part, part, MODEL, n_resamples=50).iloc[0]
    assert same["n_home"] == same["n_away"] == 300
    assert same["fall"] == same["fall_low"] == same["fall_high"] == 0  # not so where each were drawn on its own
    others = transferred(part, part.assign(group=part["group"] + 5000), MODEL, n_resamples=50).iloc[0]
    assert others["fall"] == 0 and others["fall_low"] < -0.002 and others["fall_high"] > 0.002


def test_sets_that_share_no_dice_cannot_be_compared(home: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="no bin in common"):
        transferred(home[home["dice"] < 0.2], home[home["dice"] > 0.8], MODEL, n_resamples=10)
