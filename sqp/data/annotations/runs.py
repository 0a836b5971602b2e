"""Run-length codes of masks: CVAT's list of runs in a box, and Label Studio's stream of bits over RGBA pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WORD = 8  # bits of a value in a brush mask: a byte of RGBA
RUN_BITS = (3, 4, 8, 16)  # how many bits the length of a run may take; a run says which


def to_runs(values: np.ndarray) -> list[int]:
    """Bool `[n]` -> lengths of its runs, beginning with one of False, which may be 0.

    Examples:
        >>> to_runs(np.array([True, True, False])), to_runs(np.array([False, True]))
        ([0, 2, 1], [1, 1])
    """
    ends = np.flatnonzero(np.diff(values.astype(np.int8))) + 1
    runs = np.diff(np.concatenate([[0], ends, [len(values)]])).astype(int).tolist()
    return [0, *runs] if len(values) and values[0] else runs


def from_runs(runs: Sequence[int], size: int) -> np.ndarray:
    """Lengths of runs, beginning with one of False -> bool `[size]`. ValueError where they have another size.

    Examples:
        >>> from_runs([1, 2], 3).tolist()
        [False, True, True]
    """
    if any(run < 0 for run in runs) or sum(runs) != size:
        raise ValueError(f"its runs have {sum(runs)} pixels, not {size}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def to_box(mask: np.ndarray) -> tuple[list[int], tuple[int, int, int, int]]:
    """bool `[h, w]` -> its runs row by row within its box, and (left, top, width, height), as CVAT keeps a mask.

    An empty mask has a box of one pixel that is background.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
    left, right = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 1)
    return to_runs(mask[top:bottom, left:right].ravel()), (left, top, right - left, bottom - top)


def from_box(runs: Sequence[int], box: tuple[int, int, int, int], shape: tuple[int, int]) -> np.ndarray:
    """The inverse of `to_box`, bool `[*shape]`. ValueError where box and shape, or box and runs, do not fit."""
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > shape[1] or top + height > shape[0]:
        raise ValueError(f"its box {width} x {height} at ({left}, {top}) reaches out of {shape[1]} x {shape[0]} pixels")
    mask = np.zeros(shape, bool)
    mask[top : top + height, left : left + width] = from_runs(runs, width * height).reshape(height, width)
    return mask


def to_brush(mask: np.ndarray) -> list[int]:
    """bool `[h, w]` -> the bytes of Label Studio's brush: all of RGBA is 255 in the mask, 0 beside it.

    A stream of bits: 32 for the number of values, 5 for the bits of a value less 1, four times 4 for `RUN_BITS` less 1;
    then for each run 1 (the same value again and again), 2 for which of `RUN_BITS`, its length less 1, its value.
    """
    bits = [f"{mask.size * 4:032b}", f"{WORD - 1:05b}", *(f"{size - 1:04b}" for size in RUN_BITS)]
    longest = 1 << RUN_BITS[-1]
    for number, length in enumerate(to_runs(mask.ravel())):
        left = 4 * length
        while left:
            run = min(left, longest)
            kind = next(i for i, size in enumerate(RUN_BITS) if run <= 1 << size)
            bits.append(f"1{kind:02b}{run - 1:0{RUN_BITS[kind]}b}{255 * (number % 2):0{WORD}b}")
            left -= run
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def from_brush(data: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """The inverse of `to_brush`, bool `[*shape]`: alpha is not 0. ValueError where it is cut, or of another size."""
    content = bytes(data)
    place = 0

    def read(size: int) -> int:
        nonlocal place
        end = place + size
        if end > 8 * len(content):
            raise ValueError("its brush is cut off")
        word = int.from_bytes(content[place // 8 : -(-end // 8)], "big") >> (-end % 8)
        place = end
        return word & ((1 << size) - 1)

    number, size = read(32), read(5) + 1
    if number != 4 * shape[0] * shape[1]:
        raise ValueError(f"its brush has {number // 4} pixels, not {shape[1]} x {shape[0]}")
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(number, np.uint8)
    at = 0
    while at < number:
        same = read(1)
        length = read(sizes[read(2)]) + 1
        if at + length > number:
            raise ValueError("its brush has more values than it says")
        values[at : at + length] = min(read(size), 255) if same else [min(read(size), 255) for _ in range(length)]
        at += length
    return values.reshape(*shape, 4)[..., 3] > 0
