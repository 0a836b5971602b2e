from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.metrics import pairwise_distances

from sqp.quality.ood import Neighbours, OodStatistics


def features(n: int, seed: int = 0, d: int = 6) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(d, d))
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing + 3).astype(np.float32)


def test_distance_is_scipys() -> None:
    training = features(200)
    fitted = OodStatistics.fit(training, features(50, 0))
    covariance = LedoitWolf().fit(training.astype(float))
    expected = [scipy_mahalanobis(x, covariance.location_, covariance.precision_) for x in training[:5]]
    assert fitted.distance(training[:5]) == pytest.approx(expected, rel=1e-4)


def test_the_threshold_is_the_quantile_of_calibration() -> None:
    held = features(500, 1)
    fitted = OodStatistics.fit(features(500, 0), held, quantile=0.99)
    assert fitted.is_out(fitted.distance(held)).sum() == 4  # 5 would be 1 %, none is cut by interpolation
    assert fitted.threshold == pytest.approx(np.sort(fitted.distance(held))[-5])


def test_far_features_are_out_and_nan_too() -> None:
    fitted = OodStatistics.fit(features(300), features(300)[:100])
    strange = features(3)
    strange[0] += 100
    strange[1] = np.nan
    assert fitted.is_out(fitted.distance(strange)).tolist() == [True, True, False]


def test_fewer_records_than_features_is_shrunk() -> None:
    fitted = OodStatistics.fit(features(10, d=50), features(10, d=50))
    assert np.isfinite(fitted.precision).all() and np.isfinite(fitted.threshold)


def test_a_constant_feature_is_no_trouble() -> None:
    x = features(50)
    x[:, 0] = 1.0
    assert np.isfinite(OodStatistics.fit(x, x).distance(x)).all()


def test_the_nearest_neighbour_is_scikit_learns_by_brute_force() -> None:
    training, new = features(60), features(20, 1)
    near = Neighbours.fit(training, new, 0.9)
    reference = near.reference.astype(np.float64)
    normed = new / np.linalg.norm(new, axis=1, keepdims=True)
    expected = np.sort(pairwise_distances(normed, reference), axis=1)[:, near.k - 1]
    assert near.k == 10 and len(reference) == 60
    assert near.distance(new) == pytest.approx(expected, abs=1e-5)
    assert near.threshold == pytest.approx(np.sort(expected)[-2], abs=1e-5)


def test_a_hole_in_the_middle_is_far_from_all_neighbours_only() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    ring = np.stack([np.cos(angle), np.sin(angle), np.full(400, 0.1)], axis=1)
    fitted = OodStatistics.fit(ring, ring, 0.99)
    middle = np.array([[0.0, 0.0, 0.1]])
    assert not fitted.is_out(fitted.distance(middle)).any()
    assert fitted.is_out(fitted.distance(middle), fitted.knn_distance(middle)).all()


def test_without_neighbours_only_mahalanobis_counts() -> None:
    fitted = replace(OodStatistics.fit(features(50), features(50)), neighbours=None)
    distance, knn = fitted.distance(features(5)), fitted.knn_distance(features(5))
    assert np.isnan(knn).all() and not fitted.is_out(distance, knn).any()
