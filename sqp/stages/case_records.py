"""One case -> its records: one encoding of the image serves every prompt, sample and mask of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sqp.config.generate import GenerateConfig
from sqp.data import check_same_size, corrupt, corrupt_to_dice, read_image, read_mask
from sqp.errors import CaseError, lookup
from sqp.io import Record, RecordWriter
from sqp.metrics.overlap import dice, iou
from sqp.prompts import PROMPTERS
from sqp.seeding import numpy_generator, torch_generator
from sqp.stages.plan import PlannedRecord, plan_case
from sqp.types import Case, Embedding, Prompt, Samples, Segmenter
from sqp.uncertainty import Moments, all_maps, mask_from_logits, mask_on_grid, sample_many, scores


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


@dataclass
class Made:
    """A mask bool `[h, w]` with the samples that describe it; `own` where the segmenter made it."""

    planned: PlannedRecord
    samples: Samples
    prompt: Prompt
    mask: np.ndarray
    severity: float
    own: bool = False


class RecordMaker:
    """Makes and writes the records of cases, with one segmenter that is built once.

    `donors` are the cases whose masks may be swapped into another image; a donor is of the same split, so that no
    mask crosses from one split to another.
    """

    def __init__(self, config: GenerateConfig, segmenter: Segmenter, donors: Sequence[Case] = ()) -> None:
        self.config = config
        self.segmenter = segmenter
        self.writer = RecordWriter(config.out)
        self.donors: dict[str, list[Case]] = {}
        for case in donors:
            if case.truth_paths:
                self.donors.setdefault(case.split, []).append(case)

    def __call__(self, case: Case, done: set[str]) -> int:
        """Write the records of a case that are not `done`; returns how many."""
        plan = plan_case(case, self.config)
        if all(planned.record_id in done for planned in plan):
            return 0
        loaded = load_case(case)
        embedding = self.segmenter.encode(loaded.image)
        natural = [planned for planned in plan if planned.variant == "natural"]
        made = []
        for planned, (samples, prompt) in zip(
            natural, self._sample(loaded, embedding, natural, [loaded.given] * len(natural)), strict=True
        ):
            own = planned.prompter != "mask_box" or loaded.given is None
            mask = mask_from_logits(samples) if own or loaded.given is None else loaded.given
            made.append(Made(planned, samples, prompt, mask, planned.jitter, own))
        corrupted = [planned for planned in plan if planned.variant != "natural"]
        corruptions = [self._corrupt(loaded, planned, made[0].mask) for planned in corrupted]
        masks = [mask for mask, _ in corruptions]
        for planned, (samples, prompt), (mask, severity) in zip(
            corrupted, self._sample(loaded, embedding, corrupted, masks), corruptions, strict=True
        ):
            made.append(Made(planned, samples, prompt, mask, severity))
        pooled = pooled_embedding(embedding).numpy()
        for one in made:
            if one.planned.record_id not in done:
                self._write(loaded, one, pooled, made[0].planned.record_id)
        return sum(planned.record_id not in done for planned in plan)

    def _sample(
        self,
        loaded: LoadedCase,
        embedding: Embedding,
        plan: list[PlannedRecord],
        masks: Sequence[np.ndarray | None],
    ) -> list[tuple[Samples, Prompt]]:
        if not plan:
            return []
        prompts = [self._prompt(loaded, planned, mask) for planned, mask in zip(plan, masks, strict=True)]
        generators = [torch_generator(self.config.seed, planned.record_id) for planned in plan]
        sampler = self.config.sampler
        options = {"ratio": sampler.ratio, "edges": sampler.edges} if sampler.name == "prompt_jitter" else {}
        samples = sample_many(
            self.segmenter,
            loaded.image,
            prompts,
            sampler.n,
            generators,
            sampler=sampler.name,
            embedding=embedding,
            **options,
        )
        return list(zip(samples, prompts, strict=True))

    def _prompt(self, loaded: LoadedCase, planned: PlannedRecord, mask: np.ndarray | None) -> Prompt:
        prompter = lookup("prompter", planned.prompter, PROMPTERS)
        options = {"jitter": planned.jitter} if planned.jitter else {}
        generator = numpy_generator(self.config.seed, planned.record_id, "prompt")
        try:
            prompts = prompter(loaded.image, truth=loaded.truth, mask=mask, generator=generator, **options)
        except CaseError as error:
            raise CaseError(f"{loaded.case.image_id}: {error}") from error
        # An empty mask has no box: its maps are those of the whole image, and its verdict will be abstain.
        return prompts[0] if prompts else PROMPTERS["whole_image"](loaded.image)[0]

    def _corrupt(self, loaded: LoadedCase, planned: PlannedRecord, natural: np.ndarray) -> tuple[np.ndarray, float]:
        rng = numpy_generator(self.config.seed, planned.record_id, "corruption")
        donor = self._donor(loaded.case, rng) if planned.variant == "swap" else None
        if loaded.truth is None:
            return corrupt(planned.variant, natural, planned.target, rng, donor=donor), planned.target
        base = natural if dice(natural, loaded.truth) >= planned.target else loaded.truth
        return corrupt_to_dice(planned.variant, base, loaded.truth, planned.target, rng, donor=donor)

    def _donor(self, case: Case, rng: np.random.Generator) -> np.ndarray:
        others = [c for c in self.donors.get(case.split, ()) if c.group != case.group]
        if not others:
            raise CaseError(
                f"{case.image_id}: no other image of split '{case.split}' has a ground truth to swap in; "
                "take 'swap' out of variants.families"
            )
        return read_mask(others[int(rng.integers(len(others)))].truth_paths[0])

    def _write(self, loaded: LoadedCase, made: Made, pooled: np.ndarray, natural_id: str) -> None:
        case, config, planned, samples, mask = loaded.case, self.config, made.planned, made.samples, made.mask
        moments = Moments.of(samples.logits)
        maps = {"probability": moments.mean_p} | all_maps(moments, config.measures)
        arrays = {f"self/{name}": value.cpu().numpy() for name, value in maps.items()}
        arrays["features/embedding"] = pooled
        if samples.token is not None:
            arrays["features/mask_token"] = samples.token.float().cpu().numpy()
        natural = planned.variant == "natural"
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
            segmenter=self.segmenter.name if made.own or not natural else "given",
            weights_sha256=self.segmenter.weights_sha256,
            prompter=planned.prompter,
            prompt=json.dumps(made.prompt.as_dict()),
            sampler=config.sampler.name,
            n_samples=len(samples.logits),
            seed=config.seed,
            variant=planned.variant,
            severity=made.severity,
            natural=natural,
            parent_record_id="" if natural else natural_id,
            refined_by="",
            fused_by="",
            dice=float(np.mean([dice(mask, truth) for truth in truths])) if truths else math.nan,
            iou=float(np.mean([iou(mask, truth) for truth in truths])) if truths else math.nan,
            scores=scores(samples, mask_on_grid(mask, samples), own=made.own, moments=moments),
        )
        self.writer.write(record, mask, arrays)


def pooled_embedding(embedding: Embedding) -> torch.Tensor:
    """`[c]`: the mean of an image's encoding over its valid, unpadded part."""
    features = embedding.features[0].float()
    frame = embedding.frame
    h, w = (max(1, round(side * n / frame.size)) for side, n in zip(frame.resized, features.shape[-2:], strict=True))
    return features[:, :h, :w].mean(dim=(1, 2)).cpu()
