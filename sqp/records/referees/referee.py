"""The referee at work: one independent segmentation of an image, held beside each of its masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sqp.config.generate import GenerateConfig
from sqp.config.referee import IN_CONTEXT, NONE, SUPERVISED
from sqp.config.segmenter import MULTIMASK
from sqp.core.errors import ConfigError, lookup
from sqp.core.frame import numbers_of
from sqp.core.seeding import numpy_generator
from sqp.core.types import Embedding, GridFrame, Prompt, Segmenter
from sqp.metrics import overlap
from sqp.prompts import PROMPTERS, jitter_prompt
from sqp.prompts.activation import without_small
from sqp.prompts.jitter import n_draws
from sqp.records.draft import Draft, Findings, pooled_embedding
from sqp.records.encodings import LastImage, encoded
from sqp.records.load import LoadedCase
from sqp.records.referees.references import in_context
from sqp.records.referees.shown import Shown
from sqp.records.schema import FEATURE_PREFIX, REFEREE_EMBEDDING
from sqp.segmenters import SEGMENTERS, build_segmenter
from sqp.segmenters.by_examples import Examples, Reference
from sqp.segmenters.dropout import network_of
from sqp.segmenters.one_image import one_image
from sqp.uncertainty import Moments, all_maps
from sqp.uncertainty.batches import decode_best
from sqp.uncertainty.referee import REFEREE_SCORES, Answers, referee_scores, soft_agreement

NEAR, SAME = 0.8, 0.99
"""IoU from which on a given mask is the referee's own answer, saved and read again; on the grid it may be less."""

WITHOUT_REFERENCES = ["otsu"]
"""Prompters of an in-context referee that is shown nothing."""

ALIKE = 0.5
"""Soft Dice from which on an answer to the box of what references show counts beside that (chosen on val and train
images of three modalities: the Dice of the mean rises where boxes help, and hardly falls where they do not)."""


def check_referee(config: GenerateConfig) -> None:
    """ConfigError for a referee that sqp does not have, and for a file of its that is not there."""
    referee = config.referee
    if referee.name == NONE:
        return
    lookup("referee", referee.name, {**SEGMENTERS, NONE: None, **dict.fromkeys(IN_CONTEXT)})
    lookup("referee.encoder", referee.network, SEGMENTERS)
    for option in ("weights", "localizer"):
        file = getattr(referee, option)
        if file is not None and not file.expanduser().is_file():
            raise ConfigError(f"referee.{option} is {file}, which does not exist: check the path")


class Referee:
    """`referee(loaded, drafts, embedding)` -> what it finds of each mask of a case; built once.

    An in-context referee answers by what the references show, several times where it shows itself several sets of them,
    and then by the promptable segmenter behind it, prompted by the box of what all of them show. Where the referee is
    the segmenter of the records it shares that segmenter and its encoding. A mask that this segmenter drew under a
    prompter of the referee's, and whatever was made of such a mask, is its own answer: it agrees with itself and says
    nothing, so its scores are NaN and it is marked `own`. So is a given mask that is one of the answers, but not where
    references show the task: a good mask of an easy one may be what they draw, too.
    """

    def __init__(
        self, config: GenerateConfig, segmenter: Segmenter | None, references: Sequence[Reference] = ()
    ) -> None:
        referee = config.referee
        by_examples = referee.name in IN_CONTEXT
        self.config = config
        self.shared = segmenter is not None and shares_segmenter(config)
        if self.shared and segmenter is not None:
            self.segmenter = segmenter
        else:
            self.segmenter = build_segmenter(
                *config.referee_network,
                device=config.device,
                precision=config.segmenter.precision,
                runtime=config.runtime,
                multimask=MULTIMASK[config.segmenter.multimask],
            )
        self.shown = None
        if references and by_examples:
            self.shown = Shown(Examples(in_context(config, self.segmenter), references))
        self.prompters = referee.prompters or (WITHOUT_REFERENCES if by_examples and not references else [])
        alike = segmenter is not None and segmenter.weights_sha256 == self.segmenter.weights_sha256
        self.alike = segmenter.name if segmenter is not None and segmenter.promptable and alike else None
        self.last = LastImage(lambda image: encoded(self.segmenter, image, config.encodings))

    def encode(self, image: np.ndarray, embedding: Embedding | None) -> Embedding:
        """The image as the referee sees it: that of the records' segmenter, where both are one."""
        return embedding if self.shared and embedding is not None else self.last(image)

    def __call__(
        self, loaded: LoadedCase, drafts: Sequence[Draft], embedding: Embedding, drawn: np.ndarray | None = None
    ) -> list[Findings]:
        """`referee/*` and the referee's scores, for each mask.

        `embedding` is what `encode` gave, `drawn` what the supervised referee draws.
        """
        image = loaded.image
        priors = [] if self.shown is None else self.shown.answers(image, embedding)
        if priors:
            drawn = without_small(embedding.frame.grid_to_image(priors[0]).cpu().numpy() >= 0, 1.0)
        independent = independent_prompts(image, loaded.case.image_id, self.config, drawn, by_box=bool(priors))
        boxes = [
            (PROMPTERS["mask_box"](image, mask=draft.mask) or PROMPTERS["whole_image"](image))[0] for draft in drafts
        ]
        known = [self._known(draft, box) for draft, box in zip(drafts, boxes, strict=True)]
        asked = [box for box, logits in zip(boxes, known, strict=True) if logits is None]
        prompts = [*independent, *asked]
        with one_image(network_of(self.segmenter)):
            answers = list(decode_best(self.segmenter, embedding, prompts).logits[:, 0]) if prompts else []
        found = answers[: len(independent)]
        moments = Moments.of(torch.stack(beside_priors(priors, found) if priors else found))
        maps = {"probability": moments.mean_p} | all_maps(moments, self.config.referee.maps)
        stored = {f"referee/{name}": value for name, value in maps.items()}
        stored[f"{FEATURE_PREFIX}{REFEREE_EMBEDDING}"] = pooled_embedding(embedding)
        rest = iter(answers[len(independent) :])
        return [
            self._compared(draft, moments, stored, next(rest) if logits is None else logits, embedding.frame)
            for draft, logits in zip(drafts, known, strict=True)
        ]

    def _known(self, draft: Draft, box: Prompt) -> Tensor | None:
        """The logits `[*grid]` under the mask's own box, where they are a record's undisturbed sample already."""
        if not self.shared or draft.samples is None or draft.prompt.points or draft.prompt.box != box.box:
            return None
        return draft.samples.logits[0].float()

    def _compared(
        self, draft: Draft, moments: Moments, maps: dict[str, Tensor], box: Tensor, frame: GridFrame
    ) -> Findings:
        own_box = torch.sigmoid(box)
        stored, frames = maps | {"referee/own_box": own_box}, {"referee": numbers_of(frame)}
        given = draft.maker == "given" and self.shown is None  # what references show is nobody's mask that was saved
        if self._is_own(draft) or (given and is_answer(draft, frame, moments)):
            return Findings(stored, dict.fromkeys(REFEREE_SCORES, math.nan), True, frames)
        return Findings(stored, referee_scores(Answers(moments, own_box), draft.on_grid(frame)), frames=frames)

    def _is_own(self, draft: Draft) -> bool:
        """Whether the mask is, or was made from, this model's answer to one of its own prompters."""
        if draft.maker != self.alike or not draft.drawn_by:
            return False
        if self.config.cascade is not None and draft.drawn_by == self.config.prompter:
            return False  # the box of another segmenter's mask
        return self.config.prompter_named(draft.drawn_by)[0] in self.prompters


def is_answer(draft: Draft, frame: GridFrame, answers: Moments) -> bool:
    """Whether a mask is one of the answers, or their mean, but for a few pixels: an IoU of `SAME` on the image.

    Whoever brings a mask that this referee's model drew under the same prompt does not say so. Two segmentations of
    different origin never come so near; an empty mask is nobody's.
    """
    if not draft.mask.any():
        return False
    coarse = draft.on_grid(frame).cpu().numpy()
    near = [p for p in (*answers.p, answers.mean_p) if overlap.iou((p >= 0.5).cpu().numpy(), coarse) >= NEAR]
    return any(overlap.iou(frame.grid_to_image(p).cpu().numpy() >= 0.5, draft.mask) >= SAME for p in near)


def boxed(image: np.ndarray, drawn: np.ndarray | None) -> Prompt:
    """The box of what the supervised referee draws; where that is nothing, the whole image as a fallback."""
    found = PROMPTERS["mask_box"](image, mask=drawn)
    name = SUPERVISED if found else f"{SUPERVISED}_fallback"
    return replace((found or PROMPTERS["whole_image"](image))[0], prompter=name)


def shares_segmenter(config: GenerateConfig) -> bool:
    """Whether the referee is the segmenter of the records itself."""
    name, weights = config.referee_network
    return name == config.segmenter.name and config.segmenter.files() == (weights,)


def independent_prompts(
    image: np.ndarray,
    image_id: str,
    config: GenerateConfig,
    drawn: np.ndarray | None = None,
    *,
    by_box: bool = False,
) -> list[Prompt]:
    """The `referee.prompts` - 1 prompts that no mask has a part in: each prompter's, then these jittered in turn.

    A prompter's fallback, where it found nothing, counts only if all of them fell back. An in-context referee that was
    shown references has an answer without any: it is prompted one time less, `by_box` of what it has `drawn` alone, and
    not at all where that is nothing.
    """
    referee = config.referee
    rng = numpy_generator(config.seed, image_id, "referee")
    if by_box:
        found = PROMPTERS["mask_box"](image, mask=drawn)
        return _with_jittered(found, referee.prompts - 2 if found else 0, config, rng, image)
    options = {"localizer": {"checkpoint": str(referee.localizer), "flips": 1}}  # four take as long as 1.5 prompts
    found = [
        boxed(image, drawn) if name == SUPERVISED else PROMPTERS[name](image, generator=rng, **options.get(name, {}))[0]
        for name in referee.prompters or WITHOUT_REFERENCES
    ]
    sure = [prompt for prompt in found if not prompt.prompter.endswith("_fallback")] or found
    return _with_jittered(sure, referee.prompts - 1, config, rng, image)


def _with_jittered(
    sure: list[Prompt], n: int, config: GenerateConfig, rng: np.random.Generator, image: np.ndarray
) -> list[Prompt]:
    """n prompts: those that are there, then these jittered in turn."""
    prompts = sure[:n]
    for i in range(n - len(prompts)):
        prompt = sure[i % len(sure)]
        draws = rng.uniform(-1, 1, n_draws(prompt, edges=True))
        prompts.append(jitter_prompt(prompt, draws, config.referee.jitter, image.shape[:2], edges=True))
    return prompts


def beside_priors(priors: Sequence[Tensor], answers: Sequence[Tensor]) -> list[Tensor]:
    """What the references show, logits `[*grid]`, and those answers to its box that tell of the same structure.

    A box around patches that lie apart, or around a part alone, brings forth something else.
    """
    p = torch.sigmoid(priors[0])
    return [*priors, *(logits for logits in answers if soft_agreement(p, logits >= 0) >= ALIKE)]
