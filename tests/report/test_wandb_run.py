"""W&B's own variables hold, where no option says otherwise."""

from __future__ import annotations

import pytest
import wandb

from sqp.config.logger import LoggerConfig
from sqp.core.errors import ConfigError
from sqp.report.wandb_run import check_logger, lightning_loggers, wandb_run


@pytest.fixture
def of_wandb(monkeypatch):
    """Sets variables of W&B, which has read none before, and forgets them."""
    wandb.teardown()  # whatever an earlier test of this process let it read
    for name in ("MODE", "PROJECT", "NAME", "DIR", "TAGS", "JOB_TYPE", "SILENT"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)

    def set_to(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"WANDB_{name}", value)

    yield set_to
    wandb.teardown()


def test_variables_stand_over_what_sqp_chooses_and_options_over_them(of_wandb, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    of_wandb(MODE="offline", PROJECT="lesions", NAME="third", TAGS="a,b", DIR=str(tmp_path / "elsewhere"))
    config = LoggerConfig(logger="wandb")
    check_logger(config)  # asks no server
    with wandb_run(config, "train", tmp_path / "out", {"size": 32}) as run:
        assert run.offline and (run.project, run.name, set(run.tags)) == ("lesions", "third", {"a", "b"})
        assert run.job_type == "train" and run.config["size"] == 32
    assert list((tmp_path / "elsewhere").glob("wandb/offline-run-*")) and not (tmp_path / "out" / "wandb").exists()
    with wandb_run(LoggerConfig(logger="wandb", wandb_project="mine"), "train", tmp_path / "out", {}) as run:
        assert run.project == "mine"


def test_without_variables_the_run_is_sqps(of_wandb, tmp_path):
    with wandb_run(LoggerConfig(logger="wandb", wandb_mode="offline"), "evaluate", tmp_path / "out", {}) as run:
        assert (run.project, run.name, run.job_type) == ("sqp", "evaluate out", "evaluate")
    assert list((tmp_path / "out").glob("wandb/offline-run-*"))


def test_a_disabled_run_sends_nothing_and_stops_nothing(of_wandb, tmp_path):
    of_wandb(MODE="disabled")
    config = LoggerConfig(logger="wandb")
    check_logger(config)
    with wandb_run(config, "train", tmp_path / "out", {}) as run:
        (logger,) = lightning_loggers(run)
        logger.log_metrics({"val/mae": 0.1}, 1)
    assert not list(tmp_path.rglob("*.wandb"))


def test_the_option_stands_over_the_variable(of_wandb, tmp_path, monkeypatch):
    of_wandb(MODE="disabled")

    def refuse():
        raise wandb.errors.UsageError("no key")

    monkeypatch.setattr(wandb, "login", refuse)
    with pytest.raises(ConfigError, match=r"W&B cannot be used \(no key\)"):
        check_logger(LoggerConfig(logger="wandb", wandb_mode="online"))
