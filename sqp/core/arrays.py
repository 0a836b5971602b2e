"""Arrays in numpy's own format, read as what they are: bytes of somebody's, whose header may claim anything."""

from __future__ import annotations

import math
import threading
import tokenize
from typing import IO

import numpy as np
from numpy.lib import format as npy

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
