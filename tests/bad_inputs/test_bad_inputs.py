"""Every command on inputs that are bad: the right status, one clear sentence, no traceback, nobody's files touched."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

import pytest
from bad_inputs import of_bundles, of_images, of_options, of_records, of_tables
from bad_inputs.world import Case, World, build_world
from fakes import put_fake

from sqp.cli import main

TABLES = (of_images, of_tables, of_bundles, of_records, of_options)
CASES: list[Case] = [case for table in TABLES for case in table.CASES]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    put_fake(monkeypatch)


def looks(*roots: Path) -> dict[str, tuple[int, ...]]:
    """What tells that a file is the same: type, size, time."""
    seen = {}
    for root in roots:
        for path in root.rglob("*"):
            info = path.lstat()
            still = () if stat.S_ISDIR(info.st_mode) else (info.st_size, info.st_mtime_ns)
            seen[os.fsencode(path).decode("latin1")] = (stat.S_IFMT(info.st_mode), *still)
    return seen


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_input(case, world, tmp_path, capfd):
    bad, out = tmp_path / "bad", tmp_path / "out"
    bad.mkdir()
    case.make(world, bad)
    names = world.names(bad, out)
    before = looks(world.root, bad)
    status = main([part.format(**names) for part in shlex.split(case.command)])
    told, complaint = capfd.readouterr()
    assert status == case.status, (status, complaint[-600:], told[-600:])
    assert "Traceback" not in complaint and "Traceback" not in told
    if case.status == 2:
        lines = [line for line in complaint.splitlines() if line.startswith("sqp: ")]
        assert len(lines) == 1 and complaint.rstrip().endswith(lines[0]), complaint
        assert len(lines[0]) < 1500
        assert case.words in lines[0], lines[0]
    else:
        assert case.words in told + complaint, told + complaint
    assert looks(world.root, bad) == before


def test_the_table():
    names = [case.name for case in CASES]
    assert len(names) >= 150 and len(set(names)) == len(names)
