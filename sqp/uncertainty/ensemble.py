"""Deep ensembles (Lakshminarayanan et al., NeurIPS 2017): one sample from each of several checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sqp.core.errors import ConfigError
from sqp.core.types import Embedding, Prompt, Samples, Segmenter
from sqp.segmenters.ensemble import EnsembleSegmenter
from sqp.uncertainty.batches import check_request, decode_best, samples_of


def ensemble(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
) -> list[Samples]:
    """n samples for each prompt, sample i from member i; sample 0 is the first member's. Nothing is random.

    Every member encodes the image once for all prompts.

    Args:
        segmenter: an `EnsembleSegmenter`.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompts: prompts in pixels of the image.
        n: samples a prompt, at most the number of members.
        generators: one a prompt; nothing is drawn.
        embedding: of this image, where there is one already.

    Returns:
        a `Samples` a prompt, logits `[n, *grid]`.

    Raises:
        ConfigError: the segmenter is no ensemble, or has fewer members.
        CaseError: a prompt lies outside of the image, or logits are not finite.
    """
    check_request(prompts, n, generators)
    if not isinstance(segmenter, EnsembleSegmenter):
        raise ConfigError(
            f"the sampler 'ensemble' needs several checkpoints of '{segmenter.name}': give segmenter.checkpoints, "
            "or use 'mc_dropout'"
        )
    members = segmenter.members[:n]
    if n > len(members):
        raise ConfigError(f"n_samples is {n}, but the ensemble has {len(members)} members: give n = {len(members)}")
    if not prompts:
        return []
    embedding = segmenter.encode(image) if embedding is None else embedding
    best = [decode_best(member, own, prompts) for member, own in zip(members, embedding.extra["members"], strict=False)]
    return samples_of(best, embedding.frame)
