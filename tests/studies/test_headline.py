"""The headline table on tiny record sets: every method on the same rows, a peer with its slip, a transfer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from recordsets import SPLITS, make_record_set

from sqp.commands.train import run
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.metrics import selective
from sqp.quality import Bundle
from sqp.records import RecordSet
from sqp.records.frozen import freeze, write_frozen
from studies import headline, runner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Record sets of two kinds, a model and a peer of the first."""
    home = tmp_path_factory.mktemp("headline")
    sets = {"home": {}, "elsewhere": {"seed": 5, "config": {"segmenter": {"name": "another"}, "prompter": "otsu"}}}
    for name, options in sets.items():
        make_record_set(home / name, {**SPLITS, "test": 20}, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sqp.records.frozen.SD_RANGE", (0.0, 1.0))
            write_frozen(home / f"{name}.json", freeze(RecordSet(home / name), "test", ["shift"]))
    small = {"epochs": 2, "batch_size": 32, "progress": False}
    run(TrainConfig([home / "home"], home / "model", inputs="mask+uncertainty", size=32, **small))
    peer = {"inputs": "image+mask+self/epkl", "size": 78, "backbone": "siamese", "loss": "mse", "augment": False}
    run(TrainConfig([home / "home"], home / "peer", **peer, **small))
    where = {name: {"records": [str(home / name)], "frozen": [str(home / f"{name}.json")]} for name in sets}
    return {
        "home": where["home"],
        "model": str(home / "model" / "bundle"),
        "others": {
            "peer": {"model": str(home / "peer" / "bundle")},
            "peer, slip": {"model": str(home / "peer" / "bundle"), "backbone": "siamese_slip", "sets": ["home"]},
        },
        "transfer": {"elsewhere": where["elsewhere"]},
        "rival": "soft_dice_confidence",
        "n_resamples": 50,
    }


def rows_dice(told: dict) -> pd.Series:
    table = RecordSet(told["home"]["records"][0]).table
    return table[(table["split"] == "test") & (table["variant"] == "natural")]["dice"]


def text_of(folder: Path) -> str:
    return (folder / "out" / "headline.md").read_text()


def write(folder: Path, told: dict) -> str:
    (folder / "headline.yaml").write_text(yaml.safe_dump(told))
    return str(folder / "headline.yaml")


def test_all_methods_on_the_same_rows(told, tmp_path, monkeypatch) -> None:
    arguments = [write(tmp_path, told), str(tmp_path / "work"), str(tmp_path / "out" / "headline")]
    headline.main(arguments)
    table = pd.read_csv(tmp_path / "out" / "headline.csv").set_index(["set", "subset", "method"]).sort_index()
    natural = table.loc[("home", "natural")]
    for name in (
        "quality_model",
        "peer",
        "peer, slip",
        "area",
        "rank_average",
        "nonneg_regression",
    ):
        assert natural.loc[name, "n"] == 20, name
    assert {"predict_the_median", "c_lesion"} <= set(natural.index)
    assert {"natural", "spread", "spread_unseen"} <= set(table.loc["elsewhere"].index.get_level_values("subset"))
    assert "peer, slip" not in table.loc[("elsewhere", "natural")].index
    assert natural.loc["peer", "pearson"] != natural.loc["peer, slip", "pearson"]
    model, peer = natural.loc["quality_model"], natural.loc["peer"]
    assert peer.mae_difference == pytest.approx(model.mae - peer.mae, abs=1e-5)
    assert peer.aurc_difference == pytest.approx(model.aurc - peer.aurc, abs=1e-5)
    assert natural.loc["rank_average", ["aurc", "aurc_difference_low"]].notna().all()
    assert np.isfinite([model.bias, model.bias_low, model.aurc_high]).all()
    both = table.loc[("home", "all")]
    assert "Spearman of nonneg_regression |" in text_of(tmp_path)
    assert both.loc["quality_model", "n_within"] <= 20 and (natural["n_within"] == 0).all()
    assert natural.loc["predict_the_mean", "aurc"] == pytest.approx(1 - rows_dice(told).mean(), abs=1e-5)

    stored = list((tmp_path / "work" / "home" / "quality_model").glob("*/predictions.parquet"))
    assert len(stored) == 1
    rows = pd.read_parquet(stored[0])
    rows = rows[rows.variant == "natural"]
    assert model.aurc == pytest.approx(selective.aurc(rows.predicted_dice, 1 - rows.dice), abs=1e-6)
    assert model.bias == pytest.approx((rows.predicted_dice - rows.dice).mean(), abs=1e-6)
    text = text_of(tmp_path)
    assert "spread: Pearson" in text and "elsewhere, spread masks matched in Dice: " in text
    assert (
        "correlation of its errors with the model's" in text
        and "Pearson falls by |" in text
        and "AURC: model - method" in text
    )

    with Image.open(tmp_path / "out" / "headline.png") as picture:
        assert picture.size[0] > 500

    monkeypatch.setattr(runner, "predict_records", lambda *a, **k: pytest.fail("predicted again"))
    headline.main(arguments)
    others = {**told["others"], "slow peer": {"model": str(tmp_path / "none")}}  # not trained yet
    headline.main([write(tmp_path, {**told, "others": others}), *arguments[1:]])
    assert "Not trained yet, so not judged: slow peer." in text_of(tmp_path)


def test_a_model_that_has_seen_the_test_groups_is_refused(told, tmp_path) -> None:
    bundle = Bundle.load(told["model"])
    bundle.info["groups_sha256"] = [*bundle.info["groups_sha256"], *_hashes("test003")]
    leaky = {**told, "model": str(bundle.save(tmp_path / "bundle"))}
    with pytest.raises(ConfigError, match=r"trained or calibrated on 1 of the groups that are tested, test003"):
        headline.main([write(tmp_path, leaky), str(tmp_path / "work"), str(tmp_path / "out")])


def _hashes(group: str) -> list[str]:
    from sqp.quality.bundle.provenance import hashes_of

    return hashes_of([group])


def test_targets_say_what_is_met(tmp_path) -> None:
    rows = []
    for name, worse in (("home", 0.0), ("away", 0.3)):
        for subset in ("natural", "spread"):
            good = {"set": name, "subset": subset, "r2": 0.96, "pearson": 0.98, "rmse": 0.05, "mae": 0.03}
            good |= {"coverage": 0.9 - worse, "width": 0.15, "sd_dice": 0.25}
            rows.append({**good, "method": "quality_model"})
            rows.append({**good, "method": "predict_the_median", "mae": 0.1})
            rival = {"spearman_difference_low": 0.0, "aurc_difference_high": -0.0001}
            rows.append({**good, "method": "pairwise_dice", **rival})
    falls = {
        name: pd.DataFrame({"method": ["peer", "quality_model"], "fall": [0.3, fall]})
        for name, fall in (("away", 0.04), ("far", 0.2))
    }
    names = ("predicting quality, without reading, a record", "predicting quality, without reading / segmenting")
    pd.DataFrame({"what": names, "value": [0.007, 0.09]}).to_csv(tmp_path / "speed.csv", index=False)
    arguments = (pd.DataFrame(rows), falls, "pairwise_dice", ["home", "away"], tmp_path / "speed.csv")
    found = headline.targets(*arguments).set_index("target")["met"]
    assert found["spread: R2"] == found["natural: MAE"] == "yes"
    assert found["natural: Spearman above pairwise_dice's, low end"] == "no"  # 0 is not clear of 0
    assert found["natural: AURC below pairwise_dice's, high end"] == "yes"
    assert found["home, natural: coverage of 90 % intervals"] == "yes"
    assert found["away, spread: coverage of 90 % intervals"] == "no"
    assert found["away, spread: mean width"] == "yes"
    fallen = {name.split(",")[0]: met for name, met in found.items() if "falls by" in name}
    assert fallen == {"away": "yes", "far": "no"}
    assert found[[name for name in found.index if name.startswith("cost")]].tolist() == ["no", "yes"]


def test_a_home_without_a_frozen_set_is_refused(told, tmp_path) -> None:
    bare = {**told, "home": {**told["home"], "frozen": []}}
    with pytest.raises(ConfigError, match="'home' names no frozen spread set"):
        headline.main([write(tmp_path, bare), str(tmp_path / "work"), str(tmp_path / "out")])


def test_the_config_in_the_repository_names_what_the_script_reads() -> None:
    told = yaml.safe_load((ROOT / "configs" / "headline.yaml").read_text())
    for where in (told["home"], *told["transfer"].values()):
        assert set(where) == {"records", "frozen"}
        assert all(path.startswith("configs/spread/") for path in where["frozen"])  # committed
    assert all(set(one) <= {"model", "backbone", "sets"} for one in told["others"].values())
