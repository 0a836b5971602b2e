"""Where what a quality model reads of a record comes from: the segmenter, the referees, references, the mask's maker.

A model that reads nothing of a source does not care how, or whether, it was made: one of image and mask alone judges
any mask, and needs no segmenter.
"""

from __future__ import annotations

from collections.abc import Iterable

SELF, REFEREE, SUPERVISED, GIVEN, REFERENCES = "self", "referee", "supervised", "given", "references"

REMEDIES = {
    SELF: "generate the records with a segmenter and these measures",
    REFEREE: "generate the records with a referee, e.g. --referee litemedsam",
    SUPERVISED: "generate the records with a supervised referee, --supervised.network FILE",
    REFERENCES: "generate the records with --references DIR, images of the task with their masks",
    GIVEN: "generate the records with --probs DIR, the probabilities behind the given masks",
}
"""What a record set that lacks a source needs."""

NO_SOURCE = ("image", "mask", "area")


def source_of(name: str) -> str:
    """The source of a channel, score or feature; "" for what image and mask tell by themselves.

    Examples:
        >>> [source_of(name)
        ...     for name in ("referee/entropy", "referee_dice", "c_lesion", "features/embedding/0", "mask")]
        ['referee', 'referee', 'self', 'self', '']
        >>> source_of("features/referee_embedding/0"), source_of("rca_mean"), source_of("references_dice")
        ('referee', 'references', 'references')
    """
    if name in NO_SOURCE:
        return ""
    name = name.removeprefix("features/")
    if name.startswith(("rca_", REFERENCES)):
        return REFERENCES
    others = (REFEREE, SUPERVISED, GIVEN)
    return next((source for source in others if name.startswith((f"{source}/", f"{source}_"))), SELF)


def sources_of(names: Iterable[str]) -> tuple[str, ...]:
    """The sources of all of them, in the order of `REMEDIES`.

    Examples:
        >>> sources_of(["image", "mask", "referee/probability", "c_lesion"])
        ('self', 'referee')
    """
    named = {source_of(name) for name in names}
    return tuple(source for source in REMEDIES if source in named)
