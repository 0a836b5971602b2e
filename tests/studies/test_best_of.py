"""studies/best_of.py on two small record sets."""

from __future__ import annotations

import pandas as pd
import pytest
from recordsets import CONFIG, make_record_set

from sqp.core.errors import ConfigError
from studies import best_of


def test_the_table_of_two_methods(tmp_path, capsys):
    sets = [
        make_record_set(tmp_path / name, {"val": 4, "test": 6}, ("natural",), seed=k) for k, name in enumerate("ab")
    ]
    best_of.main([str(tmp_path / "out"), *(f"{folder.name}={folder}" for folder in sets)])
    table = pd.read_csv(tmp_path / "out" / "best_of.csv")
    assert table.kind.tolist()[:2] == ["single", "single"] and table.kind.iloc[-1] == "oracle"
    assert "best-of by c_lesion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["otsu"], "write a method as NAME=DIR, not 'otsu'"),
        (["a=nowhere", "b=nowhere"], "nowhere is no record"),
    ],
)
def test_what_it_refuses(tmp_path, methods, message):
    with pytest.raises(ConfigError, match=message):
        best_of.main([str(tmp_path / "out"), *methods])


def test_records_made_otherwise_are_judged_only_where_that_is_asked_for(tmp_path, trained):
    sets = [
        make_record_set(
            tmp_path / name,
            {"val": 2, "test": 3},
            ("natural",),
            config={**CONFIG, "sampler": {"name": "deterministic", "n": 1}},
        )
        for name in "ab"
    ]
    told = [str(tmp_path), "--model", str(trained / "bundle"), *(f"{folder.name}={folder}" for folder in sets)]
    with pytest.raises(ConfigError, match=r" was generated with"):
        best_of.main(told)
    best_of.main([*told, "--anywhere"])
    assert "best-of by predicted_dice" in pd.read_csv(tmp_path / "best_of.csv").method.tolist()
