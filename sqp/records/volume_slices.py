"""Volumes as images: the slices of given masks, and those of references, so that what references show of images judges
volumes, too.

Slices are axial in the canonical orientation, their grey values those of `windowed`, as 2D segmenters see a volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_atomic, write_mask, write_text
from sqp.core.types import Case
from sqp.core.volume import Volume
from sqp.data.volumes import windowed
from sqp.metrics.overlap import dice
from sqp.records.load import LoadedCase, load_case
from sqp.records.referees.references import MOST
from sqp.segmenters.by_examples import content_of_image
from sqp.uncertainty.likeness import most_different

THICK = 1.5
"""So many times as long as the next longest is the side of a voxel along which a volume was acquired in slices."""
SIDE = 8  # of the coarse picture by which slices are more or less alike
AXES = ("from foot to head", "from front to back", "from right to left")


@dataclass
class Sliced:
    """Tables of slices: `judged` (a CSV of images with masks) and `references`, and what they were cut from.

    `volumes` has a row a judged volume, with `image_id`, `image`, `mask`, `group`, and `dice` where truth is known;
    `areas` maps a slice's id to the volume's and the pixels of its mask.
    """

    judged: Path
    references: Path
    volumes: pd.DataFrame
    areas: dict[str, tuple[str, int]]
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def cut(cases: Sequence[Case], references: Sequence[Case], folder: Path, window: Sequence[float] = ()) -> Sliced:
    """Write the slices of volumes with given masks, and those of references that hold the structure, at most `MOST`.

    Args:
        cases: volumes with a mask to judge, some perhaps with truth.
        references: volumes with a truth.
        folder: for images, masks, truths and both tables.
        window: grey values that become black and white, as of `windowed`.

    Returns:
        The tables. Broken volumes are skipped, such that are references themselves, and such that were acquired in
        slices along another axis than the references.

    Raises:
        ConfigError: no reference can be used, or no volume has a mask with a voxel.
    """
    left_out: dict[str, str] = {}
    shown, known = _references(references, folder, window, left_out)
    found = Sliced(folder / "judged.csv", folder / "references.csv", pd.DataFrame(), {})
    found.skipped = {f"reference {name}": reason for name, reason in left_out.items()}
    whole = len(shown)
    shown = _most_different(shown)
    if len(shown) < whole:
        used = len({row["group"] for row in shown})
        found.notes.append(
            f"of {whole} slices of references the {MOST} most different ones are shown, of {used} volumes"
        )
    _write_table(found.references, shown)
    rows: list[dict[str, str]] = []
    volumes: list[dict[str, Any]] = []
    for case in tqdm(cases, unit="volume", desc="slices", disable=None):
        try:
            loaded = load_case(case)
            known.check_axis(case.image_path, loaded.image)
        except CaseError as error:
            found.skipped[case.image_id] = str(error)
            continue
        pixels = windowed(loaded.image.voxels, window)
        if content_of_image(pixels) in known.contents:
            found.skipped[case.image_id] = (
                f"the volume {case.image_path} is one of the references: judge it beside others, by --references "
                "without it"
            )
            continue
        volumes.append(_volume(case, loaded))
        rows += _judged(case, loaded, pixels, folder, found.areas)
    if not rows:
        reasons = [*found.skipped.values(), "every mask is empty"]
        raise ConfigError(f"no volume could be judged: {reasons[0]}")
    found.volumes = pd.DataFrame(volumes)
    _write_table(found.judged, rows)
    return found


@dataclass
class _Known:
    """What is known of the reference volumes: the hashes of their pixels, and the axis of their slices."""

    contents: set[str] = field(default_factory=set)
    axis: tuple[int, Path] | None = None

    def check_axis(self, path: Path, volume: Volume) -> None:
        """CaseError where a volume was acquired in slices along another axis than a reference before it."""
        axis = thick_axis(volume.spacing)
        if axis is not None and self.axis is not None and axis != self.axis[0]:
            raise CaseError(
                f"{path} was acquired in slices {AXES[axis]}, and --references {self.axis[1]} {AXES[self.axis[0]]}: "
                "slices of both do not look alike, so give references that were acquired as it was"
            )
        if axis is not None and self.axis is None:
            self.axis = (axis, path)


def thick_axis(spacing: Sequence[float]) -> int | None:
    """The axis along which a volume was acquired in slices: voxels are much longer there than along the others.

    Args:
        spacing: mm along d, h and w.

    Returns:
        0, 1 or 2; None where no axis stands out.

    Examples:
        >>> thick_axis((5.0, 1.0, 1.0)), thick_axis((1.0, 3.0, 1.0)), thick_axis((1.0, 1.0, 1.2))
        (0, 1, None)
    """
    order = np.argsort(spacing)
    return int(order[-1]) if spacing[order[-1]] >= THICK * spacing[order[-2]] else None


def _references(
    cases: Sequence[Case], folder: Path, window: Sequence[float], left_out: dict[str, str]
) -> tuple[list[dict[str, Any]], _Known]:
    """Rows of the slices that hold the structure, each with a `summary`; why a volume is `left_out`, by its name."""
    rows: list[dict[str, Any]] = []
    known = _Known()
    for case in cases:
        try:
            loaded = load_case(case)
            known.check_axis(case.image_path, loaded.image)
        except CaseError as error:
            left_out[case.image_id] = str(error)
            continue
        pixels, truth = windowed(loaded.image.voxels, window), loaded.truths[0]
        known.contents.add(content_of_image(pixels))
        for z in np.flatnonzero(truth.any(axis=(1, 2))):
            name = _slice_id(case.image_id, z)
            image = _write_image(folder / "reference_images" / f"{name}.png", pixels[z])
            mask = _write_mask(folder / "reference_masks" / f"{name}.png", truth[z])
            row = {"image_id": name, "image": image, "mask": mask, "group": f"volume {case.image_id}"}
            rows.append({**row, "licence": case.licence, "summary": _summary(pixels[z], truth[z])})
    if not rows:
        raise ConfigError(f"no reference can be used: {next(iter(left_out.values()))}")
    return rows, known


def _most_different(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most `MOST` rows, by their summaries, which are taken away."""
    summaries = [row.pop("summary") for row in rows]
    return rows if len(rows) <= MOST else [rows[i] for i in most_different(summaries, MOST)]


def _judged(
    case: Case, loaded: LoadedCase, pixels: np.ndarray, folder: Path, areas: dict[str, tuple[str, int]]
) -> list[dict[str, str]]:
    """Rows of the slices in which the given mask has a voxel."""
    mask, rows = loaded.given, []
    assert mask is not None
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        name = _slice_id(case.image_id, z)
        row = {"image_id": name, "group": case.group, "split": case.split, "licence": case.licence}
        row["image"] = _write_image(folder / "images" / f"{name}.png", pixels[z])
        row["mask"] = _write_mask(folder / "masks" / f"{name}.png", mask[z])
        if loaded.truth is not None:
            row["truth"] = _write_mask(folder / "truth" / f"{name}.png", loaded.truth[z])
        areas[name] = (case.image_id, int(mask[z].sum()))
        rows.append(row)
    return rows


def _volume(case: Case, loaded: LoadedCase) -> dict[str, Any]:
    assert loaded.given is not None
    known = np.mean([dice(loaded.given, truth) for truth in loaded.truths]) if loaded.truths else np.nan
    row = {"image_id": case.image_id, "group": case.group, "split": case.split, "licence": case.licence}
    files = {"image": str(case.image_path.absolute()), "mask": str(Path(str(case.mask_path)).absolute())}
    return row | files | {"dice": float(known), "mask_empty": not loaded.given.any()}


def _slice_id(image_id: str, z: int | np.integer) -> str:
    return f"{image_id.replace('/', '_')}_z{z:03d}"


def _summary(pixels: np.ndarray, mask: np.ndarray) -> torch.Tensor:
    """`[2 SIDE²]`: the coarse pattern of light and dark, and where the structure lies."""
    planes = torch.from_numpy(np.stack([pixels / 255.0, mask]).astype(np.float32))
    coarse = F.adaptive_avg_pool2d(planes, (SIDE, SIDE)).flatten(1)
    return torch.cat([coarse[0] - coarse[0].mean(), coarse[1]])


def _write_image(path: Path, pixels: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: Image.fromarray(pixels).save(file, format="PNG", compress_level=3))
    return str(path.absolute())


def _write_mask(path: Path, mask: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, mask)
    return str(path.absolute())


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_text(path, pd.DataFrame(rows).to_csv(index=False))
