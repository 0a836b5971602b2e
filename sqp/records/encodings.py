"""Encodings of images, kept by content: whoever judges several masks of an image, or comes again, encodes it once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from sqp.core.files import write_atomic
from sqp.core.types import Embedding, Segmenter

T = TypeVar("T")


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


def encoded(segmenter: Segmenter, image: np.ndarray, folder: Path | None = None) -> Embedding:
    """The encoding of an image, undisturbed; read from a folder where it lies there, else kept there.

    The file's name is a hash of weights, precision and pixels, so an altered image or other weights meet no old file; a
    file that is damaged is written anew. Of volumes and plain networks, whose input is no encoding, nothing is kept.

    Args:
        segmenter: what encodes.
        image: uint8 `[h, w, 3]`, or a volume.
        folder: of the encodings; None: nothing is kept.

    Returns:
        The embedding, equal to the last bit whether it was read or computed.
    """
    frame = getattr(segmenter, "frame", None)
    if folder is None or not segmenter.promptable or frame is None or not isinstance(image, np.ndarray):
        return segmenter.encode(image)
    file = folder / f"{_key(segmenter, image)}.npy"
    try:
        features = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        embedding = segmenter.encode(image)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(file, lambda stream: np.save(stream, embedding.features.cpu().numpy()))
        return embedding
    return Embedding(torch.from_numpy(features).to(getattr(segmenter, "device", "cpu")), frame(image.shape[:2]))


def _key(segmenter: Segmenter, image: np.ndarray) -> str:
    what: tuple[Any, ...]
    what = (segmenter.name, segmenter.weights_sha256, getattr(segmenter, "precision", ""), image.shape)
    if (runtime := getattr(segmenter, "runtime", "torch")) != "torch":
        what = (*what, runtime)
    return hashlib.sha256(repr(what).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]
