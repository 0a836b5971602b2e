"""Records -> input planes by channel name: `image`, `mask`, and any stored map (`self/entropy` …).

Geometry: the whole frame is squashed to size x size, whatever its aspect, and nothing is cut off or padded.
Dice is a ratio of areas, which a squash leaves as it is. Everything is resized by Pillow's bilinear filter,
which averages over the area when it shrinks (antialias). Image and mask are 0-1; maps keep their units, but
EPKL, which is unbounded, becomes log(1 + EPKL) before it is resized.

Of volumes the same in three dimensions: the cube size x size x size, the image one grey plane.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sqp.core.errors import CaseError, ConfigError, unknown_name
from sqp.core.frame import resample_volume
from sqp.data.images import read_image
from sqp.data.reading import read_structure_or_mask
from sqp.data.volumes import is_volume, read_volume, windowed
from sqp.quality.bundle.sources import REMEDIES, source_of
from sqp.records import RecordSet

IMAGE, MASK = "image", "mask"
GROUPS: dict[str, tuple[str, ...]] = {
    "uncertainty": (
        "self/probability",
        "self/entropy",
        "self/mutual_information",
        "self/epkl",
        "self/variance",
    ),
    "referee": (
        "referee/probability",
        "referee/entropy",
        "referee/variance",
        "referee/own_box",
    ),
    "supervised": (
        "supervised/probability",
        "supervised/entropy",
        "supervised/variance",
    ),
}
"""Words that stand for several channels. `self/certainty` is |2p-1|, so it is in no group; ask for it by
name."""

UNREADABLE = (
    *(OSError, ValueError, EOFError, SyntaxError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, Image.DecompressionBombError),
)
"""What numpy, zipfile and Pillow raise where a file is missing, cut off or damaged."""

COMPRESS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"epkl": np.log1p}
"""By the last part of a map's name: what bounds it."""


def parse_inputs(inputs: str | Iterable[str]) -> tuple[str, ...]:
    """Framework inputs -> channel names in order, each once.

    Names are joined by `+`. ConfigError for a name that is no channel; whether a record set holds a map is
    `check_channels`' question.

    Examples:
        >>> parse_inputs("image+mask+self/epkl")
        ('image', 'mask', 'self/epkl')
        >>> len(parse_inputs("mask+uncertainty"))
        6
    """
    parts = inputs.split("+") if isinstance(inputs, str) else [p for text in inputs for p in text.split("+")]
    channels: list[str] = []
    for part in (p.strip() for p in parts):
        if part not in (IMAGE, MASK, *GROUPS) and "/" not in part:
            raise unknown_name("input channel", part, [IMAGE, MASK, *GROUPS, *GROUPS["uncertainty"], "self/certainty"])
        channels += [name for name in GROUPS.get(part, (part,)) if name not in channels]
    return tuple(dict.fromkeys(channels))


def plane_names(channels: Sequence[str], dims: int = 2) -> tuple[str, ...]:
    """One name a plane: the image has three, a volume (`dims` 3) one.

    Examples:
        >>> plane_names(("image", "mask"))
        ('image/red', 'image/green', 'image/blue', 'mask')
    """
    colours = ("image/red", "image/green", "image/blue") if dims == 2 else (IMAGE,)
    return tuple(plane for name in channels for plane in (colours if name == IMAGE else (name,)))


def map_channels(channels: Iterable[str]) -> tuple[str, ...]:
    """The channels that come from a record's maps."""
    return tuple(name for name in channels if name not in (IMAGE, MASK))


def check_channels(records: RecordSet, channels: Sequence[str]) -> None:
    """ConfigError naming the channels that a record set lacks, and what it has."""
    wanted = map_channels(channels)
    if not wanted:
        return
    present = [name for name in stored_maps(records) if not name.startswith("features/")]
    missing = [name for name in wanted if name not in present]
    if missing:
        raise ConfigError(
            f"{records.folder} lacks the channel{'s' * (len(missing) > 1)} {', '.join(missing)}; it has "
            f"{', '.join(present) or 'no map'}: choose other inputs, or {REMEDIES[source_of(missing[0])]}"
        )


def stored_maps(records: RecordSet) -> tuple[str, ...]:
    """Names of the maps and features of the first record whose file can be read."""
    for record_id in records.table.record_id:
        try:
            return tuple(records.maps(record_id))
        except UNREADABLE:
            continue
    raise ConfigError(f"the maps of {records.folder} cannot be read: generate the records again")


def space(size: int, dims: int) -> tuple[int, ...]:
    """Shape of a plane.

    Examples:
        >>> space(8, 3)
        (8, 8, 8)
    """
    return (size,) * dims


def resize(array: np.ndarray, size: int, covered: tuple[float, float] | None = None) -> np.ndarray:
    """float `[h, w]` -> float32 `[size, size]`, linear along each axis, antialiased where it shrinks; volumes too.

    `covered`: only these (rows, columns) of it, or of each of its slices, from the upper left corner.
    """
    if array.ndim == 3:
        if covered is not None and covered != array.shape[1:]:
            array = np.stack([resize(plane, size, covered) for plane in array])
        voxels = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
        return resample_volume(voxels, (size, size, size)).numpy()
    plane = Image.fromarray(np.ascontiguousarray(array, dtype=np.float32), mode=None)
    rows, columns = covered or array.shape
    return np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR, box=(0, 0, columns, rows)))


def image_planes(source: str | Path | np.ndarray, size: int) -> np.ndarray:
    """An image file, or its pixels uint8 `[h, w, 3]` -> uint8 `[3, size, size]` RGB. CaseError for a broken file.

    A volume's file -> `[1, size, size, size]`, its percentiles black and white.
    """
    if not isinstance(source, np.ndarray) and is_volume(source):
        voxels = resize(windowed(read_volume(source).voxels), size)
        return np.clip(voxels + 0.5, 0, 255).astype(np.uint8)[None]
    image = Image.fromarray(source if isinstance(source, np.ndarray) else read_image(source))
    squashed = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.ascontiguousarray(np.asarray(squashed).transpose(2, 0, 1))


def truth_plane(paths: Iterable[str | Path], size: int, labels: Sequence[int] = ()) -> np.ndarray:
    """The mean of an image's ground-truth masks -> float32 `[size, size]` in 0-1, of volumes `[size, size, size]`.

    `labels` are the values that make the structure. CaseError for a broken file.
    """
    masks = [resize(read_structure_or_mask(path, labels), size) for path in paths]
    return np.stack(masks).mean(axis=0, dtype=np.float32)


def _check_shapes(records: RecordSet, record_id: str, maps: Mapping[str, np.ndarray], dims: int) -> None:
    """CaseError for a map that is of another shape than its source's grid."""
    grids: dict[str, tuple[int, ...]] = {}
    for name, values in maps.items():
        grid = grids.setdefault(name.partition("/")[0], values.shape)
        if values.shape != grid or values.ndim != dims or not values.size:
            raise CaseError(
                f"the map {name} of record {record_id} in {records.folder} has the shape {list(values.shape)}, which "
                f"is not that of its grid ({list(grid)}, {dims}D): generate the record again"
            )


def record_planes(records: RecordSet, record_id: str, channels: Sequence[str], size: int) -> np.ndarray:
    """Mask and maps of a record -> float32 `[c, size, size]`, in the channels' order without `image`; of a volume
    `[c, size, size, size]`.

    CaseError where the mask or the maps cannot be read; ConfigError for a map that the record lacks.
    """
    names = map_channels(channels)
    try:
        maps = records.maps(record_id, names) if names else {}
        mask = records.mask(record_id) if MASK in channels else np.zeros((1, 1), bool)
    except UNREADABLE as error:
        raise CaseError(
            f"record {record_id} in {records.folder} cannot be read ({error}): generate it again"
        ) from error
    _check_shapes(records, record_id, maps, 3 if records.volumes else 2)
    planes = []
    for name in channels:
        if name == MASK:
            planes.append(resize(mask, size))
        elif name != IMAGE:
            values = COMPRESS.get(name.rpartition("/")[2], np.asarray)(maps[name].astype(np.float32))
            planes.append(resize(values, size, records.covered(record_id, name, values.shape)))
    return np.stack(planes) if planes else np.zeros((0, *space(size, 3 if records.volumes else 2)), np.float32)
