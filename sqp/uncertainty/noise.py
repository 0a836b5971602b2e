"""Noisy inference: Gaussian noise on the image, one encoding a sample.

As in "Biomedical Image Segmentation Based on Foundation Models Adapted Without Retraining and With Uncertainty
Estimation", with N = 30 there; of its sigma it says only that it follows the scale of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sqp.core.errors import ConfigError
from sqp.core.types import Embedding, Prompt, Samples, Segmenter
from sqp.core.volume import Volume
from sqp.uncertainty.batches import check_request, decode_best, encodings, seeded, token_of


def noise(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
    sigma: float = 0.1,
) -> list[Samples]:
    """n samples for each prompt: sample 0 of the image as it is, each other one of the image with noise added.

    Each noisy image costs one encoding; prompts whose generators are in the same state meet the same noise and share
    it.

    Args:
        segmenter: what is sampled.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompts: prompts in pixels of the image.
        n: samples a prompt, at least 1.
        generators: one a prompt.
        embedding: of this image, where there is one already.
        sigma: deviation of the noise as a share of the image's own range (`add_noise`), in (0, 1].

    Returns:
        a `Samples` a prompt, logits `[n, *grid]`.

    Raises:
        ConfigError: `sigma` is out of its range.
        CaseError: a prompt lies outside of the image, or logits are not finite.
    """
    if not 0 < sigma <= 1:
        raise ConfigError(f"noise: sigma is {sigma}; it must lie above 0 and be at most 1, e.g. 0.1")
    check_request(prompts, n, generators)
    if not prompts:
        return []
    embedding = segmenter.encode(image) if embedding is None else embedding
    first = decode_best(segmenter, embedding, prompts)
    logits = first.logits[:, :1].repeat(1, n, *[1] * len(first.grid))
    iou = first.iou[:, :1].repeat(1, n)
    todo: dict[int, list[tuple[int, int]]] = {}
    for i, generator in enumerate(generators):
        for j, own in enumerate(seeded(generator, n - 1), start=1):
            todo.setdefault(own.initial_seed(), []).append((i, j))
    disturbed = (add_noise(image, sigma, torch.Generator().manual_seed(seed)) for seed in todo)
    for places, noisy in zip(todo.values(), encodings(segmenter, disturbed), strict=True):
        best = decode_best(segmenter, noisy, [prompts[i] for i, _ in places])
        for row, (i, j) in enumerate(places):
            logits[i, j], iou[i, j] = best.logits[row, 0], best.iou[row, 0]
    return [Samples(logits[i], iou[i], embedding.frame, token_of(first, i)) for i in range(len(prompts))]


def add_noise(image: Any, sigma: float, generator: torch.Generator) -> Any:
    """uint8 `[h, w, 3]` -> the same with N(0, (sigma · range)²) added to each value, clipped to 0..255.

    A volume's values are clipped to its own range.

    The range is max - min over all values of this image, the scale by which MedSAM and LiteMedSAM normalise it: so
    the same sigma disturbs a pale image and one of full contrast alike. A constant image stays as it is.

    Args:
        image: uint8 `[h, w, 3]`, or a `Volume`.
        sigma: deviation as a share of the image's range.
        generator: what draws.

    Returns:
        An image or volume of the same kind and size.
    """
    if isinstance(image, Volume):
        low, high = float(image.voxels.min()), float(image.voxels.max())
        drawn = torch.randn(image.shape, generator=generator).numpy()
        return image.with_voxels((image.voxels + sigma * (high - low) * drawn).clip(low, high))
    scale = sigma * (float(image.max()) - float(image.min()))
    drawn = torch.randn(image.shape, generator=generator).numpy()
    return (image + scale * drawn + 0.5).clip(0, 255).astype(np.uint8)
