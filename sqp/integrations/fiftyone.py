"""FiftyOne: masks of a dataset are judged in place, so that its app sorts and filters by predicted Dice."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import sqp
from sqp.core.errors import CaseError, ConfigError
from sqp.data.images import read_image
from sqp.integrations.judged import number
from sqp.integrations.unlabelled import Assessor

FIELDS = ("dice", "low", "high", "verdict", "reason")


def judge(
    dataset: Any,
    mask_field: str,
    model: Assessor | str | os.PathLike[str] | None = None,
    *,
    prefix: str = "sqp_",
    heatmap: bool = True,
) -> dict[str, str]:
    """Judge the masks in a field of a dataset or view, and fill fields with what is said of them.

    Of a `Segmentation` (what is not 0 is the structure) the samples get sqp_dice, sqp_low, sqp_high, sqp_verdict,
    sqp_reason, and where the model draws one sqp_error, a `Heatmap` of where the mask is expected to be wrong. Of
    `Detections` with instance masks each detection gets the same (but the heatmap) as attributes, and the sample
    sqp_dice of its worst. `dataset.sort_by("sqp_dice")` then shows the worst first.

    Args:
        dataset: of FiftyOne: a dataset, or a view of one.
        mask_field: the field of the masks.
        model: what judges: `sqp.load()`, or the bundle that it shall load; None is sqp's own.
        prefix: what the names of the fields begin with.
        heatmap: whether the error map is stored.

    Returns:
        By the id of a sample why it could not be judged; such samples have no numbers.

    Raises:
        ConfigError: FiftyOne is not installed, or the dataset has no such field.
    """
    fo = import_fiftyone()
    if not dataset.has_sample_field(mask_field):
        raise ConfigError(f"the dataset '{dataset.name}' has no field '{mask_field}': name that of the masks")
    judging: Any = model if hasattr(model, "assess") else sqp.load(model)  # type: ignore[arg-type]
    broken = {}
    for sample in dataset.iter_samples(autosave=True, progress=True):
        label = sample[mask_field]
        if label is None:
            continue
        try:
            image = read_image(sample.filepath)
            if isinstance(label, fo.Detections):
                _detections(sample, label, image, judging, prefix)
            else:
                _segmentation(fo, sample, label, image, judging, prefix, heatmap)
        except CaseError as error:
            broken[str(sample.id)] = str(error)
    return broken


def _segmentation(fo: Any, sample: Any, label: Any, image: np.ndarray, model: Any, prefix: str, heatmap: bool) -> None:
    """The mask of a sample."""
    if not isinstance(label, fo.Segmentation):
        raise CaseError(f"{sample.filepath}: the field holds a {type(label).__name__}, no Segmentation nor Detections")
    mask = label.get_mask() if hasattr(label, "get_mask") else label.mask
    if mask is None:
        raise CaseError(f"{sample.filepath}: its Segmentation holds no mask")
    found = model.assess(image, flat(np.asarray(mask)))
    for name, value in said(found).items():
        sample[prefix + name] = value
    error = found.maps.get("error")
    if heatmap and error is not None:
        sample[f"{prefix}error"] = fo.Heatmap(map=np.asarray(error, np.float32), range=[0.0, 1.0])


def _detections(sample: Any, label: Any, image: np.ndarray, model: Any, prefix: str) -> None:
    """The instances of a sample that have a mask, and the lowest of their predicted Dice."""
    found = []
    for one in label.detections:
        if one.mask is None:
            continue
        told = said(model.assess(image, whole(np.asarray(one.mask), one.bounding_box, image.shape[:2])))
        for name, value in told.items():
            one[prefix + name] = value
        found.append(told["dice"])
    known = [dice for dice in found if dice is not None]
    sample[f"{prefix}dice"] = min(known, default=None)


def said(found: Any) -> dict[str, Any]:
    """What is said of a mask, by the names of `FIELDS`; None for a number that there is not."""
    numbers = {name: number(getattr(found, name)) for name in FIELDS[:3]}
    return numbers | {name: str(getattr(found, name)) for name in FIELDS[3:]}


def flat(mask: np.ndarray) -> np.ndarray:
    """bool `[h, w]` of a label map `[h, w]` or of colours `[h, w, 3]`: what is not 0."""
    found = mask != 0
    return np.asarray(found.any(axis=2) if found.ndim == 3 else found)


def whole(mask: np.ndarray, box: list[float], shape: tuple[int, ...]) -> np.ndarray:
    """An instance's mask in its box (left, top, width, height, as shares of the image) -> bool `[*shape]`.

    Examples:
        >>> whole(np.ones((1, 2), bool), [0.5, 0.0, 0.5, 0.5], (2, 4)).astype(int).tolist()
        [[0, 0, 1, 1], [0, 0, 0, 0]]
    """
    top, left = round(box[1] * shape[0]), round(box[0] * shape[1])
    out = np.zeros(shape[:2], bool)
    part = out[top : top + mask.shape[0], left : left + mask.shape[1]]
    part[...] = flat(mask)[: part.shape[0], : part.shape[1]]
    return out


def import_fiftyone() -> Any:
    """FiftyOne. ConfigError where it is not installed."""
    try:
        import fiftyone
    except ImportError as error:
        raise ConfigError("fiftyone is not installed: pip install 'sqp[fiftyone]'") from error
    return fiftyone
