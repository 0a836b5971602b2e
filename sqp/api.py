"""`sqp.load().assess(image, mask)`: one mask, judged from Python, through the very code of `sqp predict`.

The case goes through a temporary record set: `RecordMaker` writes its record there, `predict_records` reads it. So
whatever `generate` and `predict` learn to do is done here too, and the numbers are those of the command line.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
from PIL import Image, ImageOps

from sqp.bundles import bundle_folder
from sqp.config.predict import PredictConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_mask
from sqp.core.types import Case
from sqp.data.images import image_of_array, read_image
from sqp.data.masks import mask_of_array, read_mask
from sqp.quality.bundle.expected_config import generate_config
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.columns import score_names
from sqp.quality.judging.error_map import error_maps
from sqp.quality.judging.predict import predict_records
from sqp.quality.judging.risk import Choice, risk_rule
from sqp.quality.model.backbones import dims_of
from sqp.records import RecordSet
from sqp.records.fitted import with_hashes
from sqp.records.make import check_parts
from sqp.records.references import whole_references
from sqp.records.workers import make_maker

Pixels = np.ndarray | Image.Image | str | os.PathLike[str]
"""An array of numpy, an image of Pillow, or the file of one."""


@dataclass(frozen=True)
class Assessment:
    """What is said of one mask: predicted Dice, its interval (NaN where there is none), verdict, and why it abstains.

    maps: by name, over the whole image, each on its own grid: `self/entropy` … float16 `[gh, gw]`, and where the bundle
    draws it `error` `[s, s]`, the probability that a pixel of the mask is wrong. scores: by name, as the columns of
    predictions.parquet (`referee_dice` …; NaN where there is none). ood: whether it is out of distribution. covered:
    the (rows, columns) of a map that the image takes, by name; the last cells of a network of stride 4 may reach past
    its border.
    """

    dice: float
    low: float
    high: float
    verdict: str
    maps: Mapping[str, np.ndarray]
    reason: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    ood: bool = False
    covered: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Model:
    """A bundle with the networks that its records need, loaded once; `load` makes it. Usable from several threads."""

    def __init__(self, config: PredictConfig) -> None:
        self.bundle = Bundle.load(bundle_folder(config.model))
        if dims_of(self.bundle.model.spec.backbone) == 3:
            raise ConfigError(f"{self.bundle.name} judges volumes, which sqp.load() does not take: use `sqp predict`")
        self._work = Path(mkdtemp(prefix="sqp-"))
        weakref.finalize(self, shutil.rmtree, self._work, ignore_errors=True)
        self._lock = threading.Lock()
        self._config = config = replace(config, images=self._work, masks=self._work, out=self._work)
        rule = risk_rule(config)
        self.choice: Choice | None = None if rule is None else self.bundle.choose(rule)
        records = generate_config(config, self.bundle.expects, self.bundle.sources)
        check_parts(records)
        self._records = records.out
        self._maker = make_maker(records, references=whole_references(records))
        self._maker.writer.check(with_hashes(records))

    def assess(self, image: Pixels, mask: Pixels) -> Assessment:
        """Judge a mask of an image: arrays, Pillow's, or paths of files, which are read as `sqp predict` reads them.

        Args:
            image: `[h, w]`, `[h, w, 3]` or `[h, w, 4]`, uint8 or as `image_of_array` takes it.
            mask: `[h, w]`, bool, 0 and 1 or 0 and 255, as large as the image.

        Returns:
            What is said of the mask.

        Raises:
            CaseError: one of them cannot be read, or they do not fit.
        """
        with self._lock, TemporaryDirectory(dir=self._work) as folder:
            with _named(Path(folder)):
                _, problems = self._maker(_case(image, mask, Path(folder)), set())
                if problems:
                    raise CaseError(problems[0])
            try:
                return self._judge()
            finally:
                for part in ("rows", "masks", "maps"):
                    for file in (self._records / part).iterdir():
                        file.unlink()

    def _judge(self) -> Assessment:
        """The record that lies in the folder."""
        config = self._config
        table = predict_records(
            *(self.bundle, [self._records]),
            device=config.device,
            threads=1,
            accept=config.accept,
            reject=config.reject,
            choice=self.choice,
            strict=True,
            progress=False,
        )
        row = table.iloc[0]
        records, name = RecordSet(self._records), str(row["record_id"])
        maps = records.maps(name)
        covered = {key: records.covered(name, key, values.shape) for key, values in maps.items() if values.ndim == 2}
        drawn = error_maps(self.bundle, table.iloc[:1], device=config.device, threads=1)
        if drawn:
            maps["error"] = drawn[(row["record_set"], name)]
            covered["error"] = (float(maps["error"].shape[0]), float(maps["error"].shape[1]))
        dice, low, high = (float(row[name]) for name in ("predicted_dice", "low", "high"))
        shown = {name: values for name, values in maps.items() if values.ndim == 2}
        scores = {name: float(row[name]) for name in score_names(table)}
        verdict, reason = str(row["verdict"]), str(row["reason"])
        return Assessment(dice, low, high, verdict, shown, reason, scores, bool(row["ood"]), covered)


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
    seed: int | None = None,
    device: str = "cpu",
) -> Model:
    """A quality model ready to judge masks: sqp's own, one of its names, or the folder of a bundle of yours.

    The options are those of `sqp predict`.

    Args:
        model: a name of a bundle that comes with sqp, or a folder; None is `default`.
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
        seed: seed of the samples; None: that of the bundle's records.
        device: cpu, cuda, cuda:0, mps.

    Returns:
        The model, loaded once.

    Raises:
        ConfigError: an option is wrong, or there is no such bundle.

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
        images=Path(),  # Model has a folder of its own for what it judges
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
        seed=seed,
        device=device,
    )
    return Model(config)


def _path(file: str | os.PathLike[str] | None) -> Path | None:
    return None if file is None else Path(file)


def _case(image: Pixels, mask: Pixels, folder: Path) -> Case:
    """Paths as they are; what is in memory as files in the folder, the image without compression."""
    image_path, mask_path = folder / "image.bmp", folder / "mask.png"
    if isinstance(image, str | os.PathLike):
        image_path = Path(image)
    else:
        Image.fromarray(image_of_array(_array(image, "image", read_image, folder))).save(image_path)
    if isinstance(mask, str | os.PathLike):
        mask_path = Path(mask)
    else:
        write_mask(mask_path, mask_of_array(_array(mask, "mask", read_mask, folder)))
    return Case(image_path.stem, image_path, mask_path=mask_path)


def _array(pixels: object, what: str, read: Callable[[Path], np.ndarray], folder: Path) -> np.ndarray:
    """An array as it is, Pillow's image as a file of it is `read`, upright. CaseError for what is neither."""
    if isinstance(pixels, np.ndarray):
        return pixels
    if not isinstance(pixels, Image.Image):
        kind = f"{type(pixels).__module__}.{type(pixels).__name__}".removeprefix("builtins.")
        raise CaseError(
            f"the {what} is a {kind}: give an array of numpy (of a tensor: .cpu().numpy()), an image of Pillow, or the "
            "path of a file"
        )
    ImageOps.exif_transpose(pixels).save(folder / f"{what}.tiff")
    return read(folder / f"{what}.tiff")


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """A CaseError speaks of the image and the mask, not of files in the folder, which the user never saw."""
    try:
        yield
    except CaseError as error:
        ours = rf"(its )?(image |mask )?{re.escape(str(folder))}/(image|mask)\.\w+"
        raise CaseError(re.sub(ours, r"the \3", str(error))) from error
