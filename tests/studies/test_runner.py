"""What the studies share: configs that are not there, broken, misspelt or not whole; keys, skipped cases, statuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Case
from studies.runner import kept, means, option, predictions_key, read_config, rows_of_cases, status, study


def test_a_good_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rows: {x: 1}\nseeds: [0]\n")
    assert read_config(tmp_path / "a.yaml", ["rows"], ["seeds", "paper"]) == {"rows": {"x": 1}, "seeds": [0]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"a\.yaml does not exist: check the path"),
        ("rows: [", r"a\.yaml is no YAML: "),
        ("- 1\n", r"a\.yaml holds no keys; it needs rows, train"),
        ("", r"a\.yaml holds no keys"),
        ("rows: 1\nseeds: [0]\n", r"a\.yaml lacks the key 'train'"),
        ("rows: 1\ntrain: 1\nsedes: 0\n", r"unknown key in .*a\.yaml 'sedes', did you mean 'seeds'"),
    ],
)
def test_a_bad_one_is_told_in_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "a.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path, ["rows", "train"], ["seeds"])
    assert "\n" not in str(caught.value)


def test_what_predictions_were_made_from_has_a_key_that_follows_every_part(tmp_path) -> None:
    for name in ("bundle", "records"):
        (tmp_path / name).mkdir()
    files = [tmp_path / "bundle" / "bundle.json", tmp_path / "records" / "records.parquet", tmp_path / "frozen.json"]
    for number, file in enumerate(files):
        file.write_text(str(number))
    keys = [predictions_key(tmp_path / "bundle", [tmp_path / "records"], files[2:])]
    for file in files:
        file.write_text("another")
        keys.append(predictions_key(tmp_path / "bundle", [tmp_path / "records"], files[2:]))
    assert len(set(keys)) == 4 and all(len(key) == 16 for key in keys)
    assert predictions_key(tmp_path / "bundle", [tmp_path / "records"]) not in keys


@study("config", "out", option("--n", type=int, default=1), required=("rows",), optional=("seeds",))
def a_study(args: argparse.Namespace) -> None:
    """Made up."""
    if args.n > 1:
        raise ConfigError(f"n is {args.n}")
    args.out.write_text(str(args.settings["rows"]))


def test_a_study_reads_its_options_and_config_and_ends_with_a_status(tmp_path, capsys) -> None:
    (tmp_path / "a.yaml").write_text("rows: 7\n")
    argv = [str(tmp_path / "a.yaml"), str(tmp_path / "out")]
    assert status(a_study, argv) == 0 and (tmp_path / "out").read_text() == "7"
    assert status(a_study, [*argv, "--n", "2"]) == 2 and capsys.readouterr().err.endswith(": n is 2\n")
    with pytest.raises(SystemExit):
        a_study(["--help"])
    assert "What the studies share" in capsys.readouterr().out  # the docstring of the module


def test_cases_that_cannot_be_used_are_skipped(capsys) -> None:
    def rows(case: Case):
        if case.image_id == "b":
            raise CaseError("no ground truth")
        yield {"dice": 0.5, "kind": "x"}
        yield {"dice": 0.7, "kind": "x"}

    cases = [Case(name, Path(name), group=f"g{name}") for name in "abc"]
    found = rows_of_cases(cases, rows)
    assert found["image_id"].tolist() == ["a", "a", "c", "c"] and found["group"].iloc[-1] == "gc"
    summary = means(found, ["kind"], ["dice"], {"best": lambda part: part["dice"].max()})
    assert summary.loc[0, ["images", "dice", "best"]].tolist() == pytest.approx([4, 0.6, 0.7])
    gaps = pd.DataFrame({"kind": "x", "group": list("aabbcc"), "dice": [0.1, 0.3, 0.5, 0.7, 0.2, np.nan]})
    summary = means(gaps, ["kind"], ["dice"]).loc[0]  # a group with a gap is in the interval as in the mean
    assert summary["dice"] == pytest.approx(0.36) and summary["dice_high"] == pytest.approx(0.6)
    assert summary["dice_low"] == pytest.approx(0.2, abs=0.011)
    with pytest.raises(ConfigError, match="none of the 1 images could be used"):
        rows_of_cases(cases[1:2], rows)


def test_a_table_that_is_kept_is_made_once(tmp_path) -> None:
    path = tmp_path / "folder" / "rows.csv"
    assert kept(path, lambda: pd.DataFrame({"a": [1]}))["a"].tolist() == [1]
    assert kept(path, lambda: pytest.fail("made again"))["a"].tolist() == [1]
