"""Files of decisions: what the page writes is read, everything else is refused in one sentence."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from sqp.quality.judging.decisions import SCHEMA, read_decisions
from sqp.records import RecordSet
from sqp.records.frozen import mask_hash


def entry(name: str, **changes: object) -> dict:
    return {"record_id": name, "mask_hash": "0", "decision": "accept", "note": "", "time": "2026-01-01"} | changes


def write(path, entries: list, **changes: object):
    path.write_text(json.dumps({"schema": SCHEMA, "run": "1", "threshold": 0.8, "decisions": entries} | changes))
    return path


def test_decisions_are_read_and_notes_alone_are_left_out(tmp_path):
    entries = [entry("a"), entry("b", decision=None, note="look"), entry("c", decision="fix")]
    found = read_decisions(write(tmp_path / "d.json", entries))
    assert found.threshold == 0.8
    assert found.table[["record_id", "decision"]].to_numpy().tolist() == [["a", "accept"], ["c", "fix"]]
    assert read_decisions(write(tmp_path / "d.json", [])).table.empty


@pytest.mark.parametrize(
    ("entries", "changes", "message"),
    [
        ([], {"schema": "sqp-decisions/2"}, "has the schema 'sqp-decisions/2' where 'sqp-decisions/1' is needed"),
        ([], {"threshold": "high"}, "has no threshold in"),
        ([], {"threshold": True}, "has no threshold in"),
        ([], {"threshold": float("nan")}, "has no threshold in"),
        ({}, {}, "or no list of decisions"),
        ([entry("a", decision="maybe")], {}, "decision 1: it needs the texts"),
        ([entry("a", decision=["accept"])], {}, "decision 1: it needs the texts"),
        ([entry("a"), "b"], {}, "decision 2: it needs the texts"),
        ([entry("a", mask_hash=None)], {}, "decision 1: it needs the texts"),
        ([entry("a"), entry("a")], {}, "decides twice on a"),
    ],
)
def test_what_no_page_writes(tmp_path, entries, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_decisions(write(tmp_path / "d.json", entries, **changes))


def test_no_file_and_no_object(tmp_path):
    with pytest.raises(ConfigError, match="is no file of decisions"):
        read_decisions(tmp_path)
    (tmp_path / "d.json").write_text("[]")
    with pytest.raises(ConfigError, match="has the schema None"):
        read_decisions(tmp_path / "d.json")


def test_decisions_of_other_masks_are_refused(record_set, tmp_path):
    records = RecordSet(record_set)
    table = records.table.assign(record_set=str(record_set))
    ids = list(table["record_id"][:3])
    good = [entry(name, mask_hash=mask_hash(records.mask(name)), decision="reject") for name in reversed(ids)]
    rows = read_decisions(write(tmp_path / "d.json", good)).of(table, {str(record_set): records})
    assert rows["record_id"].tolist() == ids[::-1] and set(rows["decision"]) == {"reject"}
    sets = {str(record_set): records}
    for other in (good[0] | {"mask_hash": "0" * 16}, good[0] | {"record_id": "elsewhere"}):
        decisions = read_decisions(write(tmp_path / "d.json", [*good[1:], other]))
        with pytest.raises(ConfigError, match=f"1 of 3 decisions are of other masks .* {other['record_id']}"):
            decisions.of(table, sets)
    assert isinstance(rows, pd.DataFrame)
