"""The headline table on tiny record sets: every method on the same rows, a peer with its slip, a transfer."""

from __future__ import annotations

import json
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
        "borrowed": {"ensemble_pairwise": {"records": str(home / "elsewhere"), "score": "soft_dice_confidence"}},
        "transfer": {"elsewhere": where["elsewhere"]},
        "n_resamples": 50,
    }


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
        "ensemble_pairwise",
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

    rows = pd.read_parquet(tmp_path / "work" / "home" / "quality_model" / "predictions.parquet")
    rows = rows[rows.variant == "natural"]
    assert model.aurc == pytest.approx(selective.aurc(rows.predicted_dice, 1 - rows.dice), abs=1e-6)
    assert model.bias == pytest.approx((rows.predicted_dice - rows.dice).mean(), abs=1e-6)
    text = (tmp_path / "out" / "headline.md").read_text()
    assert "spread: Pearson" in text and "elsewhere, spread (SD(Dice)" in text and "AURC: model - method" in text

    monkeypatch.setattr(headline, "predict_records", lambda *a, **k: pytest.fail("predicted again"))
    headline.main(arguments)


def test_a_model_that_has_seen_the_test_groups_is_refused(script, told, tmp_path) -> None:
    bundle = Bundle.load(told["model"])
    bundle.info["groups_sha256"] = [*bundle.info["groups_sha256"], *_hashes("test003")]
    leaky = {**told, "model": str(bundle.save(tmp_path / "bundle"))}
    with pytest.raises(ConfigError, match=r"trained or calibrated on 1 of the groups that are tested, test003"):
        script("headline").main([write(tmp_path, leaky), str(tmp_path / "work"), str(tmp_path / "out")])


def _hashes(group: str) -> list[str]:
    from sqp.quality.provenance import group_hashes

    return group_hashes(pd.DataFrame({"group": [group]}))


def test_a_score_to_borrow_that_is_not_there(script, told) -> None:
    rows = pd.DataFrame({"image_id": ["test000"]})
    one = {"records": told["home"]["records"][0], "score": "pairwise"}
    with pytest.raises(ConfigError, match="has no score 'pairwise'; it has c_lesion"):
        script("headline").borrowed(one, rows)


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
    found = script("headline").targets(pd.DataFrame(rows), "pairwise_dice").set_index("target")["met"]
    assert found["spread: R2"] == found["natural: MAE"] == "yes"
    assert found["natural: Spearman above pairwise_dice's, low end"] == "yes"
    assert found["natural: AURC below pairwise_dice's, high end"] == "no"
    falls = {name.split(",")[0]: met for name, met in found.items() if "falls by" in name}
    assert falls == {"away": "yes", "far": "no"}


def test_the_config_in_the_repository_names_what_the_script_reads() -> None:
    told = yaml.safe_load((ROOT / "configs" / "headline.yaml").read_text())
    for where in (told["home"], *told["transfer"].values()):
        assert set(where) == {"records", "frozen"}
        assert all((ROOT / path).exists() or path.startswith("runs/") for path in where["frozen"])
    assert all(set(one) <= {"model", "backbone"} for one in told["others"].values())
    assert json.dumps(told["borrowed"]).count("pairwise_dice") == 2
