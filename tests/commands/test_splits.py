"""`sqp splits`: any data by group, the rules of the two data sets, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sqp.cli.main import main
from sqp.commands.splits import RULES
from sqp.core.files import sha256_of
from sqp.core.types import Case
from sqp.data.cases import find_cases
from sqp.data.split_files import check_splits, read_splits
from sqp.data.splits import apply_splits

ROOT = Path(__file__).parents[2]


def test_any_data_is_split_by_group_and_the_same_way_again(tmp_path, capsys):
    rows = [f"p/{k}.png,{k},L{k // 2}" for k in range(40)]
    (tmp_path / "p").mkdir()
    Image.new("L", (4, 3)).save(tmp_path / "p" / "0.png")
    (tmp_path / "mine.csv").write_text("\n".join(["image,image_id,lesion_id", *rows]))
    out = tmp_path / "new" / "mine.json"
    argv = ["splits", "--images", str(tmp_path / "mine.csv"), "--fractions", "train=.75", "test=.25", "--out"]
    assert main([*argv, str(out)]) == 0
    assert "no groups" not in capsys.readouterr().out
    splits = read_splits(out)
    cases = find_cases(tmp_path / "mine.csv").cases
    check_splits(splits, cases)
    assert {case.split for case in apply_splits(cases, splits)} == {"train", "test"}
    assert (splits.dataset, splits.seed, splits.labels_sha256) == ("mine", 0, sha256_of(tmp_path / "mine.csv"))
    assert main([*argv, str(tmp_path / "again.json")]) == 0
    assert (tmp_path / "again.json").read_bytes() == out.read_bytes()
    assert main([*argv, str(out)]) == 2
    assert "mine.json is there already; choose another file, or --overwrite" in capsys.readouterr().err
    assert main([*argv, str(out), "--overwrite"]) == 0


def test_data_without_groups_are_told_and_mistakes_too(tmp_path, capsys):
    for k in range(30):
        Image.new("L", (4, 3)).save(tmp_path / f"{k}.png")
    here = ["--images", str(tmp_path)]
    assert main(["splits", *here, "--out", str(tmp_path / "s.json"), "--seed", "3"]) == 0
    assert "name no groups" in capsys.readouterr().out
    assert read_splits(tmp_path / "s.json").seed == 3
    out = ["--out", str(tmp_path / "t.json")]
    for args, message in (
        (["--images", "/nowhere", *out], "/nowhere does not exist"),
        (here, "the option --out is missing"),
        ([*here, "--out", str(tmp_path)], "is a folder where a file is to be written"),
        ([*here, *out, "--fractions", "train"], "write them as"),
        ([*here, *out, "--fractions", "train=0.5"], "sum to 1"),
        ([*here, *out, "--rule", "isic2018", "--fractions", "train=1"], "has its own fractions"),
        ([*here, *out, "--rule", "isic2018"], "use the data set with its labels.csv"),
        ([*here, *out, "--rule", "isic"], "rule"),
    ):
        assert main(["splits", *args]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize("name", RULES)
def test_the_rules_are_those_of_the_committed_files(name):
    cases = [
        Case(f"{split}{k}", Path("a"), (Path("t"),) * (1 + (k == 0)), split=split)
        for split in ("train", "val", "test")
        for k in range(20)
    ]
    assert RULES[name](cases, 0).rule == read_splits(ROOT / "configs" / "splits" / f"{name}.json").rule
