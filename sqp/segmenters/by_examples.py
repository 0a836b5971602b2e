"""An in-context segmenter behind the protocol of all segmenters: its references take the place of a prompt."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sqp.config.referee import READ, READ_ENCODING
from sqp.config.segmenter import NEEDS_REFERENCES
from sqp.core.errors import CaseError, ConfigError
from sqp.core.frame import Frame
from sqp.core.seeding import numpy_generator
from sqp.core.types import Decoded, Embedding, GridFrame, InContextSegmenter, Prompt, Segmenter, Taught
from sqp.segmenters import IN_CONTEXT_SEGMENTERS, build_segmenter

MOST_KEPT = 32
"""Sets of references of which is kept what a segmenter learned from them."""
SURE = 1e-4  # probabilities end so far from 0 and 1, that their logits are finite


@dataclass(frozen=True)
class Reference:
    """An image of the task, by what an in-context segmenter reads of it, with its mask bool `[h, w]`.

    `content` is the hash of the image's pixels. References of one `group` are of one patient, or slices of one volume:
    none is an example for another. "" is a group of its own.
    """

    name: str
    content: str
    features: Any
    mask: np.ndarray
    group: str = ""

    @property
    def own_group(self) -> str:
        """Its group, or what names it alone."""
        return self.group or self.content


def content_of_image(image: np.ndarray) -> str:
    """A hash of pixels: the same picture in another file, or under another name, is known again.

    Args:
        image: uint8 `[h, w, 3]`.

    Returns:
        64 hex digits.

    Examples:
        >>> content_of_image(np.zeros((2, 2, 3), np.uint8)) == content_of_image(np.ones((2, 2, 3), np.uint8))
        False
    """
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


class Examples:
    """References that are shown to an in-context segmenter, all of them or some; what it learns of a set is kept."""

    def __init__(self, segmenter: InContextSegmenter, references: Sequence[Reference]) -> None:
        self.segmenter = segmenter
        self.references = list(references)
        self._known: dict[tuple[str, ...], Taught] = {}

    def taught(self, references: Sequence[Reference]) -> Taught:
        """Some of the references, shown to the segmenter.

        Args:
            references: at least one.

        Returns:
            What draws images by them; of the sets that were asked for last it is kept.
        """
        key = tuple(reference.content for reference in references)
        found = self._known.pop(key, None)
        if found is None:
            parts = ([r.features for r in references], [r.mask for r in references])
            found = self.segmenter.taught(*parts, [r.own_group for r in references])
        self._known[key] = found
        if len(self._known) > MOST_KEPT:
            self._known.pop(next(iter(self._known)))  # the one that was asked longest ago
        return found

    def others(self, image: np.ndarray) -> list[Reference]:
        """The references without an image itself, under whatever name it lies among them, and those of its group.

        Args:
            image: uint8 `[h, w, 3]`.

        Returns:
            All of them, where it is none.
        """
        content = content_of_image(image)
        groups = {reference.group for reference in self.references if reference.content == content} - {""}
        return [r for r in self.references if r.content != content and r.group not in groups]


class ByExamples:
    """A segmenter (`sqp.core.types.Segmenter`) that draws what references show, and ignores prompts.

    The embedding is that of the promptable segmenter whose encoding is read, else what is read of the image itself.
    """

    promptable = False
    chunk = 1

    def __init__(
        self, examples: Examples, base: Segmenter | None = None, shown: Sequence[Reference] | None = None
    ) -> None:
        self.examples, self.base = examples, base
        self.shown = examples.references if shown is None else list(shown)
        self.name, self.weights_sha256 = examples.segmenter.name, examples.segmenter.weights_sha256
        reads = examples.segmenter if base is None else base
        self.network: nn.Module | None = getattr(reads, "sam", getattr(reads, "network", None))

    def encode(self, image: np.ndarray) -> Embedding:
        """What is read of an image.

        Args:
            image: uint8 `[h, w, 3]`.

        Returns:
            The embedding; `extra["read"]` is for `decode`.
        """
        base = None if self.base is None else self.base.encode(image)
        read = self.examples.segmenter.features(image, base)
        if base is None:
            return Embedding(read[None], Frame((image.shape[0], image.shape[1]), max(read.shape[-2:])), {"read": read})
        return Embedding(base.features, base.frame, base.extra | {"read": read})

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """What the references would have drawn, the same for every prompt.

        Args:
            embedding: what `encode` gave.
            prompts: n of them, not read.

        Returns:
            Logits `[n, 1, *grid]`; IoU NaN.
        """
        drawn = self.examples.taught(self.shown)(embedding.extra["read"])
        logits = on_grid(drawn, embedding.frame)
        return Decoded(logits.repeat(len(prompts), 1, 1, 1), torch.full((len(prompts), 1), torch.nan))

    def apart_from(self, image: np.ndarray) -> ByExamples:
        """The same without an image among what is shown: none is an example for itself.

        Args:
            image: uint8 `[h, w, 3]`.

        Returns:
            This one, where the image is no reference.

        Raises:
            CaseError: it is the only reference.
        """
        others = self.examples.others(image)
        if not others:
            raise CaseError("the image is the only reference, and no example for itself: give another one")
        return self if len(others) == len(self.shown) else ByExamples(self.examples, self.base, others)

    def halves(self, n: int) -> list[ByExamples]:
        """n further ones, each of which is shown another half of the references, the same ones for every image.

        Args:
            n: how many.

        Returns:
            Drawn anew each: of k references k / 2, rounded up.

        Raises:
            ConfigError: there is a single reference.
            CaseError: there is a single one beside the image that is segmented.
        """
        k = len(self.shown)
        if k < 2:
            kind = ConfigError if len(self.examples.references) < 2 else CaseError
            raise kind(
                "support_sets shows halves of the references, and there is one: give more of them, or --sampler "
                "deterministic"
            )
        known = sorted(self.shown, key=lambda reference: reference.content)  # whatever their names and order
        drawn = [sorted(numpy_generator(0, "half", i).permutation(k)[: -(-k // 2)]) for i in range(n)]
        return [ByExamples(self.examples, self.base, [known[i] for i in half]) for half in drawn]


def on_grid(probability: Tensor, frame: GridFrame) -> Tensor:
    """Probability `[h', w']` over an image -> logits on a grid, bilinear between the centres of the cells.

    Args:
        probability: float32 in 0..1.
        frame: of the image.

    Returns:
        float32 `[*grid]`, finite.
    """
    fine = F.interpolate(probability[None, None], tuple(frame.grid), mode="bilinear", align_corners=False)[0, 0]
    return torch.logit(fine.double().clamp(SURE, 1 - SURE)).float()


def build_by_examples(
    name: str,
    checkpoint: str | os.PathLike | None = None,
    *,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    multimask: Any = "auto",
    references: Sequence[Reference] = (),
) -> ByExamples:
    """The builder that the table of segmenters names for every in-context one.

    Args:
        name: of `IN_CONTEXT_SEGMENTERS`.
        checkpoint: its own weights, or LiteMedSAM's, whose encoding it reads; an atlas has none.
        device: cpu, cuda, cuda:0, mps.
        precision: of the encoder.
        multimask: not read, as it is not prompted.
        references: what is shown to it, with the features that it reads.

    Returns:
        The segmenter.

    Raises:
        ConfigError: there are no references, or the weights are missing or of another model.
    """
    if not references:
        raise ConfigError(f"the segmenter {name} {NEEDS_REFERENCES}")
    if name not in READ_ENCODING:
        return ByExamples(Examples(IN_CONTEXT_SEGMENTERS[name](None, checkpoint, device), references))
    base = build_segmenter(READ, checkpoint, device, precision)
    return ByExamples(Examples(IN_CONTEXT_SEGMENTERS[name](base, None, device), references), base)
