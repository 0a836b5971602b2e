"""Which records are made of a case: decided from the config, the ids and the hash of a given mask's file.

So a finished run is recognised without opening an image, and the same record comes out whatever the order, the number
of workers or the point of interruption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqp.config.fit import PLAIN, VOLUMETRIC
from sqp.config.generate import GenerateConfig, VariantPlan
from sqp.config.referee import NONE
from sqp.core.errors import ConfigError, lookup
from sqp.core.files import sha256_or_nothing
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.data.volumes import is_volume
from sqp.prompts import PROMPTERS, prompter_for
from sqp.records.schema import record_id

FILES = ("checkpoint", "weights")
"""Options of a prompter with a network that name a file."""


@dataclass(frozen=True)
class PlannedRecord:
    """One record to be made.

    `variant` natural or a corruption's name; `prompter` what prompts the segmenter for its maps; `jitter` the ratio of
    a simulated manual box; `target` the Dice a corruption is steered to, or its severity where there is no truth.
    `parent` is the natural record whose samples are fused by `fused_by` and refined by `refined_by`, "" for all others.
    """

    record_id: str
    variant: str
    prompter: str
    jitter: float = 0.0
    target: float = float("nan")
    parent: str = ""
    fused_by: str = ""
    refined_by: str = ""


def variant_plan(config: GenerateConfig, split: str) -> VariantPlan:
    """The plan of a split: its own, else that of '*', else only the natural record."""
    return config.variants.get(split) or config.variants.get("*") or VariantPlan()


def plan_case(case: Case, config: GenerateConfig, given: str | None = None) -> list[PlannedRecord]:
    """The records of one case, the natural one first; `given` is the hash of a given mask that lies in no file."""
    plan = variant_plan(config, case.split)
    rng = numpy_generator(config.seed, case.image_id, "plan")
    files = [path for path in (case.mask_path, case.probability_path) if path is not None]
    given = " ".join(map(sha256_or_nothing, files)) if given is None else given  # another mask is another record

    def planned(
        variant: str, prompter: str, index: int, jitter: float = 0.0, target: float = PlannedRecord.target
    ) -> PlannedRecord:
        key = (config.segmenter.name, prompter, config.sampler.name, config.seed, index, given, *case.labels)
        return PlannedRecord(record_id(case.image_id, variant, *key), variant, prompter, jitter, target)

    records = [planned("natural", "mask_box" if given else config.prompter, 0)]
    records += [planned("natural", name, 1) for name in plan.prompters]
    if case.truth_paths:
        ratios = rng.uniform(0, plan.truth_jitter_max, plan.truth_jitter)
        records += [planned("natural", "truth_box", 2 + i, jitter=float(r)) for i, r in enumerate(ratios)]
    order: list[str] = []
    while plan.families and len(order) < plan.corruptions:
        order += list(rng.permutation(plan.families))
    targets = rng.beta(plan.target_alpha, plan.target_beta, plan.corruptions)
    for index, (family, target) in enumerate(zip(order, targets, strict=False)):
        records.append(planned(str(family), "mask_box", index, target=float(target)))
    naturals = [record for record in records if record.variant == "natural" and not given]
    return records + [refined for natural in naturals for refined in plan_refined(case.image_id, natural, config)]


def plan_refined(image_id: str, natural: PlannedRecord, config: GenerateConfig) -> Iterator[PlannedRecord]:
    """The fused record of a natural one, where `fusion` is set, and one for each refinement (of the fused map)."""
    fused_by = config.fusion or ""
    for refined_by in [*([""] if fused_by else []), *config.refine]:
        name = record_id(image_id, "natural", natural.record_id, fused_by, refined_by)
        yield replace(natural, record_id=name, parent=natural.record_id, fused_by=fused_by, refined_by=refined_by)


def prompter_files(config: GenerateConfig, name: str) -> dict[str, Path]:
    """The files among the options of a prompter with a network, by option."""
    kind, options = config.prompter_named(name)
    given = {option: options.get(option) for option in FILES if PROMPTERS[kind].fit}
    return {option: Path(file).expanduser() for option, file in given.items() if file}


def check_prompters(config: GenerateConfig) -> None:
    """ConfigError names the prompter or the option that is unknown with the nearest known, and a file that is lacking.

    Whether it works on these images, or volumes, is known once there are cases: `for_cases`.
    """
    for name in config.prompters:
        if name in PROMPTERS:
            raise ConfigError(f"prompters gives the name '{name}' again, which sqp has: choose another one")
    for name in dict.fromkeys([*config.used_prompters(), *config.prompters]):
        if name not in config.prompters:
            lookup("prompter", name, dict.fromkeys([*PROMPTERS, *config.prompters]))
        _check_prompter(config, name)


def _check_prompter(config: GenerateConfig, name: str) -> None:
    kind, options = config.prompter_named(name)
    prompter = lookup("prompter", kind, PROMPTERS)
    if name != kind and prompter.needs:
        raise ConfigError(f"prompters names '{kind}', which tables must know by its own name: leave '{name}' out")
    known = prompter.options(volumes=prompter.images is None)
    for option, value in options.items():
        default = lookup(f"option of the prompter {kind}", option, known)
        if type(default) in (int, float) and type(value) not in (int, float):
            raise ConfigError(f"the option {option} of the prompter {kind} is {value!r}; it must be a number")
    if prompter.fit and not {"checkpoint", "model"} & set(options):
        raise ConfigError(
            f"the prompter '{name}' needs a network: fit one with `sqp fit {prompter.fit}`, then give "
            "--prompter_options.checkpoint FILE (for a further prompter: the option prompters)"
        )
    for option, file in prompter_files(config, name).items():
        if not file.is_file():
            raise ConfigError(f"the prompter '{name}' has the {option} {file}, which does not exist: check the path")


def of_volumes(cases: Sequence[Case]) -> bool:
    """Whether the cases are volumes; ConfigError where some are and some are not."""
    volumes = [is_volume(case.image_path) for case in cases]
    if any(volumes) and not all(volumes):
        paths = cases[volumes.index(True)].image_path, cases[volumes.index(False)].image_path
        raise ConfigError(f"{paths[0]} is a volume and {paths[1]} is an image: give each kind a run of its own")
    return any(volumes)


def for_cases(config: GenerateConfig, cases: Sequence[Case]) -> GenerateConfig:
    """The config as it is meant for these cases: where they are volumes no referee came by default.

    ConfigError for an option that volumes do not have, and for one that only they have.
    """
    if not of_volumes(cases):
        _check_for_images(config)
        return config
    if config.referee_by_default:
        config = replace(config, referee=replace(config.referee, name=NONE))
    _check_for_volumes(config)
    return config


def _check_for_images(config: GenerateConfig) -> None:
    segmenter = config.segmenter
    if segmenter.name in VOLUMETRIC:
        raise ConfigError(
            f"{segmenter.name} segments volumes and these cases are images: take unet, or another segmenter"
        )
    if segmenter.propagate or segmenter.window:
        raise ConfigError("segmenter.propagate and segmenter.window belong to volumes (NIfTI, DICOM): leave them out")
    for name in config.used_prompters():
        prompter_for(config.prompter_named(name)[0], volumes=False)


def _check_for_volumes(config: GenerateConfig) -> None:
    name = config.segmenter.name
    lacking = {
        "references of images are given: with such of volumes `sqp predict` judges given masks": config.references
        is not None,
        "cascade is set: leave it out": config.cascade is not None,
        "probs are given: leave them out": config.probs is not None,
        f"the referee is {config.referee.name}: leave it out": config.referee.name != NONE,
        "a supervised referee is named: leave it out": config.supervised.network is not None,
    }
    for sentence, given in lacking.items():
        if given:
            raise ConfigError(f"what works on images, but not on volumes: {sentence}")
    if name in VOLUMETRIC:
        for option in ("propagate", "window"):
            if getattr(config.segmenter, option):
                raise ConfigError(
                    f"segmenter.{option} is for segmenters of images, which see a volume slice by slice, and {name} "
                    "segments the volume itself: leave it out"
                )
    boxed = [refinement for refinement in config.refine if refinement.startswith("ur_sam")]
    if boxed and name in PLAIN:
        raise ConfigError(
            f"{boxed[0]} takes its threshold from the box that prompted a slice, and {name} was prompted by none: "
            "refine by unc_fpc, unc_fnc, unc_fpnc or crf, or take a promptable segmenter"
        )
    if name in PLAIN:  # it ignores prompts
        return
    for prompter in config.used_prompters():
        if prompter == config.prompter and config.given:
            continue
        kind, options = config.prompter_named(prompter)
        known = prompter_for(kind, volumes=True).options(volumes=True)
        for option in options:
            lookup(f"option of the prompter {kind} of volumes", option, known)
