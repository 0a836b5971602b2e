"""The house: imports run one way, also inside a room, and a folder is taken in at a glance. Read off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sqp

ROOT = Path(sqp.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(("sqp", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path for path in FILES
}
# A room may import the rooms of lower levels, and itself.
LEVELS = {
    "__main__": 11,
    "cli": 10,
    "api": 9.5,
    "commands": 9,
    "integrations": 8,
    "explain": 7.6,
    "evaluation": 7.3,
    "report": 7,
    "quality": 6,
    "fit": 6,
    "records": 5,
    "uncertainty": 4,
    "segmenters": 3.5,
    "prompts": 3,
    "networks": 2.5,
    "training": 2.7,
    "data": 2,
    "bundles": 1,
    "metrics": 1,
    "config": 1,
    "core": 0,
    "__init__": -1,  # the version
}
ALONE = {"metrics": set(), "config": {"core"}}  # rooms that import nothing of sqp's but these
TABLES = {"metrics", "uncertainty", "segmenters", "prompts"}  # rooms that are a table of variants


def room_of(name: str) -> str:
    return [*name.split("."), "__init__"][1]


def imported(path: Path) -> set[str]:
    """The modules of sqp that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "sqp"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if (node.module or "").split(".")[0] == "sqp":
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in MODULES else str(node.module) for name in inner}
    return names


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name):
    room = room_of(name)
    for other in {room_of(target) for target in IMPORTS[name]} - {room}:
        assert LEVELS[other] < LEVELS[room], f"{room} must not import {other}"
        if room in ALONE:
            assert other in ALONE[room], f"{room} must stand alone, it imports {other}"


def test_no_circle_of_modules():
    graph = {name: targets - {"sqp"} for name, targets in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_every_room_has_its_level():
    assert {room_of(name) for name in MODULES} <= set(LEVELS)


@pytest.mark.parametrize("name", MODULES)
def test_a_file_holds_at_most_300_lines(name):
    assert len(MODULES[name].read_text().splitlines()) <= 300


def test_a_folder_is_taken_in_at_a_glance():
    for folder in {path.parent for path in FILES}:
        n = sum(path.parent == folder for path in FILES)
        assert n <= (25 if folder.name in TABLES else 20), f"{folder.name} has {n} files"


def test_nothing_is_unpickled():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path
            assert not (isinstance(node, ast.Import) and any(a.name == "pickle" for a in node.names)), path


def test_a_resumed_run_imports_no_network():
    heavy = ("timm", "torchvision", "segment_anything")
    code = f"import sys, sqp.commands.generate; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
