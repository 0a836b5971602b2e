"""What every sampler does around the segmenter: check the request, decode the best candidates, refuse NaN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Decoded, Embedding, GridFrame, Prompt, Samples, Segmenter


def check_request(prompts: Sequence[Prompt], n: int, generators: Sequence[torch.Generator]) -> None:
    """Raise ConfigError for n < 1, ValueError for unlike lengths; prompts the segmenter checks."""
    if n < 1:
        raise ConfigError(f"n_samples is {n}: give at least 1")
    if len(prompts) != len(generators):
        raise ValueError(f"{len(prompts)} prompts but {len(generators)} generators: give one each")


def encodings(segmenter: Segmenter, images: Iterable[Any]) -> Iterator[Embedding]:
    """The encoding of each image, in order; of a segmenter that can, `chunk` at once (on a GPU: one pass)."""
    many, images = getattr(segmenter, "encode_many", None), iter(images)
    if many is None:
        yield from map(segmenter.encode, images)
        return
    while some := list(islice(images, segmenter.chunk)):  # type: ignore[attr-defined]
        yield from many(some)


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


def samples_of(members: Sequence[Decoded], frame: GridFrame) -> list[Samples]:
    """What several segmenters decoded of the same prompts -> a `Samples` a prompt, a sample each; the first's token."""
    logits = torch.stack([one.logits[:, 0] for one in members], dim=1)
    iou = torch.stack([one.iou[:, 0] for one in members], dim=1)
    return [Samples(logits[i], iou[i], frame, token_of(members[0], i)) for i in range(len(logits))]


def seeded(generator: torch.Generator, n: int) -> list[torch.Generator]:
    """n generators of their own, seeded by `generator`: what one sample draws does not move the next.

    Examples:
        >>> one, two = (seeded(torch.Generator().manual_seed(0), 3) for _ in range(2))
        >>> [g.initial_seed() for g in one] == [g.initial_seed() for g in two]
        True
    """
    seeds = torch.randint(2**63 - 1, (n,), generator=generator)
    return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
