"""W&B: an offline run is made and what it holds is read back; what is missing is one sentence."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from wandb_file import read_offline_run

from sqp.config.logger import LoggerConfig
from sqp.core.errors import ConfigError
from sqp.report.wandb_run import check_logger, lightning_loggers, log_results, wandb_run

OFFLINE = LoggerConfig(logger="wandb", wandb_mode="offline", wandb_project="toy", wandb_images=2)
COMPARISON = pd.DataFrame(
    {
        "subset": "natural",
        "dataset": "all",
        "method": ["quality_model", "area"],
        "mae": [0.1, np.nan],
        "note": ["", "x"],
    }
)


def test_an_offline_run_holds_all_that_was_logged(tmp_path, predictions):
    figure = tmp_path / "curve.png"
    Image.new("RGB", (9, 7)).save(figure)
    with wandb_run(OFFLINE, "evaluate", tmp_path / "out", {"seed": 3, "nested": {"a": [1, 2]}}) as run:
        log_results(run, COMPARISON, [figure], predictions, OFFLINE.wandb_images)
    held = read_offline_run(tmp_path / "out")
    assert (held["project"], held["job_type"], held["exit"]) == ("toy", "evaluate", 0)
    assert held["config"]["seed"] == 3 and held["config"]["nested"] == {"a": [1, 2]}
    assert held["summary"]["natural/all/mae"] == 0.1
    (logged,) = held["history"]
    table = json.loads((held["files"] / logged["comparison"]["path"]).read_text())
    assert table["columns"] == list(COMPARISON.columns)
    assert table["data"] == [["natural", "all", "quality_model", 0.1, ""], ["natural", "all", "area", None, "x"]]
    with Image.open(held["files"] / logged["figures/curve"]["path"]) as image:
        assert image.size == (9, 7)
    assert logged["overlays"]["count"] == 2 and logged["overlays"]["captions"] == ["001-rec-011", "002-rec-009"]


def test_a_run_that_fails_is_told_so_and_no_image_leaves_where_none_may(tmp_path, predictions):
    with pytest.raises(ZeroDivisionError), wandb_run(OFFLINE, "train", tmp_path, {}) as run:
        log_results(run, COMPARISON, [], predictions, 0)
        raise ZeroDivisionError
    held = read_offline_run(tmp_path)
    assert held["exit"] == 1 and not list(held["files"].rglob("*.png"))


def test_without_wandb_nothing_is_opened(tmp_path, predictions):
    with wandb_run(LoggerConfig(), "train", tmp_path / "out", {}) as run:
        log_results(run, COMPARISON, [], predictions, 2)
    assert run is None and lightning_loggers(run) == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"logger": "wand"}, "unknown logger 'wand', did you mean 'wandb'"),
        ({"wandb_mode": "of"}, "unknown wandb mode 'of'"),
        ({"wandb_images": -1}, "wandb_images is -1"),
    ],
)
def test_wrong_options_are_one_sentence(options, says):
    with pytest.raises(ConfigError, match=says):
        check_logger(LoggerConfig(**options))


def test_a_missing_login_is_one_sentence(monkeypatch):
    import wandb

    def login() -> None:
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.\nmore")

    monkeypatch.setattr(wandb, "login", login)
    wanted = r"^W&B cannot be used \(No API key.*\): run `wandb login`, or set WANDB_API_KEY, or give .* offline$"
    with pytest.raises(ConfigError, match=wanted):
        check_logger(LoggerConfig(logger="wandb"))
    check_logger(OFFLINE)
