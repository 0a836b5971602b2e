"""Reverse classification accuracy by closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sqp.uncertainty.rca import RCA_SCORES, rca_scores, transfer_dice


def test_the_scores_are_statistics_of_the_references():
    assert rca_scores([0.1, 0.2, 0.9]) == pytest.approx({"rca_max": 0.9, "rca_mean": 0.4, "rca_median": 0.2})
    assert all(math.isnan(value) for value in rca_scores([]).values()) and set(rca_scores([])) == set(RCA_SCORES)


def test_dice_is_taken_at_the_size_of_the_truth():
    truth = np.zeros((8, 8), bool)
    truth[:, 4:] = True
    assert transfer_dice(torch.tensor([[0.0, 1.0]] * 2), truth) == 1.0
    assert transfer_dice(torch.tensor([[1.0, 0.0]] * 2), truth) == 0.0
    assert transfer_dice(torch.tensor([[0.0, 0.4]] * 2), truth) == 0.0  # nothing reaches 0.5
