"""The comparison table against scipy, scikit-learn and metrics on the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from sqp.evaluation.comparison import DETAILS, MEAN, MEDIAN, MODEL, compare, short
from sqp.metrics import agreement
from sqp.metrics.aggregation import AGGREGATES
from sqp.metrics.stats import paired_difference

STATISTICS = ("pearson", "spearman", "within_spearman", "r2", "mae", "rmse")


def rows(n_images: int = 30, each: int = 4, seed: int = 0) -> pd.DataFrame:
    """Groups of two images; `good` rises with Dice, `bad` falls, `gaps` is NaN in every fifth row."""
    rng = np.random.default_rng(seed)
    n = n_images * each
    image = np.repeat(np.arange(n_images), each)
    dice = np.clip(rng.beta(3, 1, n), 0, 1)
    predicted = np.clip(dice + rng.normal(0, 0.05, n), 0, 1)
    good = 2 * dice + rng.normal(0, 0.2, n)
    return pd.DataFrame(
        {
            "image_id": image,
            "group": image // 2,
            "dice": dice,
            "predicted_dice": predicted,
            "low": predicted - 0.1,
            "high": predicted + 0.1,
            "good": good,
            "bad": -good + rng.normal(0, 0.3, n),
            "gaps": np.where(np.arange(n) % 5 == 0, np.nan, good),
            "constant": 0.5,
            "absent": np.nan,
        }
    )


SCORES = ["good", "bad", "gaps", "constant", "absent"]


@pytest.fixture(scope="module")
def tested():
    return rows()


@pytest.fixture(scope="module")
def calibration():
    return rows(seed=1)


@pytest.fixture(scope="module")
def table(tested, calibration):
    return compare(tested, calibration, SCORES, n_resamples=300, seed=3).set_index("method")


def test_methods_in_order(table):
    assert list(table.index) == [MODEL, MEDIAN, MEAN, *SCORES, *AGGREGATES]


def test_the_model_against_scipy_and_sklearn(table, tested):
    row, y, x = table.loc[MODEL], tested["dice"], tested["predicted_dice"]
    images = [part for _, part in tested.groupby("image_id")]
    expected = {
        "n": 120,
        "n_groups": 15,
        "sd_dice": y.std(ddof=0),
        "pearson": stats.pearsonr(x, y).statistic,
        "spearman": stats.spearmanr(x, y).statistic,
        "within_spearman": np.mean([stats.spearmanr(p.predicted_dice, p.dice)[0] for p in images]),
        "r2": r2_score(y, x),
        "mae": mean_absolute_error(y, x),
        "rmse": root_mean_squared_error(y, x),
        "coverage": ((tested.low <= y) & (y <= tested.high)).mean(),
        "width": 0.2,
    }  # fmt: skip
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("name", ["good", "bad", "gaps"])
def test_a_score_against_sklearn_on_its_own_rows(table, tested, calibration, name):
    part, fit = tested.dropna(subset=name), calibration.dropna(subset=name)
    line = LinearRegression().fit(fit[[name]], fit["dice"]).predict(part[[name]]).clip(0, 1)
    row, y = table.loc[name], part["dice"]
    assert row["n"] == row["n_paired"] == len(part)
    assert row["spearman"] == pytest.approx(stats.spearmanr(part[name], y).statistic)
    assert row["pearson"] == pytest.approx(stats.pearsonr(part[name], y).statistic)
    assert row["r2"] == pytest.approx(r2_score(y, line))
    assert row["mae"] == pytest.approx(mean_absolute_error(y, line))
    assert row["rmse"] == pytest.approx(root_mean_squared_error(y, line))
    model = part["predicted_dice"]
    expected = stats.spearmanr(model, y).statistic - row["spearman"]
    assert row["spearman_difference"] == pytest.approx(expected)
    assert row["mae_difference"] == pytest.approx(mean_absolute_error(y, model) - row["mae"])


def test_a_score_that_falls_keeps_its_sign(table):
    assert table.loc["bad", "spearman"] < -0.5
    assert table.loc["bad", "r2"] > 0.3  # its line falls too


def test_paired_intervals_are_those_of_metrics(table, tested):
    for name in ("good", "gaps"):
        expected = paired_difference(
            agreement.spearman, tested.dice, tested.predicted_dice, tested[name],
            group=tested.group.astype(str), n_resamples=300, seed=3,
        )  # fmt: skip
        row = table.loc[name]
        got = [row[f"spearman_difference{end}"] for end in ("", "_low", "_high")]
        assert got == pytest.approx(list(expected))


def test_every_interval_holds_its_estimate(table):
    for name in STATISTICS:
        known = table[name].notna()
        assert (table[f"{name}_low"][known] <= table[name][known] + 1e-12).all(), name
        assert (table[name][known] <= table[f"{name}_high"][known] + 1e-12).all(), name
        assert (table[f"{name}_low"][known] < table[f"{name}_high"][known]).all(), name


def test_the_median_of_the_calibration_rows_is_a_row(table, tested, calibration):
    row = table.loc[MEDIAN]
    assert row["mae"] == pytest.approx((tested.dice - calibration.dice.median()).abs().mean())
    assert np.isnan(row["spearman"])
    assert row["note"] == "constant: no correlation"


def test_the_short_table_keeps_its_columns(table):
    """As evaluation.csv always had them (0.1.0): programs read it."""
    numbers = ("pearson", "spearman", "r2", "mae", "rmse", "within_spearman", "coverage", "width")
    ends = ("", "_low", "_high")
    expected = ["method", "n", "n_groups", "sd_dice", *(f"{name}{end}" for name in numbers for end in ends), "note"]
    expected += ["n_paired", *(f"{name}_difference{end}" for name in ("spearman", "mae") for end in ends)]
    assert list(short(table.reset_index()).columns) == expected


def test_without_details_the_short_table_is_the_same(table, tested, calibration) -> None:
    brief = compare(tested, calibration, SCORES, 200, details=False)
    assert not any(name.startswith(DETAILS) for name in brief)
    pd.testing.assert_frame_equal(short(brief), short(compare(tested, calibration, SCORES, 200)))


def test_what_is_missing_has_a_reason(table):
    assert table.loc[MODEL, "note"] == ""
    assert table.loc["gaps", "note"] == "undefined for 24 of 120 rows"
    assert table.loc["absent", "note"] == "not available for these records"
    assert table.loc["absent", list(STATISTICS)].isna().all()
    assert "constant: no correlation" in table.loc["constant", "note"]


def test_the_order_of_the_rows_does_not_matter(table, tested, calibration):
    shuffled = compare(tested.sample(frac=1, random_state=1), calibration, SCORES, n_resamples=300, seed=3)
    numbers = table.select_dtypes("number")
    pd.testing.assert_frame_equal(shuffled.set_index("method")[numbers.columns], numbers)


def test_rows_without_truth_are_left_out(table, tested, calibration):
    blind = tested.head(8).assign(dice=np.nan, group=0, image_id=0)
    more = compare(pd.concat([tested, blind]), calibration, SCORES, n_resamples=300, seed=3)
    pd.testing.assert_frame_equal(more.set_index("method"), table)


def test_one_row_and_constant_truth_give_nan_and_a_reason(calibration):
    one = compare(rows().head(1), calibration, ["good"], n_resamples=20)
    assert (one["n"] == 1).all()
    assert one["spearman"].isna().all()
    assert one["mae"].notna().all()
    assert one["note"].str.contains("one row: no correlation").all()
    flat = compare(rows().assign(dice=0.8), calibration, ["good"], n_resamples=20)
    assert flat["r2"].isna().all()
    assert flat["note"].str.contains("true Dice constant").all()


def test_without_calibration_rows_a_score_has_correlations_only(calibration):
    table = compare(rows(), calibration.head(0), ["good"], n_resamples=20).set_index("method")
    assert table.loc["good", ["r2", "mae", "rmse", "mae_difference"]].isna().all()
    assert table.loc["good", "spearman"] > 0.5
    assert "no calibration rows" in table.loc["good", "note"]
    assert table.loc[MODEL, "mae"] > 0
    assert table.loc[MEDIAN, ["mae", "spearman"]].isna().all()


def test_a_model_that_abstains_on_some_rows_is_compared_on_the_others(calibration):
    data = rows()
    data.loc[data.index[:20], ["predicted_dice", "low", "high"]] = np.nan
    table = compare(data, calibration, ["good"], n_resamples=20).set_index("method")
    assert table.loc[MODEL, "n"] == 100
    assert table.loc["good", "n"] == 120
    assert table.loc["good", "n_paired"] == 100
    assert table.loc["good", "note"] == "differences on 100 rows"
    kept = data.iloc[20:]
    expected = (
        stats.spearmanr(kept.predicted_dice, kept.dice).statistic - stats.spearmanr(kept.good, kept.dice).statistic
    )
    assert table.loc["good", "spearman_difference"] == pytest.approx(expected)


def test_p_values_compare_the_same_rows_by_group(table, tested):
    """As scipy has it of the rows that both have, a group one value."""
    errors = (tested["predicted_dice"] - tested["dice"]).abs()
    there = (table.loc[MEDIAN, "mae"], (tested["dice"] - rows(seed=1)["dice"].median()).abs())
    assert there[0] == pytest.approx(there[1].mean())
    by_group = (errors - there[1]).groupby(tested["group"]).mean()
    assert table.loc[MEDIAN, "p"] == pytest.approx(stats.wilcoxon(by_group).pvalue)


def test_errors_on_masks_that_a_score_lacks_are_no_evidence_against_it(calibration):
    """`own` is the model itself on natural masks and undefined on corrupted ones, where the model errs far more."""
    table, rng = rows(seed=2), np.random.default_rng(0)
    corrupted = np.arange(len(table)) % 4 > 0
    table["predicted_dice"] = np.where(corrupted, 0.0, table["dice"] + rng.normal(0, 0.05, len(table)))
    table["own"] = np.where(corrupted, np.nan, table["predicted_dice"])
    fitted = calibration.assign(own=calibration["dice"])
    found = compare(table, fitted, ["own"], n_resamples=20, details=False).set_index("method").loc["own"]
    assert found["n_paired"] == (~corrupted).sum() and abs(found["mae_difference"]) < 0.01
    assert np.isnan(found["p"]) or found["p"] > 0.05


@pytest.mark.parametrize("patients", [True, False])
def test_images_of_two_data_sets_may_share_an_id(calibration, patients):
    """Each counts by itself within images, whether their groups share a name or not."""
    one = rows(12).assign(dataset="one")
    two = rows(12, seed=1).assign(dataset="two")
    two["group"] = "patient " + two["image_id"].astype(str) if patients else two["group"]
    both = pd.concat([one, two.assign(group=two["group"])], ignore_index=True)
    found = compare(both, calibration, ["good"], n_resamples=20, details=False).set_index("method").loc["good"]
    rho = [agreement.spearman_by_group(part["good"], part["dice"], part["image_id"]) for part in (one, two)]
    assert found["n_within"] == 24
    assert found["within_spearman"] == pytest.approx(np.concatenate(rho).mean())


def test_one_group_has_no_interval_and_no_test(calibration):
    table = compare(rows(5).assign(group="patient"), calibration, ["good"], n_resamples=20).set_index("method")
    model = table.loc[MODEL]
    assert model["n_groups"] == 1 and model[["pearson", "mae", "coverage"]].notna().all()
    own = ("limit_low", "limit_high")  # statistics, not ends
    ends = [name for name in table if name.endswith(("_low", "_high")) and name not in own]
    assert len(ends) > 20 and table[ends].isna().all(axis=None) and table["p"].isna().all()
    assert model["note"] == "one group: no intervals, no test"
