"""Every command on inputs that are bad: the right status, one clear sentence, no traceback, nobody's files touched."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from bad_inputs import of_annotations, of_bundles, of_images, of_options, of_records, of_tables
from bad_inputs.world import Case, World, build_world
from fakes import put_fake

from sqp.cli.main import main
from sqp.cli.overview import COMMANDS
from sqp.cli.parser import parse
from sqp.core.errors import ConfigError

TABLES = (of_annotations, of_images, of_tables, of_bundles, of_records, of_options)
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


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
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


@pytest.mark.parametrize("verb", COMMANDS)
def test_no_number_is_taken_that_cannot_be(verb, world, tmp_path):
    line = of_options.LINES[verb].removeprefix(verb)
    args = [part.format(**world.names(tmp_path / "bad", tmp_path / "out")) for part in shlex.split(line)]
    for option, value in of_options.numbers(verb):
        with pytest.raises(ConfigError, match=option.split(".")[-1]):
            import_module(COMMANDS[verb].module).run(parse(verb, [*args, f"--{option}={value}"]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("--help >&-", 0),
        ("--help 2>&-", 0),
        ("--help <&- >&- 2>&-", 0),
        ("compare {images} {masks} 2>&-", 2),
        ("compare {images} {masks} >&- 2>&-", 2),
        ("--help >/dev/full", 2),
        ("compare {images} {masks} 2>/dev/full", 2),
    ],
)
def test_streams_that_are_closed_or_full(line, status, world, tmp_path):
    names = world.names(tmp_path, tmp_path)
    command = f"exec {shlex.quote(sys.executable)} -m sqp {line.format(**names)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_the_table():
    names = [case.name for case in CASES]
    assert len(names) >= 150 and len(set(names)) == len(names)
