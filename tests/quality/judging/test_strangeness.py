from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.metrics import pairwise_distances

from sqp.quality.judging.strangeness import (
    COLUMNS,
    IMAGE,
    MODEL,
    Neighbours,
    OodStatistics,
    Space,
)


def features(n: int, seed: int = 0, d: int = 6) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(d, d))
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing + 3).astype(np.float32)


def of_model(training: np.ndarray, calibration: np.ndarray, quantile: float = 0.99) -> OodStatistics:
    return OodStatistics.fit({MODEL: training}, {MODEL: calibration}, quantile)


def test_distance_is_scipys() -> None:
    training = features(200)
    distance, _ = Space.fit(training).distances(training[:5])
    covariance = LedoitWolf().fit(training.astype(float))
    expected = [scipy_mahalanobis(x, covariance.location_, covariance.precision_) for x in training[:5]]
    assert distance == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("quantile", [0.8, 0.95, 0.99])
def test_the_asked_share_of_calibration_is_within_all_thresholds(quantile: float) -> None:
    training, held = ({MODEL: features(500, i), IMAGE: features(500, i + 9, 4)} for i in (0, 1))
    out = OodStatistics.fit(training, held, quantile).columns(held)["ood"]
    assert 1 - quantile - 0.01 <= out.mean() <= 1 - quantile  # no more, and a step less at most


def test_one_distance_would_cut_at_its_quantile() -> None:
    held = features(500, 1)
    fitted = of_model(features(500, 0), held)
    distances = fitted.columns({MODEL: held})
    for name, limit in zip(COLUMNS[MODEL], fitted.spaces[MODEL].limits(), strict=True):
        assert (distances[name] > limit).sum() <= 5 and limit in distances[name]


def test_a_group_counts_once() -> None:
    training, held = features(300), features(100, 1)
    held[:50] = features(1, 5) + 40  # one strange image with half of all records
    shares = []
    for group in (None, ["strange"] * 50 + list(range(50))):
        fitted = OodStatistics.fit({MODEL: training}, {MODEL: held}, 0.9, group)
        shares.append(fitted.columns({MODEL: held})["ood"][:50].mean())
    assert shares == [0, 1]


def test_an_image_counts_once_however_many_masks_it_has() -> None:
    """The statistics of 60 images are the same where one has 200 masks and others eight."""
    images, held, new = features(60), features(50, 1), features(20, 2)
    masks = np.repeat(np.arange(60), [200, *[8] * 29, *[1] * 30])
    once = of_model(images, held)
    many = OodStatistics.fit({MODEL: images[masks]}, {MODEL: held}, 0.99, image=masks)
    for name, values in once.columns({MODEL: new}).items():
        np.testing.assert_array_equal(many.columns({MODEL: new})[name], values)
    counted_by_mask = OodStatistics.fit({MODEL: images[masks]}, {MODEL: held}, 0.99)
    assert not np.allclose(
        counted_by_mask.columns({MODEL: new})["ood_knn_distance"], once.columns({MODEL: new})["ood_knn_distance"]
    )


def test_far_features_are_out_and_nan_too() -> None:
    strange = features(3)
    strange[0] += 100
    strange[1] = np.nan
    assert of_model(features(300), features(300)[:100]).columns({MODEL: strange})["ood"].tolist() == [True, True, False]


def test_a_strange_image_is_out_though_the_model_sees_nothing() -> None:
    training, held = ({MODEL: features(300, i), IMAGE: features(300, i + 9, 4)} for i in (0, 1))
    fitted = OodStatistics.fit(training, held, 0.99)
    same = {MODEL: held[MODEL][:3], IMAGE: held[IMAGE][:3] + np.array([[0], [50], [np.nan]])}
    assert fitted.columns(same)["ood"].tolist() == [False, True, False]  # what is not known of an image is not out
    without = fitted.columns({MODEL: held[MODEL][:3], IMAGE: None})
    assert not without["ood"].any() and all(np.isnan(without[name]).all() for name in COLUMNS[IMAGE])


def test_fewer_records_than_features_is_shrunk() -> None:
    space = of_model(features(10, d=50), features(10, d=50)).spaces[MODEL]
    assert np.isfinite(space.precision).all() and np.isfinite(space.limits()).all()


def test_a_constant_feature_is_no_trouble() -> None:
    x = features(50)
    x[:, 0] = 1.0
    assert np.isfinite(of_model(x, x).columns({MODEL: x})["ood_distance"]).all()


def test_the_nearest_neighbour_is_scikit_learns_by_brute_force() -> None:
    training, new = features(60), features(20, 1)
    near = Neighbours.fit(training)
    reference = near.reference.astype(np.float64)
    normed = new / np.linalg.norm(new, axis=1, keepdims=True)
    expected = np.sort(pairwise_distances(normed, reference), axis=1)[:, near.k - 1]
    assert near.k == 10 and len(reference) == 60
    assert near.distance(new) == pytest.approx(expected, abs=1e-5)
    assert near.points is near.points  # made once


def test_a_hole_in_the_middle_is_far_from_all_neighbours_only() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    ring = np.stack([np.cos(angle), np.sin(angle), np.full(400, 0.1)], axis=1)
    fitted = of_model(ring, ring)
    found = fitted.columns({MODEL: np.array([[0.0, 0.0, 0.1]])})
    assert found["ood"].all() and found["ood_distance"][0] <= fitted.spaces[MODEL].threshold
    limit = fitted.spaces[MODEL].limits()[1]
    assert found["strangeness"].tolist() == [found["ood_knn_distance"][0] / limit]  # the greater of the two


def test_strangeness_is_above_one_where_and_only_where_a_record_is_out() -> None:
    x = features(60)
    fitted = of_model(x, features(40, 1))
    found = fitted.columns(
        {MODEL: np.concatenate([features(300, 2), 3 * features(20, 3), np.full((1, x.shape[1]), np.nan)])}
    )
    assert ((found["strangeness"] > 1) == found["ood"])[:-1].all() and found["ood"].any() and not found["ood"].all()
    assert np.isnan(found["strangeness"][-1]) and found["ood"][-1]
    on_it = replace(fitted, spaces={MODEL: replace(fitted.spaces[MODEL], neighbours=None)})
    d = on_it.columns({MODEL: x[:1]})["ood_distance"][0]
    for cut, out in ((d, False), (np.nextafter(d, 0), True)):
        just = replace(on_it, spaces={MODEL: replace(on_it.spaces[MODEL], threshold=float(cut))})
        told = just.columns({MODEL: x[:1]})
        assert told["ood"].tolist() == (told["strangeness"] > 1).tolist() == [out]


def test_what_is_stored_is_read_back() -> None:
    training, held = ({MODEL: features(80, i), IMAGE: features(80, i + 9, 4)} for i in (0, 1))
    fitted = OodStatistics.fit(training, held, 0.99)
    for ood in (fitted, replace(fitted, spaces={MODEL: replace(fitted.spaces[MODEL], neighbours=None)})):
        again = OodStatistics.read(ood.description(), ood.tensors())
        assert list(again.spaces) == list(ood.spaces) and again.quantile == 0.99
        for name, values in ood.columns(held).items():
            np.testing.assert_array_equal(again.columns(held)[name], values)
    knn = ood.columns(held)["ood_knn_distance"]
    assert np.isnan(knn).all() and not ood.columns(held)["ood"].all()  # a bundle from before the neighbours


def test_features_that_train_lacks_rest_on_calibration_and_hold_for_new_images() -> None:
    """Four masks an image: each image counts once, and is never measured from itself, so new images are as near."""
    images = features(300, 0, 4)
    held = {MODEL: features(1200, 1), IMAGE: np.repeat(images, 4, axis=0)}
    names = np.repeat(np.arange(300), 4)
    fitted = OodStatistics.fit({MODEL: features(500, 2)}, held, 0.9, names, calibration_image=names)
    assert len(fitted.spaces[IMAGE].neighbours.reference) == 300
    new = {MODEL: features(4000, 3), IMAGE: features(4000, 4, 4)}
    assert 0.85 <= 1 - fitted.columns(new)["ood"].mean() <= 0.95
    strange = {MODEL: features(50, 5), IMAGE: features(50, 6, 4) + 20}
    assert fitted.columns(strange)["ood"].all()
    again = OodStatistics.read(fitted.description(), fitted.tensors())
    assert again.columns(new)["ood"].tolist() == fitted.columns(new)["ood"].tolist()
