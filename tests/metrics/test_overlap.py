from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from isic_challenge_scoring import confusion as isic_confusion
from isic_challenge_scoring import metrics as isic
from sklearn import metrics as sk

from sqp.metrics import OVERLAP, overlap

SHAPES = st.sampled_from([(7,), (5, 4), (3, 4, 2)])
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))
EMPTY, FULL, HALF = np.zeros((4, 4), bool), np.ones((4, 4), bool), np.arange(16).reshape(4, 4) < 8

SKLEARN = {
    "dice": sk.f1_score,
    "iou": sk.jaccard_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
}
TORCHMETRICS = {
    "dice": tm.binary_f1_score,
    "iou": tm.binary_jaccard_index,
    "precision": tm.binary_precision,
    "recall": tm.binary_recall,
    "specificity": tm.binary_specificity,
    "accuracy": tm.binary_accuracy,
}


def masks(seed: int, *shape: int, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


def test_every_overlap_has_a_reference() -> None:
    assert set(TORCHMETRICS) == set(OVERLAP)


@pytest.mark.parametrize("name", SKLEARN)
def test_equals_scikit_learn(name: str) -> None:
    p, t = masks(0, 20, 30, share=0.7), masks(1, 20, 30, share=0.2)
    assert OVERLAP[name](p, t) == pytest.approx(SKLEARN[name](t.ravel(), p.ravel()), abs=1e-12)


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_equals_torchmetrics_on_tensors(name: str) -> None:
    p, t = (torch.from_numpy(masks(s, 6, 8, 9, share=q)) for s, q in ((2, 0.6), (3, 0.3)))
    assert OVERLAP[name](p, t) == pytest.approx(float(TORCHMETRICS[name](p, t)), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "prediction", "truth", "value"),
    [
        ("dice", EMPTY, EMPTY, 1),
        ("dice", EMPTY, HALF, 0),
        ("dice", HALF, EMPTY, 0),
        ("iou", EMPTY, EMPTY, 1),
        ("iou", EMPTY, HALF, 0),
        ("iou", HALF, EMPTY, 0),
        ("precision", EMPTY, EMPTY, 1),
        ("precision", EMPTY, HALF, 0),
        ("recall", EMPTY, EMPTY, 1),
        ("recall", HALF, EMPTY, 0),
        ("specificity", FULL, FULL, 1),
        ("specificity", HALF, FULL, 0),
        ("specificity", EMPTY, EMPTY, 1),
        ("accuracy", HALF, FULL, 0.5),
    ],
)
def test_convention_without_a_denominator(name: str, prediction: np.ndarray, truth: np.ndarray, value: float) -> None:
    assert OVERLAP[name](prediction, truth) == value


@settings(deadline=None, max_examples=25)
@given(PAIRS)
def test_properties(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, t = pair
    d = overlap.dice(p, t)
    assert overlap.dice(t, p) == d
    assert overlap.iou(p, t) == pytest.approx(d / (2 - d))
    assert overlap.precision(p, t) == overlap.recall(t, p)
    assert overlap.specificity(p, t) == overlap.recall(~p, ~t)
    assert overlap.soft_dice(p.astype(float), t) == pytest.approx(d)
    assert overlap.pairwise_dice(np.stack([p, t])) == pytest.approx(d)
    assert all(0 <= statistic(p, t) <= 1 for statistic in OVERLAP.values())
    assert all(statistic(p, p) == 1 for statistic in OVERLAP.values())


def test_integer_mask_is_not_zero() -> None:
    assert overlap.dice(HALF.astype(np.uint8) * 255, HALF) == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (HALF.astype(float), HALF, "threshold"),
        (HALF[:2], HALF, "differ in shape"),
        (np.zeros((0, 3), bool), np.zeros((0, 3), bool), "must have pixels"),
    ],
)
def test_misuse_is_told(prediction: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        overlap.dice(prediction, truth)


def test_soft_dice_by_hand() -> None:
    p = np.array([[0.2, 0.8], [1.0, 0.0]], np.float32)
    m = np.array([[0, 1], [1, 1]], bool)
    assert overlap.soft_dice(p, m) == pytest.approx(2 * 1.8 / (2.0 + 3))
    assert overlap.soft_dice(torch.from_numpy(p), torch.from_numpy(m)) == pytest.approx(0.72)


def test_soft_dice_of_nothing() -> None:
    assert overlap.soft_dice(EMPTY.astype(np.float32), EMPTY) == 1
    assert overlap.soft_dice(HALF.astype(np.float32), EMPTY) == 0
    assert overlap.soft_dice(EMPTY.astype(np.float32), HALF) == 0
    assert np.isnan(overlap.soft_dice(np.where(HALF, np.nan, 0), HALF))


def test_soft_dice_sums_in_float64() -> None:
    p = np.full(1_000_000, 0.1, np.float32)
    m = np.ones(1_000_000, bool)
    exact = 2 * float(p[0]) / (float(p[0]) + 1)
    assert overlap.soft_dice(p, m) == pytest.approx(exact, abs=1e-12)


def test_soft_dice_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        overlap.soft_dice(np.zeros((4, 1)), HALF)


@pytest.mark.parametrize("shape", [(2, 30), (5, 6, 7), (4, 3, 4, 5)])
def test_pairwise_dice_is_the_mean_over_pairs(shape: tuple[int, ...]) -> None:
    m = masks(4, *shape, share=0.4)
    expected = np.mean([sk.f1_score(a.ravel(), b.ravel()) for a, b in combinations(m, 2)])
    assert overlap.pairwise_dice(m) == pytest.approx(expected, abs=1e-12)
    assert overlap.pairwise_dice(torch.from_numpy(m[::-1].copy())) == pytest.approx(expected, abs=1e-12)


def test_pairwise_dice_of_empty_samples() -> None:
    assert overlap.pairwise_dice(np.stack([EMPTY, EMPTY, EMPTY])) == 1
    assert overlap.pairwise_dice(np.stack([EMPTY, EMPTY, HALF])) == pytest.approx(1 / 3)
    assert np.isnan(overlap.pairwise_dice(HALF[None]))


def test_iou_and_threshold_iou_equal_the_official_scoring_of_isic() -> None:
    """isic-challenge-scoring 5: Jaccard, Dice and the threshold Jaccard of ISIC 2018's Task 1."""
    for seed, share in ((0, 0.1), (1, 0.3), (2, 0.9), (3, 0.0)):
        t = masks(seed, 20, 20)
        p = t ^ masks(seed + 9, 20, 20, share=share)
        counts = isic_confusion.create_binary_confusion_matrix(t, p, name="image")
        assert overlap.iou(p, t) == pytest.approx(isic.binary_jaccard(counts), abs=1e-12)
        assert overlap.dice(p, t) == pytest.approx(isic.binary_dice(counts), abs=1e-12)
        got = float(overlap.threshold_iou(overlap.iou(p, t)))
        assert got == pytest.approx(isic.binary_threshold_jaccard(counts), abs=1e-12)
    assert np.isnan(overlap.threshold_iou([np.nan, 0.7])[0])
