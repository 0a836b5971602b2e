"""Files that anybody may have made: nothing hangs, nothing explodes, and no other format than ours is opened."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sqp.cli.main import main
from sqp.cli.parser import parse
from sqp.core.errors import CaseError, ConfigError, SqpError
from sqp.core.files import clear_left, sha256_of, write_atomic
from sqp.core.untrusted import parse_json, parse_yaml, read_json, read_yaml
from sqp.data.images import read_image, read_probability, turned_in_place
from sqp.data.layouts.table import read_table
from sqp.data.masks import holds_photograph, read_mask
from sqp.data.volumes import read_volume
from sqp.networks.weight_files import read_metadata, read_tensors

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
READERS = {
    "image": read_image, "mask": read_mask, "probability": read_probability, "volume": read_volume, "json": read_json,
    "yaml": read_yaml, "table": read_table, "hash": sha256_of, "weights": read_tensors, "header": read_metadata,
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_opened(reader: str, kind: str, tmp_path: Path) -> None:
    suffix = {"probability": ".npy", "volume": ".nii.gz"}.get(reader, ".png")
    path = tmp_path / f"a{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif reader == "volume":
        return  # a folder may be a DICOM series
    else:
        path.mkdir()
    with pytest.raises(SqpError, match="not a regular file"):
        READERS[reader](path)


def test_a_pipe_of_a_table_is_told_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert not turned_in_place(tmp_path / "a.png") and not holds_photograph(tmp_path / "a.png")
    (tmp_path / "cases.csv").write_text("image\na.png\n")
    assert main(["generate", "--images", str(tmp_path / "cases.csv"), "--out", str(tmp_path / "out")]) in (1, 2)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PDF", "PPM", "ICO", "TGA"])
def test_other_formats_are_not_opened_whatever_their_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, format=kind)
    for read in (read_image, read_mask, read_probability):
        with pytest.raises(CaseError, match=r"a\.png: it is no image, or none of JPEG, PNG, BMP, TIFF, WEBP"):
            read(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_ours_are(kind: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png", format=kind)
    assert read_image(tmp_path / "a.png").shape == (8, 8, 3)


def test_yaml_is_bounded(tmp_path: Path) -> None:
    for text, message in (
        (BOMB, "5,000,000 values by its aliases"),
        ("a: &a [*a]", "an alias in it holds itself"),
        ("[" * 100_000, "is no YAML|nested more than"),
        ("- " * 5000 + "a", "nested more than"),
        ("a: " + "9" * 5000, "is no YAML"),
        ("a: 2020-13-45", "is no YAML"),
        ("!!python/object/apply:os.system [true]", "is no YAML"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_yaml(text, "it")
    (tmp_path / "c.yaml").write_text(BOMB)
    with pytest.raises(ConfigError, match="aliases"):
        parse("generate", ["--config", str(tmp_path / "c.yaml")])
    with pytest.raises(ConfigError, match="aliases"):
        parse("generate", ["--images", "a", "--out", "b", "--sampler", str(tmp_path / "c.yaml")])
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}", "it") == {
        "a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2},
    }  # fmt: skip


def test_json_is_bounded(tmp_path: Path) -> None:
    for text in ("[" * 200_000, "9" * 5000, "{", ""):
        with pytest.raises(ConfigError, match="it is no"):
            parse_json(text, "it")
    (tmp_path / "a.json").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps({"a": float("nan")}))
    assert np.isnan(read_json(tmp_path / "a.json")["a"])


BILLION = 10**9


@pytest.mark.parametrize(
    "options",
    [
        ["--sampler.n", f"{BILLION}"],
        ["--workers", f"{BILLION}"],
        ["--variants", f"{{test: {{corruptions: {BILLION}}}}}"],
        ["--variants", f"{{test: {{truth_jitter: {BILLION}}}}}"],
        ["--referee", "litemedsam", "--referee.prompts", f"{BILLION}"],
    ],
)
def test_a_billion_of_anything_is_refused(options: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"is 1000000000; it must lie between"):
        parse("generate", ["--images", "a", "--out", "b", *options])


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("train", name) for name in ("epochs", "members", "batch_size", "workers", "patience")),
        *(("fit segmenter", name) for name in ("epochs", "members", "batch_size", "workers")),
        *(("demo", name) for name in ("images", "samples", "workers")),
        *(("predict", name) for name in ("batch_size", "workers", "gallery")),
        *(("evaluate", name) for name in ("batch_size", "n_resamples", "gallery")),
        *(("explain", name) for name in ("max_records", "neighbours", "n_resamples", "cases")),
    ],
)
def test_a_billion_of_any_option_is_refused(command: str, option: str, tmp_path: Path, capsys) -> None:
    needed = {"demo": [], "fit segmenter": ["--images", str(tmp_path)], "evaluate": ["--predictions", "p.csv"]}
    argv = [*needed.get(command, ["--records", str(tmp_path)]), "--out", str(tmp_path / "out")]
    assert main([*command.split(), *argv, f"--{option}", f"{BILLION}"]) == 2
    assert f"{option} is 1000000000; it must lie between" in capsys.readouterr().err


def test_temporary_names_cannot_be_guessed_and_are_cleared(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        write_atomic(tmp_path / "a.txt", lambda file: seen.append(Path(file.name).name))
    assert len(set(seen)) == 2 and not any(str(os.getpid()) == part for name in seen for part in name.split("."))
    (tmp_path / seen[0]).touch()
    clear_left(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
