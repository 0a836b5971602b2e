from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest
from recordsets import CONFIG, make_record_set

from sqp.core.errors import ConfigError
from sqp.quality.bundle.provenance import check_expected, common_expectation, expectation, hashes_of
from sqp.records import RecordSet
from sqp.records.run_info import fingerprint

ROWS = pd.DataFrame(
    {
        "image_id": ["a", "a", "b"],
        "group": ["g", "g", "h"],
        "split": ["train", "train", "val"],
        "dataset": ["isic2018", "isic2018", ""],
        "licence": ["CC0", "CC0", "CC-BY"],
    }
)


def test_fingerprint_does_not_depend_on_order_or_repetition() -> None:
    assert fingerprint(ROWS)["sha256"] == fingerprint(ROWS.iloc[[2, 1]])["sha256"]
    assert fingerprint(ROWS)["sha256"] != fingerprint(ROWS.assign(split="val"))["sha256"]


def test_counts_and_licences() -> None:
    told = fingerprint(ROWS)
    assert told["counts"] == {
        "train": {"records": 2, "images": 1, "groups": 1},
        "val": {"records": 1, "images": 1, "groups": 1},
    }
    assert told["datasets"] == ["isic2018"] and told["licences"] == ["CC-BY", "CC0"]


def test_groups_are_hashed() -> None:
    assert hashlib.sha256(b"g").hexdigest()[:16] in hashes_of(ROWS["group"]) and len(hashes_of(ROWS["group"])) == 2


def test_no_path_of_this_machine_is_kept(tmp_path: Path) -> None:
    segmenter = {**CONFIG["segmenter"], "checkpoint": "/home/me/weights.pt"}
    config = {**CONFIG, "images": "/home/me/images", "segmenter": segmenter}
    kept = expectation(RecordSet(make_record_set(tmp_path, {"test": 1}, config=config)))
    assert "/home/me" not in str(kept)
    assert kept["segmenter"]["name"] == "litemedsam" and kept["prompter"] == "otsu"


def test_the_config_to_make_new_records_by() -> None:
    other = {**CONFIG, "seed": 7, "prompter": "centre"}
    assert common_expectation([CONFIG, other], "bundle") == CONFIG
    with pytest.raises(ConfigError, match=r"several kinds, sampler\.name='prompt_jitter' and sampler\.name='tta'"):
        common_expectation([CONFIG, {**CONFIG, "sampler": {**CONFIG["sampler"], "name": "tta"}}], "bundle")
    with pytest.raises(ConfigError, match="does not say how its records were made"):
        common_expectation([], "bundle")


def test_the_seed_is_kept(record_set: Path) -> None:
    assert expectation(RecordSet(record_set))["seed"] == 0


def test_an_option_of_a_sampler_that_a_record_set_is_too_old_for_has_its_default() -> None:
    younger = {**CONFIG, "sampler": {**CONFIG["sampler"], "set": "full", "sigma": 0.1, "p": 0.01, "sites": ["auto"]}}
    assert common_expectation([CONFIG, younger], "bundle") == CONFIG
    other = {**younger, "sampler": {**younger["sampler"], "p": 0.2}}
    with pytest.raises(ConfigError, match=r"sampler\.p=0\.01 and sampler\.p=0\.2"):
        common_expectation([CONFIG, other], "bundle")


def test_a_window_of_volumes_is_compared_and_was_none_before_there_was_one() -> None:
    windows = [{**CONFIG, "segmenter": {**CONFIG["segmenter"], "window": window}} for window in ([], [-160.0, 240.0])]
    assert common_expectation([CONFIG, windows[0]], "bundle") == CONFIG
    with pytest.raises(ConfigError, match=r"segmenter\.window=\[\] and segmenter\.window=\[-160\.0, 240\.0\]"):
        common_expectation([CONFIG, windows[1]], "bundle")


def test_only_the_keys_of_what_is_read_are_compared(tmp_path: Path) -> None:
    refereed = {**CONFIG, "referee": {"name": "litemedsam", "prompts": 3, "weights": "/home/me/a.pt"}}
    other = {**refereed, "segmenter": {**CONFIG["segmenter"], "name": "none"}, "sampler": {**CONFIG["sampler"], "n": 1}}
    records = RecordSet(make_record_set(tmp_path, {"test": 1}, config=other))
    assert "/home/me" not in str(expectation(records))
    for sources in ((), ("referee",)):
        check_expected(records, [refereed], "bundle", sources)
    with pytest.raises(ConfigError, match=r"segmenter\.name='none', bundle expects 'litemedsam'"):
        check_expected(records, [refereed], "bundle", ("self",))
    fewer = {**refereed, "referee": {"name": "litemedsam", "prompts": 4}}
    assert common_expectation([refereed, fewer], "bundle") == refereed
    with pytest.raises(ConfigError, match=r"several kinds, referee\.prompts=3 and referee\.prompts=4"):
        common_expectation([refereed, fewer], "bundle", ("self", "referee"))
    with pytest.raises(ConfigError, match=r"referee\.name='litemedsam', bundle expects 'none'"):
        check_expected(records, [CONFIG], "bundle", ("referee",))  # one from before there was a referee


def test_no_path_of_an_ensemble_is_kept(tmp_path: Path) -> None:
    segmenter = {**CONFIG["segmenter"], "checkpoints": ["/home/me/a.pt", "/home/me/b.pt"]}
    kept = expectation(RecordSet(make_record_set(tmp_path, {"test": 1}, config={**CONFIG, "segmenter": segmenter})))
    assert "/home/me" not in str(kept)
