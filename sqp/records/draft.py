"""A mask before it is written, and the record that is written of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sqp.config.generate import GenerateConfig
from sqp.core.frame import Frame, numbers_of
from sqp.core.types import Embedding, GridFrame, Prompt, Samples
from sqp.core.volume import SUFFIX
from sqp.metrics.overlap import dice, iou
from sqp.records import Record
from sqp.records.load import LoadedCase
from sqp.records.plan import PlannedRecord
from sqp.uncertainty import Moments, all_maps, scores, slab_maps
from sqp.uncertainty.scores import Judged, area, soft_dice_confidence

GIVEN_SIDE = 256
"""Long side of the grid of given probabilities, which are of no segmenter's frame."""


@dataclass
class Draft:
    """A mask bool `[h, w]` with the samples that describe it, None without a segmenter.

    `maker` is who drew it: the segmenter's name, given, or truth (then a corruption); `drawn_by` the prompter of the
    segmenter's mask that it is, or was made from. `parent` is the record that a corruption or a refinement came from,
    "" where it came from the truth. `maps` are its own, beside the samples'.
    """

    planned: PlannedRecord
    samples: Samples | None
    prompt: Prompt
    mask: np.ndarray
    severity: float
    maker: str
    drawn_by: str = ""
    parent: str = ""
    maps: dict[str, Tensor] = field(default_factory=dict)
    grids: dict[GridFrame, Tensor] = field(default_factory=dict)

    def on_grid(self, frame: GridFrame) -> Tensor:
        """M: the mask on a frame's grid, bool `[*grid]`, by area mean >= 0.5."""
        if frame not in self.grids:
            self.grids[frame] = frame.mask_to_grid(self.mask)
        return self.grids[frame]


@dataclass
class Findings:
    """What is stored of a mask: maps by their full names, scores, and whether it is the referee's own answer.

    `frames`: the source of maps (the part of their name before the slash) -> `frame.numbers_of` their frame.
    """

    maps: dict[str, Tensor] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    own: bool = False
    frames: dict[str, list[int]] = field(default_factory=dict)


def joined(parts: Sequence[Findings]) -> Findings:
    """All of them in one."""
    maps = {name: value for part in parts for name, value in part.maps.items()}
    numbers = {name: value for part in parts for name, value in part.scores.items()}
    frames = {source: frame for part in parts for source, frame in part.frames.items()}
    return Findings(maps, numbers, any(part.own for part in parts), frames)


def of_samples(draft: Draft, measures: Sequence[str], own: bool, embedding: Embedding | None) -> Findings:
    """`self/*`, the scores of the samples, and the segmenter's vectors. `own`: the segmenter made the mask itself.

    `embedding` is None for a plain network, which keeps its input and no encoding of it.
    """
    samples = draft.samples
    assert samples is not None
    if samples.logits.ndim == 4:
        moments, maps = slab_maps(samples.logits, measures)
    else:
        moments = Moments.of(samples.logits)
        maps = all_maps(moments, measures)
    maps = {"probability": moments.mean_p} | maps
    named = {f"self/{name}": value for name, value in maps.items()} | draft.maps
    if embedding is not None:
        named["features/embedding"] = pooled_embedding(embedding)
    if samples.token is not None:
        named["features/mask_token"] = samples.token.float()
    grid = numbers_of(samples.frame)
    frames = {name.partition("/")[0]: grid for name in named if not name.startswith("features/")}
    return Findings(named, scores(samples, draft.on_grid(samples.frame), own=own, moments=moments), frames=frames)


def of_mask(draft: Draft) -> Findings:
    """The one score that needs no segmenter, and is of the image whether there was one or not."""
    return Findings(scores={"area": area(draft.mask)})


def of_probability(draft: Draft, probability: np.ndarray) -> Findings:
    """`given/probability`, `given/entropy`, and how well the mask agrees with what its maker believed."""
    frame = Frame((probability.shape[0], probability.shape[1]), GIVEN_SIDE)
    p = frame.image_to_grid(probability)
    moments = Moments.of(torch.logit(p.double())[None].float())
    sure = soft_dice_confidence(Judged(moments, draft.on_grid(frame)))
    maps = {"given/probability": moments.mean_p, "given/entropy": moments.total_entropy}
    return Findings(maps, {"given_soft_dice_confidence": sure}, frames={"given": numbers_of(frame)})


def record_of(
    loaded: LoadedCase, draft: Draft, findings: Findings, config: GenerateConfig, weights_sha256: str = ""
) -> Record:
    """Provenance, Dice and IoU (the mean over raters), scores; `weights_sha256` is that of the segmenter."""
    case, planned, mask, truths = loaded.case, draft.planned, draft.mask, loaded.truths
    return Record(
        record_id=planned.record_id,
        image_id=case.image_id,
        group=case.group,
        split=case.split,
        dataset=case.dataset,
        licence=case.licence,
        diagnosis=case.diagnosis,
        image_path=str(case.image_path.absolute()),
        mask_path=f"masks/{planned.record_id}{'.png' if mask.ndim == 2 else SUFFIX}",
        truth_path=[str(path.absolute()) for path in case.truth_paths],
        height=mask.shape[-2],
        width=mask.shape[-1],
        spacing=list(case.spacing),
        segmenter=draft.maker,
        weights_sha256=weights_sha256,
        prompter=planned.prompter,
        prompt=json.dumps(draft.prompt.as_dict()),
        sampler=config.sampler.name if draft.samples else "",
        n_samples=len(draft.samples.logits) if draft.samples else 0,
        seed=config.seed,
        variant=planned.variant,
        severity=draft.severity,
        natural=planned.variant == "natural",
        parent_record_id=draft.parent,
        refined_by=planned.refined_by,
        fused_by=planned.fused_by,
        dice=over_raters(dice, mask, truths),
        iou=over_raters(iou, mask, truths),
        referee_own=findings.own,
        scores=findings.scores,
        files=loaded.files,
        frames=json.dumps(findings.frames) if findings.frames else "",
    )


def over_raters(
    measure: Callable[[np.ndarray, np.ndarray], float], mask: np.ndarray, truths: Sequence[np.ndarray]
) -> float:
    """The mean of a measure of a mask over its truths; NaN where there is none."""
    return float(np.mean([measure(mask, truth) for truth in truths])) if truths else float("nan")


def pooled_embedding(embedding: Embedding) -> Tensor:
    """`[c]`: the mean of an image's encoding over its valid, unpadded part; of a volume that of its middle slice."""
    features = embedding.features[0].float()
    frame = getattr(embedding.frame, "plane", embedding.frame)
    h, w = (max(1, round(side * n / frame.size)) for side, n in zip(frame.resized, features.shape[-2:], strict=True))
    return features[:, :h, :w].mean(dim=(1, 2)).cpu()
