"""What every sampler does around the segmenter: check the request, decode the best candidates, refuse NaN."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sqp.errors import CaseError, ConfigError
from sqp.types import Decoded, Embedding, Prompt, Segmenter


def check_request(prompts: Sequence[Prompt], n: int, generators: Sequence[torch.Generator]) -> None:
    """Raise ConfigError for n < 1, ValueError for unlike lengths; prompts the segmenter checks."""
    if n < 1:
        raise ConfigError(f"n_samples is {n}: give at least 1")
    if len(prompts) != len(generators):
        raise ValueError(f"{len(prompts)} prompts but {len(generators)} generators: give one each")


def decode_best(segmenter: Segmenter, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
    """The candidate of highest predicted IoU for each prompt, logits `[n, 1, *grid]` float32.

    The choice is made for each sample alone, as the official predictor does, so two samples may hold
    candidates of different granularity (the lesion, its core); that disagreement belongs to the segmenter's
    uncertainty. Raises CaseError where a logit is NaN or infinite.
    """
    best = segmenter.decode(embedding, prompts).best()
    if not torch.isfinite(best.logits).all():
        raise CaseError(
            f"the segmenter '{segmenter.name}' returned NaN or infinite logits: check the image and the "
            "checkpoint, or run in float32"
        )
    return Decoded(best.logits.float(), best.iou.float(), best.tokens)


def token_of(decoded: Decoded, index: int) -> torch.Tensor | None:
    """The mask token `[c]` of one prompt, where the segmenter gives one."""
    return None if decoded.tokens is None else decoded.tokens[index, 0]
