"""The grid of n and r: one row a setting and image, means by hand."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml
from fakes import put_fake

from sqp.core.errors import ConfigError
from studies import ursam_grid


def test_rows_and_means_of_every_setting(lesions, tmp_path, monkeypatch, capsys):
    put_fake(monkeypatch)
    generate = {"images": str(lesions), "out": "unused", "segmenter": {"name": "fake"}, "prompter": "otsu"}
    grid = {"n": [2, 3], "ratio": [0.05, 0.2], "alpha_h": [1.5], "fixed": [0.5]}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"generate": generate, "grid": grid}))
    ursam_grid.main([str(tmp_path / "grid.yaml"), str(tmp_path / "out"), "--max_images", "3"])
    rows, summary = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("rows", "summary"))
    settings = 1 + 2 * 2 * (2 + 1 + 4)  # without augmentation once; n x r x methods
    assert len(summary) == settings and len(rows) == settings * rows.image_id.nunique()
    assert (summary.images == rows.image_id.nunique()).all()
    by_setting = rows.groupby(ursam_grid.KEYS, sort=False, dropna=False)
    assert summary.dice.tolist() == pytest.approx(by_setting.dice.mean().tolist(), abs=1e-5)
    assert summary.unchanged.tolist() == by_setting.unchanged.apply(lambda why: why.notna().sum()).tolist()
    assert "w/o augmentation" in capsys.readouterr().out


def test_no_image_that_can_be_used_is_told(lesions, tmp_path, monkeypatch):
    put_fake(monkeypatch)
    generate = {"images": str(lesions / "images"), "out": "unused", "segmenter": {"name": "fake"}, "prompter": "otsu"}
    told = {"generate": generate, "grid": {"n": [2], "ratio": [0.1], "alpha_h": [], "fixed": []}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigError, match="images could be used"):
        ursam_grid.main([str(tmp_path / "grid.yaml"), str(tmp_path / "out"), "--max_images", "2"])
