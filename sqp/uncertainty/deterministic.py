"""One undisturbed pass: the sampler without sampling (MI, EPKL and variance are 0)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sqp.core.types import Embedding, Prompt, Samples, Segmenter
from sqp.uncertainty.batches import check_request, decode_best, token_of


def deterministic(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
) -> list[Samples]:
    """One sample for each prompt, whatever `n`; all prompts share one encoding.

    Args:
        segmenter: what is sampled.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompts: prompts in pixels of the image.
        n: not used.
        generators: not used.
        embedding: of this image, where there is one already.

    Returns:
        a `Samples` a prompt, logits `[1, *grid]`.

    Raises:
        CaseError: a prompt lies outside of the image, or logits are not finite.
    """
    check_request(prompts, n, generators)
    if not prompts:
        return []
    embedding = segmenter.encode(image) if embedding is None else embedding
    best = decode_best(segmenter, embedding, prompts)
    return [Samples(best.logits[i], best.iou[i], embedding.frame, token_of(best, i)) for i in range(len(prompts))]
