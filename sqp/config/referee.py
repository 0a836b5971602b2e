"""The referee: an independent automatic segmentation beside which every mask of an image is held."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from sqp.config.checks import Config

NONE = "none"
"""In place of a segmenter's or referee's name: there is none."""


@dataclass
class RefereeConfig(Config):
    """Who segments the image for comparison, under prompts that do not come from the mask.

    Attributes:
        name: litemedsam, mobilesam, sam_vit_b, sam_vit_l, sam_vit_h or medsam; none for no referee; auto is none, but
            where masks of images (not of volumes) are given the segmenter itself (one encoding serves both), or
            litemedsam in place of a network that ignores prompts.
        weights: File with its weights; default: the embedded ones (litemedsam) or the official address.
        localizer: File of `sqp fit localizer`; its box is then the first prompt.
        prompters: What prompts it: otsu, localizer, centre or whole_image; default localizer (if there is one), otsu.
        prompts: Most prompts decoded for a mask: its own box, and the others those of the prompters, first as they are,
            then jittered in turn. With 3 a case takes 1.3 times as long as LiteMedSAM's encoding of it.
        jitter: Shift of each side of a jittered box, as a share of its width and height.
        maps: Measures of its answers that are stored beside referee/probability and referee/own_box.
    """

    name: str = "auto"
    weights: Path | None = None
    localizer: Path | None = None
    prompters: list[str] = field(default_factory=list)
    prompts: int = 3
    jitter: float = 0.1
    maps: list[str] = field(default_factory=lambda: ["entropy", "variance"])

    def with_prompters(self) -> RefereeConfig:
        """With the default prompters, where none is named.

        Not at once: as a part of a larger config the default stands before its localizer is known.
        """
        return self if self.prompters else replace(self, prompters=[*(["localizer"] if self.localizer else []), "otsu"])
