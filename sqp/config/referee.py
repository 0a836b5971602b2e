"""Referees: independent automatic segmentations beside which every mask of an image is held."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from sqp.config.checks import Config
from sqp.config.fit import PLAIN
from sqp.core.errors import ConfigError
from sqp.core.names import IndependentPrompter, Measure

SUPERVISED = "supervised"
NONE = "none"
"""In place of a segmenter's or referee's name: there is none."""
IN_CONTEXT = ("personalised", "pixel_classifier", "universeg", "atlas")
"""Segmenters that are shown examples of the task, --references, in place of a prompt."""
OWN_WEIGHTS = ("universeg",)
"""Those of them that are fitted networks themselves."""
READ_ENCODING = ("personalised", "pixel_classifier")
"""Those of them that look at the encoding of a promptable segmenter, not at the image alone."""
READ = "litemedsam"
"""Whose encoding these read, where nobody names another."""
IGNORE_PROMPTS = (*PLAIN, *IN_CONTEXT)
"""Segmenters that a prompt tells nothing."""


def needs_weights(option: str) -> str:
    """What is said of a fitted network where its weights were not given by this option.

    Examples:
        >>> needs_weights("--checkpoint FILE")[:47]
        'comes without weights: give --checkpoint FILE, '
    """
    return f"comes without weights: give {option}, of `sqp fit segmenter --network universeg` or its authors"


NEEDS_WEIGHTS = needs_weights("--referee.weights FILE (predict: --referee_weights FILE)")


@dataclass
class RefereeConfig(Config):
    """Who segments the image for comparison, under prompts that do not come from the mask.

    Attributes:
        name: litemedsam, mobilesam, sam_vit_b, sam_vit_l, sam_vit_h or medsam; personalised, pixel_classifier,
            universeg or atlas, which draw what the references show; none for no referee; auto is none, but where masks
            of images (not of volumes) are given the segmenter itself (one encoding serves both), or litemedsam in place
            of a network that ignores prompts.
        encoder: personalised, pixel_classifier: whose encoding it reads, universeg, atlas: what is prompted by the box
            of its answer, one of the others; auto is the segmenter itself, or litemedsam in place of a network that
            ignores prompts.
        weights: File with its weights; personalised, pixel_classifier, atlas: its encoder's; default: the embedded ones
            (litemedsam) or the official address. universeg: a file of `sqp fit segmenter`, or the authors'; its
            encoder's weights are the segmenter's, where they are one, else the default.
        localizer: File of `sqp fit localizer`; its box is then the first prompt.
        prompters: What prompts it; default localizer (if there is one), otsu. supervised: the box of what the
            supervised referee draws.
        prompts: Most prompts decoded for a mask: its own box, and the others those of the prompters, first as they are,
            then jittered in turn. With 3 a case takes 1.3 times as long as LiteMedSAM's encoding of it. personalised,
            pixel_classifier, universeg, atlas: the first of the others is what the references show, the next its box.
        jitter: Shift of each side of a jittered box, as a share of its width and height.
        maps: Measures of its answers that are stored beside referee/probability and referee/own_box.
        needs_references: personalised, pixel_classifier: false lets it answer where there are no references, too: as
            its encoder does in Otsu's box, with the score `references` 0, so that a model can learn how little that
            says.
    """

    name: str = "auto"
    encoder: str = "auto"
    weights: Path | None = None
    localizer: Path | None = None
    prompters: list[IndependentPrompter] = field(default_factory=list)
    prompts: int = 3
    jitter: float = 0.1
    maps: list[Measure] = field(default_factory=lambda: ["entropy", "variance"])
    needs_references: bool = True

    @property
    def network(self) -> str:
        """The name of the promptable segmenter that it is, or that stands behind one that is shown references."""
        return self.encoder if self.name in IN_CONTEXT else self.name

    def with_prompters(self) -> RefereeConfig:
        """With the default prompters, where none is named.

        Not at once: as a part of a larger config the default stands before its localizer is known.
        """
        default: list[IndependentPrompter] = ["localizer", "otsu"] if self.localizer else ["otsu"]
        given = self.prompters or self.name in IN_CONTEXT
        return self if given else replace(self, prompters=default)

    def with_encoder(self, segmenter: str, weights: Path | None) -> RefereeConfig:
        """With the promptable segmenter behind it, where it is shown references: by default that of the records."""
        if self.name not in IN_CONTEXT or self.encoder != "auto":
            return self
        if segmenter in (*IGNORE_PROMPTS, NONE):
            return replace(self, encoder=READ)
        own = self.name in OWN_WEIGHTS
        return replace(self, encoder=segmenter, weights=self.weights if own else self.weights or weights)

    def promptable(self, segmenter: str, weights: Path | None) -> tuple[str, Path | None]:
        """(name, weights) of the promptable segmenter that it is, or that stands behind it, beside the records' own."""
        if self.name not in OWN_WEIGHTS:
            return self.network, self.weights
        return self.network, weights if self.network == segmenter else None

    def check(self) -> None:
        """ConfigError for a referee that ignores prompts, a number out of range, and a localizer that is lacking."""
        if self.name == NONE:
            return
        if self.network in IGNORE_PROMPTS:
            raise ConfigError(
                f"the referee is {self.network}, which ignores prompts: take litemedsam or another of the SAM family"
            )
        if self.name in IN_CONTEXT and (self.prompters or self.localizer):
            what = "prompters" if self.prompters else "localizer"
            raise ConfigError(f"referee.{what} is given, but {self.name} is shown the references: leave it out")
        if self.name in OWN_WEIGHTS and self.weights is None:
            raise ConfigError(f"the referee {self.name} {NEEDS_WEIGHTS}")
        if self.name not in IN_CONTEXT and self.encoder != "auto":
            raise ConfigError(f"referee.encoder is given, but {self.name} has its own: leave it out")
        if self.name not in IN_CONTEXT and not self.needs_references:
            raise ConfigError(f"referee.needs_references is false, but {self.name} reads none anyway: leave it out")
        if not 2 <= self.prompts <= 64:
            raise ConfigError(
                f"referee.prompts is {self.prompts}; it must lie between 2 (the mask's own box, and one) and 64"
            )
        if not 0 < self.jitter < 1:
            raise ConfigError(f"referee.jitter is {self.jitter}; it must lie between 0 and 1, e.g. 0.1")
        if "localizer" in self.prompters and self.localizer is None:
            raise ConfigError(
                "the referee's prompter 'localizer' needs a network: fit one with `sqp fit localizer`, then give "
                "--referee.localizer FILE"
            )


@dataclass
class SupervisedConfig(Config):
    """A network of `sqp fit segmenter` as a further referee: it was fitted on true masks of such images.

    Attributes:
        network: Its checkpoint (unet, fpn, fpn_resnet50, swin_unet); without it there is no such referee.
        symmetries: So many of the square's symmetries show it the image, 1, 2, 4 or 8; its answers are brought back.
        more: Checkpoints of further such networks of the same size, fitted on other images: all answers count alike.
    """

    network: Path | None = None
    symmetries: int = 4
    more: list[Path] = field(default_factory=list)

    @property
    def networks(self) -> list[Path]:
        """All checkpoints, the first one first."""
        return ([] if self.network is None else [self.network]) + self.more

    def check(self) -> None:
        """ConfigError for a number of symmetries that is none, and for further networks without a first."""
        if self.more and self.network is None:
            raise ConfigError("supervised.more is given without a first network: give --supervised.network FILE")
        if self.symmetries not in (1, 2, 4, 8):
            raise ConfigError(f"supervised.symmetries is {self.symmetries}; it must be 1, 2, 4 or 8")
