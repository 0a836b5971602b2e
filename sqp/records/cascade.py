"""A cascade: the prompt goes to a first segmenter, and the box of its mask to the segmenter of the records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sqp.config.fit import PLAIN
from sqp.config.generate import GenerateConfig
from sqp.config.referee import IN_CONTEXT
from sqp.config.segmenter import MULTIMASK
from sqp.core.errors import ConfigError, lookup
from sqp.core.types import Prompt, Samples
from sqp.prompts import margin_box, tight_box
from sqp.prompts.activation import without_small
from sqp.prompts.centre import whole_image
from sqp.segmenters import PRECISIONS, SEGMENTERS, build_segmenter
from sqp.segmenters.plain import needs_checkpoint
from sqp.uncertainty import mask_from_logits

OPTIONS = ("checkpoint", "precision", "multimask", "margin")


class Cascade:
    """`cascade(image, prompt)` -> a box; the first segmenter is built once.

    Of its mask (the candidate of highest predicted IoU) the largest component is boxed, grown by the option `margin`.
    The prompt's maker becomes `PROMPTER>SEGMENTER`, with `_empty` where that mask is empty: then the box is the image.
    """

    def __init__(self, config: GenerateConfig) -> None:
        options = config.cascade_options
        self.name = str(config.cascade)
        self.margin = float(options.get("margin", 0.0))
        self.segmenter = build_segmenter(
            self.name,
            options.get("checkpoint"),
            device=config.device,
            precision=options.get("precision", "float32"),
            runtime=config.runtime,
            multimask=MULTIMASK[str(options.get("multimask", "auto")).lower()],
        )

    def __call__(self, image: np.ndarray, prompt: Prompt) -> Prompt:
        """The second segmenter's prompt, in pixels of the image uint8 `[h, w, 3]`."""
        embedding = self.segmenter.encode(image)
        best = self.segmenter.decode(embedding, [prompt]).best()
        mask = mask_from_logits(Samples(best.logits[:, 0], best.iou[:, 0], embedding.frame))
        made_by = f"{prompt.prompter}>{self.name}"
        if not mask.any():
            return replace(whole_image(image)[0], prompter=f"{made_by}_empty")
        box = tight_box(without_small(mask, 1.0))
        return Prompt(box=margin_box(box, self.margin, mask.shape), prompter=made_by)


def check_cascade(config: GenerateConfig) -> None:
    """ConfigError names the option of a cascade that is unknown, lacking or out of range."""
    if config.cascade is None:
        return
    options = config.cascade_options
    lookup("segmenter", config.cascade, SEGMENTERS)
    for name in options:
        lookup("option of a cascade", name, dict.fromkeys(OPTIONS))
    lookup("precision", options.get("precision", "float32"), dict.fromkeys(PRECISIONS))
    lookup("choice of multimask", str(options.get("multimask", "auto")).lower(), MULTIMASK)
    margin = options.get("margin", 0.0)
    if not isinstance(margin, int | float) or not -0.5 < margin <= 10:
        raise ConfigError(f"cascade_options.margin is {margin}; it must lie between -0.5 and 10")
    if config.cascade in IN_CONTEXT:
        raise ConfigError(
            f"cascade is {config.cascade}, which is shown references, not prompted: take another segmenter"
        )
    if config.cascade in PLAIN and not options.get("checkpoint"):
        raise ConfigError(needs_checkpoint(config.cascade))
