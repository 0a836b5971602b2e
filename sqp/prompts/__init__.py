"""Prompters: image (and, where they say so, truth or mask) -> prompts, in pixels of the original image."""

from __future__ import annotations

from collections.abc import Callable

from sqp.core.boxes import clip_box, margin_box, tight_box
from sqp.core.types import Prompt
from sqp.prompts.cam import cam
from sqp.prompts.centre import centre, whole_image
from sqp.prompts.jitter import jitter_prompt
from sqp.prompts.localizer import localizer
from sqp.prompts.mask_box import mask_box
from sqp.prompts.otsu import otsu, otsu_mask
from sqp.prompts.truth import truth_box, truth_centroid

PROMPTERS: dict[str, Callable[..., list[Prompt]]] = {
    "otsu": otsu,
    "centre": centre,
    "whole_image": whole_image,
    "truth_box": truth_box,
    "truth_centroid": truth_centroid,
    "mask_box": mask_box,
    "cam": cam,
    "localizer": localizer,
}

FITTED = {"cam": "classifier", "localizer": "localizer", "landmarks": "localizer --method landmarks"}
"""Prompters whose option `checkpoint` is a network, and what of `sqp fit` makes it."""

SIMULATED_MANUAL = frozenset({"truth_box", "truth_centroid"})
"""Prompters that know the ground truth: tables name them "simulated manual"."""

__all__ = [
    "FITTED",
    "PROMPTERS",
    "SIMULATED_MANUAL",
    "clip_box",
    "jitter_prompt",
    "margin_box",
    "mask_box",
    "otsu",
    "otsu_mask",
    "tight_box",
]
