"""Masks in memory -> predictions, batch by batch: the path of `sqp predict` without a record set on disk.

`RecordMaker` makes the record of a mask as it would for a folder, `MemoryRecords` holds those of a batch, and the batch
is read and predicted by the functions that read and predict folders. Nothing outlives its batch.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import CaseError
from sqp.core.files import png_of, sha256_or_nothing
from sqp.core.types import Case
from sqp.data.pixels import Pair, image_of, mask_of
from sqp.data.sizes import check_same_size
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.columns import score_names
from sqp.quality.judging.memory_records import MEMORY, Kept, MemoryRecords
from sqp.quality.judging.predict import Correct, predict_batch, read_batch
from sqp.quality.judging.risk import Choice, at_risk
from sqp.quality.judging.verdict import judged
from sqp.quality.model.channels import IMAGE, image_planes
from sqp.records.encodings import LastImage
from sqp.records.load import LoadedCase
from sqp.records.plan import plan_case
from sqp.records.record_maker import RecordMaker


@dataclass(frozen=True)
class Prediction:
    """Of one mask: the row of a predictions table, its scores, its maps, and what of each the image takes.

    `reason` alone is filled where the image or the mask cannot be read. `image` and `mask` are their files, "" for what
    is in memory.
    """

    image_id: str
    row: Mapping[str, Any]
    scores: Mapping[str, float]
    maps: Mapping[str, np.ndarray]
    covered: Mapping[str, tuple[float, float]]
    reason: str = ""
    image: str = ""
    mask: str = ""


class Judge:
    """`judge(pairs)`: the prediction of each, in order. Usable from several threads at once.

    Where a network is prompted (for the samples, or as a referee) one thread segments at a time, since decoding changes
    the network for as long as it takes. Elsewhere there is no lock, and images are prepared in several threads, the
    answers of a network that masks are compared with included.
    """

    def __init__(
        self,
        bundle: Bundle,
        maker: RecordMaker,
        config: Mapping[str, Any],
        *,
        device: str = "cpu",
        accept: float = 0.80,
        reject: float = 0.70,
        choice: Choice | None = None,
        correct: Correct | None = None,
    ) -> None:
        self.correct = correct
        self.bundle, self.maker, self.config, self.device = bundle, maker, config, device
        self.accept, self.reject, self.choice = accept, reject, choice
        self.segments = any(part is not None for part in (maker.segmenter, maker.referee, maker.shown))
        self._turn: AbstractContextManager[Any] = threading.Lock() if self.segments else nullcontext()
        self._checked = False

    def __call__(
        self, pairs: Iterable[Pair], batch_size: int = 64, strict: bool = False, threads: int = 2
    ) -> Iterator[Prediction]:
        """The predictions of (image, mask, id), one batch after the other; with `strict` a CaseError ends it."""
        with ThreadPoolExecutor(max(1, threads)) as pool:
            batch: list[_Prepared] = []
            for prepared in self._prepared(pairs, None if self.segments or threads < 2 else pool, 2 * threads):
                if strict and prepared.reason:
                    raise CaseError(prepared.reason)
                batch.append(prepared)
                if len(batch) == batch_size:
                    yield from self._predicted(batch, pool, strict)
                    batch = []
            yield from self._predicted(batch, pool, strict)

    def _prepared(self, pairs: Iterable[Pair], pool: ThreadPoolExecutor | None, ahead: int) -> Iterator[_Prepared]:
        """In order; in the threads of a pool so many at once, and no more than these in memory at their full size.

        Only files are left to the threads: an array may be another one when the next is asked for.
        """
        waiting: deque[Future[_Prepared]] = deque()
        shown: _Shown | None = None
        encode = LastImage(self.maker.encode)
        for number, (image, mask, name) in enumerate(pairs):
            new = _Shown(image, number)
            shown = shown if shown is not None and shown.same(new) else new
            drawn = mask if _is_path(mask) else _or_error(mask_of, mask)
            if pool is None:
                yield self._attempt(shown, drawn, name, encode)
                continue
            waiting.append(pool.submit(self._attempt, shown, drawn, name, encode))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _attempt(self, shown: _Shown, mask: Any, name: str, encode: LastImage[Any]) -> _Prepared:
        """Of a mask that is a file, an array, or the error that there was with it."""
        file = str(mask) if _is_path(mask) else ""
        try:
            image = shown.pixels()
            planes = shown.planes(self.bundle.size) if IMAGE in self.bundle.channels else None
            made = self._made(shown, image, mask, name, encode)
            return _Prepared(name, shown.key, made, planes, image=shown.path, mask=file)
        except CaseError as error:
            return _Prepared(name, reason=str(error), image=shown.path, mask=file)

    def _made(self, shown: _Shown, image: np.ndarray, mask: Any, name: str, encode: LastImage[Any]) -> Kept:
        """The record of a given mask."""
        drawn = _raised(mask_of(mask) if _is_path(mask) else mask)
        _check_size(shown.path, image, str(mask) if _is_path(mask) else "", drawn)
        content = sha256_or_nothing(Path(mask)) if _is_path(mask) else hashlib.sha256(png_of(drawn)).hexdigest()
        case = Case(name, Path(shown.key))
        loaded, problems = LoadedCase(case, image, [], drawn), list[str]()
        plan = plan_case(case, self.maker.config, content)
        with self._turn:
            embedding = encode(image) if self.maker.segmenter is not None else None
            made = list(self.maker.made(loaded, plan, set(), problems, embedding))
        if problems:
            raise CaseError(problems[0])
        return Kept.of(made[0])

    def _predicted(self, batch: Sequence[_Prepared], pool: ThreadPoolExecutor, strict: bool) -> Iterator[Prediction]:
        """Of one batch."""
        named = {f"{number}": one.made for number, one in enumerate(batch) if one.made is not None}
        found: dict[str, Prediction] = {}
        if named:
            held = {str(Path(one.key).absolute()): one.planes for one in batch if one.planes is not None}
            records = MemoryRecords(self.config, named, held)
            if not self._checked:
                self.bundle.check_records(records)
                self._checked = True
            ids = {key: (kept.record.image_id, kept.record.record_id) for key, kept in named.items()}
            found = dict(self._of_records(records, ids, pool, strict))
        for number, one in enumerate(batch):
            prediction = found.get(f"{number}") or Prediction(one.name, {}, {}, {}, {}, one.reason)
            yield replace(prediction, image=one.image, mask=one.mask)

    def _of_records(
        self, records: MemoryRecords, ids: Mapping[str, tuple[str, str]], pool: ThreadPoolExecutor, strict: bool
    ) -> Iterator[tuple[str, Prediction]]:
        """Name -> prediction; error maps come from the pass that predicts."""
        rows = records.table.assign(record_set=MEMORY)
        batch = read_batch(self.bundle, records, rows, pool)
        if strict and any(batch.reasons):
            raise CaseError(next(filter(None, batch.reasons)))
        errors: dict[str, np.ndarray] = {}

        def keep(kept: pd.DataFrame, maps: np.ndarray, unreadable: np.ndarray) -> None:
            every = zip(kept["record_id"], maps.astype(np.float16), unreadable, strict=True)
            errors.update({name: values for name, values, lost in every if not lost})

        table = predict_batch(self.bundle, rows, batch, self.device, keep)[0]
        table = judged(table if self.correct is None else self.correct(table), self.accept, self.reject)
        table = table if self.choice is None else at_risk(table, self.choice)
        scores = score_names(table)
        for row in table.to_dict("records"):
            name = str(row["record_id"])
            maps = {key: values for key, values in records.maps(name).items() if values.ndim == 2}
            covered = {key: records.covered(name, key, values.shape) for key, values in maps.items()}
            if name in errors:
                maps["error"] = errors[name]
                covered["error"] = (float(errors[name].shape[0]), float(errors[name].shape[1]))
            image_id, row["record_id"] = ids[name]
            yield name, Prediction(image_id, row, {score: float(row[score]) for score in scores}, maps, covered)


@dataclass(frozen=True)
class _Prepared:
    """A pair whose record is made, or why it cannot be; planes uint8 `[3, s, s]` of its image where they are read."""

    name: str
    key: str = ""
    made: Kept | None = None
    planes: np.ndarray | None = None
    reason: str = ""
    image: str = ""
    mask: str = ""


class _Shown:
    """An image that was handed over: what is in memory is taken at once, a file is read by the first that needs it."""

    def __init__(self, given: Any, number: int) -> None:
        self.key = f"image {number}"
        self.path = str(given) if _is_path(given) else ""
        self._lock = threading.Lock()
        self._pixels: np.ndarray | CaseError | None = None if self.path else _or_error(image_of, given)
        self._planes: np.ndarray | None = None

    def same(self, other: _Shown) -> bool:
        """Whether it is the same image: one path, or equal pixels in memory."""
        if self.path or other.path:
            return self.path == other.path
        both = self._pixels, other._pixels
        return all(isinstance(one, np.ndarray) for one in both) and np.array_equal(*both)  # type: ignore[arg-type]

    def pixels(self) -> np.ndarray:
        """uint8 `[h, w, 3]`; CaseError where it cannot be read."""
        with self._lock:
            if self._pixels is None:
                self._pixels = _or_error(image_of, self.path)
        return _raised(self._pixels)

    def planes(self, size: int) -> np.ndarray:
        """uint8 `[3, size, size]`."""
        pixels = self.pixels()
        with self._lock:
            if self._planes is None:
                self._planes = image_planes(pixels, size)
        return self._planes


def _is_path(given: object) -> bool:
    return isinstance(given, str | os.PathLike)


def _or_error(read: Callable[[Any], np.ndarray], given: Any) -> np.ndarray | CaseError:
    """What is read, or why it cannot be: that is said when its turn comes."""
    try:
        return read(given)
    except CaseError as error:
        return error


def _raised(found: np.ndarray | CaseError) -> np.ndarray:
    """An array as it is; an error is raised."""
    if isinstance(found, CaseError):
        raise CaseError(str(found))
    return found


def _check_size(image_path: str, image: np.ndarray, mask_path: str, mask: np.ndarray) -> None:
    """CaseError for a mask of another size than its image; what lies in no file is called what it is."""
    try:
        sizes = (image.shape[0], image.shape[1]), (mask.shape[0], mask.shape[1])
        check_same_size(image_path or "the image", sizes[0], mask_path or "the mask", sizes[1])
    except CaseError as error:
        raise CaseError(str(error).replace("its image the image", "the image")) from error
