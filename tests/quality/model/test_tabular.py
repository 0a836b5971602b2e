from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from sqp.quality.model.tabular import Standardizer, resolve_scores

TABLE = pd.DataFrame(
    {"record_id": list("abcde"), "c_lesion": [1.0, 2, 3, 4, 5], "stability": [np.nan, 0.5, 0.5, 0.5, 0.5]}
)


def test_median_and_iqr() -> None:
    out = Standardizer.fit(TABLE, ["c_lesion"])(TABLE)
    assert out[:, 0].tolist() == [-1, -0.5, 0, 0.5, 1] and out[:, 1].tolist() == [0] * 5


def test_missing_values_become_the_median_with_an_indicator() -> None:
    out = Standardizer.fit(TABLE, ["c_lesion", "stability"])(TABLE)
    assert out.shape == (5, 4) and np.isfinite(out).all()
    assert out[0].tolist() == [-1, 0, 0, 1]


def test_outliers_are_clipped() -> None:
    fitted = Standardizer.fit(TABLE, ["c_lesion"])
    assert fitted(pd.DataFrame({"c_lesion": [1e6, -np.inf]}))[:, 0].tolist() == [5, 0]


def test_no_scores_no_columns() -> None:
    assert Standardizer.fit(TABLE, [])(TABLE).shape == (5, 0)


def test_all_takes_every_score_that_has_a_value() -> None:
    table = TABLE.assign(predicted_iou=np.nan, dice=0.5)
    assert resolve_scores(table, ["all"]) == ("c_lesion", "stability")
    assert resolve_scores(table, ["stability"]) == ("stability",)


def test_wrong_names_are_told() -> None:
    with pytest.raises(ConfigError, match=r"unknown score 'c_lesio', did you mean 'c_lesion'\?"):
        Standardizer.fit(TABLE, ["c_lesio"])
    with pytest.raises(ConfigError, match=r"'predicted_iou' has no value"):
        Standardizer.fit(TABLE.assign(predicted_iou=np.nan), ["predicted_iou"])


def test_a_bundle_that_knows_a_score_by_its_former_name_reads_it() -> None:
    """Bundles of an older sqp were trained on foreground_certainty, which is mean_entropy."""
    former = pd.DataFrame({"foreground_certainty": [0.1, 0.5, 0.9, 0.7, np.nan]})
    fitted, today = (
        Standardizer(("foreground_certainty",), (0.5,), (0.4,)),
        former.rename(columns={"foreground_certainty": "mean_entropy"}),
    )
    np.testing.assert_array_equal(fitted(today), fitted(former))
    assert fitted(today)[:, 1].tolist() == [0, 0, 0, 0, 1]
    assert resolve_scores(today, ["foreground_certainty", "mean_entropy"]) == ("mean_entropy",)
