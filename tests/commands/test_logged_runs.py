"""train and evaluate with --logger wandb, offline, from the command line: what W&B holds beside the files."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from wandb_file import read_offline_run

from sqp.cli.main import main

WANDB = ["--logger", "wandb", "--wandb-mode", "offline", "--wandb-images", "1"]


@pytest.fixture(scope="module")
def out(record_set, tmp_path_factory):
    """Folders `model` and `evaluation` of two logged runs."""
    folder = tmp_path_factory.mktemp("logged")
    records = ["--records", str(record_set)]
    train = [
        "--out",
        str(folder / "model"),
        "--size",
        "32",
        "--epochs",
        "2",
        "--batch-size",
        "16",
        "--progress",
        "false",
    ]
    assert main(["train", *records, *train, *WANDB]) == 0
    evaluate = ["--model", str(folder / "model" / "bundle"), "--out", str(folder / "evaluation"), "--n-resamples", "20"]
    assert main(["evaluate", *records, *evaluate, "--gallery", "2", *WANDB]) == 0
    return folder


def table_of(held: dict, step: dict) -> pd.DataFrame:
    table = json.loads((held["files"] / step["comparison"]["path"]).read_text())
    return pd.DataFrame(table["data"], columns=table["columns"])


def test_training_logs_config_metrics_table_figure_and_overlay(out):
    held = read_offline_run(out / "model")
    assert (held["job_type"], held["exit"]) == ("train", 0)
    assert held["config"]["size"] == 32 and "wandb_mode" not in held["config"]
    csv = pd.read_csv(out / "model" / "metrics.csv")
    logged = [step["val/mae"] for step in held["history"] if "val/mae" in step]
    assert logged == pytest.approx(csv["val/mae"].tolist(), abs=1e-6)
    end = held["history"][-1]
    table, written = table_of(held, end), pd.read_csv(out / "model" / "comparison_val.csv")
    assert list(table["method"]) == list(written["method"]) and {"natural", "spread", "all"} == set(written["subset"])
    assert {"c_lesion", "area", "quality_model"} <= set(written["method"])
    assert (held["files"] / end["figures/predicted_vs_true_val"]["path"]).stat().st_size > 1000
    assert end["overlays"]["count"] == 1


def test_evaluating_logs_the_same_kinds(out):
    held = read_offline_run(out / "evaluation")
    assert held["job_type"] == "evaluate" and held["config"]["split"] == "test"
    (end,) = held["history"]
    written = pd.read_csv(out / "evaluation" / "evaluation.csv")
    assert list(table_of(held, end)["method"]) == list(written["method"])
    model = written[(written["method"] == "quality_model") & (written["subset"] == "natural")].iloc[0]
    assert held["summary"]["natural/all/mae"] == pytest.approx(model["mae"], abs=1e-6)
    figures = {name for name in end if name.startswith("figures/")}
    assert figures >= {"figures/predicted_vs_true", "figures/calibration"}


def test_a_finished_training_is_answered_though_it_is_logged_otherwise_now(out, record_set, capsys):
    args = ["train", "--records", str(record_set), "--out", str(out / "model"), "--size", "32", "--epochs", "2"]
    assert main([*args, "--batch-size", "16"]) == 0
    assert "val: MAE" in capsys.readouterr().out
