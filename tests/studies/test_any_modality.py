"""A judge for any modality on three tiny tasks: who is shown what, who has seen what, and what is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fakes import FakeSegmenter, Seeing
from tiny_tasks import write_tasks

from sqp import segmenters
from sqp.cli.main import main
from sqp.core.errors import ConfigError
from sqp.core.types import Case, Prompt
from sqp.evaluation.comparison import MODEL
from sqp.quality import Bundle
from sqp.quality.bundle.provenance import hashes_of
from sqp.quality.bundle.storage import CORRECTION
from sqp.quality.judging.conformal import group_quantile
from sqp.records import RecordSet
from studies import any_modality
from studies.any_report import ALONE, RCA, pooled_quantile, with_intervals
from studies.tasks import Remembered, draw, parts_of

TASKS = ["dark", "bright", "small"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The study's config, and the folder of a whole run."""
    home, patch = tmp_path_factory.mktemp("any"), pytest.MonkeyPatch()
    labels = write_tasks(home / "data", TASKS)
    patch.setitem(segmenters.SEGMENTERS, "fake", lambda checkpoint=None, **options: Seeing(size=64, stride=4))
    patch.setattr(any_modality, "ENCODER", "fake")
    settings = {
        "tasks": {task: {"labels": str(labels)} for task in TASKS},
        "most": {"train": 8, "calibration": 4, "val": 2, "test": 3},
        "judged": 3,
        "generate": {
            "measures": [],
            "sampler": {"name": "deterministic", "n": 1},
            "referee": {"name": "personalised", "encoder": "fake", "needs_references": False},
        },
        "makers": {
            "fake": {
                "references": {"first": [1, 0], "second": [4], "held": [4, 1, 0], "test": [1, 4, 0]},
                "draws": {1: 2},
                "segmenter": {"name": "fake"},
                "prompter": "truth_box",
                "variants": {"*": {"corruptions": 3, "families": ["erosion", "shift", "blob_cut"]}},
            },
            "classical": {
                "masks": "classical",
                "references": {"first": [1], "second": [], "held": [1], "test": [1]},
                "segmenter": {"name": "none"},
            },
        },
        "train": {"scores": ["referee_dice", *RCA, "references"], "alpha": 0.3, "progress": False, "ood_images": False},
        "models": {
            "scores": {"backbone": "tabular", "inputs": "mask", "size": 32, "epochs": 1, "augment": False},
        },
        "chosen": "scores",
        "bundles": {"two": {"tasks": ["dark", "bright"]}, "all": {"tasks": TASKS}},
        "n_resamples": 20,
    }
    (home / "any.yaml").write_text(yaml.safe_dump(settings))
    any_modality.main([str(home / "any.yaml"), str(home / "out")])
    patch.undo()
    return home / "out"


def test_no_group_is_judged_beside_itself_and_no_reference_is_of_test(made):
    for task in TASKS:
        home = made / "data" / task
        shown = list(home.glob("references_*.csv"))
        assert len(shown) == 7  # first 1; second 4; held 4, 1; test 1, 1, 4
        for file in shown:
            part = file.name.split("_")[1]
            references, judged = pd.read_csv(file), pd.read_csv(home / f"{part}.csv")
            assert set(references["split"]) == {"train"}
            assert not {*references["group"]} & {*judged["group"]}
        one, other = (pd.read_csv(home / f"references_test_1_{number}.csv")["image_id"][0] for number in (0, 1))
        assert one != other


def test_the_masks_of_test_are_the_same_beside_all_references(made):
    hashes = [
        [RecordSet(folder).contents[name].split(";")[0] for name in sorted(RecordSet(folder).table["record_id"])]
        for folder in sorted((made / "records" / "dark" / "fake").glob("test_*"))
    ]
    assert len(hashes) == 4 and all(one == hashes[0] for one in hashes)
    counts = [RecordSet(folder).table["references"].max() for folder in (made / "records/dark/fake").glob("test_*")]
    assert sorted(counts) == [0, 1, 1, 4]


def test_a_task_that_is_left_out_is_in_no_part_of_the_training(made):
    for task in TASKS:
        info = Bundle.load(made / "judge" / "scores" / task / "bundle").info
        assert info["data"]["datasets"] == sorted({*TASKS} - {task})
        own = pd.concat([pd.read_csv(file) for file in (made / "data" / task).glob("[fht]*.csv")])
        assert not {*info["groups_sha256"]} & {*hashes_of(own["group"])}


def test_the_report_has_every_task_and_number_of_references(made):
    table = pd.read_csv(made / "report.csv")
    assert set(zip(table["task"], table["k"], strict=True)) == {(task, k) for task in TASKS for k in (0, 1, 4)}
    without = table[(table["k"] == 0) & table["method"].isin(RCA)]
    assert len(without) and without["pearson"].isna().all()
    judge = table[(table["method"] == MODEL) & (table["subset"] == "spread")].set_index(["task", "k"])
    assert judge["mae"].notna().all() and judge["aurc"].notna().all()
    assert judge.loc[("dark", 1), "draws"] == 2 and judge.loc[("dark", 1), "n"] > judge.loc[("dark", 4), "n"]
    assert (made / "any.png").stat().st_size and "k = 4" in (made / "report.md").read_text()
    chosen = pd.read_csv(made / "choose.csv")
    assert set(chosen["model"]) == {"scores"} and set(chosen["judge"]) == {"corrected", "alone"}
    assert set(chosen["k"]) == {0, 1, 4}
    frozen = pd.read_csv(made / "frozen.csv")
    assert set(frozen["task"]) == {*TASKS} and frozen["mask_sha256"].str.len().eq(16).all()


def test_references_correct_where_there_are_enough(made):
    """From records of theirs, which are others than the judged; the judge before the correction is a method, too."""
    table = pd.read_csv(made / "report.csv").set_index(["task", "k", "subset", "method"])["mae"]
    assert set(table.xs(ALONE, level="method").index.get_level_values("k")) == {4}
    judges = table.xs(4, level="k").unstack("method")
    assert (judges[MODEL] != judges[ALONE]).all()
    spoilt = RecordSet(made / "references" / "dark" / "test_4_0" / "records").table
    assert len(spoilt["image_id"].unique()) == 4
    assert not {*spoilt["image_id"]} & {*pd.read_csv(made / "data" / "dark" / "test.csv")["image_id"]}


def test_intervals_are_as_wide_as_other_tasks_ask_for():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"task": np.repeat(["a", "b", "c"], 40), "group": np.arange(120).astype(str), "scale": 0.1})
    rows = rows.assign(predicted_dice=0.5, corrected=rng.random(120) < 0.5)
    rows["dice"] = 0.5 + rows["scale"] * np.where(rows["corrected"], 1, 3) * rng.uniform(-1, 1, 120)
    found = with_intervals(rows, rows, 0.2)
    for (task, corrected), part in found.groupby(["task", "corrected"]):
        others = rows[(rows["task"] != task) & (rows["corrected"] == corrected)]
        half = pooled_quantile(others, 0.2) * 0.1
        assert (part["high"] - part["predicted_dice"]).to_numpy() == pytest.approx(half)
        assert (part["predicted_dice"] - part["low"]).to_numpy() == pytest.approx(half)


def test_the_bundle_has_the_interval_that_left_out_tasks_ask_for(made):
    bundle = Bundle.load(made / "bundles" / "two")
    trained = Bundle.load(made / "train" / "two" / "bundle")
    assert bundle.info["data"]["datasets"] == ["bright", "dark"]
    assert bundle.conformal.quantile != trained.conformal.quantile and bundle.conformal.alpha == 0.3
    assert not bundle.expects[0]["referee"]["needs_references"]
    assert bundle.info[CORRECTION]["quantile"] > 0 and bundle.info[CORRECTION]["groups"] == 12


def test_a_bundle_of_all_tasks_needs_no_masks_of_test(made, tmp_path):
    for part in ("records", "references"):
        shutil.copytree(made / part, tmp_path / part, ignore=shutil.ignore_patterns("test_*"))
    config = str(made.parent / "any.yaml")
    any_modality.main([config, str(tmp_path), "--only", "bundles", "--bundles", "all"])
    assert [folder.name for folder in (tmp_path / "bundles").iterdir()] == ["all"]
    again, whole = (Bundle.load(folder / "bundles" / "all") for folder in (tmp_path, made))
    assert again.info["data"]["datasets"] == sorted(TASKS) and again.conformal == whole.conformal
    with pytest.raises(ConfigError, match=r"bundle of the config 'al'.*all"):
        any_modality.main([config, str(tmp_path), "--only", "bundles", "--bundles", "al"])


def test_the_quantile_over_tasks_counts_each_once():
    """The exact one of `conformal.group_quantile`, but for the place that it keeps for the next task."""
    rng = np.random.default_rng(0)
    task = np.repeat(["a", "b", "c"], [10, 20, 40])
    rows = pd.DataFrame({"task": task, "group": rng.integers(0, 6, 70).astype(str), "dice": rng.random(70)})
    rows = rows.assign(predicted_dice=0.5, scale=rng.uniform(0.5, 1, 70))
    residual = (rows["dice"] - 0.5).abs() / rows["scale"]
    whole = group_quantile(residual, rows["task"], 1 - 0.6 * 3 / 4, within=rows["group"])
    assert pooled_quantile(rows, 0.4) == pytest.approx(whole)


def cases(groups: int) -> list[Case]:
    splits = ("train", "train", "calibration", "val", "test")
    return [Case(f"{g}-{i}", Path("x.png"), group=str(g), split=splits[g % 5]) for g in range(groups) for i in (0, 1)]


def test_halves_and_draws():
    parts = parts_of(cases(50), judged=6)
    for judged, pool in parts.values():
        assert not {case.group for case in judged} & {case.group for case in pool}
        assert {case.split for case in pool} == {"train"}
    assert len(parts["first"][0]) == 6 and len(parts["test"][0]) == 20
    pool = parts["held"][1]
    first, second = (draw(pool, 8, number) for number in (0, 1))
    assert not {case.image_id for case in first} & {case.image_id for case in second}
    assert draw(pool, 32, 0)[:8] == first and len(draw(pool, 99, 0)) == len(pool)


def test_a_remembered_answer_is_the_segmenters_own():
    segmenter = FakeSegmenter()
    remembered = Remembered(segmenter)
    embedding = segmenter.encode(np.full((48, 64, 3), 90, np.uint8))
    boxes = [Prompt(box=(4.0, 4.0, 30.0, 30.0 + i)) for i in range(3)]
    whole = segmenter.decode(embedding, boxes)
    segmenter.decoded.clear()
    remembered.decode(embedding, boxes[:2])
    again = remembered.decode(embedding, boxes[::-1])
    assert torch.equal(again.logits, whole.logits.flip(0)) and torch.equal(again.iou, whole.iou.flip(0))
    assert segmenter.decoded == [2, 1] and remembered.name == "fake"


def test_such_a_bundle_judges_with_references_and_without_and_says_so(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(segmenters.SEGMENTERS, "fake", lambda checkpoint=None, **options: Seeing(size=64, stride=4))
    small = made.parent / "data" / "small"
    masks = ["--images", str(small / "images"), "--masks", str(small / "masks"), "--worst", "0"]
    told = {}
    for name, more in (("without", []), ("with", ["--references", str(small)])):
        out = tmp_path / name
        assert main(["predict", "--model", str(made / "bundles" / "two"), *masks, "--out", str(out), *more]) == 0
        told[name] = capsys.readouterr().out
        assert pd.read_csv(out / "predictions.csv")["predicted_dice"].notna().all()
    assert "judged without examples of the task" in told["without"]
    assert "judged without examples" not in told["with"] and "among the references" in told["with"]
    assert "the model was corrected by" in told["with"] and "corrected by" not in told["without"]
