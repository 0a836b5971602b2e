"""The config by which a bundle is calibrated anew; what comes of it: tests/commands/test_recalibrate.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqp.config.train import TrainConfig
from sqp.quality import Bundle
from sqp.quality.bundle.calibration import training_config


def test_a_bundle_knows_how_it_was_trained_and_what_is_changed_wins(
    trained: Path, record_set: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load(trained / "bundle")
    same = training_config(bundle, [record_set], tmp_path)
    trained_with = TrainConfig([record_set], tmp_path, size=32, epochs=12, batch_size=8)
    assert same == trained_with
    changes = {"alpha": 0.2, "ood_quantile": 0.9, "calibrate_splits": ["calibration", "val"], "batch_size": 4}
    assert training_config(bundle, [record_set], tmp_path, **changes) == replace(trained_with, **changes)


def test_the_level_is_that_of_the_bundles_interval_whatever_it_was_first_trained_with(
    trained: Path, record_set: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load(trained / "bundle")
    narrower = replace(bundle, conformal=replace(bundle.conformal, alpha=0.25))
    assert training_config(narrower, [record_set], tmp_path).alpha == 0.25
