"""Mutants are one fault each, leave the tree as it was and are the same ones in every run; a weak test is found out."""

from __future__ import annotations

import ast
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = '''"""Text 3."""
import math

LIMIT: int = 3


def share(a, b=0.5, *, strict=True):
    """More text."""
    if a < LIMIT and not strict:
        raise ValueError(f"{a + 1}")
    values = sorted(zip([a], [b], strict=True), key=len, reverse=True)
    math.log(a)
    return min(a, b) + len(values)
'''


@pytest.fixture
def module(script, monkeypatch, tmp_path):
    """scripts/mutations.py, and a file in a house of its own."""
    mutations = script("mutations")
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    path = tmp_path / "sqp" / "room" / "shares.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    return mutations, path


def test_each_kind_of_fault_is_there_and_nothing_else(module):
    mutations, path = module
    found = {mutant.text for mutant in mutations.mutants(path)}
    assert found == {
        "3 -> 4",
        "0.5 -> 1.0",
        "True -> False",
        "if a < LIMIT and (not strict) -> if not (a < LIMIT and (not strict))",
        "a < LIMIT and (not strict) -> a < LIMIT or not strict",
        "a < LIMIT -> a <= LIMIT",
        "a < LIMIT -> a > LIMIT",
        "not strict -> strict",
        "sorted(zip([a], [b], strict=True), key=len, reverse=True) -> sorted(zip([a], [b], strict=True), reverse=True)",
        "sorted(zip([a], [b], strict=True), key=len, reverse=True) -> sorted(zip([a], [b], strict=True), key=len)",
        "math.log(a) -> pass",
        "return min(a, b) + len(values) -> return None",
        "min(a, b) + len(values) -> min(a, b) - len(values)",
        "min(a, b) -> max(a, b)",
        "min(a, b) -> min(b, a)",
    }


def test_each_compiles_to_another_module_and_leaves_the_tree_as_it_was(module):
    mutations, path = module
    tree = mutations.tree_of(path)
    before = ast.dump(tree)
    codes = {mutant.code(tree) for mutant in mutations.mutants(path)}
    assert len(codes) == len(list(mutations.mutants(path))) and compile(tree, path, "exec") not in codes
    assert ast.dump(tree) == before


def test_a_sample_is_the_same_ones_wherever_they_have_moved(module):
    mutations, path = module
    first = [mutant.id for mutant in mutations.drawn([path], 5, seed=0)]
    assert len(set(first)) == 5 and first != [mutant.id for mutant in mutations.drawn([path], 5, seed=1)]
    path.write_text(SOURCE.replace("import math\n", "import math\nimport os\n\n"))
    mutations.tree_of.cache_clear()
    assert sorted(mutant.id for mutant in mutations.drawn([path], 5, seed=0)) == sorted(first)


def test_a_module_has_the_tests_of_its_name_then_those_that_name_it_then_the_room_s(script):
    script("mutations")
    own, naming, rest = script("mutate").tests_of(ROOT / "sqp/metrics/selective.py", [])
    assert own == ["sqp/metrics/selective.py", "tests/metrics/test_selective.py"]
    assert "tests/metrics/test_selective_row.py" in naming and "tests/metrics/test_overlap.py" in rest
    assert not {*own, *naming} & set(rest)


@pytest.mark.slow
def test_survivors_are_listed_known_again_and_keep_their_reason(tmp_path):
    command = [sys.executable, "scripts/mutate.py", "sqp/metrics/overlap.py", "--sample", "12", "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "12 of 12 mutants to judge" in first.stdout and "together:" in first.stdout

    def table(name):
        with (tmp_path / name).open(newline="") as file:
            return list(csv.DictReader(file))

    results, survivors = table("results.csv"), table("survivors.csv")
    assert len(results) == 12 and len(survivors) == sum(row["outcome"] == "survived" for row in results) < 6
    text = (tmp_path / "survivors.csv").read_text().rstrip("\n")
    (tmp_path / "survivors.csv").write_text(f"{text}no test can tell\n")
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "0 of 12 mutants to judge" in again.stdout
