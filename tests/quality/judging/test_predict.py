from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from recordsets import make_record_set

from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_maps, write_mask
from sqp.quality import Bundle, predict_records
from sqp.quality.judging.columns import OTHER
from sqp.quality.judging.predict import read_batch, read_planes
from sqp.quality.model.cache import build_cache
from sqp.quality.model.tabular import Standardizer, with_features
from sqp.records import RecordSet, read_record_sets


@pytest.fixture(scope="module")
def bundle(trained: Path) -> Bundle:
    return Bundle.load(trained / "bundle")


def test_rows_stay_in_order_with_all_columns(bundle: Bundle, record_set: Path) -> None:
    table = RecordSet(record_set).table
    out = predict_records(bundle, [record_set], batch_size=7, progress=False)
    assert out.record_id.tolist() == table.record_id.tolist()
    new = {"predicted_dice", "low", "high", "verdict", *OTHER} - {
        "image",
        "mask",
        "prompter_label",
        "audit",
        "slices",
        "worst_slice",
    }  # these are of `ordered`, of --audit, and of volumes beside references
    assert set(out.columns) == {*table.columns, *new}
    assert ((out.low <= out.predicted_dice) & (out.predicted_dice <= out.high)).all()


def test_every_row_keeps_its_place_and_its_own_prediction_where_images_lie_in_another_order(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Rows are read image by image; they come back as the record sets have them, set by set."""
    folders = [make_record_set(tmp_path / name, {"test": 3}, seed=seed) for seed, name in enumerate("ba")]
    for seed, folder in enumerate(folders):
        table = RecordSet(folder).table.sample(frac=1, random_state=seed + 1, ignore_index=True)
        assert not table.image_path.is_monotonic_increasing
        table.to_parquet(folder / "records.parquet")
    asked = [(str(folder), name) for folder in folders for name in RecordSet(folder).table.record_id]
    out = predict_records(bundle, folders, 4, progress=False)
    assert list(zip(out.record_set, out.record_id, strict=True)) == asked
    assert out.index.tolist() == list(range(len(asked)))
    for row in (1, 4, 12):
        folder, name = asked[row]
        alone = predict_records(bundle, [folder], record_ids=[name], progress=False)
        assert out.predicted_dice[row] == pytest.approx(alone.predicted_dice[0], abs=1e-5)
        assert out.dice[row] == alone.dice[0]


@pytest.mark.parametrize("channels", [("mask", "image", "self/epkl"), ("image", "mask"), ("self/epkl", "image")])
def test_planes_lie_in_the_order_of_the_channels_as_in_training(
    record_set: Path, tmp_path: Path, channels: tuple[str, ...]
) -> None:
    """Wherever the image stands among the channels: what is predicted is read as what was trained on."""
    rows = RecordSet(record_set).table.iloc[[7, 0, 3]]
    held = SimpleNamespace(channels=channels, size=24, model=SimpleNamespace(spec=SimpleNamespace(dims=2)))
    with ThreadPoolExecutor(2) as pool:
        planes, empty, reasons = read_planes(held, RecordSet(record_set), rows, pool)  # type: ignore[arg-type]
    trained = build_cache(read_record_sets([record_set]), channels, 24, tmp_path, progress=False).planes([7, 0, 3])
    assert torch.equal(planes, trained) and not empty.any() and reasons == ["", "", ""]


def test_equals_what_training_saw(bundle: Bundle, record_set: Path, trained: Path) -> None:
    out = predict_records(bundle, [record_set], splits=["val"], progress=False).set_index("record_id")
    val = pd.read_csv(trained / "predictions_val.csv").set_index("record_id")
    assert len(out) == len(val)
    for name in ("predicted_dice", "scale", "low", "high"):
        assert out.loc[val.index, name].to_numpy() == pytest.approx(val[name].to_numpy(), abs=2e-4)


def test_batches_and_threads_change_nothing(bundle: Bundle, record_set: Path) -> None:
    one = predict_records(bundle, [record_set], 1, splits=["test"], threads=1, progress=False)
    two = predict_records(bundle, [record_set], 64, splits=["test"], threads=3, progress=False)
    assert one.predicted_dice.to_numpy() == pytest.approx(two.predicted_dice.to_numpy(), abs=1e-5)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_no_more_threads_read_than_were_asked_for(
    bundle: Bundle, record_set: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    read, readers = RecordSet.mask, set()

    def noted(records: RecordSet, record_id: str) -> np.ndarray:
        readers.add(threading.get_ident())
        time.sleep(0.002)  # long enough for a further thread to take the next record
        return read(records, record_id)

    monkeypatch.setattr(RecordSet, "mask", noted)
    predict_records(bundle, [record_set], splits=["test"], threads=threads, progress=False)
    assert 1 <= len(readers) <= max(1, threads) and threading.get_ident() not in readers


def test_a_batch_has_the_scores_and_vectors_that_training_standardised(tmp_path: Path) -> None:
    """Each row its own; one whose vector cannot be read has none, and its reason."""
    folder = make_record_set(tmp_path, {"test": 2}, features=("mask_token",))
    records = RecordSet(folder)
    rows = records.table.assign(record_set=str(folder)).iloc[[4, 0, 3]]
    vectors = with_features(rows, ["mask_token"])
    standardizer = Standardizer.fit(vectors, ["area", *(f"features/mask_token/{i}" for i in range(4))])
    parts = {"model": SimpleNamespace(spec=SimpleNamespace(dims=2)), "ood": SimpleNamespace(spaces={})}
    held = {"channels": ("mask",), "size": 24, "sources": (), "expects": [], "features": ("mask_token",), **parts}
    lost = rows.record_id.iloc[1]
    (folder / "maps" / f"{lost}.npz").write_bytes(b"PK")
    with ThreadPoolExecutor(2) as pool:
        bundle = SimpleNamespace(**held, standardizer=standardizer)
        batch = read_batch(bundle, RecordSet(folder), rows, pool)  # type: ignore[arg-type]
    expected = standardizer(vectors)
    np.testing.assert_array_equal(batch.scores[[0, 2]], expected[[0, 2]])
    assert batch.scores[1].tolist() == [*expected[1, :1], *[0] * 5, *[1] * 4] and lost in batch.reasons[1]
    assert batch.reasons[0] == batch.reasons[2] == "" and (expected[0] != expected[2]).any()


def test_it_tells_bad_masks_from_good_ones(bundle: Bundle, record_set: Path) -> None:
    out = predict_records(bundle, [record_set], splits=["test"], progress=False)
    assert np.corrcoef(out.predicted_dice, out.dice)[0, 1] > 0.6


def test_an_empty_mask_and_broken_maps_are_abstained_from(bundle: Bundle, tmp_path: Path) -> None:
    folder = make_record_set(tmp_path, {"test": 2})
    records = RecordSet(folder)
    empty, broken = records.table.record_id[:2]
    write_mask(folder / "masks" / f"{empty}.png", np.zeros((48, 64), bool))
    maps = {k: np.full_like(v, np.nan) for k, v in records.maps(broken).items()}
    write_maps(folder / "maps" / f"{broken}.npz", maps)
    out = predict_records(bundle, [folder], progress=False).set_index("record_id")
    assert out.verdict[[empty, broken]].tolist() == ["abstain", "abstain"]
    assert out.reason[empty] == "empty mask" and "NaN" in out.reason[broken]
    assert out.loc[broken, ["predicted_dice", "low", "high", "ood_distance"]].isna().all()
    assert out.drop(index=[empty, broken])[["predicted_dice", "low", "high"]].notna().all(axis=None)


def test_far_images_are_out_of_distribution(bundle: Bundle, tmp_path: Path) -> None:
    folder = make_record_set(tmp_path, {"test": 1})
    for name in RecordSet(folder).table.record_id:
        rng = np.random.default_rng(0)
        noise = {k: 50 * rng.random((24, 32)) for k in RecordSet(folder).maps(name)}
        write_maps(folder / "maps" / f"{name}.npz", noise)
    out = predict_records(bundle, [folder], progress=False)
    assert out.ood.all() and (out.verdict == "abstain").all() and (out.reason == "out of distribution").all()


def test_thresholds_of_the_verdict(bundle: Bundle, record_set: Path) -> None:
    low = predict_records(bundle, [record_set], splits=["test"], accept=0.0, reject=0.0, progress=False)
    assert set(low.verdict[~low.ood]) == {"accept"}  # which of so few records is strange hangs on torch's release


def test_several_record_sets(bundle: Bundle, record_set: Path, tmp_path: Path) -> None:
    other = make_record_set(tmp_path, {"test": 1}, seed=5)
    out = predict_records(bundle, [other, record_set], splits=["test"], progress=False)
    assert out.record_set.unique().tolist() == [str(other), str(record_set)]


def test_what_cannot_be_predicted(bundle: Bundle, record_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no record set given"):
        predict_records(bundle, [])
    with pytest.raises(ConfigError, match="no record to predict"):
        predict_records(bundle, [record_set], splits=["raters"])
    with pytest.raises(ConfigError, match="batch_size is 0"):
        predict_records(bundle, [record_set], 0)


def test_records_that_cannot_be_read_are_abstained_from_and_the_others_predicted(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = make_record_set(tmp_path, {"test": 4})
    whole = predict_records(bundle, [folder], progress=False)
    table = RecordSet(folder).table
    maps, mask, gone = (table[table.image_id == f"test00{i}"] for i in range(3))
    file = folder / "maps" / f"{maps.record_id.iloc[0]}.npz"
    data = file.read_bytes()
    file.write_bytes(data[:200] + bytes(300) + data[500:])  # damaged; it is the first record, too
    (folder / "masks" / f"{mask.record_id.iloc[0]}.png").write_bytes(b"")
    Path(gone.image_path.iloc[0]).unlink()
    lost = [maps.record_id.iloc[0], mask.record_id.iloc[0], *gone.record_id]
    out = predict_records(bundle, [folder], 5, progress=False)
    assert out.record_id[out.unreadable].tolist() == lost
    told = out.set_index("record_id").loc[lost]
    assert (told.verdict == "abstain").all() and told[["predicted_dice", "low", "high"]].isna().all(axis=None)
    for name, reason in told.reason.items():
        assert (name if name not in list(gone.record_id) else "test002.png") in reason
    kept = ~out.unreadable
    assert out.predicted_dice[kept].to_numpy() == pytest.approx(whole.predicted_dice[kept].to_numpy(), abs=1e-5)
    with pytest.raises(CaseError, match=rf"{lost[0]}|{lost[1]}|test002\.png"):
        predict_records(bundle, [folder], strict=True, progress=False)


def test_only_the_records_asked_for(bundle: Bundle, record_set: Path) -> None:
    names = RecordSet(record_set).table.record_id[[3, 9]].tolist()
    assert predict_records(bundle, [record_set], record_ids=set(names), progress=False).record_id.tolist() == names
