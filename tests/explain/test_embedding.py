from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numba.core import config
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsRegressor

from sqp.core.errors import ConfigError
from sqp.explain import embedding
from sqp.explain.embedding import (
    check_enough,
    disagreeing,
    embedding_table,
    foreign_neighbours,
    projections,
    standardised,
)
from sqp.metrics.agreement import r2
from sqp.metrics.stats import Resamples

N = 60


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features on a curve whose place is the Dice, the Dice, and groups of two."""
    rng = np.random.default_rng(0)
    dice = rng.random(N)
    x = np.stack([np.cos(3 * dice), np.sin(3 * dice), dice], axis=1) @ rng.normal(size=(3, 10))
    features = np.concatenate([x + rng.normal(0, 0.05, x.shape), np.ones((N, 1))], axis=1)
    return standardised(features), dice, np.repeat(np.arange(N // 2), 2).astype(str)


def test_standardised(data):
    features = data[0]
    assert features.shape == (N, 10)  # the constant column is gone
    assert features.mean(axis=0) == pytest.approx(0, abs=1e-12) and features.std(axis=0) == pytest.approx(1)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_pictures(data):
    first, share = projections(data[0], 5, seed=1)
    again, _ = projections(data[0], 5, seed=1)
    other, _ = projections(data[0], 5, seed=2)
    assert (first["umap"] == again["umap"]).all() and (first["umap"] != other["umap"]).any()
    pca = PCA().fit(data[0])
    assert share == pytest.approx(pca.explained_variance_ratio_[:2].sum())
    assert np.abs(first["pca"]) == pytest.approx(np.abs(pca.transform(data[0])[:, :2]))
    assert first["umap"].shape == (N, 2) and np.isfinite(first["umap"]).all()


def test_neighbours_are_of_other_groups_and_nearest_first(data):
    features, _, group = data
    near = foreign_neighbours(features, group, 4)
    assert near.shape == (N, 4) and (group[near] != group[:, None]).all()
    far = np.linalg.norm(features[near] - features[:, None], axis=2)
    assert (np.diff(far, axis=1) >= 0).all()


def test_where_a_group_is_a_record_it_is_the_nearest_neighbour_regression_without_the_record_itself(data):
    features, dice, _ = data
    group = np.arange(N).astype(str)
    resamples = Resamples.draw(group, 50, 0)
    table = embedding_table({"features": features, "two": features[:, :2]}, dice, group, 5, resamples)
    expected = [
        KNeighborsRegressor(5).fit(np.delete(features, i, 0), np.delete(dice, i)).predict(features[[i]])[0]
        for i in range(N)
    ]
    assert table["knn_r2"][0] == pytest.approx(r2(expected, dice)) and table["knn_r2"][0] > 0.8
    assert table["knn_r2_low"][0] <= table["knn_r2"][0] <= table["knn_r2_high"][0]
    assert np.isnan(table["trustworthiness"][0]) and 0.5 < table["trustworthiness"][1] <= 1


def test_without_truth_there_is_no_r2(data):
    features, _, group = data
    table = embedding_table({"features": features}, np.full(N, np.nan), group, 5, Resamples.draw(group, 10, 0))
    assert "knn_r2" not in table


def test_the_record_that_was_planted_disagrees_most(data):
    features, dice, group = data
    planted = dice.copy()
    planted[7] = dice[7] - 1
    rows = pd.DataFrame({"record_id": [f"r{i}" for i in range(N)], "group": group, "dice": planted})
    found = disagreeing(rows.assign(predicted_dice=0.5), features, 5, most=3)
    assert found["record_id"][0] == "r7" and len(found) == 3
    assert found["difference"][0] == pytest.approx(planted[7] - found["neighbours_dice"][0])
    assert len(found["neighbours"][0].split()) == 5


def test_too_few_records():
    with pytest.raises(ConfigError, match="30 records are too few for an embedding with 15 neighbours"):
        check_enough(30, 15)
    with pytest.raises(ConfigError, match="a record has only 1 records of other groups, 2 neighbours"):
        foreign_neighbours(np.zeros((3, 1)), np.array(["a", "a", "b"]), 2)


def test_umap_is_imported_where_numba_has_no_folder_for_its_cache(monkeypatch):
    calls = []

    def locked(name):
        calls.append(config.CACHE_DIR)
        if len(calls) == 1:
            raise RuntimeError("cannot cache function 'rdist': no locator available for file 'layouts.py'")
        return name

    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr(embedding.importlib, "import_module", locked)
    assert embedding._umap() == "umap"
    assert Path(calls[1]).is_dir() and os.environ["NUMBA_CACHE_DIR"] == calls[1] != ""

    def broken(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(embedding.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        embedding._umap()
