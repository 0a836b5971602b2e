"""Bytes and files that nobody means to have: cut off, garbage, headers that claim too much, links to nowhere."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bad_inputs.world import GOOD, Make, World

GARBAGE = bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8))
DEEP = "[" * 200_000 + "]" * 200_000
HUGE_NUMBER = "1" + "0" * 6000
NOT_UTF8 = "caf\udce9"  # a Latin-1 name, as Python hands it on


def cut(data: bytes, share: float = 0.6) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * share)]


def png_of(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG whose header claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def npy_of(header: str, body: bytes = b"\0" * 64, version: bytes = b"\x01\x00") -> bytes:
    """A .npy whose header is this text."""
    text = header.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + body


def npy_shape(shape: str, dtype: str = "<f4") -> bytes:
    """A .npy that claims a shape."""
    return npy_of(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}")


def npy(array: Any, **options: Any) -> bytes:
    """A sound .npy."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(**members: bytes) -> bytes:
    """A zip of members, `__` in their names a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def nifti(shape: tuple[int, ...] = (4, 4, 4), datatype: int = 16, body: bytes = b"\0" * 256, **fields: Any) -> bytes:
    """A NIfTI-1 file with these dimensions and header fields, whatever is behind them."""
    import nibabel

    header = nibabel.Nifti1Header()
    raw = header.structarr
    raw["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    raw["datatype"], raw["bitpix"], raw["vox_offset"] = datatype, 32, 352
    raw["pixdim"] = [1] * 8
    raw["sform_code"], raw["srow_x"], raw["srow_y"], raw["srow_z"] = 1, [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]
    for name, value in fields.items():
        raw[name] = value
    return header.binaryblock + b"\0\0\0\0" + body


def gz(data: bytes) -> bytes:
    return gzip.compress(data)


def safetensors(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of these parts."""
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def write(name: str, content: bytes | str) -> Make:
    """A file in the folder."""

    def make(world: World, bad: Path) -> None:
        path = bad / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def folder(name: str) -> Make:
    """A folder where a file is expected."""
    return lambda world, bad: (bad / name).mkdir(parents=True)


def link(name: str, to: str = "/nowhere/at/all") -> Make:
    """A link to nowhere."""

    def make(world: World, bad: Path) -> None:
        (bad / name).parent.mkdir(parents=True, exist_ok=True)
        (bad / name).symlink_to(to)

    return make


def both(*makes: Make) -> Make:
    """One after another."""

    def make(world: World, bad: Path) -> None:
        for one in makes:
            one(world, bad)

    return make


def batch(kind: str, then: Make, ending: str = ".png") -> Make:
    """images/ and masks/ (or `volumes/` and `labels/`) of good ones, and a third `c` whose file of a kind `then` makes.

    The other file of `c` is a good one.
    """
    folders = ("volumes", "labels") if kind in ("volumes", "labels") else ("images", "masks", "probs")

    def make(world: World, bad: Path) -> None:
        for name in folders:
            shutil.copytree(world.root / name, bad / name)
            if name != kind:
                suffix = "".join(next((bad / name).iterdir()).suffixes)
                shutil.copy(bad / name / f"{GOOD[0]}{suffix}", bad / name / f"c{suffix}")
        then(world, bad)

    return make


def bad_image(content: bytes, name: str = "c.png") -> Make:
    return batch("images", write(f"images/{name}", content))


def bad_mask(content: bytes, name: str = "c.png") -> Make:
    return batch("masks", write(f"masks/{name}", content))


def bad_probs(content: bytes) -> Make:
    return batch("probs", write("probs/c.npy", content))


def bad_volume(content: bytes, name: str = "c.nii.gz") -> Make:
    return batch("volumes", write(f"volumes/{name}", content))


def bad_labels(content: bytes, name: str = "c.nii.gz") -> Make:
    return batch("labels", write(f"labels/{name}", content))


def copied(name: str, *makes: Make) -> Make:
    """A copy of a folder of the world in the place of `bad`, then damaged."""

    def make(world: World, bad: Path) -> None:
        shutil.copytree(world.root / name, bad, dirs_exist_ok=True)
        for one in makes:
            one(world, bad)

    return make


def gone(name: str) -> Make:
    """A file, or a folder, removed."""

    def make(world: World, bad: Path) -> None:
        shutil.rmtree(bad / name) if (bad / name).is_dir() else (bad / name).unlink()

    return make


def truncated(name: str, share: float = 0.5) -> Make:
    """A file of the folder cut off."""
    return lambda world, bad: (bad / name).write_bytes(cut((bad / name).read_bytes(), share)) and None  # type: ignore


def replaced_by_folder(name: str) -> Make:
    return both(gone(name), folder(name))


def edited_json(name: str, *keys: str, value: Any = None, drop: bool = False) -> Make:
    """A key (the last one of a path into it) of a JSON file set to a value, or dropped."""

    def make(world: World, bad: Path) -> None:
        told = json.loads((bad / name).read_text())
        inner = told
        for key in keys[:-1]:
            inner = inner[key]
        if drop:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = value
        (bad / name).write_text(json.dumps(told))

    return make


def table_with(change: Any) -> Make:
    """records.parquet changed by a function of its table."""

    def make(world: World, bad: Path) -> None:
        change(pd.read_parquet(bad / "records.parquet")).to_parquet(bad / "records.parquet", index=False)

    return make


def of_test_record(kind: str, then: Any) -> Make:
    """`then(path)` for the file of a kind (masks, maps, images) of the first test record."""

    def make(world: World, bad: Path) -> None:
        table = pd.read_parquet(bad / "records.parquet")
        row = table[table["split"] == "test"].iloc[0]
        if kind == "images":
            path = bad / "images" / Path(row["image_path"]).name
            here = table["image_path"] == row["image_path"]
            table.loc[here, "image_path"] = str(path)
            table.to_parquet(bad / "records.parquet", index=False)
        else:
            path = bad / kind / f"{row['record_id']}{'.png' if kind == 'masks' else '.npz'}"
        then(path)

    return make


def content(data: bytes) -> Any:
    return lambda path: path.write_bytes(data)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")
