"""predict end to end: a bundle trained on the fake segmenter's records judges its masks, and masks made elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from sqp.commands import predict
from sqp.config.predict import PredictConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.quality import Bundle
from sqp.quality.judging.columns import DIGEST, dictionary
from sqp.quality.judging.risk import RiskEvidence
from sqp.records import RecordSet

IMAGES = 5


def test_a_cascade_is_repeated_for_the_segmenters_own_masks_alone(bundle, tmp_path):
    expects = json.loads((bundle / "bundle.json").read_text())["expects"]
    expects[0] |= {"cascade": "mobilesam", "cascade_options": {"margin": 0.1}}
    config = PredictConfig(bundle, tmp_path, images=tmp_path, cascade_checkpoint=Path("m.pt"))
    made = predict.generate_config(config, expects)
    assert made.cascade == "mobilesam" and made.cascade_options == {"margin": 0.1, "checkpoint": "m.pt"}
    for other in ({"masks": tmp_path}, {"prompter": "centre"}):
        plain = predict.generate_config(replace(config, cascade_checkpoint=None, **other), expects)
        assert plain.cascade is None and plain.cascade_options == {}
        with pytest.raises(ConfigError, match=r"not prompted by a cascade|cascade_checkpoint is about"):
            predict.generate_config(replace(config, **other), expects)


@pytest.fixture
def data(lesions, tmp_path) -> Path:
    """Five of the images, with their truths as masks made elsewhere."""
    names = sorted(path.stem for path in (lesions / "masks").iterdir())[:IMAGES]
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for path in (lesions / kind).iterdir():
            if path.stem in names:
                shutil.copy(path, tmp_path / "data" / kind)
    return tmp_path / "data"


@pytest.fixture
def config(bundle, data, fake_segmenter, tmp_path) -> PredictConfig:
    return PredictConfig(
        bundle,
        tmp_path / "out",
        images=data / "images",
        masks=data / "masks",
        worst=2,
        gallery=3,
        accept=0.5,
        reject=0.4,
    )


def test_masks_made_elsewhere_are_judged(config):
    result = predict.run(config)
    out = config.out
    assert result.exit_status == 0 and len(result.table) == IMAGES
    digest, table = pd.read_csv(out / "predictions.csv"), pd.read_parquet(out / "predictions.parquet")
    assert list(digest.columns) == list(table.columns[: len(DIGEST)]) == list(DIGEST)
    assert set(table.columns) <= {name for _, columns in dictionary() for name in columns}
    assert sorted(digest["mask"]) == sorted(map(str, config.masks.iterdir()))
    assert digest["strangeness"].between(0, 1).all() and sorted(digest["image"]) == sorted(table["image_path"])
    scores = ["c_lesion", "pairwise_dice", "area"]
    assert set(scores) <= set(table.columns[len(DIGEST) + 1 : 25])
    assert table.columns.get_loc("scale") > max(map(table.columns.get_loc, scores))
    assert set(table["segmenter"]) == {"given"} and set(table["prompter_label"]) == {"mask_box"}
    assert len(list((out / "overlays").glob("00[12]-*.png"))) == len(list((out / "overlays").iterdir())) == 2
    cases = re.search(r'id="cases">(.*?)</script>', (out / "report.html").read_text())[1]
    assert [case["mask"] != "" for case in json.loads(cases)] == [True] * 3
    told = yaml.safe_load((out / "run.yaml").read_text())
    assert told["config"]["accept"] == 0.5 and told["seconds"] > 0 and "torch" in told["versions"]
    assert told["counts"]["records"] == told["counts"]["images"] == IMAGES
    assert RecordSet(out / "records").config["seed"] == 5  # the seed that the bundle's records were made with
    for word in ("predictions.csv", "report.html", "verdict"):
        assert word in result.summary()


def test_a_second_run_is_the_same_and_segments_nothing(config, fake_segmenter):
    first = predict.run(config).table
    built = len(fake_segmenter)
    again = predict.run(replace(config, worst=1))
    pd.testing.assert_frame_equal(first, again.table)
    assert len(fake_segmenter) == built
    assert len(list((config.out / "overlays").iterdir())) == 1


def test_a_changed_mask_is_judged_anew_and_only_this_run_is_told(config, data):
    first = predict.run(config).table.set_index("image_id")
    changed, gone = first.index[:2]
    Image.new("L", (64, 48)).save(data / "masks" / f"{changed}.png")
    for kind in ("images", "masks"):
        next((data / kind).glob(f"{gone}.*")).unlink()
    table = predict.run(config).table.set_index("image_id")
    assert sorted(table.index) == sorted(set(first.index) - {gone})
    assert table.loc[changed, ["verdict", "reason"]].tolist() == ["abstain", "empty mask"]
    same = table.index.difference([changed])
    pd.testing.assert_frame_equal(table.loc[same], first.loc[same], rtol=1e-3, atol=1e-5)  # in a batch of another size


def test_fail_under_counts_low_predictions_and_abstentions(config, data):
    lowest = predict.run(config).table
    assert "abstain" not in set(lowest["verdict"])
    met = predict.run(replace(config, fail_under=float(lowest["predicted_dice"].min()) - 1e-6))
    assert met.exit_status == 0 and "met" in met.summary()
    below = predict.run(replace(config, fail_under=float(np.nextafter(lowest["predicted_dice"].min(), 1))))
    assert below.exit_status == 3 and below.below == 1 and "1 of 5 below" in below.summary()
    Image.new("L", (64, 48)).save(next((data / "masks").iterdir()))
    empty = predict.run(replace(config, fail_under=0.0))
    assert empty.exit_status == 3 and empty.below == 1


def test_verdicts_at_a_chosen_risk(config, bundle):
    kept = Bundle.load(bundle).risk
    low = predict.run(config).table.set_index("record_id")["low"]
    asked = replace(config, risk=0.9, failure=0.01, confidence=0.1)
    result = predict.run(asked)
    choice = result.choice
    assert choice.some and choice.groups == len(kept.low) > choice.accepted - 1
    accepted = result.table.set_index("record_id")["verdict"] == "accept"
    assert (accepted == (low[accepted.index] >= choice.threshold)).all()
    for text in ((config.out / "report.html").read_text().replace("&#x27;", "'"), result.summary()):
        assert "with 10% confidence at most 90% of the accepted have a Dice below 0.01" in text
    told = yaml.safe_load((config.out / "run.yaml").read_text())
    assert told["risk"] == {
        "rule": {"risk": 0.9, "failure": 0.01, "confidence": 0.1}, "threshold": choice.threshold,
        "groups": choice.groups, "accepted": choice.accepted, "failures": choice.failures, "smallest": None,
    }  # fmt: skip


def test_where_no_threshold_is_safe_nothing_is_accepted(config):
    """So few calibration groups prove nothing; the exit status is that of --fail-under alone."""
    result = predict.run(replace(config, accept=0.0, reject=0.0, risk=0.05, fail_under=0.0))
    assert set(result.table["verdict"]) == {"review"} and not result.choice.some
    assert result.exit_status == 0 and "met" in result.summary()
    assert "nothing is accepted, since no threshold is safe" in result.summary()
    assert "At the chosen risk no mask can be taken as it is" in (config.out / "report.html").read_text()
    assert predict.run(replace(config, risk=0.05, fail_under=1.0)).exit_status == 3


def test_a_bundle_that_keeps_no_calibration_records(config, bundle, tmp_path):
    older = Bundle.load(bundle)
    older.risk = None
    older.save(tmp_path / "older")
    assert Bundle.load(tmp_path / "older").risk is None
    with pytest.raises(ConfigError, match="keeps no calibration records, so no threshold can be tested at a risk"):
        predict.run(replace(config, model=tmp_path / "older", risk=0.05))


def test_out_of_distribution_is_below_whatever_was_predicted(config):
    result = predict.run(config)
    table = result.table.assign(verdict="abstain", predicted_dice=0.99)
    assert predict.PredictResult(config.out, table, fail_under=0.5).exit_status == 3


def test_a_broken_image_is_skipped_and_strict_stops(config, data):
    broken = sorted((data / "images").iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:200])
    result = predict.run(config)
    assert result.exit_status == 1 and list(result.skipped) == [broken.stem] and len(result.table) == IMAGES - 1
    assert broken.stem in result.summary()
    page = (config.out / "report.html").read_text()
    assert f"1 of {IMAGES} images was skipped." in page and f"<b>{broken.stem}</b>: cannot read image" in page
    met = predict.run(replace(config, fail_under=0.0))
    assert f"met by the {IMAGES - 1} that were judged; 1 skipped, not judged" in met.summary()
    low = predict.run(replace(config, fail_under=1.0))
    assert low.exit_status == 3  # this tells more than a skipped image
    assert "below 1 or abstained from; 1 skipped, not judged" in low.summary()
    with pytest.raises(CaseError, match=broken.name):
        predict.run(replace(config, strict=True))


def test_a_record_that_cannot_be_read_is_told(config):
    first = predict.run(config).table
    lost = first["record_id"][2]
    (config.out / "records" / "masks" / f"{lost}.png").write_bytes(b"no mask")
    records = PredictConfig(config.model, config.out / "again", records=[config.out / "records"], worst=2)
    result = predict.run(records)
    assert result.exit_status == 1 and result.unreadable == 1 and "1 records cannot be read" in result.summary()
    assert lost in result.table.set_index("record_id").reason[lost]
    assert next((config.out / "again" / "overlays").glob("001-*")).name == f"001-{lost}.png"
    assert yaml.safe_load((config.out / "again" / "run.yaml").read_text())["counts"]["unreadable"] == 1
    with pytest.raises(CaseError, match=lost):
        predict.run(replace(records, strict=True))


def test_the_segmenters_own_masks_under_the_prompter_of_the_bundle(config):
    own = predict.run(replace(config, masks=None, truth=config.masks, out=config.out / "own"))
    assert set(own.table["segmenter"]) == {"fake"} and set(own.table["prompter"]) == {"otsu"}
    assert own.table["dice"].notna().all()
    manual = replace(config, masks=None, truth=config.masks, out=config.out / "manual", prompter="truth_box")
    assert "truth_box (simulated manual)" in predict.run(manual).summary()
    assert "truth_box (simulated manual)" in (config.out / "manual" / "report.html").read_text()


def test_a_bundle_of_several_kinds_of_records_needs_records(config, bundle, tmp_path):
    mixed = shutil.copytree(bundle, tmp_path / "mixed")
    told = json.loads((mixed / "bundle.json").read_text())
    other = json.loads(json.dumps(told["expects"][0]))
    told["expects"].append(other | {"seed": 9, "prompter": "centre"})  # these may differ
    (mixed / "bundle.json").write_text(json.dumps(told))
    assert len(predict.run(replace(config, model=mixed)).table) == IMAGES
    other["sampler"]["n"] = 4
    told["expects"].append(other)
    (mixed / "bundle.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"of several kinds, sampler\.n=3 and sampler\.n=4"):
        predict.run(replace(config, model=mixed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"worst": -1}, "worst is -1; it must be at least 0"),
        ({"gallery": -1}, "gallery is -1"),
        ({"accept": 0.3}, r"reject is 0\.4, accept 0\.3"),
        ({"risk": 1.0}, r"risk is 1\.0; it must lie between 0 and 1"),
        ({"risk": 0.1, "confidence": 90.0}, r"confidence is 90\.0"),
        ({"split": ["tset"]}, "unknown split 'tset', did you mean 'test'"),
        ({"fail_under": 80.0}, r"fail_under is 80\.0; it must lie between 0 and 1"),
        ({"images": None, "masks": None}, "either --images .* or --records"),
        ({"images": None, "records": [Path("x")]}, "--masks and --truth go with --images"),
    ],
)
def test_wrong_options(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        predict.run(replace(config, **changes))
    assert not config.out.exists()


def test_images_none_of_which_can_be_segmented(config, data):
    predict.run(config)
    for path in (data / "images").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"no image of .* could be judged: "):
        predict.run(replace(config, out=config.out / "new"))


def test_an_audit_is_drawn_and_says_whether_the_promise_holds(config, bundle, tmp_path):
    """A bundle whose calibration groups never failed accepts everything; a person then accepts, or rejects, what was
    drawn."""
    sure = Bundle.load(bundle)
    sure.risk = RiskEvidence(np.full(60, 0.9, np.float32), np.ones(60, np.float32), np.zeros(1, np.float32))
    asked = replace(config, model=sure.save(tmp_path / "sure"), risk=0.1, reject=0.0, audit=3)
    first = predict.run(asked)
    drawn = first.table[first.table["audit"]]
    assert len(drawn) == 3 and set(drawn["verdict"]) == {"accept"}
    assert "audit: 3 accepted masks were drawn at random" in first.summary()
    (text,) = re.findall(r'id="cases">(.*?)</script>', (config.out / "report.html").read_text())
    shown = {case["id"]: case["mask_hash"] for case in json.loads(text) if case["audit"]}
    assert set(shown) == set(drawn["record_id"])

    def decided(decision: str, **changes) -> Path:
        entries = [
            {"record_id": name, "mask_hash": stamp, "decision": decision, "note": "", "time": ""}
            for name, stamp in shown.items()
        ]
        stored = {"schema": "sqp-decisions/1", "threshold": 0.7, "decisions": entries} | changes
        (tmp_path / "decisions.json").write_text(json.dumps(stored))
        return tmp_path / "decisions.json"

    broken = predict.run(replace(asked, audit_decisions=decided("reject")))
    for said in (broken.summary(), (config.out / "report.html").read_text()):
        assert "the promise is BROKEN" in said and "3 of 3 audited masks failed" in said
    assert yaml.safe_load((config.out / "run.yaml").read_text())["audit"]["holds"] is False
    predict.run(replace(asked, audit_decisions=decided("accept")))
    assert yaml.safe_load((config.out / "run.yaml").read_text())["audit"] == {
        "drawn": 3, "seen": 3, "failed": 0, "holds": None,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"accept means a Dice of at least 0\.5, but the promise is about 0\.7"):
        predict.run(replace(asked, audit_decisions=decided("accept", threshold=0.5)))
    with pytest.raises(ConfigError, match="decides on none of the drawn masks"):
        predict.run(replace(asked, audit_decisions=decided("accept", decisions=[])))
    with pytest.raises(ConfigError, match="--audit checks the promise of --risk"):
        replace(config, audit=3)
    with pytest.raises(ConfigError, match="are of the masks that --audit draws"):
        replace(config, risk=0.1, audit_decisions=tmp_path)


def test_other_thresholds_are_counted(config):
    result = predict.run(config)
    low = result.table["low"]
    assert f"Accepted with --accept 0.40: {(low >= 0.4).sum()}, 0.45: {(low >= 0.45).sum()}" in result.summary()
    assert "Accepted with --accept" in (config.out / "report.html").read_text()
