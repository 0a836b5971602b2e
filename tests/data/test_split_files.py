from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.core.types import Case
from sqp.data.split_files import check_no_leakage, check_one_group, check_splits, read_splits, write_splits
from sqp.data.splits import Splits, make_splits

GOOD = Splits({"train": {"g1": ("a", "b")}, "test": {"g2": ("c",)}}, "mine", 5, "by hand", "0" * 64)
ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs" / "splits").glob("*.json"))


def test_written_splits_come_back(tmp_path):
    cases = [Case(f"i{k}", Path("a.png"), group=f"g{k // 2}") for k in range(80)]
    splits = replace(make_splits(cases, seed=2, dataset="mine"), labels_sha256="ab")
    write_splits(tmp_path / "new" / "s.json", splits)
    assert read_splits(tmp_path / "new" / "s.json") == splits
    assert json.loads((tmp_path / "new" / "s.json").read_text())["counts"] == splits.counts()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": {"g1": ("a",)}, "test": {"g1": ("b",)}}, "group g1 sits in two splits, train and test"),
        ({"train": {"g1": ("a",)}, "test": {"g2": ("a",)}}, "image a is listed in the groups g1 and g2"),
        ({"trian": {"g1": ("a",)}}, "did you mean 'train'"),
    ],
)
def test_leaks_are_named(tmp_path, splits, message):
    with pytest.raises(ConfigError, match=message):
        check_splits(Splits(splits))
    with pytest.raises(ConfigError, match=message):
        write_splits(tmp_path / "s.json", Splits(splits))
    (tmp_path / "planted.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(ConfigError, match=rf"planted\.json.*{message}"):
        read_splits(tmp_path / "planted.json")


def test_groups_of_the_cases_count():
    check_splits(GOOD, [Case("a", Path("x"), group="g1"), Case("c", Path("x"), group="g2")])
    cut = [Case("a", Path("x"), group="lesion"), Case("c", Path("x"), group="lesion")]
    with pytest.raises(ConfigError, match="group lesion sits in two splits"):
        check_splits(GOOD, cut)
    half = [Case("a", Path("x"), group="lesion"), Case("new", Path("x"), group="lesion")]
    with pytest.raises(ConfigError, match="train and no split"):
        check_splits(GOOD, half)


def test_no_leakage_between_record_sets():
    first = pd.DataFrame({"image_id": ["a", "a", "b"], "group": ["g", "g", "h"], "split": ["train", "train", "test"]})
    check_no_leakage(first)
    same_image = pd.DataFrame({"image_id": ["a"], "group": ["other"], "split": ["test"]})
    with pytest.raises(ConfigError, match="image a sits in two splits, train and test"):
        check_no_leakage(pd.concat([first, same_image]))
    with pytest.raises(ConfigError, match="group g sits in two splits"):
        check_no_leakage([*first.to_dict("records"), {"image_id": "z", "group": "g", "split": "val"}])
    unsplit = pd.DataFrame({"image_id": ["a", "b"], "group": ["g", "h"], "split": ["", None]})
    check_no_leakage(pd.concat([first, unsplit]))
    with pytest.raises(ConfigError, match="no column group"):
        check_no_leakage(first.drop(columns="group"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is broken"),
        ("{}", "lacks"),
        ("[]", "lacks"),
        ('{"splits": {"train": {"g": ["a"], "g": ["b"]}}}', "'g' is listed twice"),
    ],
)
def test_broken_split_files(tmp_path, text, message):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"s\.json.*{message}"):
        read_splits(tmp_path / "s.json")


def test_missing_split_file(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none\.json does not exist: make it with .*sqp splits --images DATA --out OUT\.json"
    ):
        read_splits(tmp_path / "none.json")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_committed_splits(file):
    """Read, checked, and as design.md says."""
    splits = read_splits(file)
    counts = {name: entry["images"] for name, entry in splits.counts().items()}
    assert json.loads(file.read_text())["counts"] == splits.counts()
    share = counts["train"] / (counts["train"] + counts["calibration"])
    left = sum(map(len, splits.left_out.values()))
    kept_groups = {name: set(splits.splits.get(name, ())) for name in ("test", "val")}
    assert all(group in kept_groups["test"] | kept_groups["val"] for group in splits.left_out)
    if splits.dataset == "isic2018":
        assert (sum(counts.values()), left, counts["test"], counts["raters"]) == (2577, 17, 531, 87)
        assert share == pytest.approx(0.75, abs=0.002)
    elif splits.dataset == "hippocampus":  # by file, its own choice
        assert counts == {"segmenter": 60, "train": 80, "calibration": 39, "val": 26, "test": 55}
    else:
        assert (sum(counts.values()), left, counts["test"], counts["val"]) == (10014, 1, 2034, 1007)
        assert counts["segmenter"] / 6974 == pytest.approx(0.45, abs=0.001)
        assert share == pytest.approx(40 / 55, abs=0.001)


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "spread").glob("*.json")), ids=lambda file: file.stem)
def test_frozen_masks_are_of_test_images(file):
    """Of the split file as it is now: a set frozen on an earlier one holds as long as this is so."""
    (data,) = (one for one in FILES if file.stem == one.stem or file.stem.startswith(f"{one.stem}_"))
    frozen = json.loads(file.read_text())
    test = {image_id for ids in read_splits(data).splits[frozen["split"]].values() for image_id in ids}
    assert frozen["split"] == "test" and {name.split("-")[0] for name in frozen["masks"]} <= test


def test_left_out_images_are_kept_in_the_file(tmp_path):
    splits = Splits({"train": {"g": ("a",)}, "test": {"h": ("b",)}}, left_out={"h": ("c",)})
    write_splits(tmp_path / "s.json", splits)
    assert read_splits(tmp_path / "s.json") == splits
    (tmp_path / "s.json").write_text(json.dumps({"splits": {}, "left_out": ["c"]}))
    with pytest.raises(ConfigError, match="make it again"):
        read_splits(tmp_path / "s.json")


def test_committed_data_sets_share_nothing():
    assert {file.stem for file in FILES} >= {"ham10000", "isic2018"}
    rows = [
        {"image_id": image_id, "group": group, "split": split}
        for file in FILES
        for split, groups in read_splits(file).splits.items()
        for group, ids in groups.items()
        for image_id in ids
    ]
    check_no_leakage(rows)
    rows.append({**rows[0], "split": "val" if rows[0]["split"] != "val" else "test"})
    with pytest.raises(ConfigError, match="leakage"):
        check_no_leakage(rows)


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f").startswith("ba7816bf")


def test_an_image_has_one_group_in_its_data_set():
    table = pd.DataFrame({"dataset": ["a", "a", "b"], "image_id": ["1", "1", "1"], "group": ["g", "g", "h"]})
    check_one_group(table)
    with pytest.raises(ConfigError, match="image 1 is in the group g and in the group h: generate"):
        check_one_group(table.assign(dataset="a"))
