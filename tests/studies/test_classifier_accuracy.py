"""studies/classifier_accuracy.py: what chance is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from sqp.core.errors import ConfigError
from studies import classifier_accuracy


def test_random_heads_know_nothing():
    """On features without a direction the mean accuracy of random heads is one half, whatever the share of a class."""
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 64))).float()
    truth = (np.arange(300) < 60).astype(int)
    found = classifier_accuracy.random_heads(features, truth)
    assert len(found) == 200 and abs(found.mean() - 0.5) < 0.03 and found.std() > 0
    assert np.array_equal(found, classifier_accuracy.random_heads(features, truth))


def test_a_report_without_the_split_is_told(tmp_path):
    module = classifier_accuracy
    report = tmp_path / "report.csv"
    pd.DataFrame([{"split": "val", "n": 3, "measure": "accuracy", "value": 0.5}]).to_csv(report, index=False)
    with pytest.raises(ConfigError, match="tells nothing of the split test"):
        module.rows_of("resnet50", f"w.safetensors,{report}", [], "test")
    with pytest.raises(ConfigError, match="write a classifier as MODEL=WEIGHTS,REPORT"):
        module.rows_of("resnet50", "w.safetensors", [], "test")
