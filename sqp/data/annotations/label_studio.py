"""Label Studio's JSON export: a list of tasks, whose regions are brushes (runs over RGBA) or polygons in percent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from sqp.core.errors import ConfigError
from sqp.data.annotations.annotation import Annotation, check_once, field, mappings, polygon_mask, size_of
from sqp.data.annotations.runs import from_brush

UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of a file that was uploaded
KINDS = ("brushlabels", "polygonlabels", "brush", "polygon")


def recognise(content: Any) -> bool:
    """Whether JSON is an export of Label Studio: a list of tasks with data."""
    return isinstance(content, list) and all(isinstance(task, dict) and "data" in task for task in content)


def read(path: Path, content: Any) -> list[Annotation]:
    """Regions of the annotations and the predictions that were not cancelled; other kinds of regions are left out.

    Each brush and each polygon is one. ConfigError for a task without an image, and two tasks of one image.
    """
    tasks = [(task, _image(task, path)) for task in content]
    check_once([image for _, image in tasks], path)
    found: list[Annotation] = []
    for task, image in tasks:
        where = f"task {task.get('id', image)} of {path}"
        for kind in ("annotations", "predictions"):
            for number, one in enumerate(mappings(_without_ids(task.get(kind)), where), start=1):
                if one.get("was_cancelled"):
                    continue
                prefix = f"{kind[0]}{one.get('id', number)}"
                for region in mappings(field(one, "result", list, where), where):
                    if region.get("type") not in KINDS:
                        continue
                    value = field(region, "value", dict, where)
                    labels = value.get("brushlabels") or value.get("polygonlabels")
                    label = str(labels[0]) if isinstance(labels, list) and labels else ""
                    name = f"{prefix}_{region.get('id', len(found))}"
                    found.append(Annotation(image, name, label, None, partial(decode, region)))
    return found


def _without_ids(values: Any) -> Any:
    """A list without bare numbers: an export names the predictions behind its annotations by their ids alone."""
    return [one for one in values if not isinstance(one, int)] if isinstance(values, list) else values


def decode(region: Mapping[str, Any]) -> np.ndarray:
    """bool `[original_height, original_width]`. ValueError where the region has no size, or another one."""
    value = region["value"]
    if region.get("image_rotation"):
        raise ValueError("it was drawn on an image that Label Studio turned: turn it back")
    shape = size_of(region.get("original_height"), region.get("original_width"))
    if value.get("format", "rle") == "rle" and "rle" in value:
        runs = value["rle"]
        if not isinstance(runs, list) or not all(isinstance(b, int) and 0 <= b < 256 for b in runs):
            raise ValueError("its brush is no list of bytes")
        return from_brush(runs, shape)
    points = value.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError("it has neither a brush in run lengths nor the points of a polygon")
    try:
        corners = [(float(x) * shape[1] / 100, float(y) * shape[0] / 100) for x, y in points]
    except (TypeError, ValueError):
        raise ValueError("a corner of its polygon is no number") from None
    return polygon_mask([corners], shape)


def _image(task: Any, path: Path) -> str:
    """The name of the file of a task's image: of its data the value that names an image, without server and folder."""
    data = field(task, "data", dict, f"a task of {path}")
    value = data.get("image") or next((v for v in data.values() if isinstance(v, str) and "." in v), None)
    if not isinstance(value, str):
        raise ConfigError(f"task {task.get('id', '?')} of {path} has no image in its data: export the tasks with it")
    parts = urlsplit(value)
    local = parse_qs(parts.query).get("d", [""])[0]
    name = unquote(local or parts.path or value).replace("\\", "/").rsplit("/", 1)[-1]
    return UPLOADED.sub("", name) if "upload" in value else name
