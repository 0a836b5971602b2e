"""One case: what cannot be made is told, and costs that record and what comes of it alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeSegmenter

from sqp.config.generate import VariantPlan
from sqp.core.errors import CaseError
from sqp.data import read_mask
from sqp.prompts import Prompter
from sqp.records import RecordSet, record_maker
from sqp.records.make import collect_cases
from sqp.records.record_maker import RecordMaker


@pytest.fixture
def cases(config):
    """Three images of one split, each a group of its own."""
    return [replace(case, split="train", group=case.image_id) for case in collect_cases(config)[0][:3]]


def made(config, case, donors=()):
    """The outcome for a case, and the table of its records."""
    maker = RecordMaker(config, FakeSegmenter(), donors)
    maker.writer.check({})
    outcome = maker(case, set())
    maker.writer.consolidate()
    return outcome, RecordSet(config.out).table


def test_a_corruption_that_cannot_be_made_is_told(config, cases):
    plan = {"*": VariantPlan(corruptions=1, families=["swap"])}
    (count, problems), table = made(replace(config, variants=plan), cases[0], donors=cases[:1])
    assert count == 1 == len(table) and table.natural.all()
    assert len(problems) == 1 and "no other image of split 'train' has a readable ground truth" in problems[0]


def test_an_impossible_prompt_costs_its_own_fused_record_alone(config, cases, monkeypatch):
    def blind(image, **options):
        raise CaseError("nothing can be seen")

    monkeypatch.setitem(record_maker.PROMPTERS, "blind", Prompter(blind))
    plan = {"*": VariantPlan(prompters=["blind", "centre"])}
    (count, problems), table = made(replace(config, variants=plan, fusion="power_law"), cases[0])
    assert problems == ["nothing can be seen"] and count == 4
    assert sorted(table.prompter[table.fused_by != ""]) == sorted(table.prompter[table.fused_by == ""])
    assert set(table.prompter) == {"otsu", "centre"}


def test_an_impossible_refinement_costs_its_own_record_alone(config, cases):
    kinds = {"refine": ["ur_sam_midpoint", "unc_fpc"], "refine_options": {"unc_fpc": {"threshold": 0.9}}}
    (count, problems), table = made(replace(config, prompter="centre", variants={}, **kinds), cases[0])
    assert count == 2 and sorted(table.refined_by) == ["", "unc_fpc"]
    assert len(problems) == 1 and "points only" in problems[0]  # no box to rectify


def test_a_donor_that_cannot_be_read_is_not_asked_again(config, cases, tmp_path):
    """Each of the others is tried before it is said that none can be read."""
    (tmp_path / "broken.png").write_bytes(b"no mask")
    broken = replace(cases[1], truth_paths=(tmp_path / "broken.png",))
    maker = RecordMaker(config, FakeSegmenter(), [broken, cases[2]])
    for seed in range(12):
        assert (maker._donor(cases[0], np.random.default_rng(seed)) == read_mask(cases[2].truth_paths[0])).all()
