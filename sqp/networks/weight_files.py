"""The one reader of files with weights: safetensors, or PyTorch's own format by `weights_only`. Nothing is unpickled.

Every option that names such a file comes here, timm's too: what a file says of itself is never run, and a file that
cannot be read so is named for what it is, with the remedy.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sqp.core.errors import ConfigError
from sqp.core.untrusted import check_regular

WRAPPERS = ("state_dict", "model", "model_state_dict", "network", "net", "weights", "params")
"""Keys under which training scripts keep the weights beside optimiser and epoch."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every key."""
SAVE = "where it was made, `torch.save(model.state_dict(), FILE)` writes the weights alone"
_GLOBAL = re.compile(r"GLOBAL ([\w.<>]+)")
_NUMPY = re.compile(r"numpy\.")


def read_tensors(path: Path, option: str = "--checkpoint") -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; those under a key of `WRAPPERS` where the file holds more.

    The format is told by the content, not by the ending. ConfigError, which begins with the option, for a file that is
    missing, no regular file, damaged or holds no tensors, and for one that only unpickling could read.
    """
    head = _head(path, option)
    if _is_safetensors(head):
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ConfigError(f"{option} {path} is no readable safetensors file ({error}): get it again") from error
    if what := _stub(path, head):
        raise ConfigError(f"{option} {path} {what}")
    try:
        with path.open("rb") as file:  # by its path torch goes by the ending
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the broken file makes zipfile or its unpickler raise
        raise ConfigError(f"{option} {path} {_refused(head, str(error), type(error).__name__)}") from error
    return _unwrapped(state, f"{option} {path}")


def read_metadata(path: Path, option: str = "--checkpoint") -> dict[str, str]:
    """The strings in the header of a safetensors file, weights unread. ConfigError where it is none."""
    head = _head(path, option)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        what = f": it {_stub(path, head)}" if _stub(path, head) else f" ({error})"
        raise ConfigError(f"{option} {path} is no safetensors file{what}") from error


def damage_of(path: Path) -> str:
    """Why a file in PyTorch's own format, whatever it holds, cannot be read by `weights_only`; "" where it can."""
    try:
        torch.load(check_regular(path), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of half a file
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""


def is_safetensors(path: Path) -> bool:
    """Whether a file that is there is of this format, by its content."""
    return _is_safetensors(_head(path, "--checkpoint"))


def without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the prefixes of `PREFIXES` that all of their names have, in any order.

    Examples:
        >>> list(without_prefixes({"_orig_mod.module.a": torch.zeros(1), "_orig_mod.module.b": torch.zeros(1)}))
        ['a', 'b']
    """
    state = dict(state)
    while prefix := next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _head(path: Path, option: str) -> bytes:
    if not path.exists():
        raise ConfigError(f"{option} {path}: no such file")
    check_regular(path, option)
    with path.open("rb") as file:
        return file.read(512)


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes with the length of the header, then its JSON."""
    return len(head) > 8 and head[8:9] == b"{"


def _stub(path: Path, head: bytes) -> str:
    """What a file is that only looks like weights by its name, and the remedy; "" where it may hold some."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty: get the file again"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights themselves: run `git lfs pull` where it came from"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not weights: the download went wrong; fetch the file itself (its raw address)"
    if head.startswith(b"\x89HDF"):
        return "is an HDF5 file (Keras), not PyTorch's weights: convert it to safetensors"
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return "is an archive: unpack it, and give the file with the weights in it"
    if head.startswith(b"PK") and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError):
            return ""
        if any(name.endswith("constants.pkl") for name in names):
            return f"is a TorchScript program, not weights: {SAVE}"
        if not any(name.endswith("data.pkl") for name in names):
            return "is a zip archive without PyTorch's weights: unpack it, or give a pth or safetensors file"
    return ""


def _refused(head: bytes, why: str, kind: str) -> str:
    """What torch says of a file that it does not unpickle -> what that file is, and the remedy."""
    name = found[1] if (found := _GLOBAL.search(why)) else ""
    if _NUMPY.match(name):
        return (
            "holds numpy scalars or arrays beside its tensors, which only unpickling could read, and sqp never "
            f"unpickles: {SAVE}"
        )
    if name:
        return (
            f"holds a whole pickled model or other Python objects ({name}), which only running its code could read, "
            f"and sqp never unpickles: {SAVE}"
        )
    if head[:1] == b"\x80":  # of every pickle since protocol 2
        return f"is a plain pickle, which could run code, and sqp never unpickles: {SAVE}"
    return f"is not a readable checkpoint of tensors ({kind}): get the file again"


def _unwrapped(state: Any, what: str) -> dict[str, Tensor]:
    for _ in WRAPPERS:
        inner = [state[key] for key in WRAPPERS if isinstance(state, dict) and isinstance(state.get(key), dict)]
        if not inner:
            break
        state = inner[0]
    if not isinstance(state, dict) or not state or not all(isinstance(x, Tensor) for x in state.values()):
        raise ConfigError(f"{what} holds no state dict of tensors: {SAVE}")
    return {str(key): value for key, value in state.items()}
