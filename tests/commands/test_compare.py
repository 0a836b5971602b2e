"""sqp compare: runs read back from their folders, what differs, paired differences, wrong folders told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from sqp.cli.main import main
from sqp.commands.compare import run
from sqp.commands.evaluate import run as evaluate
from sqp.config.compare import CompareConfig
from sqp.config.evaluate import EvaluateConfig
from sqp.core.errors import ConfigError
from sqp.evaluation.runs import agreed, differences, read_runs
from sqp.metrics.agreement import mae


@pytest.fixture(scope="module")
def evaluated(trained: Path, record_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` (a training) and `evaluation` (of it) in it."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    shutil.copytree(trained, folder / "model", ignore=shutil.ignore_patterns("cache", "checkpoints"))
    config = EvaluateConfig(folder / "evaluation", [record_set], folder / "model" / "bundle", n_resamples=50, gallery=0)
    evaluate(config)
    return folder


@pytest.fixture(scope="module")
def second(evaluated: Path) -> Path:
    """The same evaluation, worse by 0.1 on every mask, and another size told of in its training."""
    folder = evaluated.parent / "second"
    shutil.copytree(evaluated, folder)
    told = yaml.safe_load((folder / "model" / "run.yaml").read_text())
    told["config"]["size"] = 64
    (folder / "model" / "run.yaml").write_text(yaml.safe_dump(told))
    predictions = pd.read_parquet(folder / "evaluation" / "predictions.parquet")
    predictions["predicted_dice"] = predictions["dice"] + np.where(predictions["dice"] > 0.5, -0.3, 0.3)
    predictions.to_parquet(folder / "evaluation" / "predictions.parquet")
    table = pd.read_csv(folder / "evaluation" / "evaluation.csv")
    table.loc[table["method"] == "quality_model", "mae"] = 0.3
    table.to_csv(folder / "evaluation" / "evaluation.csv", index=False)
    return folder


def test_from_the_command_line(evaluated, second, tmp_path, capsys):
    assert main(["compare", str(evaluated), str(second), "--out", str(tmp_path), "--n-resamples", "50"]) == 0
    said = capsys.readouterr().out
    assert "first" in said and "second" in said and str(tmp_path / "comparison.md") in said
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"comparison.md", "comparison.csv", "comparison.png"}
    table = pd.read_csv(tmp_path / "comparison.csv")
    alone = pd.read_csv(evaluated / "evaluation" / "evaluation.csv")
    mine = table[(table["run"] == "first") & (table["split"] == "test")]
    np.testing.assert_allclose(mine["spearman"], alone["spearman"], atol=1e-6)


def test_the_text_has_configs_val_models_and_every_method(evaluated, second, tmp_path):
    text = run(CompareConfig([evaluated, second], tmp_path, n_resamples=50)).text
    line = next(line for line in text.splitlines() if line.startswith("| train.size"))
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["train.size", "32", "64"]
    assert "evaluate.seed" not in text  # the same in both
    val = yaml.safe_load((evaluated / "model" / "run.yaml").read_text())["val"]
    assert f"{val['mae']:.3f}" in text.split("## Split val")[1].split("##")[0]
    part = text.split("## Split test: natural")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")][:2] for line in part.strip().splitlines()[2:]]
    assert rows[:2] == [["quality_model", "first"], ["quality_model", "second"]]
    assert ["c_lesion", "all 2"] in rows and ["c_lesion", "first"] not in rows
    paired = text.split("## Model against model")[1].split("##")[0]
    first, other = (pd.read_parquet(f / "evaluation" / "predictions.parquet") for f in (evaluated, second))
    natural = first["natural"].to_numpy(bool)
    wanted = [mae(table["predicted_dice"][natural], table["dice"][natural]) for table in (other, first)]
    assert "not tested on the same" not in paired and f"{wanted[0] - wanted[1]:.3f} [" in paired


def test_a_part_of_the_rows_is_told(evaluated, second, tmp_path):
    folder = tmp_path / "third"
    shutil.copytree(second, folder)
    path = folder / "evaluation" / "predictions.parquet"
    pd.read_parquet(path).iloc[4:].to_parquet(path)
    text = run(CompareConfig([evaluated, folder], tmp_path / "out", n_resamples=20)).text
    assert "third and first were not tested on the same masks: 14 and 18, of which 14 are shared: only these" in text


def test_an_id_that_two_record_sets_share_is_paired_within_each(evaluated, second, tmp_path):
    folders = []
    for name, source in (("one", evaluated), ("two", second)):
        folders.append(shutil.copytree(source, tmp_path / name))
        path = folders[-1] / "evaluation" / "predictions.parquet"
        table = pd.read_parquet(path)
        pd.concat([table, table.assign(record_set="other")]).to_parquet(path)
    text = run(CompareConfig(folders, tmp_path / "out", n_resamples=20)).text
    paired = text.split("## Model against model")[1].split("##")[0]
    natural = next(line for line in paired.splitlines() if " natural |" in line)
    assert int(natural.split("|")[4]) == 2 * 6 and "not tested on the same" not in paired


def test_masks_that_were_generated_apart_are_not_paired(evaluated, second, tmp_path):
    """The same ids, but other masks: of all, then of two."""
    told = {18: "0 are shared (18 more have one id, but another true Dice", 2: "16 are shared (2 more have one id"}
    for changed, says in told.items():
        folder = tmp_path / str(changed)
        shutil.copytree(second, folder)
        path = folder / "evaluation" / "predictions.parquet"
        table = pd.read_parquet(path)
        table.loc[: changed - 1, "dice"] += 0.01
        table.to_parquet(path)
        text = run(CompareConfig([evaluated, folder], tmp_path / "out", n_resamples=20)).text
        assert says in text and ("cannot be compared in pairs" in text) == (changed == 18)
        paired = text.split("## Model against model")[1].split("##")[0]
        assert ("natural |" in paired) == (changed == 2)


def test_trainings_alone_and_evaluations_alone(evaluated, second, tmp_path):
    models = run(CompareConfig([evaluated / "model", second / "model"], tmp_path, n_resamples=20))
    assert "first/model" in models.text and "Model against model" not in models.text
    tests = run(CompareConfig([evaluated / "evaluation", second / "evaluation"], tmp_path, n_resamples=20))
    assert "Split val" not in tests.text and "Model against model" in tests.text
    assert not differences(read_runs([evaluated / "model", second / "model"])).empty


def test_scores_that_agree_have_one_row_and_others_do_not():
    part = pd.DataFrame(
        {
            "run": ["a", "a", "a", "b", "b"],
            "method": ["area", "quality_model", "epkl", "quality_model", "area"],
            "mae": [0.1, 0.2, 0.3, 0.2, 0.1 + 1e-9],
            "mae_difference": [0.5, np.nan, 0.1, np.nan, 0.7],
        }
    )
    table = agreed(part)
    assert list(zip(table["method"], table["run"], strict=True)) == [
        ("quality_model", "a"), ("quality_model", "b"), ("area", "all 2"), ("epkl", "a"),
    ]  # fmt: skip
    assert np.isnan(table["mae_difference"][2]) and table["mae_difference"][3] == 0.1
    assert (agreed(part.assign(mae=[0.1, 0.2, 0.3, 0.2, 0.4]))["run"] != "all 2").all()


def test_what_is_no_run_is_told(evaluated, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        shutil.copytree(evaluated / "model", tmp_path / "two" / name)
    for folders, says in [
        ([evaluated], "at least two runs"),
        ([evaluated, evaluated], "is given twice"),
        ([evaluated, tmp_path / "gone"], "does not exist"),
        ([evaluated, tmp_path / "empty"], "is no run: .* give the --out of one"),
        ([evaluated, tmp_path / "two"], "several runs of one command, a among them"),
    ]:
        with pytest.raises(ConfigError, match=says):
            read_runs(folders)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(evaluated / "model", unfinished)
    (unfinished / "run.yaml").write_text("config: {}\n")
    with pytest.raises(ConfigError, match="is no run"):
        read_runs([evaluated, unfinished])
    (unfinished / "run.yaml").write_text("config: [")
    assert main(["compare", str(evaluated), str(unfinished)]) == 2
    assert "is no YAML" in capsys.readouterr().err
