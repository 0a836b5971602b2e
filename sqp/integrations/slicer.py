"""3D Slicer: a `.seg.nrrd` an image, a segment a mask, its status completed where it is accepted, else flagged."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.files import write_atomic
from sqp.core.volume import Geometry
from sqp.data.annotations.seg_nrrd import SUFFIX, import_nrrd
from sqp.data.layouts.folders import stem_of
from sqp.integrations.judged import Judged

FOLDER = "slicer"
COLOURS = {"accept": "0.16 0.62 0.29", "review": "0.88 0.63 0", "reject": "0.82 0.24 0.24", "abstain": "0.5 0.5 0.5"}


def check() -> None:
    """ConfigError where pynrrd is not installed."""
    import_nrrd()


def write(rows: Iterable[Judged], folder: Path) -> list[Path]:
    """FOLDER/slicer/IMAGE.seg.nrrd: masks of one image are segments of it, each in a layer, since they may overlap."""
    files = []
    for _, group in groupby(rows, key=lambda row: row.group):
        part = list(group)
        name = re.sub(r"[^\w.-]+", "_", stem_of(Path(part[0].image.replace("/", "_"))))
        file = folder / FOLDER / f"{name}{SUFFIX}"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_segments(file, part)
        files.append(file)
    return files


def write_segments(file: Path, rows: list[Judged]) -> None:
    """The masks of one image, at least one, as the image's own file lies."""
    nrrd = import_nrrd()
    geometry = rows[0].geometry or flat_geometry(*rows[0].mask.shape)
    layers = np.stack([_laid(row, geometry) for row in rows])
    flat = len(rows) == 1
    content = io.BytesIO()
    nrrd.write(content, layers[0] if flat else layers, _header(rows, geometry, flat))
    write_atomic(file, lambda stream: stream.write(content.getvalue()))


def flat_geometry(height: int, width: int) -> Geometry:
    """Where 3D Slicer puts a flat image: x to the patient's left, y to the back, pixels of 1 mm."""
    return Geometry((width, height, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))


def _laid(row: Judged, geometry: Geometry) -> np.ndarray:
    """uint8 `[x, y, z]`."""
    return geometry.to_file((row.mask if row.mask.ndim == 3 else row.mask[None]).astype(np.uint8))


def _header(rows: list[Judged], geometry: Geometry, flat: bool) -> dict[str, Any]:
    """NRRD's own fields, in LPS, and Slicer's of the segments."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine
    directions = lps[:3, :3].T
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "space directions": directions if flat else np.vstack([np.full(3, np.nan), directions]),
        "space origin": lps[:3, 3],
        "kinds": [*([] if flat else ["list"]), "domain", "domain", "domain"],
        "encoding": "gzip",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, row in enumerate(rows):
        verdict = str(row.attributes["verdict"])
        status = "completed" if verdict == "accept" else "flagged"
        tags = {"Segmentation.Status": status} | {f"sqp.{key}": value for key, value in row.attributes.items()}
        score = "none" if row.score is None else f"{row.score:.2f}"
        x, y, z = (side - 1 for side in geometry.shape)
        header |= {
            f"Segment{number}_ID": f"Segment_{number + 1}",
            f"Segment{number}_Name": f"{verdict} {score} {row.attributes['record_id']}",
            f"Segment{number}_LabelValue": "1",
            f"Segment{number}_Layer": str(number),
            f"Segment{number}_Color": COLOURS.get(verdict, COLOURS["abstain"]),
            f"Segment{number}_Extent": f"0 {x} 0 {y} 0 {z}",
            f"Segment{number}_Tags": "".join(f"{key}:{_plain(value)}|" for key, value in tags.items()),
        }
    return header


def _plain(value: Any) -> str:
    """A value without the signs that part tags."""
    return "" if value is None else re.sub(r"[|:\n]", " ", str(value))
