"""Configs of scripts that are not there, broken, misspelt or not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqp.core.errors import ConfigError
from sqp.core.yaml_files import read_yaml, script_config


def test_a_good_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rows: {x: 1}\nseeds: [0]\n")
    assert script_config(tmp_path / "a.yaml", ["rows"], ["seeds", "paper"]) == {"rows": {"x": 1}, "seeds": [0]}


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
        script_config(path, ["rows", "train"], ["seeds"])
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no text in UTF-8"):
        read_yaml(tmp_path / "a.yaml")
