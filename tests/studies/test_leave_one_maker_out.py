"""Makers left out, on tiny record sets of three makers, two of one family, and images from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from recordsets import CONFIG, SPLITS, make_record_set
from sklearn.metrics import roc_auc_score

from sqp import bundles
from sqp.cli.parser import from_mapping
from sqp.core.errors import ConfigError
from sqp.quality import Bundle
from studies import leave_one_maker_out, runner

ROOT = Path(__file__).parents[2]
VARIANTS = {
    "litemedsam": ("natural", "erosion"),
    "mobilesam": ("shift", "natural"),
    "fpn": ("erosion", "shift", "natural"),
}
"""In another order each, so that no two makers have a record id in common."""


SCORES = ["supervised_dice", "referee_dice"]


def make(home: Path, maker: str, part: str, number: int, splits: dict[str, int]) -> None:
    config = {**CONFIG, "segmenter": {**CONFIG["segmenter"], "name": maker}}
    folder = make_record_set(home / maker / part, splits, VARIANTS[maker], config=config)
    table = pd.read_parquet(folder / "records.parquet")
    rng = np.random.default_rng(number)
    even = table["image_id"].str[-1].astype(int) % 2 == 0
    own = (table["natural"].astype(bool) & even & (maker == "litemedsam")).to_numpy(bool)
    for name in SCORES:
        table[name] = (table["dice"] + rng.normal(0, 0.1, len(table))).clip(0, 1)
    table["referee_dice"] = table["referee_dice"].where(~own)
    if part == "elsewhere":
        for name in ("image_id", "group"):
            table[name] = "elsewhere-" + table[name]
    table.assign(referee_own=own).to_parquet(folder / "records.parquet")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    home = tmp_path_factory.mktemp("makers")
    for number, maker in enumerate(VARIANTS):
        make(home, maker, "rest", number, {**SPLITS, "test": 20})
    inputs = {"inputs": "mask+self/entropy", "scores": ["supervised_dice"]}
    train = inputs | {"size": 32, "epochs": 2, "batch_size": 32, "progress": False}
    return {
        "records": f"{home}/*/*",
        "families": {"sam": ["litemedsam", "mobilesam"]},
        "against": SCORES,
        "train": train,
        "n_resamples": 50,
    }


def run(told, folder: Path, *more: str) -> pd.DataFrame:
    (folder / "makers.yaml").write_text(yaml.safe_dump(told))
    leave_one_maker_out.main([str(folder / "makers.yaml"), str(folder / "out"), *more])
    split = more[-1] if "--split" in more else "test"
    return pd.read_csv(folder / "out" / split / "makers.csv")


@pytest.fixture(scope="module")
def made(told, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run(told, folder, "--makers", "sam", "fpn")


def test_the_maker_and_its_family_are_in_no_part_of_the_training(made):
    folder, table = made
    assert set(table.left_out) == {"sam", "fpn"}
    for left_out, kinds in (("sam", {"fpn"}), ("fpn", {"litemedsam", "mobilesam"})):
        bundle = Bundle.load(folder / "out" / "models" / left_out / "bundle")
        assert {one["segmenter"]["name"] for one in bundle.expects} == kinds
        per_image = sum(len(VARIANTS[kind]) for kind in kinds)
        counts = bundle.info["data"]["counts"]
        assert all(counts[split]["records"] == per_image * SPLITS[split] for split in ("train", "calibration"))


def test_figures_by_hand_and_own_masks_left_out(made):
    folder, table = made
    (stored,) = (folder / "out" / "models" / "fpn").glob("*/predictions.parquet")
    rows = pd.read_parquet(stored)
    test = rows[(rows.split == "test") & ~rows.referee_own.astype(bool)]
    assert rows.referee_own.sum() > 0
    at = table.set_index(["left_out", "makers", "subset", "method"])
    of_fpn = test[test.record_set.str.endswith("fpn/rest")]
    for subset, part in (("natural", of_fpn[of_fpn.natural]), ("all", of_fpn)):
        model, referee = (at.loc[("fpn", "fpn", subset, name)] for name in ("quality_model", "referee_dice"))
        assert model.n == referee.n == len(part)
        assert model.pearson == pytest.approx(part.predicted_dice.corr(part.dice), abs=1e-5)
        assert referee.pearson == pytest.approx(part.referee_dice.corr(part.dice), abs=1e-5)
        assert referee.pearson_difference == pytest.approx(model.pearson - referee.pearson, abs=2e-6)
        assert referee.mae_difference == pytest.approx(model.mae - referee.mae, abs=2e-6)
        assert model.mae == pytest.approx((part.predicted_dice - part.dice).abs().mean(), abs=1e-5)
        assert model.coverage == pytest.approx(part.dice.between(part.low, part.high).mean(), abs=1e-5)
        failed = part.dice < 0.7
        assert model.n_failed == failed.sum()
        if 0 < failed.sum() < len(part):
            assert referee.auroc == pytest.approx(roc_auc_score(failed, -part.referee_dice), abs=1e-5)
            assert referee.auroc_difference == pytest.approx(model.auroc - referee.auroc, abs=2e-6)
        else:
            assert np.isnan(model.auroc) and "no AUROC" in model.note
    others = test[~test.record_set.str.endswith("fpn/rest") & test.natural]
    assert at.loc[("fpn", "sam", "natural", "quality_model")].n == len(others) == 30  # 10 are the referee's own
    assert at.loc[("fpn", "all seen", "natural", "quality_model")].n == 30
    text = (folder / "out" / "test" / "makers.md").read_text()
    assert "## fpn left out: natural masks" in text and "MAE: model - score" in text


def test_it_goes_on_where_it_stopped(made, told, monkeypatch):
    folder, table = made
    module = leave_one_maker_out
    monkeypatch.setattr(runner, "predict_records", lambda *a, **k: pytest.fail("predicted again"))
    bundle = folder / "out" / "models" / "fpn" / "bundle" / "bundle.json"
    before = bundle.stat().st_mtime_ns
    module.main([str(folder / "makers.yaml"), str(folder / "out"), "--makers", "fpn"])
    assert bundle.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(pd.read_csv(folder / "out" / "test" / "makers.csv"), table)


def test_a_bundle_that_has_seen_all_judges_the_same_rows(made, told, tmp_path, monkeypatch):
    folder, table = made
    monkeypatch.setattr(bundles, "HERE", tmp_path)
    (tmp_path / "default").symlink_to(folder / "out" / "models" / "fpn" / "bundle")
    seen = run(told, folder, "--bundles", "default").query("left_out == 'none (default)'")
    keys = ["makers", "subset", "method"]
    of_model = seen.query("method == 'quality_model'").set_index(keys).sort_index()
    before = table.query("left_out == 'fpn' and method == 'quality_model'").set_index(keys).sort_index()
    assert set(of_model.index.get_level_values("makers")) == {"all seen", "sam", "fpn", "none (default)"} - {
        "none (default)"
    }
    assert of_model.loc["fpn", "mae"].tolist() == before.loc["fpn", "mae"].tolist()  # one bundle, the same rows


def test_images_from_elsewhere_are_judged_by_every_model_and_learned_by_none(told, tmp_path):
    home = tmp_path / "sets"
    for number, maker in enumerate(VARIANTS):
        make(home, maker, "rest", number, {**SPLITS, "test": 20})
    make(home, "fpn", "elsewhere", 7, {"val": 12})
    table = run({**told, "records": f"{home}/*/*", "domains": ["elsewhere"]}, tmp_path,
        "--makers", "sam", "--split", "val",
    )  # fmt: skip
    assert {"elsewhere: fpn", "elsewhere: all"} <= set(table.makers)
    bundle = Bundle.load(tmp_path / "out" / "models" / "sam" / "bundle")
    assert bundle.info["data"]["counts"]["val"]["records"] == SPLITS["val"] * len(VARIANTS["fpn"])
    assert table[table.makers == "elsewhere: fpn"].n.max() == 12 * len(VARIANTS["fpn"])


def test_what_it_refuses(told, tmp_path):
    with pytest.raises(ConfigError, match="unknown maker 'fnp', did you mean 'fpn'"):
        run(told, tmp_path, "--makers", "fnp")
    with pytest.raises(ConfigError, match="no record set matches"):
        run({**told, "records": str(tmp_path / "none" / "*")}, tmp_path)


def test_the_config_in_the_repository_fits_the_recipe():
    told = yaml.safe_load((ROOT / "configs" / "leave_one_maker_out.yaml").read_text())
    recipe = yaml.safe_load((ROOT / "configs" / "default_bundle.yaml").read_text())
    config = from_mapping("train", {**told["train"], "records": ["x"], "out": "y"})
    assert (
        config.inputs == recipe["train"]["default"]["inputs"] and config.scores == recipe["train"]["default"]["scores"]
    )
    assert {maker for makers in told["families"].values() for maker in makers} <= set(recipe["makers"])
    assert told["domains"] == list(recipe["domains"])
    roots = {Path(pattern).parts[:4] for pattern in told["records"]}  # runs, default_bundle, records, REFEREE
    assert {parts[-1] for parts in roots} == {"none", "both"} <= set(recipe["referees"])
