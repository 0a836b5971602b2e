"""One wrong image, and predictors that err with or against the model, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.evaluation.shared_errors import shared_errors


def test_the_worst_images_and_the_models_company() -> None:
    dice = np.linspace(0.2, 0.9, 200)
    rows = pd.DataFrame({"dice": dice, "image_id": np.arange(200).astype(str), "predicted_dice": dice + 0.01})
    rows.loc[7, "predicted_dice"] += 0.5  # one of the two worst
    rows["peer"] = dice - 2 * (rows["predicted_dice"] - dice)
    rows["area"] = np.where(np.arange(200) == 3, np.nan, dice)
    rows["absent"] = np.nan
    calibration = pd.DataFrame({"dice": [0.2, 0.4], "area": [0.2, 0.4], "absent": np.nan, "image_id": ["a", "b"]})
    predictors = {"quality_model": "predicted_dice", "peer": "peer"}
    found = shared_errors(rows, calibration, predictors, ["area", "absent"]).set_index("method")
    assert found.loc["quality_model", "worst"] == pytest.approx((0.51**2 + 1e-4) / (0.51**2 + 199e-4))
    assert found.loc["peer", "worst"] == pytest.approx(found.loc["quality_model", "worst"])
    assert found["with_model"][["quality_model", "peer"]].tolist() == pytest.approx([1, -1])
    assert found.loc["area", "n"] == 199 and "absent" not in found.index
