"""timm's models with weights from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from sqp.core.errors import ConfigError
from sqp.networks.timm_models import create

NAME = "mobilenetv2_035"


def half_weights(folder: Path, value: float) -> Path:
    """Weights in half precision with `value` as the first running variance."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = {
            key: x.half() if x.is_floating_point() else x for key, x in timm.create_model(NAME).state_dict().items()
        }
    state["bn1.running_var"][0] = value
    save_file(state, folder / "half.safetensors")
    return folder / "half.safetensors"


def test_a_variance_that_half_precision_cannot_hold_is_its_largest_number(tmp_path):
    model = create(NAME, file=half_weights(tmp_path, float("inf")))
    assert model.bn1.running_var[0] == 65504
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    model.train()(torch.rand(2, 3, 64, 64))
    assert model.bn1.running_var[0] < 65504  # inf would stay inf in training


def test_nan_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds NaN in bn1\.running_var"):
        create(NAME, file=half_weights(tmp_path, float("nan")))
