"""The classifier's loss is balanced, and its labels reach it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from tiny_prompters import CLASSIFIERS
from torch import nn

from sqp.fit.classifier import ClassifierModule
from sqp.fit.module import Recipe


def module(counts):
    return ClassifierModule(CLASSIFIERS["cnn"], nn.Linear(1, 2), Recipe(), np.array(counts))


def test_classes_weigh_as_scikit_learn_balances_them():
    labels = np.array([0] * 18 + [1] * 2)
    found = module([18, 2]).class_weights.numpy()
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.array([0, 1]), y=labels))


def test_the_loss_of_a_network_that_knows_nothing_does_not_depend_on_the_balance():
    one = module([90, 10])
    batch = {"label": torch.tensor([0] * 9 + [1])}
    assert float(one.loss(torch.zeros(10, 2), batch)) == pytest.approx(np.log(2))
    always_first = torch.tensor([[4.0, 0.0]]).expand(10, 2)
    plain = nn.functional.cross_entropy(always_first, batch["label"])
    assert one.loss(always_first, batch) > 2 * plain  # a rare class that is missed costs
