"""Weighted intervals by simulation: they cover under a shift where plain ones do not, and are plain ones without it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from recordsets import SPLITS, make_record_set

from sqp.commands import train
from sqp.config.train import TrainConfig
from sqp.quality.judging.conformal import group_quantile
from studies import weighted_conformal
from studies.weighted_conformal import density_ratio, weighted_quantiles


def test_equal_weights_are_the_plain_quantile():
    rng = np.random.default_rng(0)
    residual, group = rng.exponential(size=90), np.repeat(np.arange(30), 3)
    for factor in (1.0, 7.0):  # only ratios count
        found = weighted_quantiles(residual, group, np.full(90, factor), np.full(4, factor), 0.1)
        assert found == pytest.approx(group_quantile(residual, group, 0.1))


def test_an_image_that_weighs_more_than_alpha_has_no_end():
    found = weighted_quantiles(np.arange(9.0), np.arange(9), np.ones(9), np.array([0.5, 1.0, 1.5]), 0.1)
    assert found.tolist() == [8.0, 8.0, np.inf]


def test_under_a_shift_it_covers_with_the_weights_of_the_truth():
    """Errors grow with x, which is uniform at home and lies mostly high elsewhere: the ratio of densities is 2 x."""
    rng, plain, weighted = np.random.default_rng(1), [], []
    for _ in range(300):
        x = rng.uniform(size=200)
        new = np.sqrt(rng.uniform(size=20))
        residual, error = x * np.abs(rng.normal(size=200)), new * np.abs(rng.normal(size=20))
        plain.append((error <= group_quantile(residual, np.arange(200), 0.1)).mean())
        weighted.append((error <= weighted_quantiles(residual, np.arange(200), 2 * x, 2 * new, 0.1)).mean())
    assert np.mean(plain) < 0.87 and 0.885 < np.mean(weighted) < 0.93


def test_the_ratio_of_densities_of_two_normal_laws():
    """N(0, 1) at home, N(1, 1) elsewhere: the ratio is exp(x - 1/2), up to what the penalty takes away."""
    rng = np.random.default_rng(2)
    home, elsewhere = rng.normal(size=(1500, 1)), rng.normal(1, 1, size=(1500, 1))
    groups = [[str(i) for i in range(1500)]] * 2
    weight, new = density_ratio(home, elsewhere, groups)
    found, expected = np.log(np.concatenate([weight, new])), np.concatenate([home, elsewhere])[:, 0] - 0.5
    assert np.abs(found - expected).mean() < 0.2 and np.corrcoef(found, expected)[0, 1] > 0.99


def test_the_study_from_end_to_end(tmp_path):
    for part, splits in (("rest", {**SPLITS, "test": 12}), ("ham10000", {"val": 12})):
        folder = make_record_set(tmp_path / "root" / "fpn" / part, splits, ("natural", "erosion"))
        table = pd.read_parquet(folder / "records.parquet")
        for number, name in enumerate(table["record_id"]):
            file = folder / "maps" / f"{name}.npz"
            vector = np.random.default_rng(number // 2).normal(size=8).astype(np.float32)
            np.savez(file, **dict(np.load(file)), **{weighted_conformal.FEATURE: vector})
        table.drop(columns="content", errors="ignore").to_parquet(folder / "records.parquet")
    records = [tmp_path / "root" / "fpn" / "rest"]
    config = TrainConfig(records, tmp_path / "train", "mask+self/entropy", size=32, epochs=1, progress=False)
    bundle = train.run(config).bundle
    weighted_conformal.main([str(tmp_path / "root"), str(bundle), "--out", str(tmp_path / "out"), "--split", "test"])
    table = pd.read_csv(tmp_path / "out" / "test" / "intervals.csv")
    assert table.groupby("target").n.first().to_dict() == {"test": 24, "ham10000": 24}
    assert table.method.tolist() == ["as shipped", "plain", "weighted"] * 2
    assert table.covered.between(0, 1).all() and (table.width > 0).all()
    assert (table.effective[table.method == "weighted"] < table.effective[table.method == "plain"].to_numpy()).all()
    assert "effective" in (tmp_path / "out" / "test" / "intervals.md").read_text()
