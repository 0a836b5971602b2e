"""Fixtures that several rooms use (pyproject puts `tests` on the path, for `recordsets`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings
from no_skips import pytest_make_collect_report, pytest_runtest_makereport
from recordsets import make_record_set

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]  # hooks of pytest, found by name

settings.register_profile("sqp", derandomize=True)  # the same examples in every run: a failure is the change's
settings.load_profile("sqp")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two workers of pytest-xdist on two cores: more threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def record_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small record set with all splits, not to be changed."""
    return make_record_set(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def trained(record_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a short training run on `record_set`, not to be changed; the bundle lies in OUT/bundle."""
    from sqp.config.train import TrainConfig
    from sqp.stages.train import run

    out = tmp_path_factory.mktemp("train")
    run(TrainConfig([record_set], out, size=32, epochs=12, batch_size=8, progress=False))
    return out
