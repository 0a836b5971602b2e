"""One case -> its records: one encoding of the image serves every prompt, sample and mask of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sqp.config.generate import GenerateConfig
from sqp.config.referee import IN_CONTEXT, NONE
from sqp.core.errors import CaseError
from sqp.core.files import stamp_of
from sqp.core.seeding import numpy_generator, torch_generator
from sqp.core.types import Case, Embedding, Prompt, Samples, Segmenter
from sqp.core.volume import Geometry, Volume
from sqp.data import corrupt, corrupt_to_dice
from sqp.metrics.overlap import dice
from sqp.prompts import PROMPTERS, prompter_for
from sqp.records import Record, RecordWriter
from sqp.records.cascade import Cascade
from sqp.records.draft import Draft, Findings, joined, of_mask, of_probability, of_samples, record_of
from sqp.records.encodings import encoded
from sqp.records.load import LoadedCase, load_case, read_truth
from sqp.records.plan import PlannedRecord, plan_case
from sqp.records.referees.referee import Referee
from sqp.records.referees.references import AMONG, STRANGE, build_encoder, encoder_of, in_context
from sqp.records.referees.shown import Shown, reversed_findings
from sqp.records.referees.supervised import SupervisedReferee
from sqp.records.refine import refined_mask
from sqp.records.resume import files_of
from sqp.segmenters.by_examples import ByExamples, Examples, Reference
from sqp.uncertainty import OF_THE_IMAGE, mask_from_logits, sample_many, sampler_options
from sqp.uncertainty.likeness import UNLIKE

DONOR_TRIES = 5
Made = tuple[Record, np.ndarray, dict[str, np.ndarray], Geometry | None]
"""A record, its mask, its maps, and the geometry of a volume: what `RecordWriter.write` takes."""


class RecordMaker:
    """Makes and writes the records of cases, with one segmenter that is built once, or none: then masks are given.

    `donors` are the cases whose masks may be swapped into another image; a donor is of the same split, so that no
    mask crosses from one split to another.
    """

    def __init__(
        self,
        config: GenerateConfig,
        segmenter: Segmenter | None,
        donors: Sequence[Case] = (),
        references: Sequence[Reference] = (),
    ) -> None:
        self.config = config
        self.segmenter = segmenter
        self.cascade = Cascade(config) if config.cascade else None
        self.referee = Referee(config, segmenter, references) if config.referee.name != NONE else None
        self.encoder = self._encoder() if references else None
        self.shown = self.referee.shown if self.referee else None
        if self.shown is None and self.encoder is not None:
            self.shown = Shown(
                segmenter.examples
                if isinstance(segmenter, ByExamples)
                else Examples(in_context(config, self.encoder), references)
            )
        self.supervised = SupervisedReferee(config, segmenter) if config.supervised.network else None
        self.marks: set[str] = set()  # of the image of the last call: `AMONG` the references, `STRANGE` to them
        self.writer = RecordWriter(config.out)
        self.donors: dict[str, list[Case]] = {}
        for case in donors:
            if case.truth_paths:
                self.donors.setdefault(case.split, []).append(case)

    def _encoder(self) -> Segmenter:
        """The segmenter whose encoding the references are compared in: one that is there, if it can be."""
        if isinstance(self.segmenter, ByExamples):
            return self.segmenter
        if self.referee is not None:
            return self.referee.segmenter
        one = (self.config.segmenter.name, *self.config.segmenter.files())
        return self.segmenter if self.segmenter and one == encoder_of(self.config) else build_encoder(self.config)

    def __call__(self, case: Case, done: set[str]) -> tuple[int, list[str]]:
        """Write the records of a case that are not `done`: how many, and why some could not be made.

        Raises CaseError where none can: a file of the case is broken, or its first prompt is impossible.
        """
        plan = plan_case(case, self.config)
        if done.issuperset(planned.record_id for planned in plan):
            return 0, []
        loaded = load_case(case)
        loaded.files = stamp_of(files_of(case))
        count, problems = 0, list[str]()
        for record in self.made(loaded, plan, done, problems):
            self.writer.write(*record)
            count += 1
        return count, problems

    def encode(self, image: Any) -> Embedding | None:
        """The encoding of an image by the segmenter, None without one."""
        return None if self.segmenter is None else encoded(self.segmenter, image, self.config.encodings)

    def made(
        self,
        loaded: LoadedCase,
        plan: Sequence[PlannedRecord],
        done: set[str],
        problems: list[str],
        embedding: Embedding | None = None,
    ) -> Iterator[Made]:
        """The records of a case that are not `done`, one by one; to `problems` is added why some could not be made.

        `embedding` is `encode` of the image, where there is one already. Raises CaseError as a call does.
        """
        self.marks = {AMONG} if self.shown is not None and self.shown.holds(loaded.image) else set()
        embedding = self.encode(loaded.image) if embedding is None else embedding
        of_image = [planned for planned in plan if planned.variant == "natural" and not planned.parent]
        natural = self._natural(loaded, embedding, of_image, problems)
        refined = self._refined(loaded, natural, [planned for planned in plan if planned.parent], problems)
        corrupted = [planned for planned in plan if planned.variant != "natural"]
        drafts = [*natural, *self._corrupted(loaded, embedding, corrupted, natural[0], problems), *refined]
        new = [draft for draft in drafts if draft.planned.record_id not in done]
        for draft, findings in zip(new, self._refereed(loaded, new, embedding), strict=True):
            yield self._record(loaded, draft, findings, embedding)

    def _refereed(self, loaded: LoadedCase, drafts: list[Draft], embedding: Embedding | None) -> list[Findings]:
        """What the referees find of each mask, and the references; the supervised referee's mask may prompt the other.

        They see one encoding of the image.
        """
        if not drafts:
            return []
        drawn, parts, own = None, [[Findings()] * len(drafts)], embedding
        if self.supervised is not None:
            drawn, found = self.supervised(loaded, drafts)
            parts.append(found)
        if self.referee is not None:
            embedding = self.referee.encode(loaded.image, embedding)
            parts.append(self.referee(loaded, drafts, embedding, drawn))
        if self.shown is not None and self.encoder is not None:
            if own is not None and self.encoder is self.segmenter:
                embedding = own
            elif embedding is None or self.referee is None:
                embedding = encoded(self.encoder, loaded.image, self.config.encodings)
            parts.append(self.shown.reverse(loaded.image, embedding, drafts))
            self.marks |= {STRANGE} if parts[-1][0].scores["references_likeness"] < UNLIKE else set()
        elif self.config.referee.name in IN_CONTEXT:
            parts.append([reversed_findings([], 0)] * len(drafts))
        return [joined(of_mask) for of_mask in zip(*parts, strict=True)]

    def _natural(
        self, loaded: LoadedCase, embedding: Embedding | None, plan: list[PlannedRecord], problems: list[str]
    ) -> list[Draft]:
        """The segmenter's own masks under each prompter, or the given mask."""
        prompts = [(plan[0], self._prompt(loaded, plan[0], loaded.given))]
        for planned in plan[1:]:
            try:
                prompts.append((planned, self._prompt(loaded, planned, loaded.given)))
            except CaseError as error:
                problems.append(str(error))
        drafts = []
        for (planned, prompt), samples in zip(prompts, self._sample(loaded, embedding, prompts), strict=True):
            if loaded.given is not None and planned.prompter == "mask_box":
                drafts.append(Draft(planned, samples, prompt, loaded.given, planned.jitter, "given"))
            elif self.segmenter is not None and samples is not None:
                mask, maker = mask_from_logits(samples), self.segmenter.name
                drafts.append(Draft(planned, samples, prompt, mask, planned.jitter, maker, planned.prompter))
        return drafts

    def _refined(
        self, loaded: LoadedCase, natural: list[Draft], plan: list[PlannedRecord], problems: list[str]
    ) -> list[Draft]:
        """Fused and refined masks of the natural ones, from the same samples."""
        parents = {draft.planned.record_id: draft for draft in natural}
        drafts = []
        for planned in plan:
            parent = parents.get(planned.parent)
            if parent is None or parent.samples is None:  # its prompt was impossible: a problem already
                continue
            try:
                mask, behind = refined_mask(self.config, planned, loaded.image, parent.samples, parent.prompt)
            except CaseError as error:
                problems.append(str(error))
                continue
            maps = {} if behind is None else {"refined/probability": behind}
            drafts.append(replace(parent, planned=planned, mask=mask, parent=planned.parent, maps=maps, grids={}))
        return drafts

    def _corrupted(
        self,
        loaded: LoadedCase,
        embedding: Embedding | None,
        plan: list[PlannedRecord],
        natural: Draft,
        problems: list[str],
    ) -> list[Draft]:
        """Corruptions of the natural mask, or of the truth where the natural mask is worse than the target."""
        prompts: list[tuple[PlannedRecord, Prompt]] = []
        sources: list[tuple[np.ndarray, float, str, str, str]] = []
        for planned in plan:
            from_truth = loaded.truth is not None and dice(natural.mask, loaded.truth) < planned.target
            base = loaded.truth if from_truth and loaded.truth is not None else natural.mask
            try:
                mask, severity = self._corrupt(loaded, planned, base)
                prompts.append((planned, self._prompt(loaded, planned, mask)))
            except CaseError as error:
                problems.append(str(error))
                continue
            of_natural = (natural.maker, natural.drawn_by, natural.planned.record_id)
            sources.append((mask, severity, *(("truth", "", "") if from_truth else of_natural)))
        if self.segmenter is None or self.segmenter.promptable:
            samples = self._sample(loaded, embedding, prompts)
        else:  # no mask prompts it: its samples of this image are there already
            samples = [natural.samples] * len(prompts)
        return [
            Draft(planned, drawn, prompt, *source)
            for (planned, prompt), drawn, source in zip(prompts, samples, sources, strict=True)
        ]

    def _sample(
        self, loaded: LoadedCase, embedding: Embedding | None, prompts: list[tuple[PlannedRecord, Prompt]]
    ) -> Sequence[Samples | None]:
        if self.segmenter is None or not prompts:
            return [None] * len(prompts)
        sampler, segmenter = self.config.sampler, self.segmenter
        if isinstance(segmenter, ByExamples):
            segmenter = segmenter.apart_from(loaded.image)
        by_image = sampler.name in OF_THE_IMAGE
        keys = [loaded.case.image_id if by_image else planned.record_id for planned, _ in prompts]
        return sample_many(
            segmenter,
            loaded.image,
            [prompt for _, prompt in prompts],
            sampler.n,
            [torch_generator(self.config.seed, key) for key in keys],
            sampler=sampler.name,
            embedding=embedding,
            **{name: getattr(sampler, name) for name in sampler_options(sampler.name)},
        )

    def _prompt(self, loaded: LoadedCase, planned: PlannedRecord, mask: np.ndarray | None) -> Prompt:
        name, options = self.config.prompter_named(planned.prompter)
        volume, ignored = isinstance(loaded.image, Volume), self.segmenter is not None and not self.segmenter.promptable
        if volume and ignored and not getattr(PROMPTERS.get(planned.prompter), "volumes", None):
            name, options = "whole_image", {}  # a prompter of images cannot be asked, and nobody looks at its prompt
        options |= {"jitter": planned.jitter} if planned.jitter else {}
        generator = numpy_generator(self.config.seed, planned.record_id, "prompt")
        prompts = prompter_for(name, volume)(
            loaded.image, truth=loaded.truth, mask=mask, generator=generator, **options
        )
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
                return read_truth(others.pop(int(rng.integers(len(others)))))
            except CaseError:
                continue
        raise CaseError(
            f"no other image of split '{case.split}' has a readable ground truth to swap in: "
            "take 'swap' out of variants.families"
        )

    def _record(self, loaded: LoadedCase, draft: Draft, refereed: Findings, embedding: Embedding | None) -> Made:
        if self.segmenter is None or embedding is None:
            parts, weights = [], ""
        else:
            own = draft.planned.variant == "natural" and draft.maker == self.segmenter.name and not draft.planned.parent
            encoded = embedding if self.segmenter.promptable else None
            parts, weights = [of_samples(draft, self.config.measures, own, encoded)], self.segmenter.weights_sha256
        parts += [of_mask(draft), refereed]
        if loaded.probability is not None:
            parts.append(of_probability(draft, loaded.probability))
        findings = joined(parts)
        arrays = {name: value.cpu().numpy() for name, value in findings.maps.items()}
        geometry = getattr(loaded.image, "geometry", None)  # a volume's
        return record_of(loaded, draft, findings, self.config, weights), draft.mask, arrays, geometry
