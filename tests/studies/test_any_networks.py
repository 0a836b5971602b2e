"""A bundle on masks of fitted networks: who fits and shows what, registration beside it, and another bundle."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml
from fakes import Seeing
from tiny_tasks import write_tasks

from sqp import segmenters
from sqp.commands import generate, train
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.config.train import TrainConfig
from sqp.records import RecordSet
from sqp.segmenters import atlas
from studies import any_networks

TASKS = ["dark", "small"]
SCORES = ["referee_dice", "rca_mean"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a whole run."""
    home = tmp_path_factory.mktemp("any_networks")
    labels = write_tasks(home / "data", TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segmenters.SEGMENTERS, "litemedsam", lambda checkpoint=None, **options: Seeing(size=64, stride=4))
        patch.setattr(atlas, "LEAST_SIDE", 10_000)  # laid over by the centres, which takes no time
        shown = {"encoder": "litemedsam", "prompts": 2, "maps": []}
        settings = {
            "tasks": {task: {"labels": str(labels)} for task in TASKS},
            "most": {"train": 8, "calibration": 4, "val": 2, "test": 3},
            "most_of": {"small": {"train": 8, "calibration": 3, "val": 2, "test": 2}},
            "judge": str(home / "model" / "bundle"),
            "references": 4,
            "draws": {"held": 1, "test": 2},
            "network": {"network": "unet", "size": 32, "width": 4, "epochs": 1, "patience": 1, "progress": False},
            "generate": {
                "measures": [],
                "sampler": {"name": "deterministic", "n": 1},
                "variants": {"*": {"corruptions": 2, "families": ["erosion", "shift"]}},
            },
            "referees": {"any": {"name": "personalised", **shown}, "atlas": {"name": "atlas", **shown}},
            "beside": {"small": {"bundle": str(home / "model" / "bundle"), "supervised": {}}},
            "n_resamples": 20,
        }
        (home / "c.yaml").write_text(yaml.safe_dump(settings))
        any_networks.main([str(home / "c.yaml"), str(home / "out"), "--only", "records"])
        trained_on_dark(home, shown)
        any_networks.main([str(home / "c.yaml"), str(home / "out"), "--only", "report"])
    return home / "out"


def trained_on_dark(home, shown):
    data = home / "out" / "data" / "dark"
    records = generate.run(
        GenerateConfig(
            data / "cases.csv",
            home / "records",
            references=data / "references_test_4_0.csv",
            segmenter=SegmenterConfig("litemedsam"),
            prompter="truth_box",
            sampler=SamplerConfig("deterministic"),
            referee=RefereeConfig("personalised", **shown),
            variants={"*": VariantPlan(corruptions=2)},
        )
    )
    train.run(
        TrainConfig(
            [records.out], home / "model", "mask", SCORES, backbone="tabular", size=32, epochs=1, alpha=0.3,
            progress=False, ood_images=False, augment=False,
        )
    )  # fmt: skip


def test_networks_judge_nothing_that_they_were_fitted_on(made):
    for task, images in (("dark", 3), ("small", 2)):
        cases = pd.read_csv(made / "data" / task / "cases.csv")
        table = RecordSet(made / "any" / "records" / task / "network" / "test_4_0").table
        assert table["image_id"].nunique() == images and set(table[table["natural"]]["segmenter"]) == {"unet"}
        assert set(table["group"]) <= set(cases[cases["split"] == "test"]["group"])


def test_registration_is_of_the_same_masks_and_references(made):
    one, other = (RecordSet(made / name / "records" / "dark" / "network" / "test_4_0") for name in ("any", "atlas"))
    assert list(one.table["record_id"]) == list(other.table["record_id"])
    assert one.config["references_sha256"] == other.config["references_sha256"]
    assert not (made / "atlas" / "records" / "dark" / "network" / "test_4_1").exists()  # one draw is enough


def test_every_method_stands_in_the_table(made):
    table = pd.read_csv(made / "networks.csv")
    assert set(table["task"]) == set(TASKS) and set(table["subset"]) == {"spread", "natural"}
    spread = table[(table["task"] == "dark") & (table["subset"] == "spread")].set_index("method")
    known = RecordSet(made / "any" / "records" / "dark" / "network" / "test_4_0").table
    both = 2 * int((~known["natural"] & known["dice"].notna()).sum())
    assert spread.loc["quality_model", "n"] == both and spread.loc["atlas_rca_mean", "n"] <= both / 2
    assert {"referee_dice", "rca_max", "atlas_rca_max", "area"} <= set(spread.index)
    assert set(pd.read_csv(made / "means.csv")["method"]) >= {"quality_model", "predict_the_median"}


def test_another_bundle_judges_the_same_rows(made):
    table = pd.read_csv(made / "small.csv")
    assert len(table) == 4 and table.groupby("subset")["n"].nunique().eq(1).all()
    assert "beside" in (made / "networks.md").read_text()
