"""Prompters: image or volume (and, where they say so, truth or mask) -> prompts, in pixels of the original image.

A new one is one file, which defines the function, and one line in `PROMPTERS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqp.core.boxes import clip_box, margin_box, tight_box
from sqp.core.errors import ConfigError, lookup
from sqp.core.types import Prompt
from sqp.core.volume import Volume
from sqp.prompts.cam import cam
from sqp.prompts.centre import centre, whole_image
from sqp.prompts.jitter import jitter_prompt
from sqp.prompts.landmarks import landmarks
from sqp.prompts.localizer import localizer
from sqp.prompts.mask_box import mask_box
from sqp.prompts.otsu import otsu, otsu_mask
from sqp.prompts.truth import truth_box, truth_centroid
from sqp.prompts.volume_localizer import volume_localizer
from sqp.prompts.volume_prompts import through_slices

Function = Callable[..., list[Prompt]]
"""(image or volume, *, what it looks at of `GIVEN`, **its own options) -> prompts, those of volumes with a depth."""

GIVEN = ("image", "volume", "truth", "mask", "generator")
"""What a prompter may look at, if it has an argument of that name; the rest of its arguments are its options."""


@dataclass(frozen=True)
class Prompter:
    """What prompts images, what prompts volumes (None where it has none), and what else it needs.

    `needs`: the truth or the mask of the case; nothing else knows either of them. `fit`: what of `sqp fit` makes the
    network that its option `checkpoint` names, "" for one without a network.
    """

    images: Function | None = None
    volumes: Function | None = None
    needs: Literal["", "truth", "mask"] = ""
    fit: str = ""

    def of(self, volumes: bool) -> Function:
        """Its function for volumes or for images. ConfigError where it has none."""
        function = self.volumes if volumes else self.images
        if function is None:
            raise ConfigError(f"the prompter works on {'images' if volumes else 'volumes'} alone: take another")
        return function

    def options(self, volumes: bool) -> dict[str, Any]:
        """Its own options with their defaults, for volumes or for images."""
        parameters = inspect.signature(self.of(volumes)).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name not in GIVEN}

    def __call__(self, image: Any, **given: Any) -> list[Prompt]:
        """Its prompts of an image uint8 `[h, w, 3]` or of a `Volume`; of what is given it sees what it looks at."""
        function = self.of(isinstance(image, Volume))
        ignored = {*GIVEN} - {*inspect.signature(function).parameters}
        return function(image, **{name: value for name, value in given.items() if name not in ignored})


PROMPTERS = {
    "otsu": Prompter(otsu),
    "centre": Prompter(centre),
    "whole_image": Prompter(whole_image, through_slices(whole_image)),
    "truth_box": Prompter(truth_box, through_slices(truth_box), needs="truth"),
    "truth_centroid": Prompter(truth_centroid, needs="truth"),
    "mask_box": Prompter(mask_box, through_slices(mask_box), needs="mask"),
    "cam": Prompter(cam, fit="classifier"),
    "localizer": Prompter(localizer, volume_localizer, fit="localizer"),
    "landmarks": Prompter(volumes=landmarks, fit="localizer --method landmarks"),
}

SIMULATED_MANUAL = frozenset(name for name, prompter in PROMPTERS.items() if prompter.needs == "truth")
"""Prompters that know the ground truth: tables name them "simulated manual"."""


def prompter_for(name: str, volumes: bool) -> Prompter:
    """The prompter of that name. ConfigError, naming those that there are, where this kind of image has no such one."""
    usable = {key: known for key, known in PROMPTERS.items() if (known.volumes if volumes else known.images)}
    if name in PROMPTERS and name not in usable and not volumes:
        raise ConfigError(f"the prompter '{name}' works on volumes, and these cases are images: take another")
    return lookup("prompter of volumes" if volumes else "prompter", name, usable)


__all__ = [
    "PROMPTERS",
    "SIMULATED_MANUAL",
    "Prompter",
    "clip_box",
    "jitter_prompt",
    "margin_box",
    "mask_box",
    "otsu",
    "otsu_mask",
    "prompter_for",
    "tight_box",
]
