"""`sqp.load().judge(images, masks)`: masks judged from Python, by the very code of `sqp predict`, without files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from sqp.bundles import bundle_folder, check_bundle
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.core.names import Runtime
from sqp.data.pixels import Pixels, image_of, mask_of, name_of, pairs_of
from sqp.networks.runtime import runtime_for
from sqp.quality.bundle.expected_config import generate_config
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.columns import DIGEST
from sqp.quality.judging.correction import correction_notes, learned
from sqp.quality.judging.in_memory import Judge, Prediction
from sqp.quality.judging.risk import Choice, risk_rule
from sqp.quality.model.backbones import dims_of
from sqp.quality.model.inference import by_runtime
from sqp.records.encodings import references_encoded_once
from sqp.records.fitted import with_hashes
from sqp.records.make import check_parts
from sqp.records.referees.references import whole_references
from sqp.records.workers import make_maker
from sqp.report.assessment import Assessment
from sqp.report.predictions import ordered
from sqp.report.scan import view_of
from sqp.report.view import View

__all__ = ["Assessment", "Model", "load", "to_frame"]

SIDE = 640  # pixels of the long side of the picture of an assessment


class Model:
    """A bundle with the networks that its records need, loaded once; `load` makes it. Usable from several threads."""

    def __init__(self, config: PredictConfig) -> None:
        if config.model is not None:
            check_bundle(config.model)
        self.bundle = Bundle.load(bundle_folder(config.model))
        if dims_of(self.bundle.model.spec.backbone) == 3:
            raise ConfigError(f"{self.bundle.name} judges volumes, which sqp.load() does not take: use `sqp predict`")
        rule = risk_rule(config)
        self.choice: Choice | None = None if rule is None else self.bundle.choose(rule, config.reject)
        records = generate_config(config, self.bundle.expects, self.bundle.sources)
        check_parts(records)
        self.bundle.run = by_runtime(self.bundle.model, runtime_for(config.runtime, config.device, 0))
        correction = None
        with references_encoded_once():
            shown = whole_references(records)
            if config.correct:
                with TemporaryDirectory() as home:
                    correction = learned(self.bundle, records, Path(home), config.risk, device=config.device)
        unsure = [] if correction or not config.correct else correction_notes(None, self.bundle, config.references)
        for note in [*shown.notes, *unsure]:
            warnings.warn(note, stacklevel=3)
        self._judge = Judge(
            *(self.bundle, make_maker(records, references=shown.shown), with_hashes(records)),
            device=config.device,
            accept=config.accept,
            reject=config.reject,
            choice=self.choice,
            correct=correction,
        )

    def assess(self, image: Pixels, mask: Pixels) -> Assessment:
        """Judge a mask of an image: arrays, tensors, Pillow's, or files, which are read as `sqp predict` reads them.

        Args:
            image: `[h, w]`, `[h, w, 3]` or `[h, w, 4]`, uint8 or as `image_of_array` takes it; tensors also
                `[c, h, w]`.
            mask: `[h, w]`, bool, 0 and 1 or 0 and 255, as large as the image; a tensor also `[1, h, w]`.

        Returns:
            What is said of the mask.

        Raises:
            CaseError: one of them cannot be read, or they do not fit.
        """
        pair = (image, mask, name_of(image))
        found = next(self._judge([pair], strict=True, threads=1))
        return replace(_assessment(found), draw=partial(_view, image, mask, found))

    def judge(
        self,
        images: Any,
        masks: Any = None,
        *,
        names: Iterable[str] | None = None,
        batch_size: int = 64,
        strict: bool = False,
        threads: int = 2,
    ) -> Iterator[Assessment]:
        """Judge many masks, in order, in batches; nothing is kept in memory but the batch.

        Masks of one image in a row share its encoding: equal arrays, or one path.

        Args:
            images: a list, an iterator or an array `[n, h, w, 3]` of what `assess` takes, or one for all masks. Without
                masks: what gives pairs of both, as a Dataset or a DataLoader of torch's does, (image, mask) or
                {"image": …, "mask": …}, one by one or in batches, tensors `[c, h, w]` too.
            masks: as many masks: a list, an iterator or an array `[n, h, w]`.
            names: ids of the images. They are part of the seed of samples, as they are in `sqp predict`, where they are
                the names of the files; default the file's name, of what is in memory `image`.
            batch_size: masks predicted at once, at least 1.
            strict: True ends at the first pair that cannot be read; else it is abstained from, with the reason.
            threads: how many images are prepared at once; one where a network is prompted.

        Returns:
            An iterator of what is said of each mask.

        Raises:
            ConfigError: there are more images than masks, or more masks; `batch_size` is below 1.
            CaseError: with `strict`, an image or a mask cannot be read, or they do not fit.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; at least one mask must be judged at once")
        found = self._judge(pairs_of(images, masks, names), batch_size, strict, threads)
        return map(_assessment, found)


def to_frame(assessments: Iterable[Assessment]) -> pd.DataFrame:
    """A row an assessment, with the columns that `sqp predict` writes; their maps are let go one by one.

    Args:
        assessments: as `Model.judge` gives them.

    Returns:
        The columns of predictions.csv, in its order, then image_id, every other score, ood.
    """
    rows = [
        {
            **{"image": a.image, "mask": a.mask, "predicted_dice": a.dice, "low": a.low, "high": a.high},
            **{"verdict": a.verdict, "reason": a.reason, "strangeness": a.strangeness, "record_id": a.record_id},
            **{"image_id": a.image_id, "ood": a.ood, **a.scores},
        }
        for a in assessments
    ]
    return ordered(pd.DataFrame(rows, columns=None if rows else [*DIGEST, "image_id", "ood"]))


def _view(image: Pixels, mask: Pixels, found: Prediction) -> View:
    return view_of(image_of(image), mask_of(mask), found.maps, found.covered, SIDE)


def _assessment(found: Prediction) -> Assessment:
    row = found.row
    if not row:
        nothing = Assessment(nan, nan, nan, "abstain", {}, found.reason)
        return replace(nothing, image_id=found.image_id, image=found.image, mask=found.mask)
    dice, low, high = (float(row[name]) for name in ("predicted_dice", "low", "high"))
    told = (dice, low, high, str(row["verdict"]), found.maps, str(row["reason"]), found.scores, bool(row["ood"]))
    own = (found.image_id, str(row["record_id"]), float(row["strangeness"]), found.image, found.mask)
    return Assessment(*told, found.covered, *own)


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    accept: float = 0.80,
    reject: float = 0.70,
    risk: float | None = None,
    failure: float = 0.7,
    confidence: float = 0.9,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoints: Sequence[str | os.PathLike[str]] = (),
    referee_weights: str | os.PathLike[str] | None = None,
    localizer: str | os.PathLike[str] | None = None,
    supervised: str | os.PathLike[str] | None = None,
    references: str | os.PathLike[str] | None = None,
    correct: bool = True,
    seed: int | None = None,
    device: str = "cpu",
    runtime: Runtime = "torch",
) -> Model:
    """A quality model ready to judge masks: sqp's own, one of its names, or the folder of a bundle of yours.

    The options are those of `sqp predict`.

    Args:
        model: a name of a bundle that comes with sqp, or a folder; None is `default`, with references `any`.
        accept: least low end of an accepted mask, a Dice.
        reject: a mask whose high end is below it is rejected, a Dice.
        risk: greatest share of failures among the accepted, in (0, 1); with it `accept` is not used.
        failure: a Dice below it is a failure.
        confidence: of the promise about `risk`, in (0, 1).
        checkpoint: weights of the segmenter that the bundle's records need.
        checkpoints: those of the members of an ensemble.
        referee_weights: weights of the referee.
        localizer: checkpoint of the referee's localizer.
        supervised: checkpoint of the network with which masks are compared.
        references: examples of the task, images with masks in a folder or a CSV, for a bundle that reads them.
        correct: whether references correct the predictions of a bundle that may be corrected so.
        seed: seed of the samples; None: that of the bundle's records.
        device: cpu, cuda, cuda:0, mps.
        runtime: torch; openvino, which is faster on a CPU and takes seconds to start (extra `openvino`).

    Returns:
        The model, loaded once. A warning says where references are too few to correct it, or one looks out of place.

    Raises:
        ConfigError: an option is wrong, a reference is broken, or there is no such bundle.

    Examples:
        >>> import numpy, sqp
        >>> image, mask = numpy.full((96, 128, 3), 200, "uint8"), numpy.zeros((96, 128), bool)
        >>> image[30:60, 40:80], mask[30:60, 40:80] = 90, True
        >>> model = sqp.load()
        >>> a = model.assess(image, mask)
        >>> 0 <= a.low <= a.dice <= a.high <= 1, a.verdict in ("accept", "review", "reject", "abstain")
        (True, True)
    """
    config = PredictConfig(
        model=_path(model),
        images=Path(),  # what is judged is handed over, and lies in no folder
        masks=Path(),
        accept=accept,
        reject=reject,
        risk=risk,
        failure=failure,
        confidence=confidence,
        checkpoint=_path(checkpoint),
        checkpoints=tuple(map(Path, checkpoints)),
        referee_weights=_path(referee_weights),
        localizer=_path(localizer),
        supervised=_path(supervised),
        references=_path(references),
        correct=correct,
        seed=seed,
        device=device,
        runtime=runtime,
    )
    return Model(config)


def _path(file: str | os.PathLike[str] | None) -> Path | None:
    return None if file is None else Path(file)
