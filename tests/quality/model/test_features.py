from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from recordsets import make_record_set

from sqp.commands.train import run
from sqp.config.train import TrainConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.quality import Bundle, predict_records
from sqp.quality.bundle.calibration import image_vectors
from sqp.quality.model.tabular import Standardizer, check_features, check_one_network, read_features, with_features
from sqp.records import RecordSet, read_record_sets


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_record_set(tmp_path_factory.mktemp("features") / "r", features=("mask_token",))


@pytest.fixture(scope="module")
def bundle(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TrainConfig(
        *([records], tmp_path_factory.mktemp("trained")),
        inputs="mask",
        size=32,
        epochs=20,
        batch_size=8,
        features=["mask_token"],
        scores=["area"],
        progress=False,
    )
    return run(config).bundle


def test_a_vector_becomes_columns(records: Path) -> None:
    table = read_record_sets([records])
    wide = with_features(table, ["mask_token"])
    names = [f"features/mask_token/{i}" for i in range(4)]
    assert list(wide.columns) == [*table.columns, *names]
    stored = RecordSet(records).maps(table.record_id[7])["features/mask_token"]
    assert wide.loc[7, names].tolist() == stored.astype(float).tolist()
    assert with_features(table, []) is table


def test_they_are_learned_from_and_kept_in_the_bundle(records: Path, bundle: Path) -> None:
    loaded = Bundle.load(bundle)
    assert loaded.features == ("mask_token",)
    assert loaded.standardizer.names == ("area", *(f"features/mask_token/{i}" for i in range(4)))
    table = predict_records(loaded, [records], splits=["test"], progress=False)
    assert not any(name.startswith("features/") for name in table.columns)
    assert np.corrcoef(table.predicted_dice, table.dice)[0, 1] > 0.7


def test_prediction_reads_what_training_read(records: Path, bundle: Path) -> None:
    val = pd.read_csv(bundle.parent / "predictions_val.csv").set_index("record_id").predicted_dice
    again = predict_records(Bundle.load(bundle), [records], splits=["val"], progress=False).set_index("record_id")
    np.testing.assert_allclose(again.predicted_dice.loc[val.index], val, atol=2e-6)


def test_records_without_them_are_refused(bundle: Path, record_set: Path, records: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no feature 'mask_token', as masks judged without a segmenter"):
        predict_records(Bundle.load(bundle), [record_set], progress=False)
    with pytest.raises(ConfigError, match=r"unknown feature 'mask_tokn', did you mean 'mask_token'\?"):
        check_features(RecordSet(records), ["mask_tokn"])
    with pytest.raises(CaseError, match=r"cannot be read .*no map 'features/embedding'"):
        read_features(RecordSet(records), RecordSet(records).table.record_id[0], ["embedding"])


def test_vectors_of_two_networks_are_not_mixed(records: Path, tmp_path: Path) -> None:
    other = shutil.copytree(records, tmp_path / "other")
    told = yaml.safe_load((other / "run.yaml").read_text())
    sets = [RecordSet(records), RecordSet(other)]
    check_one_network(sets, ["mask_token"])
    told["config"]["segmenter"]["weights_sha256"] = "b" * 64
    (other / "run.yaml").write_text(yaml.safe_dump(told))
    check_one_network([RecordSet(other)], ["mask_token"])
    with pytest.raises(ConfigError, match="'mask_token' of these record sets comes from several networks"):
        check_one_network([RecordSet(records), RecordSet(other)], ["mask_token"])


def test_a_record_whose_vector_cannot_be_read_is_told(bundle: Path, tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "r", {"test": 3}, features=("mask_token",))
    broken = RecordSet(records).table.record_id[4]
    (records / "maps" / f"{broken}.npz").write_bytes(b"PK")
    table = predict_records(Bundle.load(bundle), [records], progress=False).set_index("record_id")
    assert table.unreadable.sum() == 1 and np.isnan(table.predicted_dice[broken])
    assert "cannot be read" in table.reason[broken] and table.predicted_dice.notna().sum() == 8


def test_a_table_without_them_is_no_table_of_missing_ones() -> None:
    fitted = Standardizer(("features/mask_token/0",), (0.0,), (1.0,))
    with pytest.raises(ValueError, match="has no features/mask_token/0"):
        fitted(pd.DataFrame({"area": [1.0]}))


def test_a_record_whose_image_vector_is_nan_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = make_record_set(tmp_path / "r", {"train": 3}, features=("embedding",))
    monkeypatch.setattr("sqp.quality.bundle.calibration.image_feature", lambda *_: "embedding")
    rows = read_record_sets([records])
    broken = rows["record_id"][1]
    path = records / "maps" / f"{broken}.npz"
    maps = {name: np.load(path)[name] for name in np.load(path).files}
    maps["features/embedding"][2] = np.nan
    np.savez(path, **maps)
    why: dict[str, str] = {}
    assert image_vectors(rows, (), [RecordSet(records).config], why).shape == (len(rows), 4)
    assert list(why) == [broken] and "has NaN in its embedding: generate it again" in why[broken]
