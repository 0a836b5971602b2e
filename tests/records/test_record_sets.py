"""Record sets: atomic, resumable, streaming; a change of config is refused."""

from __future__ import annotations

import errno
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from recordsets import forget_hashes, make_record

from sqp.core import files as atomic
from sqp.core.errors import ConfigError, SqpError
from sqp.core.ownership import owned
from sqp.quality.judging.columns import score_names
from sqp.records import RecordSet, RecordWriter, read_record_sets, writer
from sqp.records.schema import COLUMNS, record_id

MASK = np.zeros((5, 7), bool)
MASK[1:3, 2:6] = True


def write(folder, *names):
    out = RecordWriter(folder)
    out.check({"seed": 0})
    for name in names:
        out.write(make_record(name), MASK, {"self/entropy": np.ones((2, 3))})
    return out


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, "r1", "r2").finish({"seconds": 1})
    records = RecordSet(tmp_path)
    assert list(records.table.columns) == [*COLUMNS, "area", "c_lesion"]
    assert list(records.table.truth_path[0]) == ["/t.png", "/u.png"]
    assert np.isnan(records.table.c_lesion[0])
    assert (records.mask("r1") == MASK).all()
    assert records.maps("r1", ["self/entropy"])["self/entropy"].dtype == np.float16
    assert records.map_names() == ("self/entropy",)
    assert records.config == {"seed": 0}
    with pytest.raises(ConfigError, match="no map 'self/epkl'; it has: self/entropy"):
        records.maps("r1", ["self/epkl"])


def test_threads_parse_one_header_at_a_time(tmp_path, monkeypatch):
    """numpy parses by `ast`, which fails at times with a SystemError where two threads do so in Python 3.11."""
    write(tmp_path, "r1").finish({})
    records, parse, inside, most = RecordSet(tmp_path), np.lib.format.read_array_header_1_0, [], []

    def slow(file):
        inside.append(threading.get_ident())
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return parse(file)

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", slow)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: records.maps("r1")["self/entropy"], range(8)))
    assert len(most) == 8 and max(most) == 1
    assert all((array == 1).all() for array in read)


def test_an_interrupted_run_is_readable_and_goes_on(tmp_path):
    write(tmp_path, "r1").consolidate()
    again = write(tmp_path, "r2")
    assert again.done() == {"r1", "r2"}
    assert sorted(RecordSet(tmp_path).table.record_id) == ["r1", "r2"]
    assert again.consolidate() == 2
    assert not list((tmp_path / "rows").iterdir())
    assert sorted(pd.read_parquet(tmp_path / "records.parquet").record_id) == ["r1", "r2"]


def test_half_a_file_of_a_killed_run_goes(tmp_path):
    write(tmp_path, "r1")
    for name in ("maps/.r2.npz.4711.tmp", "masks/.r2.png.4711.tmp", "rows/.mine.tmp"):
        (tmp_path / name).touch()
    write(tmp_path)
    assert [path.name for path in tmp_path.rglob(".*.tmp")] == [".mine.tmp"]


def test_a_table_older_than_a_column_is_read_and_goes_on(tmp_path):
    writer = RecordWriter(tmp_path)
    writer.check({})
    writer.write(make_record("old"), MASK, {})
    writer.consolidate()
    table = tmp_path / "records.parquet"
    pq.write_table(pq.read_table(table).drop_columns(["referee_own"]), table)
    assert RecordSet(tmp_path).table.referee_own.tolist() == [False]
    writer.write(make_record("new", referee_own=True), MASK, {})
    assert RecordSet(tmp_path).table.referee_own.tolist() == [False, True]
    writer.consolidate()
    assert dict(zip(*pq.read_table(table, columns=["record_id", "referee_own"]).to_pydict().values(), strict=True)) == {
        "old": False, "new": True,
    }  # fmt: skip


def test_mask_and_maps_of_a_record_older_than_their_hashes_are_read_as_they_are(tmp_path):
    write(tmp_path, "r1").consolidate()
    forget_hashes(tmp_path)
    for mask in (MASK, ~MASK):
        atomic.write_mask(tmp_path / "masks" / "r1.png", mask)
        records = RecordSet(tmp_path)
        assert (records.mask("r1") == mask).all() and records.maps("r1")["self/entropy"].shape == (2, 3)


def test_where_nothing_is_new_the_records_are_still_counted(tmp_path):
    assert write(tmp_path).consolidate() == 0
    assert write(tmp_path, "r1", "r2").consolidate() == 2 == write(tmp_path).consolidate()


def test_stamps_are_those_of_the_table_and_of_newer_rows_and_empty_in_an_older_table(tmp_path):
    out = write(tmp_path)
    for name in ("r1", "r2"):
        out.write(make_record(name, files=f"of {name}"), MASK, {})
    out.consolidate()
    out.write(make_record("r2", files="anew"), MASK, {})
    assert {name: told["files"] for name, told in out.sources().items()} == {"r1": "of r1", "r2": "anew"}
    table = tmp_path / "records.parquet"
    pq.write_table(pq.read_table(table).drop_columns(["files"]), table)
    assert {name: told["files"] for name, told in out.sources().items()} == {"r1": "", "r2": "anew"}


def test_a_damaged_row_is_told_and_starting_anew_removes_it(tmp_path):
    out = write(tmp_path, "r1", "r2")
    (tmp_path / "run.yaml").write_text("config: {a: 1}")
    (tmp_path / "rows" / "r2.json").write_text('{"record_id": ')
    with pytest.raises(ConfigError, match=r"r2\.json is damaged .*remove it"):
        out.check({"a": 1})
    out.check({"a": 2}, overwrite=True)
    assert not list((tmp_path / "rows").iterdir()) and not (tmp_path / "masks" / "r1.png").exists()


def test_a_record_without_its_row_is_not_done(tmp_path):
    out = write(tmp_path, "r1")
    (tmp_path / "rows" / "r1.json").unlink()
    assert out.done() == set()


def test_a_row_written_twice_counts_once(tmp_path):
    write(tmp_path, "r1", "r2").consolidate()
    out = write(tmp_path)
    out.write(make_record("r1", dice=0.9), MASK, {})
    assert out.consolidate() == 2
    assert dict(pq.read_table(tmp_path / "records.parquet").to_pandas().set_index("record_id").dice) == {
        "r1": 0.9,
        "r2": 0.5,
    }


def test_of_a_row_that_is_there_twice_the_last_one_is_read(tmp_path):
    """A run that makes a record anew, and is stopped before the table is, leaves the old row beside the new one."""
    write(tmp_path, "r1", "r2").consolidate()
    write(tmp_path).write(make_record("r1", dice=0.9, truth_path=["/new.png"]), MASK, {})
    table = RecordSet(tmp_path).table.set_index("record_id")
    assert len(table) == 2 and table.dice.to_dict() == {"r1": 0.9, "r2": 0.5}
    assert list(table.truth_path["r1"]) == ["/new.png"]
    assert RecordSet(tmp_path).table.index.tolist() == [0, 1]


def test_a_table_that_holds_a_record_twice_is_told(tmp_path):
    write(tmp_path, "r1", "r2").consolidate()
    table = pq.read_table(tmp_path / "records.parquet").to_pandas()
    pd.concat([table, table.iloc[:1].assign(dice=0.1)]).to_parquet(tmp_path / "records.parquet")
    with pytest.raises(ConfigError, match=r"holds the record r1 twice \(1 rows too many\): remove"):
        _ = RecordSet(tmp_path).table


def test_consolidation_streams_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "CHUNK", 2)
    write(tmp_path, "r1", "r2", "r3").consolidate()
    assert write(tmp_path, "r4", "r5", "r6").consolidate() == 6
    assert pq.read_metadata(tmp_path / "records.parquet").num_row_groups >= 4


def test_another_config_is_refused_by_its_key(tmp_path):
    write(tmp_path, "r1").consolidate()
    with pytest.raises(ConfigError, match="seed=0, this run has seed=1"):
        RecordWriter(tmp_path).check({"seed": 1})
    fresh = RecordWriter(tmp_path)
    fresh.check({"seed": 1}, overwrite=True)
    assert fresh.done() == set()


def test_records_of_unknown_config_are_refused(tmp_path):
    write(tmp_path, "r1")
    (tmp_path / "run.yaml").unlink()
    with pytest.raises(ConfigError, match="choose another --out"):
        RecordWriter(tmp_path).check({"seed": 0})


def test_a_folder_that_is_no_record_set(tmp_path):
    with pytest.raises(ConfigError, match="is no record set"):
        RecordSet(tmp_path)
    with pytest.raises(ConfigError, match="no record set given"):
        read_record_sets([])


def test_several_record_sets_in_one_table(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, "r1").consolidate()
    table = read_record_sets([tmp_path / "a", tmp_path / "b"])
    assert list(table.record_set) == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path):
    def full(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SqpError, match="the disk is full"):
        atomic.write_atomic(tmp_path / "x.bin", full)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    atomic.write_json(path, 1)
    with pytest.raises(TypeError):
        atomic.write_json(path, object())
    assert json.loads(path.read_text()) == 1


def test_unbounded_maps_are_capped(tmp_path):
    atomic.write_maps(tmp_path / "m.npz", {"self/epkl": np.array([1e9, 0.5])})
    with np.load(tmp_path / "m.npz", allow_pickle=False) as maps:
        assert maps["self/epkl"].tolist() == [atomic.FLOAT16_CAP, 0.5]


def test_ids_are_file_safe_and_differ_with_provenance():
    first, second = record_id("a/b c", "natural", 1), record_id("a/b c", "natural", 2)
    assert first != second
    assert "/" not in first and " " not in first
    assert record_id("a/b", "natural") != record_id("a_b", "natural")


def test_a_folder_of_the_user_is_never_emptied_nor_filled(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "truth.png").write_bytes(b"precious")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="masks/ that is not sqp's"):
            RecordWriter(tmp_path).check({"seed": 0}, overwrite)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["truth.png"]


def test_a_run_that_wrote_nothing_binds_nobody(tmp_path):
    RecordWriter(tmp_path).check({"seed": 0})
    RecordWriter(tmp_path).check({"seed": 1})
    assert "seed: 1" in (tmp_path / "run.yaml").read_text()


def test_two_runs_in_one_folder_are_refused(tmp_path):
    with owned(tmp_path, "generate"), pytest.raises(ConfigError, match="another run"), owned(tmp_path, "generate"):
        pass
    with owned(tmp_path, "generate"):
        pass


def test_a_damaged_table_is_told(tmp_path):
    write(tmp_path, "r1").consolidate()
    (tmp_path / "records.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match="is damaged"):
        _ = RecordSet(tmp_path).table


def test_a_file_that_another_run_has_just_cleared_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([folder / ".r2.npz.4711.tmp"]))
    atomic.clear_left(tmp_path)


def test_run_yaml_tells_the_config_in_its_own_order(tmp_path):
    RecordWriter(tmp_path).check({"seed": 0, "alpha": 1, "images": "x"})
    keys = [line.split(":")[0].strip() for line in (tmp_path / "run.yaml").read_text().splitlines()]
    assert keys == ["config", "seed", "alpha", "images"]


def test_a_score_that_only_some_rows_have_is_kept(tmp_path):
    """Whether it is the first row of a run that lacks it, or all those of an earlier run."""
    out = write(tmp_path, "a")
    out.write(make_record("b", scores={"area": 0.2, "referee_dice": 0.7}), MASK, {})
    out.consolidate()
    out.write(make_record("c", scores={"area": 0.3, "given_soft_dice_confidence": 0.8}), MASK, {})
    out.write(make_record("d", scores={"rca_max": 0.5}), MASK, {})
    out.consolidate()
    table = RecordSet(tmp_path).table.set_index("record_id")
    for name, scores in {
        "b": {"referee_dice": 0.7},
        "c": {"given_soft_dice_confidence": 0.8},
        "d": {"rca_max": 0.5},
    }.items():
        assert table.loc[name, list(scores)].to_dict() == scores
    assert np.isnan(table.loc["a", "referee_dice"]) and np.isnan(table.loc["d", "area"])
    assert table.loc["a", "area"] == 0.2


def test_a_score_once_stored_under_two_names_is_one(tmp_path):
    """Record sets of an older sqp hold foreground_certainty, which is mean_entropy."""
    former = {"mean_entropy": 0.9, "foreground_certainty": 0.9}
    out = write(tmp_path)
    out.write(make_record("old", scores=former), MASK, {})
    assert score_names(RecordSet(tmp_path).table) == ["mean_entropy"]
    out.consolidate()
    assert score_names(RecordSet(tmp_path).table) == ["mean_entropy"]
    assert "foreground_certainty" not in RecordSet(tmp_path).table
