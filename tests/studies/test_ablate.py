"""Ablations: rows that change keys of one training, differences against numpy and scikit-learn."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import mean_absolute_error

from sqp.cli.parser import from_mapping
from sqp.config.generate import UNSEEN
from sqp.core.errors import ConfigError
from sqp.quality import Bundle, predict_records
from sqp.quality.judging.predict import read_batch
from sqp.quality.model import training
from sqp.quality.model.inference import SYMMETRIES
from sqp.quality.model.symmetries import turned
from sqp.quality.model.truth_map import compare
from sqp.records import RecordSet
from sqp.records.frozen import freeze, write_frozen
from studies import ablate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(record_set: Path, tmp_path: Path) -> Path:
    told = {
        "seeds": [0, 10],
        "n_resamples": 50,
        "train": {
            **{"records": [str(record_set)], "inputs": "mask+uncertainty", "size": 32},
            **{"epochs": 1, "batch_size": 32, "progress": False},
        },
        "rows": {"without maps": {"inputs": "mask"}, "natural": {"train_on": "natural"}},
    }
    return written(tmp_path, told)


def written(tmp_path: Path, told: dict) -> Path:
    path = tmp_path / "ablations.yaml"
    path.write_text(yaml.safe_dump(told))
    return path


def test_rows_seeds_and_a_second_run_that_trains_nothing(config, record_set, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    ablate.main([str(config), str(out)])
    table = pd.read_csv(out / "ablations_val.csv").set_index(["row", "subset"])
    assert set(table.index) == {(r, s) for r in ("full", "without maps", "natural") for s in ("natural", "spread")}
    runs = {
        row: [pd.read_csv(out / row / s / "predictions_val.csv") for s in ("0", "10")] for row in ("full", "natural")
    }
    natural = {
        row: [mean_absolute_error(*part.query("natural")[["dice", "predicted_dice"]].to_numpy().T) for part in parts]
        for row, parts in runs.items()
    }
    found = table.loc[("natural", "natural")]
    assert found.mae == pytest.approx(np.mean(natural["natural"]), abs=1e-6) and found.seeds == 2 and found.n == 6
    assert found.mae_seed_sd == pytest.approx(np.std(natural["natural"], ddof=1), abs=1e-6)
    difference = np.mean(natural["natural"]) - np.mean(natural["full"])
    assert found.mae_difference == pytest.approx(difference, abs=1e-6)
    assert found.mae_difference_low <= difference <= found.mae_difference_high
    text = (out / "ablations_val.md").read_text()
    assert "without maps" in text and "MAE: row - full" in text
    left = ablate.drawn(pd.read_csv(out / "ablations_val.csv")).axes[0]
    assert {label.get_text() for label in left.get_yticklabels()} == {"without maps", "natural"}
    assert "natural (n = 6)" in left.get_xlabel() and (out / "ablations_val.png").exists()
    assert left.lines[-1].get_xdata().tolist() == pytest.approx(
        sorted(table.xs("natural", level="subset")["pearson_difference"].dropna())
    )

    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained again"))
    asked = [str(config), str(out), "--rows", "natural", "--split", "test"]
    with pytest.raises(ConfigError, match="frozen spread set: name it with --frozen"):
        ablate.main(asked)
    monkeypatch.setattr("sqp.records.frozen.SD_RANGE", (0.0, 1.0))
    frozen = freeze(RecordSet(record_set), "test", [])
    write_frozen(tmp_path / "frozen.json", frozen)
    ablate.main([*asked, "--frozen", str(tmp_path / "frozen.json")])
    test = pd.read_csv(out / "ablations_test.csv").set_index(["row", "subset"])
    assert set(test.index.get_level_values("row")) == {"full", "natural"}
    assert set(test.xs("natural", level="subset")["n"]) == {6}
    corrupted = RecordSet(record_set).table.set_index("record_id").loc[list(frozen["masks"]), "variant"]
    assert set(test.xs("spread", level="subset")["n"]) == {int((~corrupted.isin(UNSEEN)).sum())}
    fewer = frozen | {"masks": dict(list(frozen["masks"].items())[:3])}
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    with pytest.raises(ConfigError, match=r"fewer\.json"):  # another set is not answered from the first one's rows
        ablate.main([*asked, "--frozen", str(tmp_path / "fewer.json")])


def test_rows_that_need_no_training_of_their_own(config, record_set, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    told = yaml.safe_load(config.read_text())
    told["train"] |= {"error_map": True, "flips": 4}
    told["rows"] = {
        "without maps": {"inputs": "mask"},
        "without flips": {"flips": 1},
        "second head": {"predictor": "second_head"},
        "both": {"mean_of": ["full", "without maps"]},
        "all seeds": {"mean_of": ["full"], "over_seeds": True},
    }
    trained = []
    monkeypatch.setattr(ablate.train, "run", lambda c, run=ablate.train.run: trained.append(c.out.parts[-2:]) or run(c))
    ablate.main([str(written(tmp_path, told)), str(out)])
    assert set(trained) == {(row, seed) for row in ("full", "without_maps") for seed in ("0", "10")}
    table = pd.read_csv(out / "ablations_val.csv").set_index(["row", "subset"])
    assert table.xs("natural", level="subset")["seeds"].to_dict() == dict.fromkeys(told["rows"], 2) | {
        **{"full": 2, "all seeds": 1}
    }
    runs = ablate.Ablation(told, out, "val", [])
    full, other = runs.runs("full"), runs.runs("without maps")
    both = [(one.predicted_dice + two.predicted_dice) / 2 for one, two in zip(full, other, strict=True)]
    assert all(
        run.predicted_dice.to_numpy() == pytest.approx(x) for run, x in zip(runs.runs("both"), both, strict=True)
    )
    mean = (full[0].predicted_dice + full[1].predicted_dice) / 2
    assert runs.runs("all seeds")[0].predicted_dice.to_numpy() == pytest.approx(mean.to_numpy())

    bundle = Bundle.load(out / "full" / "0" / "bundle")
    bundle.model.spec = dataclasses.replace(bundle.model.spec, flips=1)
    once = predict_records(bundle, [record_set], splits=["val"], progress=False).set_index("record_id")
    unflipped, second = runs.runs("without flips")[0], runs.runs("second head")[0]
    assert unflipped.predicted_dice.to_numpy() == pytest.approx(
        once.loc[unflipped.record_id, "predicted_dice"].to_numpy(), abs=1e-6
    )
    assert not np.allclose(unflipped.predicted_dice, full[0].predicted_dice)
    rows = RecordSet(record_set).table.set_index("record_id").loc[second.record_id].reset_index()
    with ThreadPoolExecutor(1) as pool:
        planes = read_batch(bundle, RecordSet(record_set), rows, pool).planes
    with torch.inference_mode():
        turns = [turned(planes, turn) for turn in SYMMETRIES[:4]]
        soft = [compare(bundle.model.eval()(x).truth_logits, x[:, 0]).soft_dice for x in turns]
    assert second.predicted_dice.to_numpy() == pytest.approx(torch.stack(soft).mean(0).numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"mean_of": ["full", "without map"]},
            "unknown row of the ablation 'without map', did you mean 'without maps'",
        ),
        ({"mean_of": ["full"], "over_seed": True}, "unknown key of row 'odd' 'over_seed', did you mean 'over_seeds'"),
        ({"mean_of": ["odd"]}, "row 'odd' is a mean of 'odd', which is a mean itself"),
        ({"flips": 3}, "flips of row 'odd' is 3; it must be 1, 2, 4 or 8"),
    ],
)
def test_a_row_that_could_not_be_judged_as_it_says(config, tmp_path, row, message) -> None:
    told = yaml.safe_load(config.read_text())
    told["rows"]["odd"] = row
    with pytest.raises(ConfigError, match=message):
        ablate.main([str(written(tmp_path, told)), str(tmp_path / "out")])


def test_the_interval_is_that_of_the_mean_over_seeds() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=60)
    common = {"record_id": [f"r{i:02d}" for i in range(60)], "group": np.arange(60) // 2}
    common |= {"variant": "natural", "prompter": "otsu"}
    seeds = [pd.DataFrame(common | {"dice": truth, "predicted_dice": truth + rng.normal(0, 0.1, 60)}) for _ in range(3)]
    worse = [rows.assign(predicted_dice=rows.predicted_dice + 0.5) for rows in seeds]
    table = ablate.table_of({"full": seeds, "worse": worse}, 200).set_index("row")
    errors = np.mean([np.abs(rows.predicted_dice - rows.dice) for rows in seeds], axis=0)
    boot = [errors[rows].mean() for rows in ablate.Resamples.draw(common["group"].astype(str), 200).indices()]
    assert table.loc["full", ["mae_low", "mae_high"]].tolist() == pytest.approx(np.quantile(boot, [0.025, 0.975]))
    assert table.loc["worse", "mae_difference_low"] > 0.3 and np.isnan(table.loc["full", "mae_difference"])
    with pytest.raises(ConfigError, match="row 'worse' was not judged on the records of 'full'"):
        ablate.table_of({"full": seeds, "worse": [worse[0].iloc[1:]]}, 10)


def test_simulated_manual_masks_are_no_natural_ones() -> None:
    rows = pd.DataFrame({"variant": ["natural", "natural", "erosion", "shift"], "prompter": ["otsu", "truth_box"] * 2})
    found = ablate.subsets(rows)
    assert {name: keep.tolist() for name, keep in found.items()} == {
        "natural": [True, False, False, False],
        "spread": [False, False, True, False],
    }


def test_the_config_in_the_repository() -> None:
    told = yaml.safe_load((ROOT / "configs" / "ablations.yaml").read_text())
    for row in (
        "full",
        *(name for name, changes in told["rows"].items() if not changes.keys() & {"mean_of", "predictor"}),
    ):
        config = ablate.train_config(told, row, 0, Path("out"))
        assert config.seed == 0 and (row == "full" or config != from_mapping("train", told["train"] | {"out": "x"}))
