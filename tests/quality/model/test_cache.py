from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recordsets import make_record_set

from sqp.core.errors import SqpError
from sqp.core.files import write_maps
from sqp.quality.model import cache as module
from sqp.quality.model.cache import build_cache
from sqp.quality.model.channels import image_planes, record_planes, truth_plane
from sqp.records import RecordSet, read_record_sets

CHANNELS = ("mask", "image", "self/epkl")


def built(folder: Path, out: Path, workers: int = 0) -> module.PlaneCache:
    return build_cache(read_record_sets([folder]), CHANNELS, 24, out, workers, progress=False)


def test_holds_what_decoding_gives(record_set: Path, tmp_path: Path) -> None:
    table = read_record_sets([record_set])
    cache = built(record_set, tmp_path)
    rows = [5, 0, 17]
    batch = cache.planes(rows)
    assert len(cache) == len(table) and batch.shape == (3, 5, 24, 24)
    for planes, row in zip(batch.numpy(), rows, strict=True):
        record = table.iloc[row]
        expected = record_planes(RecordSet(record_set), record.record_id, CHANNELS, 24)
        assert planes[[0, 4]] == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert planes[1:4] == pytest.approx(image_planes(record.image_path, 24) / 255)


def test_an_image_is_kept_once(record_set: Path, tmp_path: Path) -> None:
    cache = built(record_set, tmp_path)
    assert cache.images is not None
    assert len(cache.images) == read_record_sets([record_set]).image_path.nunique() < len(cache)


def test_the_table_of_a_record_set_is_read_once_not_once_a_record(tmp_path: Path, monkeypatch) -> None:
    table, read = read_record_sets([make_record_set(tmp_path / "records", {"train": 4})]), []
    monkeypatch.setattr(
        "sqp.records.reader.pd.read_parquet", lambda path, real=pd.read_parquet: read.append(path) or real(path)
    )
    build_cache(table, CHANNELS, 24, tmp_path / "cache", truth=True, progress=False)
    assert len(table) == 12 and len(read) == 1


def test_is_built_once_and_anew_when_a_record_changes(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records", {"train": 2})
    first = built(records, tmp_path / "cache")
    before = (first.folder / "done").stat().st_mtime_ns
    assert built(records, tmp_path / "cache").folder == first.folder
    assert (first.folder / "done").stat().st_mtime_ns == before
    name = RecordSet(records).table.record_id[0]
    write_maps(records / "maps" / f"{name}.npz", {"self/epkl": np.full((24, 32), 3.0)})
    second = built(records, tmp_path / "cache")
    assert second.folder != first.folder
    assert second.planes([0])[0, 4].mean() == pytest.approx(np.log1p(3), rel=1e-3)


def test_an_interrupted_build_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = make_record_set(tmp_path / "records", {"train": 3})
    whole = built(records, tmp_path / "other").planes(range(9))
    decode, calls = module._decode, []

    def stop_at_second(*args: object) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return decode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_decode", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        built(records, tmp_path / "cache")
    assert (built(records, tmp_path / "cache").planes(range(9)) == whole).all()


def test_a_record_that_cannot_be_read_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records", {"train": 3})
    table = RecordSet(records).table
    names = table.record_id
    (records / "maps" / f"{names[0]}.npz").write_bytes(b"PK")
    write_maps(records / "maps" / f"{names[1]}.npz", {"self/epkl": np.full((24, 32), np.nan)})
    (records / "masks" / f"{names[2]}.png").unlink()
    Path(table.image_path[3]).write_bytes(b"no image")
    of_the_image = [row for row in range(len(table)) if table.image_path[row] == table.image_path[3]]
    cache = built(records, tmp_path / "cache")
    assert set(cache.broken) == {0, 1, 2, *of_the_image}
    assert f"record {names[1]} " in cache.broken[1] and "NaN" in cache.broken[1]
    assert names[0] in cache.broken[0] and names[2] in cache.broken[2]
    assert built(records, tmp_path / "cache").broken == cache.broken  # it is kept with the cache
    assert cache.planes([len(table) - 1])[0, 0].max() > 0


def test_an_image_that_was_mended_is_decoded_anew(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records", {"train": 2})
    image = Path(RecordSet(records).table.image_path[0])
    whole = image.read_bytes()
    image.write_bytes(whole[:40])
    assert built(records, tmp_path / "cache").broken
    image.write_bytes(whole)
    assert not built(records, tmp_path / "cache").broken


def test_a_pickled_cache_opens_its_files_again(record_set: Path, tmp_path: Path) -> None:
    cache = built(record_set, tmp_path)
    data = pickle.dumps(cache)
    assert len(data) < 10_000
    assert (pickle.loads(data).planes([3]) == cache.planes([3])).all()


def test_another_rank_waits_for_the_one_that_builds(record_set: Path, tmp_path: Path) -> None:
    table = read_record_sets([record_set])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(build_cache, table, CHANNELS, 24, tmp_path, progress=False, rank=1)
        time.sleep(0.2)
        assert not waiting.done() and not any(tmp_path.iterdir())
        own = built(record_set, tmp_path)
        assert (waiting.result(timeout=20).planes([2]) == own.planes([2])).all()


def test_a_rank_does_not_wait_for_ever(record_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", -1)
    with pytest.raises(SqpError, match=r"rank 0 has not finished .*--cache folder that all machines see"):
        build_cache(read_record_sets([record_set]), CHANNELS, 24, tmp_path, progress=False, rank=1)


@pytest.mark.parametrize(("workers", "few", "processes"), [(0, 2, 0), (1, 2, 0), (2, 2, 2), (2, 4, 0)])
def test_processes_are_started_only_where_they_pay_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, few: int, processes: int
) -> None:
    started = []

    def here(tasks: list, home: Path, channels: tuple, size: int, workers: int) -> Iterator[module.Decoded]:
        started.append(workers)
        return module._here(tasks, home, channels, size, workers)

    monkeypatch.setattr(module, "FEW_IMAGES", few)
    monkeypatch.setattr(module, "_in_processes", here)
    records = make_record_set(tmp_path / "records", {"train": 3}, variants=("natural",))
    assert len(built(records, tmp_path / "cache", workers)) == 3
    assert started == [processes] * bool(processes)


@pytest.mark.slow
def test_two_processes_build_the_same(record_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW_IMAGES", 1)
    two, one = built(record_set, tmp_path / "two", workers=2), built(record_set, tmp_path / "one")
    assert (two.planes(range(len(two))) == one.planes(range(len(one)))).all()


def test_the_truth_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records", {"train": 3})
    table = read_record_sets([records])
    cache = build_cache(table, CHANNELS, 24, tmp_path / "cache", progress=False, truth=True)
    rows = [4, 0]
    got = pickle.loads(pickle.dumps(cache)).truth(rows)
    for plane, row in zip(got.numpy(), rows, strict=True):
        assert plane == pytest.approx(truth_plane(table.truth_path[row], 24), abs=0.5 / 255 + 1e-6)
        assert 0 < plane.mean() < 1
    assert build_cache(table, CHANNELS, 24, tmp_path / "cache", progress=False).truth(rows) is None


def test_runs_of_other_inputs_share_what_is_held(record_set: Path, tmp_path: Path) -> None:
    table = read_record_sets([record_set])
    every = ("image", "mask", "self/epkl", "self/entropy")
    for channels in (("mask", "self/entropy"), ("image", "mask", "self/epkl")):
        shared = build_cache(table, channels, 24, tmp_path / "shared", progress=False, hold=every)
        alone = build_cache(table, channels, 24, tmp_path / "alone", progress=False)
        assert shared.channels == channels
        assert (shared.planes([7, 0]) == alone.planes([7, 0])).all()
    assert len(list((tmp_path / "shared").glob("*/done"))) == 1


def test_one_with_the_truth_serves_a_run_without(record_set: Path, tmp_path: Path) -> None:
    table = read_record_sets([record_set])
    with_truth = build_cache(table, CHANNELS, 24, tmp_path, progress=False, truth=True)
    without = build_cache(table, CHANNELS, 24, tmp_path, progress=False)
    assert without.folder == with_truth.folder and without.truth([0]) is None
    assert (without.planes([3]) == with_truth.planes([3])).all()


def test_the_truth_is_that_of_the_row_s_own_image_in_whatever_order_rows_and_images_lie(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records", {"train": 5})
    table = read_record_sets([records]).sample(frac=1, random_state=3, ignore_index=True)
    cache = build_cache(table, CHANNELS, 24, tmp_path / "cache", progress=False, truth=True)
    rows = np.random.default_rng(0).permutation(len(table))
    own = [truth_plane(path, 24) for path in table.truth_path[rows]]
    assert len({plane.tobytes() for plane in own}) == 5
    truth, planes = cache.truth(rows).numpy(), cache.planes(rows).numpy()
    for row, plane, got, seen in zip(rows, own, truth, planes, strict=True):
        assert got == pytest.approx(plane, abs=0.5 / 255 + 1e-6)
        assert seen[1:4] == pytest.approx(image_planes(table.image_path[row], 24) / 255)
