"""Files that lie elsewhere (s3://, gs://, https://): a folder with their names, each fetched when it is first read.

A mirror lists what is there and lays an empty file in place of each; `fetched`, which every reader asks before it opens
a file, fills it. So cases are listed, split and counted as in any folder, and only what is read is brought here.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from sqp.core.errors import CaseError, ConfigError, SqpError

INDEX, LISTING = ".sqp-remote.json", ".sqp-listing.json"
"""In a mirror: where it lies, and what was there when it was last listed."""
SCHEMES = ("s3", "s3a", "gs", "gcs", "https", "http", "memory", "abfs", "abfss", "az")
TEXTS = (".csv", ".tsv", ".tab", ".json", ".xml", ".txt", ".yaml")
"""Suffixes of files that are fetched at once: they tell what the others are."""
TAR = (".tar", ".tar.gz", ".tgz")
SIDE_BY_SIDE = 16
TAGS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created")
_URL = re.compile(rf"({'|'.join(SCHEMES)}):/+(.+)", re.IGNORECASE)
_FILE = re.compile(r"file:/+(.+)", re.IGNORECASE)


def url_of(path: str | Path) -> str | None:
    """The address that an option names; None where it is a path. (A `Path` keeps one of the two slashes.)

    Examples:
        >>> url_of(Path("s3://bucket/images")), url_of("images")
        ('s3://bucket/images', None)
    """
    found = _URL.fullmatch(str(path))
    return f"{found[1].lower()}://{found[2]}" if found else None


def is_tar(path: str | Path) -> bool:
    """Whether an option names tar files, or several as in shard-{000..127}.tar."""
    return str(path).lower().endswith(TAR)


def without_file_scheme(path: Path) -> Path:
    """The path that file:// names; others as they are.

    Examples:
        >>> without_file_scheme(Path("file:///data/my%20images")).as_posix()
        '/data/my images'
    """
    found = _FILE.fullmatch(str(path))
    return Path("/" + unquote(found[1])) if found else path


def mirrored(url: str, home: Path) -> Path:
    """What stands for an address: a file, or a folder with its names; of files that changed there none stays.

    Args:
        url: of a file where its name has a suffix, else of a folder. Of a table the folder around it is mirrored.
        home: a folder that is sqp's.

    Returns:
        The path of the file or folder in the mirror.

    Raises:
        ConfigError: it cannot be listed, the sentence says why, or nothing is there.
    """
    alone = bool(PurePosixPath(url).suffix)
    table = url.lower().endswith(".csv")
    root = url.rstrip("/").rpartition("/")[0] if alone else url.rstrip("/")
    name = url.rstrip("/").rpartition("/")[2]
    place = home / hashlib.sha256(root.encode()).hexdigest()[:12]
    place = place if alone else place / name
    with explained(url):
        fs, there = _opened(root)
        fs.invalidate_cache()
        one = alone and not table
        found = {f"{there}/{name}": fs.info(f"{there}/{name}")} if one else fs.find(there, detail=True)
        listing = dict(_listing(found, there))
        if not listing:
            fs.ls(there)  # says why, if there is a reason: `find` passes over what it cannot list
    if not listing:
        raise ConfigError(f"{url} holds no files: check the address")
    _lay(place, root, listing, keep=one)
    fetch_all([place / name for name in listing if name.lower().endswith(TEXTS)], ConfigError)
    return place / name if alone else place


def _listing(found: Mapping[str, Mapping[str, Any]], there: str) -> Iterator[tuple[str, list[Any]]]:
    """Names below the root, each with size and what else tells that it changed; no name leads out of it."""
    for full, info in sorted(found.items()):
        name = full.removeprefix(there).lstrip("/")
        parts = PurePosixPath(name).parts
        hidden = any(part.startswith(".") for part in parts)
        if info.get("type") == "file" and parts and not hidden and "?" not in name and "\0" not in name:
            yield name, [info.get("size"), *(str(info[tag]) for tag in TAGS if info.get(tag) is not None)]


def _lay(place: Path, root: str, listing: Mapping[str, list[Any]], keep: bool) -> None:
    """Empty files for what is new, or changed since it was listed; what has gone there goes here, but for `keep`."""
    place.mkdir(parents=True, exist_ok=True)
    known = place / LISTING
    before: dict[str, list[Any]] = json.loads(known.read_text()) if known.exists() else {}
    for name, look in listing.items():
        path = place / name
        if name not in before:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif before[name] != look:
            _replace(path, b"")
    for name in () if keep else before.keys() - listing.keys():
        (place / name).unlink(missing_ok=True)
    _replace(place / INDEX, json.dumps({"url": root}).encode())
    _replace(known, json.dumps({**(before if keep else {}), **listing}).encode())


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def fetched(path: Path, error: type[SqpError] = CaseError) -> None:
    """Fill an empty file of a mirror; nothing is done for a file of no mirror.

    Args:
        path: an empty file.
        error: what is raised where it cannot be fetched.

    Raises:
        SqpError: of the type `error`, with the address and why.
    """
    place = next((folder for folder in path.absolute().parents if (folder / INDEX).is_file()), None)
    if place is None:
        return
    url = f"{_root(place / INDEX)}/{path.absolute().relative_to(place).as_posix()}"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with explained(url, error):
            fs, there = _opened(url)
            fs.get_file(there, str(temporary))
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fetch_all(paths: Iterable[Path], error: type[SqpError] | None = None) -> None:
    """`fetched` of those that are empty, several at once; without `error` it is the reader of a file who says why."""

    def one(path: Path) -> None:
        try:
            fetched(path, error or CaseError)
        except SqpError:
            if error is not None:
                raise

    empty = [path for path in paths if path.is_file() and not path.stat().st_size]
    if empty:
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(one, empty))


@contextmanager
def explained(url: str, error: type[SqpError] = ConfigError) -> Iterator[None]:
    """One sentence for whatever fsspec and those behind it raise about an address."""
    try:
        yield
    except SqpError:
        raise
    except ImportError as raised:
        raise ConfigError(f"{url} needs a package ({raised}): pip install 'sqp[url]'") from raised
    except FileNotFoundError as raised:
        raise error(f"{url} does not exist: check the address") from raised
    except PermissionError as raised:
        raise error(
            f"{url} must not be read with the credentials of this machine ({raised}): ask for the right"
        ) from raised
    except Exception as raised:  # every store has its own errors
        raise error(f"cannot read {url} ({type(raised).__name__}: {raised}): check address and credentials") from raised


def _opened(url: str) -> tuple[Any, str]:
    """The file system of fsspec, and the address as that names it."""
    from fsspec.core import url_to_fs

    fs, there = url_to_fs(url)
    return fs, str(there).rstrip("/")


@lru_cache(maxsize=64)
def _root(index: Path) -> str:
    return str(json.loads(index.read_text())["url"])
