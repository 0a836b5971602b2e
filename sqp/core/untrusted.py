"""Files that anybody may have made: only regular ones are opened, and no text or array makes more than it says.

A FIFO would wait for ever and a device never end; YAML's aliases explode and nested brackets run out of stack; the
header of an array may claim anything. What is damaged or misspelt is told in one sentence.
"""

from __future__ import annotations

import json
import math
import os
import stat
import threading
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import yaml
from numpy.lib import format as npy

from sqp.core.errors import CaseError, ConfigError, SqpError
from sqp.core.mirror import fetched

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
"""What an image may be by its content, whatever its name: Pillow knows many more, and an EPS starts Ghostscript."""
MOST_BYTES = 256 * 2**20  # of a text file; the largest that sqp writes are a hundredth of it
MOST_NODES = 5_000_000  # of YAML whose aliases are written out
MOST_DEPTH = 60
SHORT = 100_000  # characters of YAML that the slow parser may look at, too
TOO_DEEP = f"it is nested more than {MOST_DEPTH} deep"

_C_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_regular(path: str | os.PathLike, what: str = "", error: type[SqpError] = ConfigError) -> Path:
    """The path, if there is a regular file (or a link to one), or nothing; an empty one of a mirror is fetched.

    Raises `error`, with `what` before the path, for a folder, a FIFO, a socket or a device: reading could hang.
    """
    try:
        there = Path(path).stat()
    except (OSError, ValueError):
        return Path(path)  # whoever opens it says why that cannot be
    if not there.st_size:
        fetched(Path(path), error)
    if not stat.S_ISREG(there.st_mode):
        kind = "a folder" if stat.S_ISDIR(there.st_mode) else "a pipe, a socket or a device"
        raise error(f"{what} {path} is {kind}, not a regular file: give a file".lstrip())
    return Path(path)


def open_image(path: str | os.PathLike, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Pillow's image of a regular file, not yet decoded. CaseError for what is no regular file; else as Pillow says."""
    from PIL import Image

    return Image.open(check_regular(path, "image", CaseError), formats=tuple(formats))


def read_text(path: Path, what: str = "") -> str:
    """UTF-8 text of a regular file of at most `MOST_BYTES`; else ConfigError naming it."""
    check_regular(path, what)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is larger than {MOST_BYTES >> 20} MiB: it is not the file that is meant")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error


def parse_json(text: str | bytes, what: str, **options: Any) -> Any:
    """JSON -> its value. ConfigError, beginning with `what`, for text that is none, nests too deep or names numbers of
    thousands of digits."""
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ConfigError(f"{what} is no usable JSON: {TOO_DEEP}") from None
    except ValueError as error:
        raise ConfigError(f"{what} is no JSON: {' '.join(str(error).split())}") from error


def read_json(path: Path, **options: Any) -> Any:
    """What a JSON file holds, by `read_text` and `parse_json`."""
    return parse_json(read_text(path), str(path), **options)


def parse_yaml(text: str, what: str) -> Any:
    """YAML -> its value. ConfigError, beginning with `what`, for text that is none, nests too deep, or whose aliases
    would make more than `MOST_NODES` values.

    Examples:
        >>> parse_yaml("a: [1, 2]", "the text")
        {'a': [1, 2]}
    """
    try:
        try:
            root = _composed(text, what, _C_LOADER)
        except yaml.YAMLError:
            if len(text) > SHORT:
                raise
            root = _composed(text, what, yaml.SafeLoader)  # which takes `{a:{b: 1}}`, too
        if root is not None:
            _check_size(root, what)
        loader = yaml.SafeLoader("")
        return None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, ValueError, TypeError) as error:  # ValueError: a month of 13, a number of 5,000 digits
        raise ConfigError(f"{what} is no YAML: {' '.join(str(error).split())}") from error


def _composed(text: str, what: str, loader: Any) -> yaml.Node | None:
    """The tree of nodes. ConfigError where brackets or indents nest deeper than `MOST_DEPTH`."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):  # by events, since the quick parser's own recursion ends in a crash
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ConfigError(f"{what} is no usable YAML: {TOO_DEEP}")
    return yaml.compose(text, Loader=loader)


def _check_size(root: yaml.Node, what: str) -> None:
    """ConfigError where the tree below `root` is too large with its aliases written out, or holds itself."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, bool]] = [(root, False)]
    while stack:
        node, left = stack.pop()
        if left:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
            if sizes[id(node)] > MOST_NODES:
                raise ConfigError(f"{what} makes more than {MOST_NODES:,} values by its aliases: write it out")
            continue
        if id(node) in sizes:
            continue
        open_nodes.add(id(node))
        stack.append((node, True))
        for child in _children(node):
            if id(child) in open_nodes:
                raise ConfigError(f"{what} is no usable YAML: an alias in it holds itself")
            stack.append((child, False))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


READERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
DAMAGED = (
    *(SyntaxError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError, EOFError),
    tokenize.TokenError,
)
"""What parsing a damaged header raises beside ValueError."""
_PARSER = threading.Lock()
"""numpy parses the header of an array by `ast`, which is not thread-safe in Python 3.11 (its issue 106905)."""


def read_array(file: IO[bytes], size: int) -> np.ndarray:
    """The array of numbers (bool, whole or floating) in the `size` bytes of a .npy file, opened at its start.

    Nothing is unpickled, and no more memory is taken than the file has bytes. ValueError where it is no such file, is
    cut off, or claims more than it holds. Threads may read side by side, but parse one at a time.
    """
    with _PARSER:
        try:
            version = npy.read_magic(file)
            if version not in READERS:
                raise ValueError(f"its format is {version}")
            shape, fortran, dtype = getattr(npy, READERS[version])(file)
        except DAMAGED as error:
            raise ValueError(f"its header is damaged ({type(error).__name__})") from error
    if dtype.kind not in "biufc" or not dtype.itemsize:
        raise ValueError(f"it holds {dtype}, no numbers")
    if any(isinstance(side, bool) or side < 0 for side in shape):
        raise ValueError(f"its shape is {shape}")
    need, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if need > there:
        raise ValueError(f"its header claims {need:,} bytes of numbers, the file has {there:,}")
    content = bytearray(file.read(need))
    if len(content) < need:
        raise ValueError(f"it ends after {len(content):,} of {need:,} bytes of numbers")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


T = TypeVar("T")
LARGEST = 2**53  # of whole numbers in JSON


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. ConfigError naming a file that is not there, or is no YAML."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist: check the path")
    return parse_yaml(read_text(path), str(path))


def read_run(path: Path) -> dict[str, Any]:
    """What a `run.yaml` tells: its `config` and what the run found. ConfigError where it is damaged, or no run's."""
    told = read_yaml(path)
    if not isinstance(told, dict) or not isinstance(told.get("config"), dict):
        raise ConfigError(f"{path} tells of no run of sqp: it has no config; restore it, or make its folder anew")
    return told


def typed(cls: type[T], values: Any) -> T:
    """A dataclass out of what JSON held: lists become tuples. TypeError where a key or a value's type is not its own.

    Examples:
        >>> from sqp.core.types import Prompt
        >>> typed(Prompt, {"prompter": 3})
        Traceback (most recent call last):
        TypeError: prompter is 3
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r} in place of keys with values")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    hints = get_type_hints(cls)
    for key, value in given.items():
        if key in hints and not _is(value, hints[key]):
            raise TypeError(f"{key} is {value!r}")
    return cls(**given)


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a number, text, a tuple of such, one of several."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is(one, get_args(hint)[0]) for one in value)
    if get_args(hint):
        return any(_is(value, one) for one in get_args(hint))
    if hint in (int, float):
        whole = isinstance(value, int) and abs(value) <= LARGEST
        return not isinstance(value, bool) and (whole or (hint is float and isinstance(value, float)))
    return hint is Any or isinstance(value, hint)
