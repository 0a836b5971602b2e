"""Encodings of images, kept by content: whoever judges several masks of an image, or comes again, encodes it once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from sqp.core.files import write_atomic
from sqp.core.types import Embedding, Segmenter

T = TypeVar("T")
_OF_REFERENCES: ContextVar[dict[str, Embedding] | None] = ContextVar("encodings of references", default=None)


class LastImage(Generic[T]):
    """`last(image)`: what is made of an image, kept until another image comes; it is made once for masks in a row."""

    def __init__(self, make: Callable[[np.ndarray], T]) -> None:
        self.make = make
        self._last: tuple[np.ndarray, T] | None = None

    def __call__(self, image: np.ndarray) -> T:
        """Of the image, which is known again as the very same array."""
        last = self._last
        if last is None or last[0] is not image:
            last = self._last = (image, self.make(image))
        return last[1]


@contextmanager
def references_encoded_once() -> Iterator[None]:
    """Inside the `with` the encodings of references stay in memory, for all record sets that are made beside them."""
    token = _OF_REFERENCES.set({} if (known := _OF_REFERENCES.get()) is None else known)
    try:
        yield
    finally:
        _OF_REFERENCES.reset(token)


def encoded(
    segmenter: Segmenter, image: np.ndarray, folder: Path | None = None, of_reference: bool = False
) -> Embedding:
    """The encoding of an image, undisturbed; read from a folder where it lies there, else kept there.

    The file's name is a hash of weights, precision and pixels, so an altered image or other weights meet no old file; a
    file that is damaged is written anew. Of volumes and plain networks, whose input is no encoding, nothing is kept.

    Args:
        segmenter: what encodes.
        image: uint8 `[h, w, 3]`, or a volume.
        folder: of the encodings; None: nothing is kept.
        of_reference: it is kept in memory within `references_encoded_once`.

    Returns:
        The embedding, equal to the last bit whether it was read or computed.
    """
    memory = _OF_REFERENCES.get()
    # an image is looked for among references only where there are some: its hash costs as much as reading it
    nowhere = folder is None and not memory and (memory is None or not of_reference)
    framed = segmenter.promptable and hasattr(segmenter, "frame") and isinstance(image, np.ndarray)
    if nowhere or not framed:
        return segmenter.encode(image)
    key = _key(segmenter, image)
    known = None if memory is None else memory.get(key)
    if known is None:
        known = _filed(segmenter, image, None if folder is None else folder / f"{key}.npy")
    if memory is not None and of_reference:
        memory[key] = known
    return known


def _filed(segmenter: Segmenter, image: np.ndarray, file: Path | None) -> Embedding:
    """By its file, which is written where it is not there or damaged."""
    try:
        features = None if file is None else np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        features = None
    if features is not None:
        frame = segmenter.frame(image.shape[:2])  # type: ignore[attr-defined]
        return Embedding(torch.from_numpy(features).to(getattr(segmenter, "device", "cpu")), frame)
    embedding = segmenter.encode(image)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, lambda stream: np.save(stream, embedding.features.cpu().numpy()))
    return embedding


def _key(segmenter: Segmenter, image: np.ndarray) -> str:
    what: tuple[Any, ...]
    what = (segmenter.name, segmenter.weights_sha256, getattr(segmenter, "precision", ""), image.shape)
    if (runtime := getattr(segmenter, "runtime", "torch")) != "torch":
        what = (*what, runtime)
    return hashlib.sha256(repr(what).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]
