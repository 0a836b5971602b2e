"""Configs check what needs no file when they are made, from the command line, YAML or Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqp.config.export import ExportConfig
from sqp.config.freeze import FreezeConfig
from sqp.config.recalibrate import RecalibrateConfig
from sqp.config.splits import SplitsConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError

A, B = Path("a"), Path("b")


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (TrainConfig, {"loss": "mae"}, "unknown loss 'mae', did you mean 'mse'"),
        (TrainConfig, {"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        (TrainConfig, {"schedule": "constants"}, "unknown schedule 'constants', did you mean 'constant'"),
        (TrainConfig, {"train_on": "naturel"}, "unknown kind of records 'naturel', did you mean 'natural'"),
        (TrainConfig, {"calibrate_splits": ["val"]}, r"give \[calibration\], or \[calibration, val\]"),
        (TrainConfig, {"calibrate_splits": ["calibration", "test"]}, "unknown calibrate splits 'test'"),
        (TrainConfig, {"flips": 3}, "flips is 3; it must be 1, 2, 4 or 8"),
        (TrainConfig, {"learning_rate": float("nan")}, "learning_rate is nan"),
        (TrainConfig, {"logger": "wand"}, "unknown logger 'wand', did you mean 'wandb'"),
        (TrainConfig, {"seed": -1}, "seed is -1"),
        (RecalibrateConfig, {"alpha": 0.0}, r"alpha is 0\.0; it must lie between 0 and 1"),
        (RecalibrateConfig, {"ood_quantile": 0.1}, r"ood_quantile is 0\.1; it must lie between 0\.5 and 1"),
        (RecalibrateConfig, {"calibrate_splits": ["val"]}, r"give \[calibration\]"),
        (RecalibrateConfig, {"calibrate_on": "nature"}, "did you mean 'natural'"),
        (FreezeConfig, {"split": "tests"}, "unknown split 'tests', did you mean 'test'"),
        (SplitsConfig, {"fractions": ["train"]}, "write them as train=0.6"),
        (SplitsConfig, {"rule": "isic2018", "fractions": ["train=1"]}, "has its own fractions"),
        (SplitsConfig, {"layout": "folder"}, "unknown layout 'folder', did you mean 'folders'"),
        (ExportConfig, {}, "export needs --onnx FILE, --card FILE or both"),
        (ExportConfig, {"onnx": Path("model.pt")}, "does not end in .onnx"),
        (ExportConfig, {"onnx": Path("m.onnx"), "evaluation": A}, "--evaluation is for the model card"),
    ],
)
def test_a_wrong_option_is_told_when_the_config_is_made(config, changes, message):
    needed = {TrainConfig: {"records": [A], "out": B}, RecalibrateConfig: {"model": A, "records": [A], "out": B}}
    needed |= {FreezeConfig: {"records": A, "out": B}, SplitsConfig: {"images": A, "out": B}, ExportConfig: {}}
    with pytest.raises(ConfigError, match=message):
        config(**needed[config] | changes)
