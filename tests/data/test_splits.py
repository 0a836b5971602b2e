from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.data.split_files import check_splits
from sqp.data.splits import (
    FRACTIONS,
    apply_splits,
    ham10000_splits,
    isic2018_splits,
    make_splits,
    subset_by_group,
)
from sqp.errors import ConfigError
from sqp.types import Case


def cases_of(groups, split="", truths=1):
    """One case per entry of `groups`."""
    return [
        Case(f"{split}{k:05d}", Path("a.png"), (Path("t.png"),) * truths, group=f"{split}g{g}", split=split)
        for k, g in enumerate(groups)
    ]


@given(sizes=st.lists(st.integers(1, 5), min_size=60, max_size=150), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_groups_stay_whole_and_fractions_hold(sizes, seed):
    cases = cases_of([g for g, size in enumerate(sizes) for _ in range(size)])
    splits = make_splits(cases, seed=seed)
    check_splits(splits, cases)
    placed = apply_splits(cases, splits)
    assert all(case.split for case in placed)
    for name, fraction in FRACTIONS.items():
        share = sum(case.split == name for case in placed)
        assert abs(share - fraction * len(cases)) <= max(sizes)


def test_splits_do_not_depend_on_order_but_on_the_seed():
    cases = cases_of(range(60))
    assert make_splits(cases, seed=3) == make_splits(cases[::-1], seed=3)
    assert make_splits(cases, seed=3).splits != make_splits(cases, seed=4).splits


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.5}, "sum to 1"),
        ({"training": 1.0}, "unknown split"),
        ({"train": 1.5, "val": -0.5}, "positive"),
    ],
)
def test_bad_fractions(fractions, message):
    with pytest.raises(ConfigError, match=message):
        make_splits(cases_of(range(9)), fractions)


def test_too_few_groups():
    with pytest.raises(ConfigError, match="2 groups are too few"):
        make_splits(cases_of([0, 0, 1]))


def test_ham10000_keeps_the_official_test_and_cuts_train_by_lesion():
    cases = [
        *cases_of([k // 2 for k in range(400)], "train"),
        *cases_of(range(30), "val"),
        *cases_of(range(40), "test"),
    ]
    splits = ham10000_splits(cases)
    check_splits(splits, cases)
    counts = {name: entry["images"] for name, entry in splits.counts().items()}
    assert counts == {"segmenter": 180, "train": 160, "calibration": 60, "val": 30, "test": 40}
    assert all(image_id.startswith("test") for image_id in splits.image_ids("test"))


def test_isic2018_takes_the_raters_groups_out_of_everything():
    double = [Case("d0", Path("a.png"), (Path("1.png"), Path("2.png")), group="traing0", split="train")]
    cases = [
        *cases_of(range(100), "train"),
        *double,
        *cases_of(range(10), "val"),
        *cases_of(range(10), "test"),
    ]
    splits = isic2018_splits(cases)
    check_splits(splits, cases)
    assert splits.image_ids("raters") == ["d0", "train00000"]  # the other image of that group goes with it
    assert len(splits.image_ids("train")) + len(splits.image_ids("calibration")) == 99
    assert abs(len(splits.image_ids("train")) - 0.75 * 99) <= 1


def test_official_splits_are_needed():
    with pytest.raises(ConfigError, match=r"labels\.csv"):
        ham10000_splits(cases_of(range(10)))


def test_cases_that_are_not_listed_get_no_split():
    cases = cases_of(range(40))
    splits = make_splits(cases)
    stranger = Case("other", Path("a.png"), split="train")
    assert apply_splits([stranger], splits)[0].split == ""
    loose = [Case(case.image_id, case.image_path) for case in cases]
    assert [case.group for case in apply_splits(loose, splits)] == [case.group for case in cases]


@given(n=st.integers(1, 700), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=25)
def test_subset_keeps_whole_groups_and_proportions(n, seed):
    cases = [
        *cases_of([k // 3 for k in range(300)], "train"),
        *cases_of([k // 2 for k in range(200)], "test"),
    ]
    kept = subset_by_group(cases, n, seed)
    assert min(n, len(cases)) <= len(kept) <= n + 5
    groups = {case.group for case in kept}
    assert sum(case.group in groups for case in cases) == len(kept)
    assert abs(sum(case.split == "train" for case in kept) - 0.6 * min(n, 500)) <= 3


def test_a_smaller_subset_lies_in_the_larger():
    cases = cases_of(range(200), "train")
    small, large = subset_by_group(cases, 20), subset_by_group(cases, 90)
    assert {c.image_id for c in small} < {c.image_id for c in large}
