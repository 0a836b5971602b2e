"""References: images of the task with their masks, read and checked like cases.

`sqp.records.referees.shown` shows them to an in-context segmenter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sqp.config.generate import GenerateConfig
from sqp.config.referee import IGNORE_PROMPTS, IN_CONTEXT, NONE, OWN_WEIGHTS, READ, READ_ENCODING
from sqp.config.segmenter import MULTIMASK
from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import sha256_or_nothing
from sqp.core.types import Case, InContextSegmenter, Segmenter
from sqp.data import find_cases
from sqp.data.annotations.cases import holds_annotations, holds_segments, number_labels
from sqp.data.annotations.pairs import annotated_pairs
from sqp.data.left_aside import counted
from sqp.data.volumes import is_volume
from sqp.records.encodings import encoded
from sqp.records.load import LoadedCase, load_case
from sqp.segmenters import IN_CONTEXT_SEGMENTERS, build_segmenter
from sqp.segmenters.by_examples import Reference, content_of_image
from sqp.uncertainty.likeness import most_different, unlike_the_others

MOST = 32
AMONG, STRANGE = "among", "strange"
"""How a judged image may stand to the references: it is one of them, or likely of another kind."""


@dataclass
class References:
    """Those that are shown. `left_out` maps the others' names to why; `notes`: what the user should know, in sentences.

    `left_out` are broken ones alone; `notes` tell what else was not taken.
    """

    shown: list[Reference]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def reference_cases(config: GenerateConfig) -> list[Case]:
    """The pairs of `--references`, as `listed_references`. ConfigError where there are none, and for volumes."""
    assert config.references is not None
    cases = listed_references(config.references, config.label)
    volumes = [case for case in cases if is_volume(case.image_path)]
    if volumes:
        raise ConfigError(
            f"--references {volumes[0].image_path} is a volume: here references are images, and `sqp predict` judges "
            "masks of volumes by the slices of such references"
        )
    return cases


def listed_references(references: Path, label: Sequence[int | str]) -> list[Case]:
    """Pairs, with the mask as truth; a pair in a table may name it in the column mask, and in a tool's file all
    annotations of an image, of one category, are its mask. ConfigError where there are none."""
    if holds_annotations(references) and not holds_segments(references):
        return annotated_pairs(references, label)
    listed = find_cases(references, layout="auto", labels=number_labels(label), option="--references")
    cases = [_pair(case, file) for case in listed if (file := _drawn(case)) is not None]
    if not cases:
        raise ConfigError(
            f"--references {references} holds no image with a mask: give images/ and masks/ in one folder, or a "
            "CSV with the columns image and mask, or COCO's file beside its images"
        )
    return cases


def _drawn(case: Case) -> Path | None:
    """The mask of a pair: the first rater's, else the one that a table has in the column mask."""
    return case.truth_paths[0] if case.truth_paths else case.mask_path


def _pair(case: Case, mask: Path) -> Case:
    return replace(case, truth_paths=(mask,), mask_path=None, probability_path=None)


def references_sha256(cases: Sequence[Case]) -> str:
    """One hash of the files of all pairs, whatever their names and their order."""
    pairs = sorted(" ".join(map(sha256_or_nothing, (case.image_path, case.truth_paths[0]))) for case in cases)
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest()


def encoder_of(config: GenerateConfig) -> tuple[str, Path | None]:
    """(name, weights) of the promptable segmenter whose encoding is there: that which the segmenter is shown references
    in, else the referee's, else the records' own.

    Else, as both may be none or ignore prompts, LiteMedSAM: its encoding is then made for the references' sake alone.
    """
    referee, segmenter = config.referee, config.segmenter
    if segmenter.name in READ_ENCODING:
        return segmenter.network, segmenter.checkpoint
    if referee.name != NONE:
        return config.referee_network
    return (READ, None) if segmenter.name in (*IGNORE_PROMPTS, NONE) else (segmenter.name, segmenter.files()[0])


def reader_of(config: GenerateConfig) -> tuple[str, Path | None]:
    """(name, weights of its own) of the in-context segmenter that references are shown to: the referee, or the records'
    segmenter, where either is one; else the plainest."""
    named = ((config.referee.name, config.referee.weights), (config.segmenter.name, config.segmenter.checkpoint))
    for name, weights in named:
        if name in IN_CONTEXT:
            return name, weights if name in OWN_WEIGHTS else None
    return IN_CONTEXT[0], None


def build_encoder(config: GenerateConfig) -> Segmenter:
    """The segmenter of `encoder_of`."""
    name, weights = encoder_of(config)
    multimask = MULTIMASK[config.segmenter.multimask]
    return build_segmenter(
        name, weights, config.device, config.segmenter.precision, config.runtime, multimask=multimask
    )


def in_context(config: GenerateConfig, base: Segmenter | None) -> InContextSegmenter:
    """The in-context segmenter of a config (`reader_of`), with `base` behind it, where it reads an encoding."""
    name, weights = reader_of(config)
    return IN_CONTEXT_SEGMENTERS[name](base, weights, config.device)


def load_references(config: GenerateConfig, base: Segmenter | None = None) -> References:
    """The references that are shown: read, checked, encoded once, and of more than `MOST` the most different ones.

    Broken pairs and those with an empty mask are left out. ConfigError where none is left, and where two masks are of
    one image.
    """
    cases = reference_cases(config)
    if base is None and reader_of(config)[0] in READ_ENCODING:
        base = build_encoder(config)
    segmenter = in_context(config, base)
    found = References([])
    kept: dict[str, Reference] = {}
    again: list[str] = []
    for case in tqdm(cases, unit="image", desc="references", disable=None):
        try:
            loaded = _read(case)
        except CaseError as error:
            found.left_out[case.image_id] = str(error)
            continue
        content, mask = content_of_image(loaded.image), loaded.truths[0]
        if content in kept:
            _check_same(kept[content], case, mask)
            again.append(case.image_id)
            continue
        embedding = None
        if base is not None and segmenter.reads_encoding:
            embedding = encoded(base, loaded.image, config.encodings, of_reference=True)
        features = segmenter.features(loaded.image, embedding)
        group = "" if case.group == case.image_id else case.group
        kept[content] = Reference(case.image_id, content, features, mask, group)
    if not kept:
        raise ConfigError(f"no reference can be used: {next(iter(found.left_out.values()))}")
    found.shown = list(kept.values())
    found.notes += counted(again, "reference{s} {are} there twice, and counted once")
    if len(kept) > MOST:
        found.shown = [
            found.shown[i] for i in most_different([segmenter.summary(r.features) for r in found.shown], MOST)
        ]
        found.notes.append(f"of {len(kept)} references the {MOST} most different ones are shown")
    if segmenter.reads_encoding:
        summaries = [segmenter.summary(reference.features) for reference in found.shown]
        odd = unlike_the_others(summaries, [reference.own_group for reference in found.shown])
        told = counted([found.shown[i].name for i in odd], "reference{s} {are} unlike all others")
        found.notes += [f"{note}: look whether it is of another modality, and leave it out if so" for note in told]
    return found


def whole_references(config: GenerateConfig) -> References:
    """Those of a config that has some, for whoever cannot go on without one; ConfigError for a broken one."""
    if config.references is None:
        return References([])
    found = load_references(config)
    for reason in found.left_out.values():
        raise ConfigError(f"a reference cannot be used: {reason}")
    return found


def reference_notes(config: GenerateConfig, marked: Sequence[tuple[str, set[str]]]) -> list[str]:
    """What the user should know of the judged images by their marks, and where no references are, in sentences."""
    if config.references is None:
        asked = config.referee.name in IN_CONTEXT
        return ["no references were given: masks are judged without examples of the task, and less surely"] * asked
    among, strange = (sorted(name for name, marks in marked if mark in marks) for mark in (AMONG, STRANGE))
    return [
        *counted(among, "image{s} {are} among the references, and judged by the others"),
        *counted(strange, "image{s} {are} unlike all references, which may be of another modality"),
    ]


def _read(case: Case) -> LoadedCase:
    """The pixels of a pair; CaseError where it is broken, or nothing is drawn."""
    loaded = load_case(case)
    if not loaded.truths[0].any():
        raise CaseError(f"the mask {case.truth_paths[0]} is empty, and shows nothing: leave the pair out")
    return loaded


def _check_same(known: Reference, case: Case, mask: np.ndarray) -> None:
    """ConfigError where an image that is among the references has another mask here."""
    if known.mask.shape != mask.shape or (known.mask != mask).any():
        raise ConfigError(
            f"the references {known.name} and {case.image_id} are one image with two masks: references are of one "
            "structure, remove one of them"
        )
