"""Ensembling over support sets, the sampler of in-context segmenters: each sample is shown other references.

As in UniverSeg (Butoi et al. 2023), which averages over sets of examples that are drawn at random; here each further
set is half of the references, since more of them are not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sqp.core.errors import ConfigError
from sqp.core.types import Embedding, Prompt, Samples, Segmenter
from sqp.segmenters.by_examples import ByExamples
from sqp.uncertainty.batches import check_request, decode_best, samples_of


def support_sets(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
) -> list[Samples]:
    """n samples for each prompt: sample 0 by all references, each other one by a half of them. Nothing is random.

    The halves are the same for all images, so that a segmenter which learns from references learns once of each.

    Args:
        segmenter: one that is shown references.
        image: uint8 `[h, w, 3]`.
        prompts: prompts in pixels of the image.
        n: samples a prompt, at least 1.
        generators: one a prompt; nothing is drawn.
        embedding: of this image, where there is one already.

    Returns:
        a `Samples` a prompt, logits `[n, *grid]`.

    Raises:
        ConfigError: the segmenter is shown no references, or a single one.
        CaseError: logits are not finite.
    """
    check_request(prompts, n, generators)
    if not isinstance(segmenter, ByExamples):
        raise ConfigError(
            f"the sampler 'support_sets' shows a segmenter other references, and '{segmenter.name}' is shown none: use "
            "'mc_dropout', or --segmenter universeg"
        )
    if not prompts:
        return []
    embedding = segmenter.encode(image) if embedding is None else embedding
    members = [segmenter, *(segmenter.halves(n - 1) if n > 1 else [])]
    best = [decode_best(member, embedding, prompts) for member in members]
    return samples_of(best, embedding.frame)
