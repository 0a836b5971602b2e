"""Licences behind a bundle: told part by part, and refused where one is not allowed or not known."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from recordsets import make_record_set

from sqp.core.errors import ConfigError
from sqp.quality.bundle.licences import OWN, check_licences, licences_behind, parts_behind
from sqp.quality.bundle.storage import Bundle


def info(*licences: str, **parts: list[str]) -> dict:
    behind = [{"what": name, "licences": names} for name, names in parts.items()]
    return {"data": {"licences": list(licences)}, "behind": behind}


def test_every_part_must_be_free():
    check_licences(info("CC-0", unet=["CC-0"], localizer=["CC-0"]), ("CC-0",), "default")
    check_licences(info("CC-0", "CC-BY"), ("CC-0", "CC-BY"), "default")


@pytest.mark.parametrize(
    ("told", "part", "licence"),
    [
        (info("CC-0", "CC-BY-NC"), OWN, "CC-BY-NC"),
        (info("CC-0", localizer=["CC-0", "NOS"]), "localizer", "NOS"),
        (info("CC-0", unet=[]), "unet", "unknown"),
        ({"data": {"licences": ["CC-0"]}}, "whatever made its records", "unknown"),
        ({}, OWN, "unknown"),
    ],
)
def test_what_is_refused(told, part, licence):
    with pytest.raises(ConfigError, match=f"default: {part} was fitted on rows of licence {licence}, only CC-0 is"):
        check_licences(told, ("CC-0",), "default")


def test_a_bundle_tells_the_parts_of_its_record_sets(trained: Path, tmp_path: Path) -> None:
    assert licences_behind(Bundle.load(trained / "bundle").info)[OWN] == ("CC0",)
    folders = [make_record_set(tmp_path / name, {"test": 1}) for name in ("one", "two", "old")]
    unet = {"what": "the network unet.safetensors", "sha256": "ab", "licences": ["CC-0"]}
    for folder, parts in zip(folders, ([unet], [unet, {"what": "other", "licences": ["NOS"]}]), strict=False):
        path = folder / "run.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"fitted": parts}))
    told = parts_behind(folders)
    assert [part["what"] for part in told] == [unet["what"], "other", "whatever made the records of old"]
    assert told[2]["licences"] == ["unknown"]
