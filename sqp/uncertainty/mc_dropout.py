"""MC dropout (Gal and Ghahramani, ICML 2016), also where a network has no dropout: it is injected at named sites."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import ConfigError
from sqp.core.frame import SlicesFrame
from sqp.core.types import Embedding, Prompt, Samples, Segmenter
from sqp.segmenters.dropout import AUTO, Dropout, find_sites, injected_dropout, network_of
from sqp.segmenters.one_image import one_image
from sqp.uncertainty.batches import check_request, decode_best, seeded, token_of


def mc_dropout(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
    p: float = 0.01,
    sites: Sequence[str] = (AUTO,),
) -> list[Samples]:
    """n samples for each prompt: sample 0 undisturbed, the others with dropout of rate `p` at `sites`.

    `sites` are names of `sqp.segmenters.dropout.SITES`; auto is the network's own dropout layers at the rates that it
    was trained with, else the decoder of the SAM family, else all convolutions. Each sample draws from a generator of
    its own, so it depends neither on the others nor on how many are decoded together. With sites in the decoder the
    image is encoded once, with sites in the encoder once a sample. The paper's setting is p = 0.01 and n = 30.

    Args:
        segmenter: one with a torch network.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompts: prompts in pixels of the image.
        n: samples a prompt, at least 1.
        generators: one a prompt.
        embedding: of this image, where there is one already.
        p: dropout rate, in (0, 1).
        sites: names of `sqp.segmenters.dropout.SITES`, or auto.

    Returns:
        a `Samples` a prompt, logits `[n, *grid]`.

    Raises:
        ConfigError: a site does not exist, or no sample differs from sample 0.
        CaseError: a prompt lies outside of the image, or logits are not finite.
    """
    check_request(prompts, n, generators)
    if not prompts:
        return []
    network = network_of(segmenter)
    with injected_dropout(network, sites, p) as dropout:
        embedding = segmenter.encode(image) if embedding is None else embedding
        first = decode_best(segmenter, embedding, prompts)
        out = []
        for i, (prompt, generator) in enumerate(zip(prompts, generators, strict=True)):
            logits, iou = [first.logits[i]], [first.iou[i]]
            for more in _disturbed(segmenter, image, embedding, prompt, dropout, seeded(generator, n - 1)):
                logits.append(more[0])
                iou.append(more[1])
            stacked = torch.cat(logits)
            if n > 1 and bool((stacked[1:] == stacked[0]).all()):
                raise ConfigError(
                    f"mc_dropout changes nothing in '{segmenter.name}' with p = {p} at {', '.join(sites)}: "
                    f"raise sampler.p or give other sampler.sites; it has: {', '.join(find_sites(network))}"
                )
            out.append(Samples(stacked, torch.cat(iou), embedding.frame, token_of(first, i)))
    return out


def _disturbed(
    segmenter: Segmenter,
    image: np.ndarray,
    embedding: Embedding,
    prompt: Prompt,
    dropout: Dropout,
    generators: list[torch.Generator],
) -> list[tuple[Tensor, Tensor]]:
    """Logits `[b, *grid]` and IoU `[b]` of one prompt, a batch each; a sample for each generator.

    A batch is what the segmenter decodes in one pass, so that its rows are those of the generators. Plain networks
    run once for all prompts of a call, hence once a sample.
    """
    batched = segmenter.promptable and not dropout.in_encoder
    size = getattr(segmenter, "chunk", 1) if batched else 1
    out = []
    many = dropout.in_encoder or isinstance(embedding.frame, SlicesFrame)  # a volume's slices are many images
    with nullcontext() if many else one_image(network_of(segmenter)):
        for start in range(0, len(generators), size):
            rows = generators[start : start + size]
            with dropout.drawing(rows):
                encoded = segmenter.encode(image) if dropout.in_encoder else embedding
                best = decode_best(segmenter, encoded, [prompt] * len(rows))
            out.append((best.logits[:, 0], best.iou[:, 0]))
    return out
