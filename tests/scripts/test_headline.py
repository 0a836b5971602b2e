"""The headline table on tiny record sets: every method on the same rows, a peer with its slip, a transfer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from recordsets import SPLITS, make_record_set

from sqp.config.train import TrainConfig
from sqp.errors import ConfigError
from sqp.io import RecordSet
from sqp.io.frozen import freeze, write_frozen
from sqp.metrics import selective
from sqp.quality import Bundle
from sqp.stages.train import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Record sets of two kinds, a model and a peer of the first."""
    home = tmp_path_factory.mktemp("headline")
    sets = {"home": {}, "elsewhere": {"seed": 5, "config": {"segmenter": {"name": "another"}, "prompter": "otsu"}}}
    for name, options in sets.items():
        make_record_set(home / name, {**SPLITS, "test": 20}, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sqp.io.frozen.SD_RANGE", (0.0, 1.0))
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
            "peer, slip": {"model": str(home / "peer" / "bundle"), "backbone": "siamese_slip"},
        },
        "transfer": {"elsewhere": where["elsewhere"]},
        "rival": "soft_dice_confidence",
        "n_resamples": 50,
    }


def rows_dice(told: dict) -> pd.Series:
    table = RecordSet(told["home"]["records"][0]).table
    return table[(table["split"] == "test") & (table["variant"] == "natural")]["dice"]


def write(folder: Path, told: dict) -> str:
    (folder / "headline.yaml").write_text(yaml.safe_dump(told))
    return str(folder / "headline.yaml")


def test_all_methods_on_the_same_rows(script, told, tmp_path, monkeypatch) -> None:
    headline = script("headline")
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
    assert natural.loc["peer", "pearson"] != natural.loc["peer, slip", "pearson"]
    model, peer = natural.loc["quality_model"], natural.loc["peer"]
    assert peer.mae_difference == pytest.approx(model.mae - peer.mae, abs=1e-5)
    assert peer.aurc_difference == pytest.approx(model.aurc - peer.aurc, abs=1e-5)
    assert natural.loc["rank_average", ["aurc", "aurc_difference_low"]].notna().all()
    assert np.isfinite([model.bias, model.bias_low, model.aurc_high]).all()
    both = table.loc[("home", "all")]
    assert both.loc["quality_model", "n_within"] <= 20 and (natural["n_within"] == 0).all()
    assert natural.loc["predict_the_mean", "aurc"] == pytest.approx(1 - rows_dice(told).mean(), abs=1e-5)

    stored = list((tmp_path / "work" / "home" / "quality_model").glob("*/predictions.parquet"))
    assert len(stored) == 1
    rows = pd.read_parquet(stored[0])
    rows = rows[rows.variant == "natural"]
    assert model.aurc == pytest.approx(selective.aurc(rows.predicted_dice, 1 - rows.dice), abs=1e-6)
    assert model.bias == pytest.approx((rows.predicted_dice - rows.dice).mean(), abs=1e-6)
    text = (tmp_path / "out" / "headline.md").read_text()
    assert "spread: Pearson" in text and "elsewhere, spread masks matched in Dice: " in text
    assert (
        "correlation of its errors with the model's" in text
        and "Pearson falls by |" in text
        and "AURC: model - method" in text
    )

    monkeypatch.setattr(headline, "predict_records", lambda *a, **k: pytest.fail("predicted again"))
    headline.main(arguments)
    others = {**told["others"], "slow peer": {"model": str(tmp_path / "none")}}  # not trained yet
    headline.main([write(tmp_path, {**told, "others": others}), *arguments[1:]])
    assert "Not trained yet, so not judged: slow peer." in (tmp_path / "out" / "headline.md").read_text()


def test_a_model_that_has_seen_the_test_groups_is_refused(script, told, tmp_path) -> None:
    bundle = Bundle.load(told["model"])
    bundle.info["groups_sha256"] = [*bundle.info["groups_sha256"], *_hashes("test003")]
    leaky = {**told, "model": str(bundle.save(tmp_path / "bundle"))}
    with pytest.raises(ConfigError, match=r"trained or calibrated on 1 of the groups that are tested, test003"):
        script("headline").main([write(tmp_path, leaky), str(tmp_path / "work"), str(tmp_path / "out")])


def _hashes(group: str) -> list[str]:
    from sqp.quality.provenance import group_hashes

    return group_hashes(pd.DataFrame({"group": [group]}))


def test_a_fall_is_measured_on_sets_that_are_alike(script) -> None:
    rng = np.random.default_rng(0)
    dice = np.concatenate([rng.uniform(0, 1, 300), rng.uniform(0.9, 1, 900)])
    home = pd.DataFrame({"dice": dice, "group": np.arange(1200), "predicted_dice": dice + rng.normal(0, 0.1, 1200)})
    home["peer/predicted_dice"] = rng.uniform(0, 1, 1200)
    away = home.iloc[:300].assign(predicted_dice=lambda rows: rows["predicted_dice"] + 0.1)
    transferred = script("headline").transferred
    found = transferred(home, away, ["quality_model", "peer"], 200).set_index("method")
    model = found.loc["quality_model"]
    assert model["sd_home"] == pytest.approx(model["sd_away"], abs=0.02)
    assert home["dice"].std() < away["dice"].std() - 0.02  # as they came they are not alike
    assert model["bias_away"] - model["bias_home"] == pytest.approx(0.1, abs=0.02)
    assert model["fall_low"] < 0 < model["fall_high"] and abs(model["fall"]) < 0.02
    assert abs(found.loc["peer", "pearson_home"]) < 0.2 < 0.9 < model["pearson_home"]
    same = transferred(away, away, ["quality_model"], 50).iloc[0]
    assert same["fall"] == 0 and same["n_home"] == same["n_away"] == 300


def test_where_errors_lie_in_the_worst_images_and_with_the_model(script) -> None:
    dice = np.linspace(0.2, 0.9, 200)
    rows = pd.DataFrame({"dice": dice, "image_id": np.arange(200).astype(str), "predicted_dice": dice + 0.01})
    rows.loc[7, "predicted_dice"] += 0.5  # one of the two worst
    rows["peer/predicted_dice"] = dice - 2 * (rows["predicted_dice"] - dice)
    rows["area"] = np.where(np.arange(200) == 3, np.nan, dice)
    calibration = pd.DataFrame({"dice": [0.2, 0.4], "area": [0.2, 0.4], "image_id": ["a", "b"]})
    found = script("headline").errors_of(rows, calibration, ["peer"], ["area"]).set_index("method")
    assert found.loc["quality_model", "worst"] == pytest.approx((0.51**2 + 1e-4) / (0.51**2 + 199e-4))
    assert found.loc["peer", "worst"] == pytest.approx(found.loc["quality_model", "worst"])
    assert found["with_model"][["quality_model", "peer"]].tolist() == pytest.approx([1, -1])
    assert found.loc["area", "n"] == 199


def test_targets_say_what_is_met(script) -> None:
    rows = []
    for name, fall in (("home", 0.0), ("away", 0.04), ("far", 0.2)):
        for subset in ("natural", "spread"):
            good = {"set": name, "subset": subset, "r2": 0.96, "pearson": 0.98 - fall, "rmse": 0.05, "mae": 0.03}
            good |= {"coverage": 0.9, "width": 0.15, "sd_dice": 0.25}
            rows.append({**good, "method": "quality_model"})
            rows.append({**good, "method": "predict_the_median", "mae": 0.1})
            rival = {"spearman_difference_low": 0.1, "aurc_difference_high": 0.01}
            rows.append({**good, "method": "pairwise_dice", **rival})
    falls = {
        name: pd.DataFrame({"method": ["peer", "quality_model"], "fall": [0.3, fall]})
        for name, fall in (("away", 0.04), ("far", 0.2))
    }
    found = script("headline").targets(pd.DataFrame(rows), falls, "pairwise_dice").set_index("target")["met"]
    assert found["spread: R2"] == found["natural: MAE"] == "yes"
    assert found["natural: Spearman above pairwise_dice's, low end"] == "yes"
    assert found["natural: AURC below pairwise_dice's, high end"] == "no"
    falls = {name.split(",")[0]: met for name, met in found.items() if "falls by" in name}
    assert falls == {"away": "yes", "far": "no"}


def test_the_config_in_the_repository_names_what_the_script_reads() -> None:
    told = yaml.safe_load((ROOT / "configs" / "headline.yaml").read_text())
    for where in (told["home"], *told["transfer"].values()):
        assert set(where) == {"records", "frozen"}
        assert all(path.startswith("configs/spread/") for path in where["frozen"])  # committed before any training
    assert all(set(one) <= {"model", "backbone"} for one in told["others"].values())
