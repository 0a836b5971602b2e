"""Reverse classification accuracy by closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sqp.metrics.overlap import dice
from sqp.uncertainty.rca import RCA_SCORES, rca_scores, transfer_dice


def test_the_scores_are_statistics_of_the_references():
    assert rca_scores([0.1, 0.2, 0.9]) == pytest.approx({"rca_max": 0.9, "rca_mean": 0.4, "rca_median": 0.2})
    assert all(math.isnan(value) for value in rca_scores([]).values()) and set(rca_scores([])) == set(RCA_SCORES)


def test_dice_of_shares_is_dice_where_they_are_masks_and_one_where_they_agree():
    rng = np.random.default_rng(0)
    p, s = torch.from_numpy(rng.random((2, 6, 5)))
    assert transfer_dice(p, p) == pytest.approx(1) and transfer_dice(p, s) == pytest.approx(transfer_dice(s, p))
    assert transfer_dice((p > 0.5).float(), (s > 0.4).float()) == pytest.approx(dice(p > 0.5, s > 0.4))
    assert transfer_dice(torch.zeros(2, 2), torch.ones(2, 2)) == 0
