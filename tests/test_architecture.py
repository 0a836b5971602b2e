"""The house: imports run one way, files stay small. Read off the source, so nothing can slip by."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sqp

ROOT = Path(sqp.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# A room may import the rooms of lower levels, and itself.
LEVELS = {
    "cli": 9,
    "__main__": 10,
    "stages": 8,
    "options": 8,
    "report": 7,
    "explain": 7,
    "quality": 6,
    "fit": 5,
    "uncertainty": 4,
    "segmenters": 3,
    "prompts": 3,
    "networks": 2.5,
    "data": 3,
    "metrics": 2,
    "io": 2,
    "config": 2,
    "bundles": 1,
    "yaml_files": 1,
    "frame": 1,
    "volume": 1,
    "volume_frame": 1.2,
    "types": 1.5,
    "untrusted": 0.5,
    "errors": 0,
    "seeding": 0,
    "streams": 1,
    "memory": 0,
    "augmentation": 0,
    "training": 3,
    "__init__": 0,
}
FORBIDDEN = {"quality": {"segmenters", "prompts"}, "frame": {"types"}}
ALONE = {"metrics": set(), "config": {"errors"}}  # rooms that import nothing of sqp's but these


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        rooms |= {[*name.split("."), "__init__"][1] for name in names if name.split(".")[0] == "sqp"}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = room_of(path)
    for other in rooms_imported(path) - {room}:
        assert LEVELS[other] < LEVELS[room], f"{room} must not import {other}"
        assert other not in FORBIDDEN.get(room, set()), f"{room} must not import {other}"
        if room in ALONE:
            assert other in ALONE[room], f"{room} must stand alone, it imports {other}"


def test_every_room_has_its_level():
    assert {room_of(path) for path in FILES} <= set(LEVELS)


def test_no_file_holds_more_than_one_idea():
    lengths = sorted(len(path.read_text().splitlines()) for path in FILES)
    assert lengths[-1] <= 300
    assert lengths[len(lengths) // 2] <= 120


def test_nothing_is_unpickled():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path
            assert not (isinstance(node, ast.Import) and any(a.name == "pickle" for a in node.names)), path


def test_a_resumed_run_imports_no_network():
    heavy = ("timm", "torchvision", "segment_anything")
    code = f"import sys, sqp.stages.generate; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
