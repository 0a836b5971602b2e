"""Samplers (segmenter -> samples), measures (samples -> maps) and scores (samples, mask -> numbers)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sqp.core.errors import lookup
from sqp.core.types import Embedding, Prompt, Samples, Segmenter
from sqp.uncertainty.deterministic import deterministic
from sqp.uncertainty.ensemble import ensemble
from sqp.uncertainty.mc_dropout import mc_dropout
from sqp.uncertainty.measures import MEASURES, all_maps, slab_maps
from sqp.uncertainty.moments import Moments, mask_from_logits, mask_from_probability, mask_on_grid, mean_probability_map
from sqp.uncertainty.noise import noise
from sqp.uncertainty.prompt_jitter import prompt_jitter
from sqp.uncertainty.scores import SCORES, scores
from sqp.uncertainty.support_sets import support_sets
from sqp.uncertainty.tta import tta

SAMPLERS: dict[str, Callable[..., list[Samples]]] = {
    "deterministic": deterministic,
    "prompt_jitter": prompt_jitter,
    "tta": tta,
    "noise": noise,
    "mc_dropout": mc_dropout,
    "ensemble": ensemble,
    "support_sets": support_sets,
}
"""name -> (segmenter, image, prompts, n, generators, *, embedding=None, **options) -> a Samples each."""

OF_THE_IMAGE = ("noise",)
"""Samplers that disturb the image whatever the prompt: with one state of the generator for all prompts of an image they
share the encodings, and no prompt depends on its neighbours."""


def sampler_options(name: str) -> list[str]:
    """The names of a sampler's own options; ConfigError for an unknown sampler.

    Args:
        name: a name of `SAMPLERS`.

    Returns:
        Their names, in the order of its signature.

    Raises:
        ConfigError: the sampler is unknown.

    Examples:
        >>> sampler_options("prompt_jitter"), sampler_options("deterministic")
        (['ratio', 'edges'], [])
    """
    parameters = inspect.signature(lookup("sampler", name, SAMPLERS)).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "embedding"]


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

    One generator a prompt, so that a prompt's samples do not depend on its neighbours.

    Args:
        segmenter: what is sampled.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompts: prompts in pixels of the image.
        n: samples a prompt, at least 1.
        generators: one a prompt.
        sampler: a name of `SAMPLERS`.
        embedding: of this image, where there is one already.
        **options: the sampler's own (`sampler_options`).

    Returns:
        a `Samples` a prompt, logits `[s, *grid]`, sample 0 undisturbed.

    Raises:
        ConfigError: the sampler or an option is unknown, or they do not suit the segmenter.
        CaseError: a prompt lies outside of the image, or logits are not finite.
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
    """n samples for one prompt: `sample_many` for a list of one.

    Args:
        segmenter: what is sampled.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompt: a prompt in pixels of the image.
        n: samples a prompt, at least 1.
        generator: what draws.
        sampler: a name of `SAMPLERS`.
        embedding: of this image, where there is one already.
        **options: the sampler's own (`sampler_options`).

    Returns:
        Logits `[s, *grid]`, sample 0 undisturbed.

    Raises:
        ConfigError: the sampler or an option is unknown, or they do not suit the segmenter.
        CaseError: the prompt lies outside of the image, or logits are not finite.
    """
    return sample_many(segmenter, image, [prompt], n, [generator], sampler=sampler, embedding=embedding, **options)[0]


__all__ = [
    "MEASURES",
    "OF_THE_IMAGE",
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
    "sampler_options",
    "scores",
    "slab_maps",
]
