"""What references teach of a task that a model has not learned: how far off it is there, and what its scores are worth.

The truth of a reference is known, so masks of known quality can be made of it: corruptions over the whole range of
Dice, and what a promptable segmenter draws in the true box, in jittered ones and in such that know nothing. Each is
judged beside the other references. A forest learns from these records how the model's error depends on its prediction
and the scores, and corrects the masks that are to be judged by it. What remains of the error, on references that a
forest was not trained on, is the scale of the interval; how many scales wide it is was calibrated on tasks that the
model had not learned (`Bundle.info`), since on the task at hand there are too few groups to promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sqp.config.generate import GenerateConfig, VariantPlan
from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_mask, write_text
from sqp.quality.bundle.storage import CORRECTION, Bundle
from sqp.quality.judging.conformal import Conformal
from sqp.quality.judging.predict import predict_records
from sqp.records.load import load_case
from sqp.records.make import make_record_set
from sqp.records.referees.references import MOST, encoder_of, load_references, reference_cases

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

FEWEST = 4
"""References, or groups of them, from which on a correction is learned: of fewer nobody can tell how one differs from
the others."""
TOO_FEW = (
    f"references of fewer than {FEWEST} images, patients or volumes correct nothing: the model judges a task that it "
    "has not learned as it is, so give more of them"
)
PLAN = VariantPlan(
    prompters=["otsu", "centre", "whole_image"], truth_jitter=4, corruptions=16, target_alpha=1.0, target_beta=1.0
)
"""The masks of a reference beside that of its true box: as segmenters fail, and corruptions spread evenly over Dice."""
SPLIT = "train"
"""Of all references, as corruptions borrow masks within a split."""
TREES, LEAF, SHARE = 200, 5, 0.4
ABSENT = -1.0  # in place of a score that is NaN; scores lie in 0..1
LEAST = 0.01
"""Least scale of an error."""
WITHIN = 0.98
"""Share of the references' masks that are ordinary, however far they lie from what the model was trained on."""


@dataclass(frozen=True)
class Correction:
    """`correction(table)` -> the table with predicted_dice, scale, low and high as the references correct them.

    A task that the model has not learned is strange to it as a whole. What it says of it now is what references taught,
    so a record is out of distribution where it is stranger than their own masks, too: `strange` is how strange these
    are, at least 1, and by it strangeness is divided. `names` are the scores that it reads beside the model's
    prediction; `references` and `records` are what it was learned from, `error` the mean absolute error that is left on
    references that a forest was not trained on.
    """

    names: tuple[str, ...]
    bias: ExtraTreesRegressor
    spread: ExtraTreesRegressor
    conformal: Conformal
    references: int
    records: int
    error: float
    strange: float = 1.0

    @classmethod
    def learn(cls, rows: pd.DataFrame, names: Sequence[str], conformal: Conformal) -> Correction:
        """From the records of references that a model has judged.

        Args:
            rows: with image_id, group, dice, predicted_dice, strangeness and the scores; those without a prediction are
                left out.
            names: of the scores.
            conformal: its quantile is in scales of an error that was corrected so.

        Returns:
            The correction.
        """
        rows = rows[rows["predicted_dice"].notna() & rows["dice"].notna()].reset_index(drop=True)
        inputs = _inputs(rows, names)
        off = (rows["dice"] - rows["predicted_dice"]).to_numpy(float)
        groups = rows["group"].to_numpy()
        held_out = np.empty(len(rows))
        for name in np.unique(groups):
            own = groups == name
            held_out[own] = _forest(inputs[~own], off[~own]).predict(inputs[own])
        corrected = np.clip(rows["predicted_dice"] + held_out, 0, 1)
        error = np.abs(rows["dice"] - corrected).to_numpy(float)
        spread = _forest(_with(inputs, corrected), error)
        return cls(
            tuple(names),
            _forest(inputs, off),
            spread,
            conformal,
            rows["image_id"].nunique(),
            len(rows),
            float(error.mean()),
            max(1.0, float(rows["strangeness"].quantile(WITHIN))),
        )

    def __call__(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of records with the model's predictions, those without one as they are."""
        known = table["predicted_dice"].notna().to_numpy()
        if not known.any():
            return table
        inputs = _inputs(table[known], self.names)
        dice = np.clip(table["predicted_dice"].to_numpy(float)[known] + self.bias.predict(inputs), 0, 1)
        scale = np.maximum(self.spread.predict(_with(inputs, dice)), LEAST)
        low, high = self.conformal.interval(dice, scale)
        table = table.copy()
        for name, values in {"predicted_dice": dice, "scale": scale, "low": low, "high": high}.items():
            column = table[name].to_numpy(float).copy()
            column[known] = values
            table[name] = column
        table["strangeness"] = table["strangeness"] / self.strange
        table["ood"] = table["ood"] & ~(table["strangeness"] <= 1)  # what could not be measured stays out
        return table

    def sentence(self) -> str:
        """What the user should know of it."""
        return (
            f"the model was corrected by {self.records} masks of {self.references} references, good and bad ones that "
            f"were made for it; on references that it did not see its mean error was {self.error:.3f}"
        )


def learned(
    bundle: Bundle, config: GenerateConfig, folder: Path, risk: float | None = None, **options: Any
) -> Correction | None:
    """The correction of a bundle for the references of a config; None where it takes none, or they are too few.

    Args:
        bundle: the quality model.
        config: how the records to be judged are made.
        folder: where the records of the references are made, and kept.
        risk: a promise about it that is asked for.
        **options: of `predict_records`.

    Returns:
        The correction.

    Raises:
        ConfigError: there is no reference, or a promise is asked for, which was tested without the correction.
    """
    known = bundle.info.get(CORRECTION)
    if config.references is None or not known:
        return None
    if risk is not None:
        raise ConfigError(
            "--risk promises by masks that the bundle judged without a correction, and --references correct it: leave "
            "out --risk, or give --correct false (in Python: correct=False)"
        )
    records = masks_of_references(config, folder)
    if records is None:
        return None
    return correction_of(bundle, predict_records(bundle, [records], **options))


def correction_notes(found: Correction | None, bundle: Bundle, references: Path | None) -> list[str]:
    """What the user should know of the correction of a bundle, or that there is none, in sentences."""
    if found:
        return [found.sentence()]
    return [TOO_FEW] * (references is not None and CORRECTION in bundle.info)


def correction_of(bundle: Bundle, rows: pd.DataFrame) -> Correction:
    """The correction of a bundle by its predictions on the masks of references.

    Args:
        bundle: the quality model.
        rows: as `Correction.learn` takes them.

    Returns:
        With intervals as wide as was calibrated for corrected predictions; the bundle's own where none were.
    """
    known, conformal = bundle.info.get(CORRECTION), bundle.conformal
    if known:
        conformal = Conformal(known["quantile"], conformal.alpha, known["groups"], known["records"])
    return Correction.learn(rows, score_inputs(bundle), conformal)


def score_inputs(bundle: Bundle) -> list[str]:
    """The scores that a bundle reads but for those that are one for all images of a task."""
    return [name for name in bundle.standardizer.names if name not in ("references", "references_dice")]


def masks_of_references(config: GenerateConfig, folder: Path) -> Path | None:
    """The record set of masks of every quality of the references, each judged beside the others.

    Args:
        config: how the records to be judged are made, with references.
        folder: for the true masks, a table of them, and the record set.

    Returns:
        The record set's folder; None for fewer than `FEWEST` references.
    """
    rows: list[dict[str, str]] = []
    cases = reference_cases(config)
    if len(cases) > MOST:
        shown = {reference.name for reference in load_references(config).shown}
        cases = [case for case in cases if case.image_id in shown]
    for case in cases:
        try:
            mask = load_case(case).truths[0]
        except CaseError:  # told where the references are loaded
            continue
        if mask.any():
            file = (folder / "masks" / f"{len(rows)}.png").absolute()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_mask(file, mask)
            image = str(case.image_path.absolute())
            rows.append(
                {"image_id": case.image_id, "image": image, "truth": str(file), "split": SPLIT, "group": case.group}
            )
    if len({row["group"] for row in rows}) < FEWEST:
        return None
    write_text(folder / "references.csv", pd.DataFrame(rows).to_csv(index=False))
    name, weights = encoder_of(config)
    own = GenerateConfig(
        images=folder / "references.csv",
        out=folder / "records",
        references=config.references,
        label=config.label,
        segmenter=replace(config.segmenter, name=name, checkpoint=weights, checkpoints=()),
        prompter="truth_box",
        sampler=config.sampler,
        referee=config.referee,
        supervised=config.supervised,
        measures=config.measures,
        variants={"*": PLAN},
        seed=config.seed,
        encodings=config.encodings,
        device=config.device,
    )
    return make_record_set(own).out


def _inputs(rows: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Scores and prediction `[n, k + 1]`."""
    scores = rows[list(names)].to_numpy(float)
    return _with(np.nan_to_num(scores, nan=ABSENT), rows["predicted_dice"].to_numpy(float))


def _with(inputs: np.ndarray, column: Any) -> np.ndarray:
    return np.column_stack([inputs, np.asarray(column, float)])


def _forest(inputs: np.ndarray, target: np.ndarray) -> ExtraTreesRegressor:
    from sklearn.ensemble import ExtraTreesRegressor  # a second to import, for whoever has no references

    forest = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=SHARE, random_state=0)
    return forest.fit(inputs, target)
