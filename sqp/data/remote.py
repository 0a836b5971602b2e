"""Inputs from where archives keep them: object stores, and tar files in the form of WebDataset, read as a stream."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from sqp.config.referee import RefereeConfig
from sqp.core.errors import ConfigError
from sqp.core.files import write_atomic, write_text
from sqp.core.mirror import explained, is_tar, mirrored, url_of
from sqp.core.shards import SHARDS, Shard
from sqp.data.images import IMAGE_SUFFIXES
from sqp.data.layouts.folders import composed

REMOTE = "remote"
"""The folder in OUT, of all its parts, where it lies."""
INPUTS = ("images", "masks", "truth", "probs", "references")
KINDS = {"mask": "masks", "seg": "masks", "truth": "truth", "label": "truth", "gt": "truth"}
"""Second part of a member's name, as in KEY.mask.png -> the folder of its files."""
READ = "read.json"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")

C = TypeVar("C", bound=Any)


def with_local_inputs(config: C, part: Shard | None) -> C:
    """The config with paths in place of addresses and of tar files.

    Args:
        config: of generate or predict; its `out` is sqp's already.
        part: the images that are wanted; all others of a tar are named, and left empty.

    Returns:
        The config; of a tar with masks, and truths, these are its masks and its truth, unless others are given.

    Raises:
        ConfigError: something cannot be read, or a tar is none.
    """
    home = _whole(config.out) / REMOTE
    changed: dict[str, Path] = {}
    for name in INPUTS:
        given = getattr(config, name)
        if given is None:
            continue
        if is_tar(given):
            if name != "images":
                raise ConfigError(
                    f"--{name} {given} is a tar: give it as --images, with members KEY.mask.png beside KEY.jpg"
                )
            found = unpacked(str(url_of(given) or given), home, part)
            changed |= {kind: path for kind, path in found.items() if kind == "images" or getattr(config, kind) is None}
        elif url := url_of(given):
            changed[name] = mirrored(url, home)
    if changed and getattr(config, "referee_by_default", False):  # whether one is meant is known with the masks
        return replace(config, **changed, referee=RefereeConfig())
    return replace(config, **changed) if changed else config


def _whole(out: Path) -> Path:
    """OUT of all parts, where `out` is that of one."""
    return next((folder.parent for folder in (out, *out.parents) if folder.name == SHARDS), out)


def unpacked(pattern: str, home: Path, part: Shard | None = None) -> dict[str, Path]:
    """Tar shards -> folders of their images, masks and truths; each is read once, from its beginning to its end.

    Args:
        pattern: path or address, of several as in `shard-{000..127}.tar`.
        home: a folder that is sqp's.
        part: only its images are kept; the others are empty files, so that the parts list the same cases.

    Returns:
        images, and where there are any masks and truth -> their folders.

    Raises:
        ConfigError: a tar cannot be read, holds no image, or two members for one file.
    """
    place = home / hashlib.sha256(pattern.encode()).hexdigest()[:12]
    done = place / READ
    read: dict[str, Any] = json.loads(done.read_text()) if done.exists() else {}
    place.mkdir(parents=True, exist_ok=True)
    for url in _expanded(pattern):
        with explained(url), _opened(url) as (file, look):
            if read.get(f"{url} {part}") != look:
                try:
                    whole = _ToItsEnd(file)
                    with tarfile.open(fileobj=whole, mode="r|*") as tar:  # type: ignore[call-overload]
                        _unpack(tar, url, place, part)
                    whole.check(url)
                except (tarfile.TarError, EOFError) as error:
                    raise ConfigError(f"{url} is no whole tar file ({error}): make or fetch it again") from error
                read[f"{url} {part}"] = look
                write_text(done, json.dumps(read))
    found = {kind: place / kind for kind in ("images", "masks", "truth") if (place / kind).is_dir()}
    if "images" not in found:
        raise ConfigError(f"{pattern} holds no images: members are to be named KEY.jpg, and KEY.mask.png beside it")
    return found


def _expanded(pattern: str) -> list[str]:
    """The names that {000..127} stands for.

    Examples:
        >>> _expanded("a-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    found = _RANGE.search(pattern)
    if not found:
        return [pattern]
    first, last = found.groups()
    names = [
        f"{pattern[: found.start()]}{n:0{len(first)}d}{pattern[found.end() :]}"
        for n in range(int(first), int(last) + 1)
    ]
    return [name for other in names for name in _expanded(other)]


@contextmanager
def _opened(url: str) -> Iterator[tuple[IO[bytes], list[Any]]]:
    """The bytes from the beginning on, and what tells that they are others."""
    if url_of(url) is None:
        path = Path(url)
        with path.open("rb") as file:
            yield file, [path.stat().st_size, path.stat().st_mtime_ns]
        return
    from fsspec.core import url_to_fs

    fs, there = url_to_fs(url)
    info = fs.info(there)
    with fs.open(there, "rb", cache_type="readahead") as file:
        yield file, [info.get("size"), str(info.get("ETag") or info.get("LastModified") or "")]


class _ToItsEnd:
    """A stream whose last block is kept: a tar that is cut off between two members looks whole to its reader."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.last = file, b""

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self.file.read(size)
        self.last = (self.last + data)[-tarfile.BLOCKSIZE :]
        return data

    def check(self, url: str) -> None:
        """ReadError where the end of the tar is not there; what is compressed says it by itself."""
        while self.read(1 << 20):
            pass
        if url.lower().endswith(".tar") and self.last.strip(b"\0"):
            raise tarfile.ReadError("its end is missing")


def _unpack(tar: tarfile.TarFile, url: str, place: Path, part: Shard | None) -> None:
    """The files of a tar into the folders of their kinds; a name leads nowhere else."""
    seen: dict[Path, str] = {}
    for member in tar:
        name = PurePosixPath(member.name).name
        key, _, rest = name.partition(".")
        kind, _, _ = rest.rpartition(".")
        folder = "images" if not kind else KINDS.get(kind.lower())
        suffix = PurePosixPath(name).suffix.lower()
        if not (member.isfile() and key and folder and suffix in IMAGE_SUFFIXES):
            continue
        path = place / folder / f"{composed(key)}{suffix}"
        if path in seen:
            raise ConfigError(
                f"{url} has two members for {path.name}, {seen[path]} and {member.name}: rename one of them"
            )
        seen[path] = member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = tar.extractfile(member)
        if content is not None and (part is None or part.holds(composed(key))):
            write_atomic(path, lambda file, content=content: shutil.copyfileobj(content, file))  # type: ignore[misc]
        elif not path.exists():
            path.touch()
