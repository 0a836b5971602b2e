"""`sqp predict` of volumes beside references that are volumes: slices are judged as images, and joined again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from sqp.config.predict import PredictConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.core.ownership import owned
from sqp.core.types import Case
from sqp.data import find_cases
from sqp.data.annotations.cases import holds_annotations, number_labels
from sqp.data.volumes import is_volume
from sqp.quality.judging.columns import score_names
from sqp.quality.judging.verdict import judged
from sqp.records.make import write_skipped
from sqp.records.plan import of_volumes
from sqp.records.referees.references import listed_references
from sqp.records.run_info import stored_config, write_run
from sqp.records.volume_slices import Sliced, cut
from sqp.report.predictions import PredictResult, write_predictions

SLICES, CUT = "slices", "cut"
"""In OUT: the run that judges the slices, with its page; and their images and masks."""
MEANS = ("predicted_dice", "low", "high", "scale", "strangeness")
MOSTLY = 0.5
"""Share of a mask's voxels in slices that are out of distribution, from which on the volume is."""


def volume_references(config: PredictConfig) -> list[Case]:
    """The references, where they are volumes; none where they are images, lie elsewhere, or there are none.

    ConfigError where some are volumes and some images.
    """
    if config.references is None or not config.references.exists():
        return []
    cases = listed_references(config.references, config.label)
    return cases if of_volumes(cases) else []


def run(
    config: PredictConfig, references: list[Case], judge: Callable[[PredictConfig], PredictResult]
) -> PredictResult:
    """Cut volumes into slices, `judge` these in OUT/slices, and join what is said of them; ConfigError for options that
    volumes do not have then."""
    started = time.monotonic()
    cases, notes = _cases(config, references)
    with owned(config.out, "predict", apart=(CUT, SLICES)):
        sliced = cut(cases, references, config.out / CUT)
        for reason in sliced.skipped.values() if config.strict else ():
            raise CaseError(reason)
        slices = judge(_of_slices(config, sliced))
        skipped = sliced.skipped | slices.skipped
        table = judged(joined(slices.table, sliced), config.accept, config.reject)
        write_predictions(config.out, table)
        write_skipped(config.out, skipped)
        notes += [*sliced.notes, *slices.notes, f"slices, one by one: {config.out / SLICES / 'report.html'}"]
        counts = {"volumes": len(table), "slices": len(slices.table), "skipped": len(skipped)}
        write_run(config.out, stored_config(config), time.monotonic() - started, counts=counts)
    return PredictResult(config.out, table, skipped, config.fail_under, None, list(config.label), notes)


def joined(slices: pd.DataFrame, sliced: Sliced) -> pd.DataFrame:
    """A row a volume: predictions and scores are means over its slices, weighted by the area of their masks.

    Args:
        slices: predictions of slices.
        sliced: which slices are of which volume.

    Returns:
        The table, without verdicts; a volume without a prediction has NaN.
    """
    volume = slices["image_id"].map({name: of for name, (of, _) in sliced.areas.items()})
    area = slices["image_id"].map({name: pixels for name, (_, pixels) in sliced.areas.items()}).astype(float)
    names = list(dict.fromkeys(n for n in (*MEANS, *score_names(slices)) if n in slices))
    rows = []
    for told in sliced.volumes.to_dict("records"):
        own = volume == told["image_id"]
        rows.append({**told, "record_id": told["image_id"], **_of_one(slices[own], area[own], names)})
    table = pd.DataFrame(rows)
    return table.assign(mask_empty=table["mask_empty"].astype(bool), natural=True)


def _of_one(slices: pd.DataFrame, area: pd.Series, names: list[str]) -> Mapping[str, object]:
    """The weighted means of one volume's slices, and the slice of the lowest predicted Dice."""
    known = slices["predicted_dice"].notna()
    found: dict[str, object] = {name: _mean(slices[name], area) for name in names}
    strange = slices["ood"].eq(True) if "ood" in slices else pd.Series(False, slices.index)
    found["ood"] = bool(len(slices)) and float(area[strange].sum()) >= MOSTLY * float(area.sum())
    found["unreadable"] = bool(len(slices)) and bool(slices["unreadable"].all())
    found["slices"] = int(known.sum())
    worst = slices.loc[slices["predicted_dice"].idxmin(), "image_id"] if known.any() else ""
    found["worst_slice"] = int(str(worst).rpartition("_z")[2]) if worst else -1
    return found


def _mean(values: pd.Series, weights: pd.Series) -> float:
    known = values.notna()
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")


def _cases(config: PredictConfig, references: list[Case]) -> tuple[list[Case], list[str]]:
    """The volumes with their masks, and what the user should know of the files."""
    for option in ("probs", "risk", "shard", "write", "resize_masks"):
        if getattr(config, option):
            raise ConfigError(f"--{option} does not go with references that are volumes: leave it out")
    if config.masks is not None and holds_annotations(config.masks):
        raise ConfigError(
            f"--masks {config.masks} is a tool's file, and beside references the masks of volumes are NIfTI files: "
            "save it as such"
        )
    assert config.images is not None
    where = (config.images, config.truth, config.masks, None, config.layout)
    listed = find_cases(*where, labels=number_labels(config.label), mask_pattern=config.mask_pattern)
    image = next((case for case in listed.cases if not is_volume(case.image_path)), None)
    if image is not None:
        raise ConfigError(
            f"--references {references[0].image_path} is a volume, and {image.image_path} an image: give references of "
            "the kind that is judged"
        )
    if any(case.mask_path is None for case in listed.cases):
        raise ConfigError("references that are volumes judge masks made elsewhere: give --masks DIR")
    return list(listed.cases), list(listed.notes)


def _of_slices(config: PredictConfig, sliced: Sliced) -> PredictConfig:
    """How the slices are judged: as a table of images with masks."""
    return replace(
        config,
        images=sliced.judged,
        references=sliced.references,
        out=config.out / SLICES,
        masks=None,
        truth=None,
        mask_pattern=None,
        layout="auto",
        label=[],
        fail_under=None,
    )
