"""The bundles that come with sqp: found by name, small, and fitted on rows that anyone may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqp import bundles
from sqp.bundles import BUNDLES, DEFAULT, bundle_folder
from sqp.cli import main
from sqp.errors import ConfigError
from sqp.quality import Bundle
from sqp.quality.licences import check_licences


def test_names_and_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "HERE", tmp_path)
    (tmp_path / DEFAULT).mkdir()
    (tmp_path / DEFAULT / "bundle.json").write_text("{}")
    assert bundle_folder(None) == bundle_folder(Path(DEFAULT)) == tmp_path / DEFAULT
    assert bundle_folder(Path("runs/model")) == Path("runs/model")
    assert bundle_folder(tmp_path / DEFAULT) == tmp_path / DEFAULT


def test_without_it_there_is_one_clear_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bundles, "HERE", tmp_path)
    assert main(["predict", "--images", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "sqp: this sqp comes without the bundle 'default': train one on your own" in capsys.readouterr().err


@pytest.mark.parametrize("name", BUNDLES)
def test_what_is_shipped_is_small_and_free(name):
    try:
        folder = bundle_folder(Path(name))
    except ConfigError:
        assert not (bundles.HERE / name).exists()  # nothing half there
        return
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 20e6
    check_licences(Bundle.load(folder).info, BUNDLES[name], name)
