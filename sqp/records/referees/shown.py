"""References at work: what they would have drawn on an image, and what its masks would draw on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sqp.core.errors import CaseError
from sqp.core.types import Embedding
from sqp.records.draft import Draft, Findings
from sqp.segmenters.by_examples import Examples, Reference, content_of_image, on_grid
from sqp.segmenters.personalised import shares_of
from sqp.uncertainty.likeness import likeness_to_references, size_likeness
from sqp.uncertainty.rca import rca_scores, transfer_dice


class Shown:
    """References shown to an in-context segmenter, for one image after the other; built once.

    The image that is judged is never shown to itself, under whatever name it lies among the references.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples, self.segmenter = examples, examples.segmenter

    @property
    def references(self) -> list[Reference]:
        """All that are shown."""
        return self.examples.references

    def holds(self, image: np.ndarray) -> bool:
        """Whether the image is one of them."""
        return len(self.examples.others(image)) < len(self.references)

    def answers(self, image: np.ndarray, embedding: Embedding) -> list[Tensor]:
        """Logits `[*grid]`: what all references would have drawn, then what each of the segmenter's further sets of
        them would; of a reference the others alone. CaseError where the image is the only one."""
        others = self.examples.others(image)
        if not others:
            raise CaseError("the image is the only reference, and no example for itself: give another one")
        query, everything = self.segmenter.features(image, embedding), self.examples.taught(self.references)
        if len(others) < len(self.references):
            content = content_of_image(image)
            number = next(i for i, one in enumerate(self.references) if one.content == content)
            drawn = [everything.of_reference(number)]
        else:
            drawn = [everything(query)]
        for chosen in self.segmenter.support_sets(len(others))[1:]:
            drawn.append(self.examples.taught([others[i] for i in chosen])(query))
        return [on_grid(probability, embedding.frame) for probability in drawn]

    def reverse(self, image: np.ndarray, embedding: Embedding, drafts: Sequence[Draft]) -> list[Findings]:
        """`rca_*` of each mask: with it as the only example every reference is segmented, and held beside its truth;
        how many `references` there were, `references_dice`, how well the others draw each of them, in the mean,
        `references_size`, how common the mask's size is among theirs, and `references_likeness`, how like the image is
        to them by its encoding.

        NaN for an empty mask, and where no other reference is there.
        """
        features = [self.segmenter.features(image, embedding)]
        others = self.examples.others(image)
        transfers = [self.segmenter.transfer(r.features, features) for r in others]
        known = self.examples.taught(self.references).reached  # with the image's own, where it is one of them
        areas = [float(reference.mask.mean()) for reference in others]
        likeness = self._likeness(features[0], others)
        found = []
        for draft in drafts:
            drawn = [run([draft.mask]) for run in transfers]
            reached = [transfer_dice(p, shares_of(r.mask, p.shape)) for p, r in zip(drawn, others, strict=True)]
            size = size_likeness(float(draft.mask.mean()), areas)
            found.append(reversed_findings(reached if draft.mask.any() else [], len(others), known, size, likeness))
        return found

    def _likeness(self, features: Any, references: Sequence[Reference]) -> float:
        """`likeness_to_references` of an image; NaN where no encoding tells."""
        if not self.segmenter.reads_encoding:
            return math.nan
        summaries = [self.segmenter.summary(reference.features) for reference in references]
        groups = [reference.own_group for reference in references]
        return likeness_to_references(self.segmenter.summary(features), summaries, groups)


def reversed_findings(
    dices: Sequence[float],
    references: int,
    known: Sequence[float] = (),
    size: float = math.nan,
    likeness: float = math.nan,
) -> Findings:
    """`rca_*` of the Dice that was reached on each reference; how many `references` the image was judged by, their mean
    Dice as the others draw each, how common the mask's size is among theirs, and how like them the image is: NaN where
    nothing tells."""
    known_dice = float(np.mean(known)) if len(known) else math.nan
    of_references = {"references": float(references), "references_dice": known_dice, "references_size": size}
    of_references["references_likeness"] = likeness
    return Findings(scores=rca_scores(dices) | of_references)
