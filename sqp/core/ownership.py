"""Whose a folder is that a command writes: its marker `.sqp` names the command, its version, and every file it wrote.

The marker is looked at before anything is written or cleared, and written before anything else is. What `--overwrite`
removes is what the marker lists, nothing that is merely there. A lock keeps a second command out while the first lasts.
Folders of versions that wrote no marker are known by the config in their run.yaml.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

import sqp
from sqp.core.errors import ConfigError
from sqp.core.files import full_disk_told, watched
from sqp.core.mirror import url_of
from sqp.core.untrusted import parse_json, read_yaml

MARKER, LOCK = ".sqp", ".lock"
GLANCE_S = 0.3  # for which `sqp status` may hold a lock, to see whether it is free
NOTHING = {MARKER, LOCK, ".DS_Store", "Thumbs.db", "desktop.ini"}
"""Names that a folder may have and still count as empty: a marker counts by what it says."""
EARLIER: dict[str, set[str]] = {
    "generate": {"images", "segmenter", "prompter", "sampler", "measures"},
    "train": {"inputs", "backbone", "epochs", "alpha"},
    "predict": {"model", "images", "masks", "records", "accept", "worst"},
    "evaluate": {"records", "predictions", "calibration_split", "n_resamples"},
    "explain": {"records", "cams", "attribution", "effect"},
    "fit segmenter": {"train_splits", "val_split", "network", "encoder"},
    "fit classifier": {"train_splits", "val_split", "model", "target"},
    "fit localizer": {"train_splits", "val_split", "encoder", "width"},
}
"""Keys by which the config in a run.yaml is known to be of a command."""

COMMAND, EARLIER_LINE = "command: ", "earlier: true"


class Marker(NamedTuple):
    """The command that a folder belongs to, the files that it wrote, and whether the list lacks those of before it."""

    command: str
    wrote: list[str]
    earlier: bool


class Owned:
    """A folder that belongs to a command, and what that wrote there. `earlier`: a version without markers began it, so
    that the list is not whole.

    `apart` are folders in it whose files are listed elsewhere (a record set's table lists them).
    """

    def __init__(self, folder: Path, command: str, apart: Collection[str] = ()) -> None:
        self.folder = folder
        self.command = command
        self.apart = frozenset(apart)
        self.marker = folder / MARKER
        told = read_marker(folder)
        self.new = told is None
        self.earlier = not _is_empty(folder) if told is None else told.earlier
        self._names = dict.fromkeys([] if told is None else told.wrote)
        if told is None:
            self._rewrite()

    def note(self, path: Path) -> None:
        """List a file that is about to be written; one outside of the folder, or listed elsewhere, is left out."""
        name = os.path.relpath(path, self.folder).replace(os.sep, "/")
        if name in self._names or not _is_inside(name) or name.split("/")[0] in self.apart:
            return
        self._names[name] = None
        with self.marker.open("a") as file:
            file.write(f"- {json.dumps(name)}\n")

    def written(self) -> list[Path]:
        """The files that are listed."""
        return [self.folder / name for name in self._names]

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove listed files, and the folders that are empty without them; others are let alone."""
        gone = {*paths} & {*self.written()}
        for path in gone:
            if _leads_out(self.folder, path):
                continue
            path.unlink(missing_ok=True)
            remove_empty(self.folder, path.parent)
        self._names = {name: None for name in self._names if self.folder / name not in gone}
        self._rewrite()

    def clear(self) -> None:
        """Remove all that is listed. ConfigError where an earlier version made the folder and listed nothing."""
        if self.earlier:
            raise ConfigError(
                f"{self.folder} was made by an earlier sqp, which kept no list of its files, so --overwrite cannot "
                "tell them from yours: choose another --out, or remove the folder yourself"
            )
        self.remove(self.written())

    def _rewrite(self) -> None:
        lines = [f"{COMMAND}{self.command}", f"version: {sqp.__version__}"]
        lines += [EARLIER_LINE] if self.earlier else []
        lines += ["wrote:"]
        lines += [f"- {json.dumps(name)}" for name in self._names]
        temporary = self.folder / f"{MARKER}.new"
        temporary.write_text("\n".join(lines) + "\n")
        temporary.replace(self.marker)

    def withdraw(self) -> None:
        """Take the marker of a run that failed before it wrote anything back."""
        if self.new and all(path.name in NOTHING for path in self.folder.iterdir()):
            self.marker.unlink(missing_ok=True)


_active: list[Owned] = []


def remove_written(wanted: Callable[[Path], bool]) -> None:
    """Remove the files that the command that runs wrote earlier, where `wanted` says so; no others."""
    if _active:
        _active[-1].remove([path for path in _active[-1].written() if wanted(path)])


@contextmanager
def owned(
    folder: str | Path, command: str, *, apart: Collection[str] = (), locked: bool = True, wait: float = GLANCE_S
) -> Iterator[Owned]:
    """The folder for a command to write into: made, marked and locked. Files that `sqp.core.files` writes are listed.

    ConfigError for a folder that is another's, and while another run is in it. A full disk is told with the folder.
    `locked` False is for the further processes of a run; `wait` are seconds to wait for another run to leave it.
    """
    home = Path(folder)
    check_owner(home, command)
    made = not home.exists()
    home.mkdir(parents=True, exist_ok=True)
    failed = False
    try:
        with lock_of(home, wait) if locked else nullcontext(), full_disk_told(home):
            check_owner(home, command)  # another may have come first
            owner = Owned(home, command, apart)
            _active.append(owner)
            try:
                with watched(owner.note):
                    yield owner
            except BaseException:
                failed = True
                owner.withdraw()
                raise
            finally:
                _active.pop()
    finally:
        if failed and made and [path.name for path in home.iterdir()] == [LOCK]:
            (home / LOCK).unlink(missing_ok=True)
            home.rmdir()


def check_owner(folder: str | Path, command: str) -> None:
    """ConfigError unless the folder is new, empty, or that of the command; nothing is written."""
    home = Path(folder)
    if url := url_of(home):
        raise ConfigError(
            f"--out {url} is no folder of this machine, where files are locked, linked and renamed: choose one, and "
            "copy it there afterwards"
        )
    if not home.is_dir() or _is_empty(home):  # that a file is no folder is told where the folder is made
        return
    told = read_marker(home)
    owner = told.command if told is not None else earlier_command(home)
    if owner == command:
        return
    if owner is None:
        raise ConfigError(f"{home} holds files that are not sqp's: choose another --out, or one that is empty")
    raise ConfigError(f"{home} belongs to `sqp {owner}`: choose another --out for `sqp {command}`")


def read_marker(folder: Path) -> Marker | None:
    """What a folder's marker tells; None without one, or with half of one."""
    try:
        lines = (folder / MARKER).read_text(errors="replace").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return None
    if "wrote:" not in lines or not lines[0].startswith(COMMAND):
        return None
    start = lines.index("wrote:")
    wrote = [name for line in lines[start + 1 :] if (name := _name(line))]
    return Marker(lines[0].removeprefix(COMMAND), wrote, EARLIER_LINE in lines[:start])


def earlier_command(folder: Path) -> str | None:
    """The command of a version without markers that made the folder, by its run.yaml; None where it tells of none."""
    for command, keys in EARLIER.items():
        if keys <= _config(folder).keys():
            return command
    records = folder / "records"
    if earlier_command_of_records(records) and Path(str(_config(records).get("images"))) == folder / "data":
        return "demo"
    return None


def earlier_command_of_records(folder: Path) -> bool:
    """Whether a folder has the run.yaml of `sqp generate`."""
    return EARLIER["generate"] <= _config(folder).keys()


def remove_empty(top: Path, folder: Path) -> None:
    """Remove a folder, and those above it below `top`, as far as they are empty."""
    while folder != top and top in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextmanager
def lock_of(home: Path, wait: float = 0) -> Iterator[None]:
    """Keep a second run out of the folder while this one lasts; the lock dies with its process.

    ConfigError where another run is in it, and does not leave within so many seconds.
    """
    lock = FileLock(home / LOCK, timeout=wait)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(f"another run of sqp writes into {home}; wait for it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def _config(folder: Path) -> Mapping[str, Any]:
    """The config in a folder's run.yaml; nothing where there is none."""
    try:
        told = read_yaml(folder / "run.yaml")
    except (OSError, ConfigError):
        return {}
    config = told.get("config") if isinstance(told, dict) else None
    return config if isinstance(config, dict) else {}


def _is_empty(folder: Path) -> bool:
    """Whether nobody's file is in a folder; a marker is somebody's where it can be read."""
    return read_marker(folder) is None and all(path.name in NOTHING for path in folder.iterdir())


def _is_inside(name: str) -> bool:
    """Whether a relative name stays in its folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts[:1] not in ((), (MARKER,), (LOCK,))


def _leads_out(folder: Path, path: Path) -> bool:
    """Whether a link among the folders leads out of the command's own."""
    return folder.resolve() not in path.parent.resolve().parents and path.parent.resolve() != folder.resolve()


def _name(line: str) -> str | None:
    """The file of a line of the list; None for half a line, and for what is not in the folder."""
    try:
        name = parse_json(line.removeprefix("- "), "a line")
    except ConfigError:
        return None
    return name if isinstance(name, str) and _is_inside(name) else None
