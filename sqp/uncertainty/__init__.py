"""Samplers (segmenter -> samples), measures (samples -> maps) and scores (samples, mask -> numbers)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sqp.errors import lookup
from sqp.types import Embedding, Prompt, Samples, Segmenter
from sqp.uncertainty.deterministic import deterministic
from sqp.uncertainty.masks import mask_from_logits, mask_from_probability, mask_on_grid, mean_probability_map
from sqp.uncertainty.measures import MEASURES, all_maps
from sqp.uncertainty.moments import Moments
from sqp.uncertainty.prompt_jitter import prompt_jitter
from sqp.uncertainty.scores import SCORES, scores
from sqp.uncertainty.tta import tta

SAMPLERS: dict[str, Callable[..., list[Samples]]] = {
    "deterministic": deterministic,
    "prompt_jitter": prompt_jitter,
    "tta": tta,
}
"""name -> (segmenter, image, prompts, n, generators, *, embedding=None, **options) -> a Samples each."""


def sample_many(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    sampler: str = "prompt_jitter",
    embedding: Embedding | None = None,
    **options: Any,
) -> list[Samples]:
    """n samples for each of several prompts of one image uint8 `[h, w, 3]`, which share one encoding.

    One generator a prompt, so that a prompt's samples do not depend on its neighbours. `options` are the
    sampler's own (prompt_jitter: ratio, edges). Raises ConfigError for an unknown sampler, CaseError for a
    prompt outside of the image or logits that are not finite.
    """
    run = lookup("sampler", sampler, SAMPLERS)
    return run(segmenter, image, prompts, n, generators, embedding=embedding, **options)


def sample(
    segmenter: Segmenter,
    image: np.ndarray,
    prompt: Prompt,
    n: int,
    generator: torch.Generator,
    *,
    sampler: str = "prompt_jitter",
    embedding: Embedding | None = None,
    **options: Any,
) -> Samples:
    """n samples for one prompt: `sample_many` for a list of one."""
    return sample_many(segmenter, image, [prompt], n, [generator], sampler=sampler, embedding=embedding, **options)[0]


__all__ = [
    "MEASURES",
    "SAMPLERS",
    "SCORES",
    "Moments",
    "all_maps",
    "mask_from_logits",
    "mask_from_probability",
    "mask_on_grid",
    "mean_probability_map",
    "sample",
    "sample_many",
    "scores",
]
