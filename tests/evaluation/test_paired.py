"""Statistics of methods on shared resamples, against metrics' own bootstrap and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sqp.evaluation.paired import MODEL, Paired, correlation_rows, mean_cells, mean_rows
from sqp.metrics import agreement
from sqp.metrics.stats import Resamples, bootstrap, paired_difference

RNG = np.random.default_rng(0)
TRUTH, GROUP = RNG.random(60), np.repeat(np.arange(20), 3).astype(str)
GOOD, GAPS = TRUTH + RNG.normal(0, 0.1, 60), np.where(np.arange(60) % 6, TRUTH + RNG.normal(0, 0.3, 60), np.nan)
RESAMPLES = Resamples.draw(GROUP, 200, 1)


def mae(weights, values, truth):
    return {"mae": agreement.mae.over(weights, values, truth)}


def test_a_row_is_what_metrics_say():
    paired = Paired(mae, (TRUTH,), RESAMPLES)
    row = paired.row("gaps", {MODEL: (GOOD,), "gaps": (GAPS,)})
    assert row["n"] == row["n_paired"] == 50 and row["n_groups"] == 20
    assert row["mae"] == pytest.approx(agreement.mae(GAPS, TRUTH))
    own = bootstrap(agreement.mae, GAPS, TRUTH, resamples=RESAMPLES)
    assert (row["mae_low"], row["mae_high"]) == pytest.approx(own)
    expected = paired_difference(agreement.mae, TRUTH, GOOD, GAPS, resamples=RESAMPLES)
    assert [row[f"mae_difference{end}"] for end in ("", "_low", "_high")] == pytest.approx(list(expected))


def test_the_model_has_no_difference_and_a_method_without_rows_is_nan():
    paired = Paired(mae, (TRUTH,), RESAMPLES)
    methods = {MODEL: (GOOD,), "absent": (np.full(60, np.nan),)}
    assert not any("difference" in key for key in paired.row(MODEL, methods))
    row = paired.row("absent", methods)
    assert row["n"] == row["n_groups"] == row["n_paired"] == 0
    assert np.isnan([row["mae"], row["mae_low"], row["mae_difference"], row["mae_difference_high"]]).all()


def test_means_with_gaps():
    table = mean_rows({"gaps": GAPS, "none": np.full(60, np.nan), "one": np.r_[1.0, np.full(59, np.nan)]}, RESAMPLES)
    table = table.set_index("quantity")
    known = GAPS[np.isfinite(GAPS)]
    assert table.loc["gaps", ["n", "mean", "sd", "median"]].tolist() == pytest.approx(
        [50, known.mean(), known.std(ddof=1), np.median(known)]
    )
    expected = bootstrap(lambda x: float(np.nanmean(x)), GAPS, resamples=RESAMPLES)
    assert table.loc["gaps", ["mean_low", "mean_high"]].tolist() == pytest.approx(list(expected))
    assert table.loc["none", "n"] == 0 and table.loc["none"].drop("n").isna().all()
    assert table.loc["one", "mean"] == 1 and np.isnan(table.loc["one", "sd"])
    assert mean_cells("x", np.array([np.nan, np.nan]), Resamples.draw(["a", "b"], 5))["x"] is not None


def test_correlations_equal_scipy_and_say_why_they_are_nan():
    shared = np.where(np.arange(60) < 3, np.nan, TRUTH)
    table = correlation_rows({"gaps": GAPS, "constant": np.ones(60)}, shared, RESAMPLES).set_index("quantity")
    keep = np.isfinite(GAPS) & np.isfinite(shared)
    assert table.loc["gaps", "n"] == keep.sum()
    assert table.loc["gaps", "pearson"] == pytest.approx(scipy_stats.pearsonr(GAPS[keep], TRUTH[keep]).statistic)
    assert table.loc["gaps", "spearman"] == pytest.approx(scipy_stats.spearmanr(GAPS[keep], TRUTH[keep]).statistic)
    assert np.isnan(table.loc["constant", "pearson"])
    assert "constant prediction: no correlation" in table.loc["constant", "note"]
