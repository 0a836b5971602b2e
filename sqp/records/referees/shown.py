"""References at work: what they would have drawn on an image, and what its masks would draw on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sqp.core.errors import CaseError
from sqp.core.types import Embedding, GridFrame, InContextSegmenter, Taught
from sqp.records.draft import Draft, Findings
from sqp.records.referees.references import Reference, content_of_image
from sqp.segmenters.personalised import shares_of
from sqp.uncertainty.likeness import is_strange, size_likeness
from sqp.uncertainty.rca import rca_scores, transfer_dice

MOST_KEPT = 8
"""Sets of references of which is kept what a segmenter learned from them: all, and those without one judged image."""
SURE = 1e-4  # probabilities end so far from 0 and 1, that their logits are finite


class Shown:
    """References shown to an in-context segmenter, for one image after the other; built once.

    The image that is judged is never shown to itself, under whatever name it lies among the references.
    """

    def __init__(self, segmenter: InContextSegmenter, references: Sequence[Reference]) -> None:
        self.segmenter = segmenter
        self.references = list(references)
        self._known: dict[tuple[str, ...], Taught] = {}

    def taught(self, references: Sequence[Reference]) -> Taught:
        """Some of the references, shown to the segmenter; of what it learned the last sets are kept."""
        key = tuple(reference.content for reference in references)
        found = self._known.pop(key, None)
        if found is None:
            found = self.segmenter.taught([r.features for r in references], [r.mask for r in references])
        self._known[key] = found
        if len(self._known) > MOST_KEPT:
            self._known.pop(next(iter(self._known)))  # the one that was asked longest ago
        return found

    def others(self, image: np.ndarray) -> list[Reference]:
        """The references without the image uint8 `[h, w, 3]` itself."""
        content = content_of_image(image)
        return [reference for reference in self.references if reference.content != content]

    def holds(self, image: np.ndarray) -> bool:
        """Whether the image is one of them."""
        return len(self.others(image)) < len(self.references)

    def strange(self, image: np.ndarray, embedding: Embedding) -> bool:
        """Whether an image is likely of another kind than the references (`likeness.is_strange`), by its encoding."""
        if not self.segmenter.reads_encoding:
            return False
        summaries = [self.segmenter.summary(r.features) for r in self.references]
        return is_strange(self.segmenter.summary(self.segmenter.features(image, embedding)), summaries)

    def answers(self, image: np.ndarray, embedding: Embedding) -> list[Tensor]:
        """Logits `[*grid]`: what all references would have drawn, then what each of the segmenter's further sets of
        them would; of a reference the others alone. CaseError where the image is the only one."""
        others = self.others(image)
        if not others:
            raise CaseError("the image is the only reference, and no example for itself: give another one")
        query, everything = self.segmenter.features(image, embedding), self.taught(self.references)
        if len(others) < len(self.references):
            number = next(i for i, one in enumerate(self.references) if all(one is not other for other in others))
            drawn = [everything.of_reference(number)]
        else:
            drawn = [everything(query)]
        for chosen in self.segmenter.support_sets(len(others))[1:]:
            drawn.append(self.taught([others[i] for i in chosen])(query))
        return [on_grid(probability, embedding.frame) for probability in drawn]

    def reverse(self, image: np.ndarray, embedding: Embedding, drafts: Sequence[Draft]) -> list[Findings]:
        """`rca_*` of each mask: with it as the only example every reference is segmented, and held beside its truth;
        how many `references` there were, `references_dice`, how well the others draw each of them, in the mean, and
        `references_size`, how common the mask's size is among theirs.

        NaN for an empty mask, and where no other reference is there.
        """
        features = [self.segmenter.features(image, embedding)]
        others = self.others(image)
        transfers = [self.segmenter.transfer(r.features, features) for r in others]
        known = self.taught(self.references).reached  # with the image's own, where it is one of them
        areas = [float(reference.mask.mean()) for reference in others]
        found = []
        for draft in drafts:
            drawn = [run([draft.mask]) for run in transfers]
            reached = [transfer_dice(p, shares_of(r.mask, p.shape)) for p, r in zip(drawn, others, strict=True)]
            size = size_likeness(float(draft.mask.mean()), areas)
            found.append(reversed_findings(reached if draft.mask.any() else [], len(others), known, size))
        return found


def reversed_findings(
    dices: Sequence[float], references: int, known: Sequence[float] = (), size: float = math.nan
) -> Findings:
    """`rca_*` of the Dice that was reached on each reference; how many `references` the image was judged by, their mean
    Dice as the others draw each, and how common the mask's size is among theirs: NaN where nothing tells."""
    known_dice = float(np.mean(known)) if len(known) else math.nan
    of_references = {"references": float(references), "references_dice": known_dice, "references_size": size}
    return Findings(scores=rca_scores(dices) | of_references)


def on_grid(probability: Tensor, frame: GridFrame) -> Tensor:
    """Probability `[h', w']` over the image -> logits `[*grid]`, bilinear between the centres of the cells."""
    fine = F.interpolate(probability[None, None], tuple(frame.grid), mode="bilinear", align_corners=False)[0, 0]
    return torch.logit(fine.double().clamp(SURE, 1 - SURE)).float()
