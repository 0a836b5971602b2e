"""`sqp freeze`: the file that `sqp evaluate --frozen` reads, and no second draw over it."""

from __future__ import annotations

import json

import pytest

from sqp.cli.main import main
from sqp.records import RecordSet
from sqp.records.frozen import freeze, read_frozen


def test_the_masks_of_a_record_set_are_frozen_once(record_set, tmp_path, monkeypatch, capsys):
    out = tmp_path / "spread" / "mine.json"
    argv = ["freeze", "--records", str(record_set), "--unseen", "swap", "--out", str(out)]
    monkeypatch.setattr("sqp.records.frozen.SD_RANGE", (0.9, 1.0))
    assert main(argv) == 2 and "generate more corrupted test masks" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr("sqp.records.frozen.SD_RANGE", (0.0, 1.0))
    assert main(argv) == 0
    told = capsys.readouterr().out
    frozen = read_frozen(out)
    assert frozen == json.loads(json.dumps(freeze(RecordSet(record_set), "test", ["swap"])))
    assert frozen["sha256"] in told and next(iter(frozen["masks"])) not in told
    assert main(argv) == 2 and "is there already" in capsys.readouterr().err
    assert main([*argv, "--overwrite", "--seed", "1"]) == 0 and read_frozen(out)["seed"] == 1


@pytest.mark.parametrize(("option", "message"), [("--records /nowhere", "/nowhere is no record set")])
def test_what_it_refuses(option, message, tmp_path, capsys):
    assert main(["freeze", *option.split(), "--out", str(tmp_path / "f.json")]) == 2
    assert message in capsys.readouterr().err
