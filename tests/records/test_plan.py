"""What is made of a case follows from config and ids alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sqp.config.generate import SEEN, GenerateConfig, VariantPlan
from sqp.core.types import Case
from sqp.records.plan import plan_case

CASE = Case("a", Path("a.png"), truth_paths=(Path("t.png"),), split="train")
CONFIG = GenerateConfig(images=Path("x"), out=Path("y"), variants={"train": VariantPlan(["centre"], 2, 0.5, 9)})


def test_the_plan_holds_what_was_asked_for():
    plan = plan_case(CASE, CONFIG)
    assert [p.prompter for p in plan[:4]] == ["otsu", "centre", "truth_box", "truth_box"]
    assert all(0 <= p.jitter <= 0.5 for p in plan)
    assert [p.variant for p in plan[4:]] != sorted(p.variant for p in plan[4:])
    assert set(p.variant for p in plan[4:]) == set(SEEN)  # nine draws in turn hold all six families
    assert len({p.record_id for p in plan}) == len(plan) == 13


def test_the_same_plan_every_time_and_another_for_another_image_or_seed():
    assert plan_case(CASE, CONFIG) == plan_case(CASE, CONFIG)
    ids = {p.record_id for p in plan_case(CASE, CONFIG)}
    for other in (plan_case(replace(CASE, image_id="b"), CONFIG), plan_case(CASE, replace(CONFIG, seed=1))):
        assert not ids & {p.record_id for p in other}


def test_a_split_without_a_plan_has_the_natural_record_alone():
    assert [p.variant for p in plan_case(replace(CASE, split="test"), CONFIG)] == ["natural"]


def test_without_truth_there_is_no_simulated_manual_prompt():
    assert "truth_box" not in {p.prompter for p in plan_case(replace(CASE, truth_paths=()), CONFIG)}


def test_a_given_mask_is_boxed_and_its_id_changes_with_its_file(tmp_path):
    path, ids = tmp_path / "m.png", {plan_case(CASE, CONFIG)[0].record_id}
    for content in (b"one", b"two"):
        path.write_bytes(content)
        given = plan_case(replace(CASE, mask_path=path), CONFIG)[0]
        assert given.prompter == "mask_box"
        ids.add(given.record_id)
    assert len(ids) == 3


def test_targets_spread_over_the_whole_range():
    plan = VariantPlan(corruptions=6)
    config = replace(CONFIG, variants={"*": plan})
    targets = [p.target for i in range(400) for p in plan_case(replace(CASE, image_id=str(i)), config)[1:]]
    assert np.std(targets) == pytest.approx(0.273, abs=0.01)  # of Beta(1.3, 1)
    assert np.histogram(targets, 10, (0, 1))[0].max() < 0.2 * len(targets)
