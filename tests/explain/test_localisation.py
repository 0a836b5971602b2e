from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from sqp.explain.localisation import BINS, KINDS, areas, error_kinds, localisation_table, map_counts, of_kind
from sqp.metrics.stats import Resamples

SIDE = 48


def record(seed: int, signal: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask, truth and a map in 0-1 that is higher by `signal` where the mask is wrong."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    truth = np.hypot(x - 24, y - 24) < rng.uniform(8, 16)
    mask = np.hypot(x - 24 - rng.uniform(-6, 6), y - 20) < rng.uniform(8, 16)
    values = (rng.random((SIDE, SIDE)) + signal * (mask ^ truth)) / (1 + signal)
    return mask, truth, values


def counts_of(signal: float, n: int = 12) -> np.ndarray:
    records = [record(i, signal) for i in range(n)]
    return np.stack([map_counts(v, error_kinds(m, t)) for m, t, v in records])


@pytest.mark.parametrize("signal", [0.0, 0.4])
def test_areas_are_scikit_learns(signal):
    for seed in range(3):
        mask, truth, values = record(seed, signal)
        wrong = (mask ^ truth).ravel()
        auroc, auprc, share = areas(of_kind(map_counts(values, error_kinds(mask, truth))[None], "all"))
        assert auroc[0] == pytest.approx(roc_auc_score(wrong, values.ravel()), abs=5e-3)
        assert auprc[0] == pytest.approx(average_precision_score(wrong, values.ravel()), abs=2e-2)
        assert share[0] == pytest.approx(wrong.mean())


def test_of_rounded_values_they_are_scikit_learns_exactly():
    mask, truth, values = record(0, 0.3)
    values = np.round(values * 8) / 8  # representable, one bin each
    wrong = (mask ^ truth).ravel()
    auroc, auprc, _ = areas(of_kind(map_counts(values, error_kinds(mask, truth))[None], "all"))
    assert auroc[0] == pytest.approx(roc_auc_score(wrong, values.ravel()), abs=1e-12)
    assert auprc[0] == pytest.approx(average_precision_score(wrong, values.ravel()), abs=1e-12)


@given(st.lists(st.floats(0, 65504, width=16), min_size=2, max_size=50))
def test_bins_keep_the_order_of_the_values(values):
    row = np.array(values)[None]
    bins = [int(map_counts(row[:, i : i + 1], np.zeros((1, 1), np.uint8))[0].argmax()) for i in range(row.shape[1])]
    order = np.argsort(row[0], kind="stable")
    assert (np.diff(np.array(bins)[order]) >= 0).all() and max(bins) < BINS


def test_every_wrong_pixel_is_of_one_kind_and_the_kinds_mean_what_they_say():
    mask, truth, _ = record(3, 0)
    kinds = error_kinds(mask, truth)
    assert ((kinds > 0) == (mask ^ truth)).all()
    assert truth[kinds == 2].all() and not mask[kinds == 2].any()
    assert mask[kinds == 3].all() and not truth[kinds == 3].any()


def test_empty_masks_and_truths():
    nothing, full = np.zeros((20, 20), bool), np.ones((20, 20), bool)
    assert (error_kinds(nothing, nothing) == 0).all()
    assert (error_kinds(full, nothing) == 3).all() and (error_kinds(nothing, full) == 2).all()


def test_the_table_tells_a_map_that_points_from_one_that_does_not():
    n = 12
    counts = {"good": counts_of(0.5, n), "none": counts_of(0.0, n), "against": counts_of(-0.3, n)}
    resamples = Resamples.draw(np.arange(n), 200, 0)
    table = localisation_table(counts, resamples, np.ones(n, bool))
    assert list(table["error"][:4]) == ["all", *KINDS] and len(table) == 12
    every = table[table["error"] == "all"].set_index("map")
    assert every.loc["good", "note"] == "better than random" and every.loc["none", "note"] == "no better than random"
    assert every.loc["against", "note"].startswith("worse than random")
    assert ((every["auroc_low"] <= every["auroc"]) & (every["auroc"] <= every["auroc_high"])).all()


def test_pooled_is_over_all_pixels_and_records_without_errors_are_left_out():
    counts = counts_of(0.3, 4)
    mask, _, values = record(9, 0.3)
    perfect = map_counts(values, error_kinds(mask, mask))[None]
    resamples = Resamples.draw(np.arange(5), 50, 0)
    row = localisation_table({"m": np.concatenate([counts, perfect])}, resamples, np.ones(5, bool)).iloc[0]
    pixels = [(v[..., None], (m ^ t)) for m, t, v in (record(i, 0.3) for i in range(4))]
    values = np.concatenate([v.ravel() for v, _ in pixels])
    wrong = np.concatenate([w.ravel() for _, w in pixels])
    assert row["n"] == 4 and row["pooled_auroc"] == pytest.approx(roc_auc_score(wrong, values), abs=5e-3)
    assert row["chance_pooled_auprc"] == pytest.approx(wrong.mean())


def test_no_record_has_such_errors():
    mask, _, values = record(0, 0)
    counts = {"m": map_counts(values, error_kinds(mask, mask))[None]}
    table = localisation_table(counts, Resamples.draw([0], 20, 0), np.ones(1, bool))
    assert (table["n"] == 0).all() and (table["note"] == "no record has such errors").all()
