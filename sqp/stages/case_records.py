"""One case -> its records: one encoding of the image serves every prompt, sample and mask of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from sqp.config.generate import GenerateConfig
from sqp.data import check_same_size, corrupt, corrupt_to_dice, read_image, read_mask
from sqp.errors import CaseError
from sqp.io import Record, RecordWriter
from sqp.metrics.overlap import dice, iou
from sqp.prompts import PROMPTERS
from sqp.seeding import numpy_generator, torch_generator
from sqp.stages.cascade import Cascade
from sqp.stages.named_prompters import prompter_of
from sqp.stages.plan import PlannedRecord, plan_case
from sqp.stages.refined_records import refined_mask
from sqp.types import Case, Embedding, Prompt, Samples, Segmenter
from sqp.uncertainty import (
    OF_THE_IMAGE,
    Moments,
    all_maps,
    mask_from_logits,
    mask_on_grid,
    sample_many,
    sampler_options,
    scores,
)

DONOR_TRIES = 5


@dataclass
class LoadedCase:
    """The pixels of a case: image uint8 `[h, w, 3]`, truths and the given mask bool `[h, w]`."""

    case: Case
    image: np.ndarray
    truths: list[np.ndarray]
    given: np.ndarray | None

    @property
    def truth(self) -> np.ndarray | None:
        """The first rater's mask: what simulated manual prompts and steered corruptions refer to."""
        return self.truths[0] if self.truths else None


def load_case(case: Case) -> LoadedCase:
    """Read and check the files of a case; raises CaseError naming the file."""
    image = read_image(case.image_path)
    truths = [read_mask(path) for path in case.truth_paths]
    given = None if case.mask_path is None else read_mask(case.mask_path)
    for path, mask in [*zip(case.truth_paths, truths, strict=True), (case.mask_path, given)]:
        if path is not None and mask is not None:
            check_same_size(case.image_path, image.shape[:2], path, mask.shape)
    return LoadedCase(case, image, truths, given)


def load_prompted(case: Case, config: GenerateConfig) -> tuple[LoadedCase, Prompt]:
    """A case with its truth, and the configured prompter's first prompt; CaseError where either is missing."""
    loaded = load_case(case)
    if loaded.truth is None:
        raise CaseError(f"{case.image_id} has no ground truth")
    options = {"generator": numpy_generator(config.seed, case.image_id, "prompt"), **config.prompter_options}
    return loaded, PROMPTERS[config.prompter](loaded.image, truth=loaded.truth, **options)[0]


@dataclass
class Made:
    """A mask bool `[h, w]` with the samples that describe it.

    `maker` is who drew it: the segmenter's name, given, or truth (then a corruption). `parent` is the record that a
    corruption or a refinement came from, "" where it came from the truth. `maps` are its own, beside the samples'.
    """

    planned: PlannedRecord
    samples: Samples
    prompt: Prompt
    mask: np.ndarray
    severity: float
    maker: str
    parent: str = ""
    maps: dict[str, torch.Tensor] = field(default_factory=dict)


class RecordMaker:
    """Makes and writes the records of cases, with one segmenter that is built once.

    `donors` are the cases whose masks may be swapped into another image; a donor is of the same split, so that no
    mask crosses from one split to another.
    """

    def __init__(self, config: GenerateConfig, segmenter: Segmenter, donors: Sequence[Case] = ()) -> None:
        self.config = config
        self.segmenter = segmenter
        self.cascade = Cascade(config) if config.cascade else None
        self.writer = RecordWriter(config.out)
        self.donors: dict[str, list[Case]] = {}
        for case in donors:
            if case.truth_paths:
                self.donors.setdefault(case.split, []).append(case)

    def __call__(self, case: Case, done: set[str]) -> tuple[int, list[str]]:
        """Write the records of a case that are not `done`: how many, and why some could not be made.

        Raises CaseError where none can: a file of the case is broken, or its first prompt is impossible.
        """
        plan = plan_case(case, self.config)
        if done.issuperset(planned.record_id for planned in plan):
            return 0, []
        loaded = load_case(case)
        embedding = self.segmenter.encode(loaded.image)
        problems: list[str] = []
        made = self._natural(loaded, embedding, [p for p in plan if p.variant == "natural" and not p.parent], problems)
        refined = self._refined(loaded, made, [p for p in plan if p.parent], problems)
        corrupted = [planned for planned in plan if planned.variant != "natural"]
        made += self._corrupted(loaded, embedding, corrupted, made[0], problems)
        made += refined
        pooled = pooled_embedding(embedding).numpy()
        new = [one for one in made if one.planned.record_id not in done]
        for one in new:
            self._write(loaded, one, pooled)
        return len(new), problems

    def _natural(
        self, loaded: LoadedCase, embedding: Embedding, plan: list[PlannedRecord], problems: list[str]
    ) -> list[Made]:
        """The segmenter's own masks under each prompter, or the given mask."""
        prompts = [(plan[0], self._prompt(loaded, plan[0], loaded.given))]
        for planned in plan[1:]:
            try:
                prompts.append((planned, self._prompt(loaded, planned, loaded.given)))
            except CaseError as error:
                problems.append(str(error))
        made = []
        for (planned, prompt), samples in zip(prompts, self._sample(loaded, embedding, prompts), strict=True):
            given = loaded.given if planned.prompter == "mask_box" else None
            mask = mask_from_logits(samples) if given is None else given
            maker = self.segmenter.name if given is None else "given"
            made.append(Made(planned, samples, prompt, mask, planned.jitter, maker))
        return made

    def _refined(
        self, loaded: LoadedCase, natural: list[Made], plan: list[PlannedRecord], problems: list[str]
    ) -> list[Made]:
        """Fused and refined masks of the natural ones, from the same samples."""
        parents = {one.planned.record_id: one for one in natural}
        made = []
        for planned in plan:
            parent = parents.get(planned.parent)
            if parent is None:  # its prompt was impossible, which is a problem told already
                continue
            try:
                mask, behind = refined_mask(self.config, planned, loaded.image, parent.samples, parent.prompt)
            except CaseError as error:
                problems.append(str(error))
                continue
            maps = {} if behind is None else {"refined/probability": behind}
            made.append(replace(parent, planned=planned, mask=mask, parent=planned.parent, maps=maps))
        return made

    def _corrupted(
        self,
        loaded: LoadedCase,
        embedding: Embedding,
        plan: list[PlannedRecord],
        natural: Made,
        problems: list[str],
    ) -> list[Made]:
        """Corruptions of the natural mask, or of the truth where the natural mask is worse than the target."""
        prompts: list[tuple[PlannedRecord, Prompt]] = []
        sources: list[tuple[np.ndarray, float, str, str]] = []
        for planned in plan:
            from_truth = loaded.truth is not None and dice(natural.mask, loaded.truth) < planned.target
            base = loaded.truth if from_truth and loaded.truth is not None else natural.mask
            try:
                mask, severity = self._corrupt(loaded, planned, base)
                prompts.append((planned, self._prompt(loaded, planned, mask)))
            except CaseError as error:
                problems.append(str(error))
                continue
            maker, parent = ("truth", "") if from_truth else (natural.maker, natural.planned.record_id)
            sources.append((mask, severity, maker, parent))
        samples = self._sample(loaded, embedding, prompts)
        return [
            Made(planned, one, prompt, *source)
            for (planned, prompt), one, source in zip(prompts, samples, sources, strict=True)
        ]

    def _sample(
        self, loaded: LoadedCase, embedding: Embedding, prompts: list[tuple[PlannedRecord, Prompt]]
    ) -> list[Samples]:
        if not prompts:
            return []
        sampler = self.config.sampler
        by_image = sampler.name in OF_THE_IMAGE
        keys = [loaded.case.image_id if by_image else planned.record_id for planned, _ in prompts]
        return sample_many(
            self.segmenter,
            loaded.image,
            [prompt for _, prompt in prompts],
            sampler.n,
            [torch_generator(self.config.seed, key) for key in keys],
            sampler=sampler.name,
            embedding=embedding,
            **{name: getattr(sampler, name) for name in sampler_options(sampler.name)},
        )

    def _prompt(self, loaded: LoadedCase, planned: PlannedRecord, mask: np.ndarray | None) -> Prompt:
        prompter, options = prompter_of(self.config, planned.prompter)
        options |= {"jitter": planned.jitter} if planned.jitter else {}
        generator = numpy_generator(self.config.seed, planned.record_id, "prompt")
        prompts = prompter(loaded.image, truth=loaded.truth, mask=mask, generator=generator, **options)
        # An empty mask has no box: its maps are those of the whole image, and its verdict will be abstain.
        prompt = prompts[0] if prompts else PROMPTERS["whole_image"](loaded.image)[0]
        if self.cascade is None or planned.prompter != self.config.prompter:
            return prompt
        return self.cascade(loaded.image, prompt)

    def _corrupt(self, loaded: LoadedCase, planned: PlannedRecord, base: np.ndarray) -> tuple[np.ndarray, float]:
        rng = numpy_generator(self.config.seed, planned.record_id, "corruption")
        donor = self._donor(loaded.case, rng) if planned.variant == "swap" else None
        if loaded.truth is None:
            return corrupt(planned.variant, base, planned.target, rng, donor=donor), planned.target
        return corrupt_to_dice(planned.variant, base, loaded.truth, planned.target, rng, donor=donor)

    def _donor(self, case: Case, rng: np.random.Generator) -> np.ndarray:
        """The truth of another image of the same split; a donor whose file is broken gives way to another."""
        others = [c for c in self.donors.get(case.split, ()) if c.group != case.group]
        for _ in range(min(DONOR_TRIES, len(others))):
            try:
                return read_mask(others[int(rng.integers(len(others)))].truth_paths[0])
            except CaseError:
                continue
        raise CaseError(
            f"no other image of split '{case.split}' has a readable ground truth to swap in: "
            "take 'swap' out of variants.families"
        )

    def _write(self, loaded: LoadedCase, made: Made, pooled: np.ndarray) -> None:
        case, config, planned, samples, mask = loaded.case, self.config, made.planned, made.samples, made.mask
        moments = Moments.of(samples.logits)
        maps = {"probability": moments.mean_p} | all_maps(moments, config.measures)
        arrays = {f"self/{name}": value.cpu().numpy() for name, value in maps.items()}
        arrays |= {name: value.cpu().numpy() for name, value in made.maps.items()}
        arrays["features/embedding"] = pooled
        if samples.token is not None:
            arrays["features/mask_token"] = samples.token.float().cpu().numpy()
        natural = planned.variant == "natural"
        own = natural and made.maker == self.segmenter.name and not planned.parent
        truths = loaded.truths
        record = Record(
            record_id=planned.record_id,
            image_id=case.image_id,
            group=case.group,
            split=case.split,
            dataset=case.dataset,
            licence=case.licence,
            diagnosis=case.diagnosis,
            image_path=str(case.image_path.absolute()),
            mask_path=f"masks/{planned.record_id}.png",
            truth_path=[str(path.absolute()) for path in case.truth_paths],
            height=mask.shape[0],
            width=mask.shape[1],
            spacing=list(case.spacing),
            segmenter=made.maker,
            weights_sha256=self.segmenter.weights_sha256,
            prompter=planned.prompter,
            prompt=json.dumps(made.prompt.as_dict()),
            sampler=config.sampler.name,
            n_samples=len(samples.logits),
            seed=config.seed,
            variant=planned.variant,
            severity=made.severity,
            natural=natural,
            parent_record_id=made.parent,
            refined_by=planned.refined_by,
            fused_by=planned.fused_by,
            dice=float(np.mean([dice(mask, truth) for truth in truths])) if truths else math.nan,
            iou=float(np.mean([iou(mask, truth) for truth in truths])) if truths else math.nan,
            scores=scores(samples, mask_on_grid(mask, samples), own=own, moments=moments),
        )
        self.writer.write(record, mask, arrays)


def pooled_embedding(embedding: Embedding) -> torch.Tensor:
    """`[c]`: the mean of an image's encoding over its valid, unpadded part."""
    features = embedding.features[0].float()
    frame = embedding.frame
    h, w = (max(1, round(side * n / frame.size)) for side, n in zip(frame.resized, features.shape[-2:], strict=True))
    return features[:, :h, :w].mean(dim=(1, 2)).cpu()
