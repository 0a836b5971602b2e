"""Prompt jitter: one encoding, n boxes shifted at random (UR-SAM, Zhang et al., arXiv 2311.10529)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sqp.core.errors import ConfigError
from sqp.core.types import Embedding, Prompt, Samples, Segmenter
from sqp.prompts.jitter import jitter_prompt, n_draws
from sqp.segmenters.one_image import one_image
from sqp.uncertainty.batches import check_request, decode_best, token_of


def prompt_jitter(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
    ratio: float = 0.05,
    edges: bool = False,
) -> list[Samples]:
    """n samples for each prompt, decoded together: sample 0 the prompt itself, the others shifted at random.

    A box moves as a whole by U(-ratio, ratio) of its width and height, with `edges` each side by itself; a point by
    `ratio` of the image's short side; in a volume the slices stay.

    Args:
        segmenter: one that reads prompts.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompts: prompts in pixels of the image.
        n: samples a prompt, at least 1.
        generators: one a prompt.
        embedding: of this image, where there is one already.
        ratio: largest shift as a share of the box's sides, above 0.
        edges: True moves each side of a box by itself.

    Returns:
        a `Samples` a prompt, logits `[n, *grid]`.

    Raises:
        ConfigError: the segmenter ignores prompts, or `ratio` is not above 0.
        CaseError: a prompt lies outside of the image, or logits are not finite.
    """
    if not segmenter.promptable:
        raise ConfigError(
            f"the sampler 'prompt_jitter' changes nothing in '{segmenter.name}', which ignores prompts: use 'tta'"
        )
    if not ratio > 0:
        raise ConfigError(f"prompt_jitter: ratio is {ratio}: give a number above 0, or use 'deterministic'")
    check_request(prompts, n, generators)
    if not prompts:
        return []
    embedding = segmenter.encode(image) if embedding is None else embedding
    frame = embedding.frame
    jittered: list[Prompt] = []
    for prompt, generator in zip(prompts, generators, strict=True):
        draws = torch.rand(n - 1, n_draws(prompt, edges), generator=generator, dtype=torch.float64) * 2 - 1
        jittered.append(prompt)
        jittered += [jitter_prompt(prompt, row, ratio, frame.original[-2:], edges) for row in draws.tolist()]
    with one_image(getattr(segmenter, "sam", None)):
        best = decode_best(segmenter, embedding, jittered)
    logits = best.logits[:, 0].unflatten(0, (len(prompts), n))
    iou = best.iou[:, 0].unflatten(0, (len(prompts), n))
    return [Samples(logits[i], iou[i], frame, token_of(best, i * n)) for i in range(len(prompts))]
