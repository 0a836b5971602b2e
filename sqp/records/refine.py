"""Further masks from one natural mask's samples: another fusion of them, and refinements of the fused map.

A volume is refined slice by slice, as UR-SAM does with CT: those that the prompt goes through, each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from sqp.config.generate import GenerateConfig
from sqp.core.types import Prompt, Samples
from sqp.core.volume import Volume
from sqp.data.volumes import windowed
from sqp.records.plan import PlannedRecord
from sqp.segmenters.slice_by_slice import as_image, depth_of
from sqp.uncertainty.fusion import check_fusion, fuse
from sqp.uncertainty.moments import mask_from_probability, mean_probability_map
from sqp.uncertainty.refine import Ensemble, Refined, check_refinement, refine


def check_refined(config: GenerateConfig) -> None:
    """ConfigError for options that a fusion or a refinement does not have, before anything is read."""
    if config.fusion is not None:
        check_fusion(config.fusion, config.fusion_options)
    for name in config.refine:
        check_refinement(name, config.refine_options.get(name, {}))


def refined_mask(
    config: GenerateConfig, planned: PlannedRecord, image: np.ndarray | Volume, samples: Samples, prompt: Prompt
) -> tuple[np.ndarray, Tensor | None]:
    """The mask bool `[*space]` of a planned record, and the probability `[*grid]` behind it, where that is not p̄.

    Raises CaseError where a refinement does not apply to this prompt.
    """
    if planned.fused_by:
        fused = fuse(samples.logits, planned.fused_by, **config.fusion_options)
    else:
        fused = mean_probability_map(samples)
    if not planned.refined_by:
        return mask_from_probability(fused, samples), fused
    at_image = samples.frame.grid_to_image(fused).cpu()
    options = config.refine_options.get(planned.refined_by, {})
    if isinstance(image, Volume):
        found = refine_slices(image, config.segmenter.window, at_image, prompt, planned.refined_by, **options)
    else:
        found = refine(Ensemble(image, at_image, prompt), planned.refined_by, **options)
    if found.probability is not None:
        return found.mask, samples.frame.image_to_grid(found.probability)
    return found.mask, fused if planned.fused_by else None


def refine_slices(
    volume: Volume, window: Sequence[float], probability: Tensor, prompt: Prompt, name: str, **options: Any
) -> Refined:
    """`refine` on each slice of the prompt's depth, seen in the `window` of the segmenter; the others stay.

    `probability` and what comes back are `[d, h, w]`; `unchanged` is "", for a slice's reason is none of the volume's.
    """
    pixels, mask, behind = windowed(volume.voxels, window), (probability >= 0.5).numpy(), probability.clone()
    flat, refined = replace(prompt, depth=None), False
    for z in range(*depth_of(prompt, len(mask))):
        found = refine(Ensemble(as_image(pixels[z]), probability[z], flat), name, **options)
        mask[z] = found.mask
        if found.probability is not None:
            behind[z], refined = found.probability, True
    return Refined(mask, behind if refined else None)
