"""Which records are made of a case: decided from the config, the ids and the hash of a given mask's file.

So a finished run is recognised without opening an image, and the same record comes out whatever the order, the number
of workers or the point of interruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqp.config.generate import GenerateConfig, VariantPlan
from sqp.core.files import sha256_or_nothing
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.records.schema import record_id


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


def plan_case(case: Case, config: GenerateConfig) -> list[PlannedRecord]:
    """The records of one case, the natural one first."""
    plan = variant_plan(config, case.split)
    rng = numpy_generator(config.seed, case.image_id, "plan")
    files = [path for path in (case.mask_path, case.probability_path) if path is not None]
    given = " ".join(map(sha256_or_nothing, files))  # another mask is another record

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
    naturals = [one for one in records if one.variant == "natural" and not given]
    return records + [more for one in naturals for more in plan_refined(case.image_id, one, config)]


def plan_refined(image_id: str, natural: PlannedRecord, config: GenerateConfig) -> Iterator[PlannedRecord]:
    """The fused record of a natural one, where `fusion` is set, and one for each refinement (of the fused map)."""
    fused_by = config.fusion or ""
    for refined_by in [*([""] if fused_by else []), *config.refine]:
        name = record_id(image_id, "natural", natural.record_id, fused_by, refined_by)
        yield replace(natural, record_id=name, parent=natural.record_id, fused_by=fused_by, refined_by=refined_by)
