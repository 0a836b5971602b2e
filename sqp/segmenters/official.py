"""SAM ViT-B/L/H and MedSAM through segment_anything's own registry."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from segment_anything import sam_model_registry
from torch import Tensor

from sqp.segmenters.sam import PromptableSegmenter, min_max, standardise
from sqp.segmenters.weights import load_strict, locate, read_state


def build_sam(name: str, checkpoint: str | os.PathLike | None = None, **options: Any) -> PromptableSegmenter:
    """SAM (Kirillov et al. 2023, arXiv 2304.02643) of three sizes of encoder: input 1024, output 256 (stride 4).

    Args:
        name: sam_vit_b, sam_vit_l or sam_vit_h, the larger the later.
        checkpoint: a file; None: the official one, fetched once and checked by its sha256.
        **options: device, precision, multimask, chunk.

    Returns:
        The segmenter.

    Raises:
        ConfigError: the checkpoint is missing, altered or of another model.
    """
    return _build(name, name.removeprefix("sam_"), checkpoint, standardise, trained_multimask=True, **options)


def build_medsam(checkpoint: str | os.PathLike | None = None, **options: Any) -> PromptableSegmenter:
    """MedSAM (Ma et al. 2024, Nature Communications 15:654): ViT-B, min-max normalised, box -> one mask.

    The official code resizes every image to 1024 x 1024 and lets the aspect go; here the aspect is kept and the rest
    padded, as in SAM itself.

    Args:
        checkpoint: the file medsam_vit_b.pth.
        **options: device, precision, multimask, chunk.

    Returns:
        The segmenter.

    Raises:
        ConfigError: the checkpoint is missing or of another model.
    """
    return _build("medsam", "vit_b", checkpoint, min_max, trained_multimask=False, **options)


def _build(
    name: str,
    architecture: str,
    checkpoint: str | os.PathLike | None,
    normalise: Callable[[Tensor], Tensor],
    trained_multimask: bool,
    **options: Any,
) -> PromptableSegmenter:
    path, sha256 = locate(name, checkpoint)
    sam = sam_model_registry[architecture]()
    load_strict(sam, read_state(path), name, path)
    return PromptableSegmenter(
        name, sam, normalise, weights_sha256=sha256, trained_multimask=trained_multimask, **options
    )
