from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.data.split_files import check_splits
from sqp.data.splits import (
    FRACTIONS,
    Splits,
    apply_splits,
    halved,
    ham10000_splits,
    isic2018_splits,
    make_splits,
    subset_by_group,
    with_default_splits,
)

TWO_IDS = (("HAM_0004919", "train"), ("HAM_0000140", "test"))


def cases_of(groups, split="", truths=1):
    """One case per entry of `groups`."""
    return [
        Case(f"{split}{k:05d}", Path("a.png"), (Path("t.png"),) * truths, group=f"{split}g{g}", split=split)
        for k, g in enumerate(groups)
    ]


def ids(splits, name):
    return sorted(image_id for group in splits.splits[name].values() for image_id in group)


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


def test_halves_of_train_for_cross_fitting():
    cases = cases_of([k // 2 for k in range(120)])
    splits = make_splits(cases, seed=1)
    one, two = halved(splits)
    for half in (one, two):
        check_splits(half, cases)
        assert {name: ids(half, name) for name in ("val", "test")} == {
            name: ids(splits, name) for name in ("val", "test")
        }
    assert ids(one, "segmenter") == ids(two, "train") and ids(two, "segmenter") == ids(one, "train")
    assert sorted(ids(one, "segmenter") + ids(one, "train")) == ids(splits, "train")
    assert abs(len(one.splits["segmenter"]) - len(one.splits["train"])) <= 1
    with pytest.raises(ConfigError, match="has 1 groups; two halves need at least two"):
        halved(Splits({"train": {"g": ("a",)}}))


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
    assert all(image_id.startswith("test") for image_id in ids(splits, "test"))


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
    assert ids(splits, "raters") == ["d0", "train00000"]  # the other image of that group goes with it
    assert len(ids(splits, "train")) + len(ids(splits, "calibration")) == 99
    assert abs(len(ids(splits, "train")) - 0.75 * 99) <= 1


def test_near_duplicates_across_official_splits_leave_what_comes_after():
    """Group 1 spans train and test, 2 train and val, 3 val and test, 4 all three."""

    def spanning(split, groups):
        return [Case(f"{split}-{g}", Path("a.png"), group=f"dup{g}", split=split) for g in groups]

    plain = [*cases_of(range(100), "train"), *cases_of(range(10), "val"), *cases_of(range(10), "test")]
    dup = [*spanning("train", "124"), *spanning("val", "234"), *spanning("test", "134")]
    for make in (isic2018_splits, ham10000_splits):
        splits = make([*plain, *dup])
        check_splits(splits, [*plain, *dup])
        left = {image for images in splits.left_out.values() for image in images}
        assert left == {"train-1", "train-2", "train-4", "val-3", "val-4"}
        assert {"test-1", "test-3", "test-4"} < set(ids(splits, "test")) and "val-2" in ids(splits, "val")
        placed = {case.image_id: case.split for case in apply_splits([*plain, *dup], splits)}
        assert {placed[image] for image in left} == {""}
        with pytest.raises(ConfigError, match="leakage: group dup"):  # who forgets one is told
            check_splits(replace(splits, left_out={}), [*plain, *dup])
        with pytest.raises(ConfigError, match="and among those left out: keep one"):
            check_splits(replace(splits, left_out={"dup1": ("test-1",)}))


def test_a_lesion_of_ham10000_under_two_ids_is_one():
    pair = [Case(f"i{k}", Path("a.png"), group=g, split=s) for k, (g, s) in enumerate(TWO_IDS)]
    cases = [*cases_of(range(100), "train"), *cases_of([1], "val"), *pair]
    splits = ham10000_splits(cases)
    assert splits.left_out == {"HAM_0000140": ("i0",)} and ids(splits, "test") == ["i1"]
    check_splits(splits, cases)


def test_official_splits_are_needed():
    with pytest.raises(ConfigError, match=r"labels\.csv"):
        ham10000_splits(cases_of(range(10)))


def test_cases_that_are_not_listed_get_no_split():
    cases = cases_of(range(40))
    splits = make_splits(cases)
    stranger = Case("other", Path("a.png"), split="train")
    placed = apply_splits([stranger, *cases], splits)
    assert [case.image_id for case in placed if not case.split] == ["other"]
    loose = [Case(case.image_id, case.image_path) for case in cases]
    assert [case.group for case in apply_splits(loose, splits)] == [case.group for case in cases]


def test_a_split_file_of_other_data_is_refused():
    splits = make_splits(cases_of(range(40)))
    with pytest.raises(ConfigError, match=r"none of the 1 images of the data, e\.g\. 'other'.*sqp splits --images"):
        apply_splits([Case("other", Path("a.png"))], splits)
    assert apply_splits([], splits) == []


def test_a_split_file_does_not_get_round_the_groups_of_the_data():
    splits = Splits({"train": {"a": ("a",), "b": ("b",)}, "test": {"c": ("c",)}})
    lesion = [
        Case(name, Path("x.png"), group=group) for name, group in (("a", "L"), ("b", "L"), ("d", "L"), ("c", "M"))
    ]
    assert [case.split for case in apply_splits(lesion, splits)] == ["train", "train", "", "test"]
    cut = [*lesion[:3], Case("c", Path("x.png"), group="L")]
    with pytest.raises(ConfigError, match=r"group L of the data .* image a in train and image c in test"):
        apply_splits(cut, splits)


def test_default_splits_are_by_group_and_only_where_there_are_none():
    cases = cases_of([k // 2 for k in range(80)])
    placed, splits = with_default_splits(cases, seed=4)
    assert splits == make_splits(cases, seed=4)
    assert placed == apply_splits(cases, splits)
    assert {case.split for case in placed} == set(FRACTIONS)
    assert with_default_splits(cases[::-1], seed=4)[1] == splits
    official = [*cases, Case("x", Path("a.png"), split="test")]
    assert with_default_splits(official) == (official, None)


def test_default_splits_need_truth_and_enough_groups():
    bare = cases_of(range(40), truths=0)
    assert with_default_splits(bare) == (bare, None)
    assert with_default_splits(cases_of([0, 0, 1]))[1] is None
    unknown = [Case(f"u{k}", Path("a.png")) for k in range(40)]
    placed, splits = with_default_splits([*cases_of(range(40)), *unknown])
    assert splits == make_splits(cases_of(range(40)))
    assert {case.split for case in placed[40:]} == {""}


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
