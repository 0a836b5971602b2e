"""`sqp recalibrate`: a bundle -> one with all that follows its training made anew: intervals, distances, no weight.

For bundles that are older than a part of it (the neighbours, the distances of the image's features), for another
level, quantile or kind of calibration record, and for more images of val and calibration than there were. And, of what
a person decided about masks of their own, for interval and risk rule (`own_data`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from sqp.bundles import bundle_folder
from sqp.config.recalibrate import RecalibrateConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.data.layouts.folders import match_stems
from sqp.data.reading import read_structure_or_mask
from sqp.metrics.overlap import dice
from sqp.quality.bundle.calibration import recalibrate, training_config
from sqp.quality.bundle.expected_config import networks_in
from sqp.quality.bundle.own_data import FEWEST, Recalibrated, recalibrate_on
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.decisions import dice_bounds, read_decisions
from sqp.quality.judging.predict import predict_records
from sqp.records import RecordSet
from sqp.records.run_info import MaySkip
from sqp.report.predictions import open_sets, read_predictions

CHANGED = ("alpha", "calibrate_on", "calibrate_over", "calibrate_splits", "ood_quantile")  # by default as in the bundle
SAME = 0.01  # a prediction in a batch of another size moves by less


@dataclass
class RecalibrateResult(MaySkip):
    """The bundle as it was and as it is, and by record why it was skipped."""

    before: Bundle
    after: Bundle
    folder: Path
    skipped: dict[str, str] = field(default_factory=dict)
    own: Recalibrated | None = None

    def summary(self) -> str:
        """For the terminal: what has changed."""
        if self.own is not None:
            lines = [f"skipped {name}: {why}" for name, why in self.skipped.items()]
            return "\n".join([*lines, *self.own.lines(), f"bundle: {self.folder}"])
        before, after = self.before, self.after
        rows = {
            "half width of the interval, in scales": (before.conformal.quantile, after.conformal.quantile),
            "distances are of the features of": (", ".join(before.ood.spaces), ", ".join(after.ood.spaces)),
            "quantile of the distances": (before.ood.quantile, after.ood.quantile),
        }
        lines = [f"skipped {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"{name}: {old} -> {new}" for name, (old, new) in rows.items()]
        return "\n".join([*lines, f"bundle: {self.folder}"])


def run(config: RecalibrateConfig) -> RecalibrateResult:
    """Read, recalibrate, write into OUT, with the fitted networks of its referees where there are some.

    ConfigError where OUT holds anything but a bundle that may be replaced, and for records that it was not trained on.
    """
    source = bundle_folder(config.model)
    check_out(config.out, config.overwrite)
    bundle = Bundle.load(source)
    if config.decisions is not None:
        own, skipped = _of_decisions(config, bundle)
        _save(own.after, config, source)
        return RecalibrateResult(bundle, own.after, config.out, skipped, own)
    changed = {name: value for name in CHANGED if (value := getattr(config, name)) is not None}
    changed |= {name: getattr(config, name) for name in ("workers", "progress", "strict")}
    with TemporaryDirectory() as folder:
        changed["cache"] = config.cache or Path(folder)
        made, skipped = recalibrate(bundle, training_config(bundle, config.records, config.out, **changed))
    _save(made, config, source)
    return RecalibrateResult(bundle, made, config.out, skipped)


def _save(made: Bundle, config: RecalibrateConfig, source: Path) -> None:
    """Into OUT, with the fitted networks of the referees."""
    made.save(config.out)
    for file in networks_in(source) if source.resolve() != config.out.resolve() else ():
        shutil.copyfile(file, config.out / file.name)


def _of_decisions(config: RecalibrateConfig, bundle: Bundle) -> tuple[Recalibrated, dict[str, str]]:
    """The bundle made anew, and by file why a redrawn mask was skipped.

    What the model says of the decided masks is computed anew: predictions of another bundle are refused.
    """
    assert config.decisions is not None and config.predictions is not None
    decisions = read_decisions(config.decisions)
    table = read_predictions(config.predictions, ("record_set", "group", "scale", "verdict"))
    sets = open_sets(table)
    if sets is None:
        raise ConfigError(
            f"the record sets of {config.predictions} are not where they were: run `sqp predict` again, its masks are "
            "known by their content"
        )
    rows = decisions.of(table, sets)
    if len(rows) < FEWEST:
        raise ConfigError(f"{config.decisions} has {len(rows)} decisions: decide on at least {FEWEST} masks")
    keys = ["record_set", "record_id"]
    fresh = predict_records(
        bundle, sorted(set(rows["record_set"])), record_ids=list(rows["record_id"]), progress=config.progress
    )
    fresh = rows[keys].merge(fresh, on=keys, how="left", validate="one_to_one")
    told, now = (part["predicted_dice"].to_numpy(float) for part in (rows, fresh))
    if not np.allclose(told, now, rtol=0, atol=SAME, equal_nan=True):
        raise ConfigError(
            f"the predictions of {config.predictions} are not those of {bundle.name}: run `sqp predict` with it first, "
            "the decisions stay"
        )
    exact, skipped = _redrawn(config, rows, sets)
    threshold = config.threshold or decisions.threshold
    bounds = dice_bounds(rows["decision"], threshold, exact)
    return recalibrate_on(bundle, fresh, bounds, table, threshold), skipped


def _redrawn(
    config: RecalibrateConfig, rows: pd.DataFrame, sets: Mapping[str, RecordSet]
) -> tuple[pd.Series, dict[str, str]]:
    """The true Dice of each row whose mask was redrawn, else NaN; by file why one was skipped."""
    exact = pd.Series(np.nan, rows.index)
    skipped: dict[str, str] = {}
    if config.truth is None:
        return exact, skipped
    if not config.truth.is_dir():
        raise ConfigError(f"{config.truth} is no folder of redrawn masks: correct --truth")
    files = match_stems(config.truth, rows["image_id"].astype(str))
    for index, row in rows.iterrows():
        file, records = files.get(str(row["image_id"])), sets[str(row["record_set"])]
        if file is None:
            continue
        try:
            mask, redrawn = records.mask(row["record_id"]), read_structure_or_mask(file, records.labels, given=True)
            if mask.shape != redrawn.shape:
                raise CaseError(f"{file} is {redrawn.shape} pixels where the mask that was judged is {mask.shape}")
            exact[index] = dice(mask, redrawn)
        except CaseError as error:
            if config.strict:
                raise
            skipped[str(file)] = str(error)
    if exact.isna().all():
        raise ConfigError(f"{config.truth} has no redrawn mask of a decided image: name them as the images are")
    return exact, skipped


def check_out(out: Path, overwrite: bool) -> None:
    """ConfigError for a file, and for a folder that holds anything but a bundle that is to be replaced."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file where the folder of the new bundle is needed: choose another name")
    if out.is_dir() and any(out.iterdir()):
        if not (out / "bundle.json").is_file():
            raise ConfigError(f"{out} holds other files and no bundle: choose another folder for the new one")
        if not overwrite:
            raise ConfigError(f"{out} is a bundle already; choose another folder, or --overwrite")
