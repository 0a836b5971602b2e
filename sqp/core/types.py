"""The nouns that the rooms of sqp hand to each other. Arrays say their shape, units and frame here, once.

Images are RGB, uint8, `[h, w, 3]`, or a `Volume`. Masks are bool `[h, w]` or `[d, h, w]`. Coordinates are `xy`, in
pixels of the original image, with (0, 0) at the upper left corner of the upper left pixel. Maps are float32 tensors on
the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One image with zero or more ground-truth masks (raters), not yet read from disk.

    `group` is what a split must not cut (the lesion, else the image); `split` is one of `SPLITS` or "". `labels` are
    the values of a label map that make the structure. `resize`: whether a given mask (or probability) of another size
    is brought to that of its image.
    """

    image_id: str
    image_path: Path
    truth_paths: tuple[Path, ...] = ()
    mask_path: Path | None = None
    probability_path: Path | None = None
    group: str = ""
    split: str = ""
    dataset: str = ""
    licence: str = ""
    diagnosis: str = ""
    spacing: tuple[float, ...] = ()
    labels: tuple[int, ...] = ()
    resize: bool = False

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.image_id)


@dataclass(frozen=True)
class Prompt:
    """What a segmenter is asked: a box `(x0, y0, x1, y1)` and/or points `[n, 2]` with labels `[n]` (1 in, 0 out).

    Always in pixels of the original image, `xy`. `prompter` is the name of what made it. In a volume `depth` `(z0, z1)`
    are the slices that the box goes through, z1 its far edge.
    """

    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    prompter: str = ""
    depth: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.points) != len(self.labels):
            raise ValueError(f"{len(self.points)} points but {len(self.labels)} labels")

    def with_box(self, box: Sequence[float]) -> Prompt:
        """The same prompt with another box."""
        x0, y0, x1, y1 = (float(v) for v in box)
        return replace(self, box=(x0, y0, x1, y1))

    def as_dict(self) -> dict[str, Any]:
        """For the column `prompt` of a record (JSON)."""
        told = {"box": self.box, "points": self.points, "labels": self.labels, "made_by": self.prompter}
        return told if self.depth is None else told | {"depth": self.depth}


class GridFrame(Protocol):
    """What every frame can do: `sqp.core.frame.Frame`, and of a volume one of `sqp.core.frame`."""

    @property
    def original(self) -> tuple[int, ...]:
        """(h, w) or (d, h, w) of the image."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Of the valid output."""

    def grid_to_image(self, maps: Tensor) -> Tensor:
        """`[..., *grid]` -> `[..., *original]`."""

    def image_to_grid(self, maps: Tensor | np.ndarray) -> Tensor:
        """`[..., *original]` -> `[..., *grid]`, by area mean."""

    def mask_to_grid(self, mask: Tensor | np.ndarray) -> Tensor:
        """bool `[..., *original]` -> bool `[..., *grid]`."""


@dataclass(frozen=True)
class Embedding:
    """An encoded image: the segmenter's own features `[1, c, h', w']`, and the frame that leads back.

    A plain network (U-Net) keeps its preprocessed input in `features`. `frame` is a `Frame`; of a volume it is a
    `VolumeFrame` or a `SlicesFrame`.
    """

    features: Tensor
    frame: Any
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoded:
    """k candidates for each of n prompts, in the segmenter's order.

    logits `[n, k, *grid]` float32; iou `[n, k]` the segmenter's own predicted IoU (NaN where it has none);
    tokens `[n, k, c]` what the decoder knew of each of its masks when it drew it: the mask tokens of SAM-family
    decoders, of a plain network of images the features that its last layer read, pooled; else None.
    """

    logits: Tensor
    iou: Tensor
    tokens: Tensor | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Size of the valid output."""
        return tuple(self.logits.shape[2:])

    def best(self) -> Decoded:
        """The candidate of highest predicted IoU per prompt, k = 1 (the first one where there is no prediction)."""
        if self.logits.shape[1] == 1:
            return self  # of a volume a copy would be large
        index = torch.nan_to_num(self.iou, nan=-torch.inf).argmax(dim=1)
        rows = torch.arange(len(index))
        tokens = None if self.tokens is None else self.tokens[rows, index][:, None]
        return Decoded(self.logits[rows, index][:, None], self.iou[rows, index][:, None], tokens)


@dataclass(frozen=True)
class Samples:
    """s stochastic outputs for one image and prompt: logits `[s, *grid]` float32, iou `[s]`; sample 0 undisturbed.

    `token` `[c]` is the mask token of sample 0, where there is one.
    """

    logits: Tensor
    iou: Tensor
    frame: GridFrame
    token: Tensor | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Size of the valid output."""
        return tuple(self.logits.shape[1:])


class Segmenter(Protocol):
    """image + prompt -> logits. Encode once, decode many prompts."""

    name: str
    weights_sha256: str
    promptable: bool

    def encode(self, image: Any) -> Embedding:
        """image uint8 `[h, w, 3]`, or a `Volume` where it segments these -> embedding."""

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """All candidates for each prompt, in one batch (or several, bounded by memory)."""


class Taught(Protocol):
    """References that an in-context segmenter was shown: `taught(features)` -> probability `[h', w']` of an image."""

    @property
    def reached(self) -> list[float]:
        """The Dice in 0..1 of each reference as those of other groups draw it; empty where there is a single group."""

    def __call__(self, query: Any) -> Tensor:
        """What the references would have drawn, by the features of an image; h' x w' covers it."""

    def of_reference(self, number: int) -> Tensor:
        """What the others, of another group, of references of at least two groups would have drawn of one of them."""


class InContextSegmenter(Protocol):
    """(image, references) -> logits: what is to be segmented is shown by examples, not told by a prompt or a fit.

    `reads_encoding`: whether it looks at the encoding of a promptable segmenter, or at the image alone.
    """

    name: str
    weights_sha256: str
    reads_encoding: bool

    def features(self, image: np.ndarray, embedding: Embedding | None = None) -> Any:
        """What the others read of an image uint8 `[h, w, 3]`, or of its embedding, where it reads encodings.

        One tensor or several, float32 on the CPU: small enough to be kept for every reference.
        """

    def summary(self, features: Any) -> Tensor:
        """Features -> `[c]`, by whose cosine two images are more or less alike."""

    def support_sets(self, k: int) -> list[list[int]]:
        """Of k references those that are shown together, an answer a set: the first set is all of them."""

    def taught(
        self, supports: Sequence[Any], masks: Sequence[np.ndarray], groups: Sequence[str] | None = None
    ) -> Taught:
        """Features of k references and their masks -> what draws one image after the other.

        None of a group (the slices of a volume) tells how well another of it can be drawn; None: each is its own.
        """

    def transfer(self, query: Any, supports: Sequence[Any]) -> Callable[[Sequence[np.ndarray]], Tensor]:
        """Features of an image and of k references -> a function: their masks -> probability `[h', w']` of the image.

        Masks are bool `[h, w]` of the references' own sizes; h' x w' covers the image. What no mask changes is worked
        out once, before the function is called.
        """
