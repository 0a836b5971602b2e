"""Going on in a folder: what changed since is made anew, what did not stays."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.data import read_mask
from sqp.io import RecordSet
from sqp.metrics.overlap import dice
from sqp.stages import generate, predict

FOUR = ("a", "b", "c", "d")


@pytest.fixture
def judged(lesions, fake_segmenter, tmp_path):
    """Four images with masks made elsewhere, two of them with truth."""
    masks = sorted((lesions / "masks").iterdir())[:5]
    for folder in ("images", "masks", "truth"):
        (tmp_path / folder).mkdir()
    for name, mask, other in zip(FOUR, masks, masks[1:], strict=False):
        shutil.copy(next((lesions / "images").glob(f"{mask.stem}.*")), tmp_path / "images" / f"{name}.png")
        shutil.copy(mask, tmp_path / "masks" / f"{name}.png")
        if name in "ab":
            shutil.copy(other, tmp_path / "truth" / f"{name}.png")
    return GenerateConfig(
        tmp_path / "images",
        tmp_path / "records",
        masks=tmp_path / "masks",
        truth=tmp_path / "truth",
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig(n=2),
    )


def rows(config):
    return RecordSet(config.out).table.set_index("image_id").sort_index()


def test_records_are_made_anew_where_image_or_truth_changed(judged, fake_segmenter):
    assert generate.run(judged).written == 4
    first, records = rows(judged), RecordSet(judged.out)
    maps = records.maps(first.record_id["b"])
    assert first.dice.notna().tolist() == [True, True, False, False]
    moved = np.roll(read_mask(judged.truth / "a.png"), 9, axis=1)
    Image.fromarray(moved).save(judged.truth / "a.png")
    Image.fromarray(255 - np.asarray(Image.open(judged.images / "b.png").convert("RGB"))).save(judged.images / "b.png")
    shutil.copy(judged.truth / "b.png", judged.truth / "c.png")
    result = generate.run(judged)
    second = rows(judged)
    assert result.written == 3 and result.record_ids == first.record_id[list(FOUR)].tolist()
    assert second.record_id.tolist() == first.record_id.tolist()
    assert "3 images or truths changed since the records were made: made anew, e.g. a" in result.summary()
    assert second.dice["a"] == pytest.approx(dice(read_mask(judged.masks / "a.png"), moved)) != first.dice["a"]
    again = records.maps(first.record_id["b"])
    assert any((again[name] != maps[name]).any() for name in maps)
    assert second.dice["c"] == pytest.approx(dice(read_mask(judged.masks / "c.png"), read_mask(judged.truth / "c.png")))
    assert second.loc["d"].drop("truth_path").equals(first.loc["d"].drop("truth_path"))
    fresh = replace(judged, out=judged.out.with_name("fresh"))
    generate.run(fresh)
    assert rows(fresh).dice.equals(second.dice) and rows(fresh).pairwise_dice.equals(second.pairwise_dice)
    fake_segmenter.clear()
    third = generate.run(judged)
    assert third.written == 0 and fake_segmenter == []
    assert third.notes == ["1 image is without a file in --truth, e.g. d"]


def test_a_truth_that_is_taken_away_takes_its_dice_along(judged):
    generate.run(judged)
    (judged.truth / "b.png").unlink()
    assert generate.run(judged).written == 1
    assert rows(judged).dice.notna().tolist() == [True, False, False, False]


def test_touched_files_and_records_without_stamps_stand(judged, fake_segmenter):
    generate.run(judged)
    for path in (*judged.images.iterdir(), *judged.truth.iterdir()):
        os.utime(path, ns=(1, 1))
    assert generate.run(judged).written == 0
    table = judged.out / "records.parquet"
    pq.write_table(pq.read_table(table).drop_columns(["files"]), table)
    shutil.copy(judged.images / "a.png", judged.images / "b.png")
    result = generate.run(judged)  # a record set of an older sqp: nothing tells what its files were
    assert result.written == 0 and len(result.record_ids) == 4


def test_a_changed_image_that_cannot_be_read_is_not_judged_by_its_old_record(judged):
    generate.run(judged)
    (judged.images / "b.png").write_bytes(b"no image")
    result = generate.run(judged)
    assert list(result.skipped) == ["b"] and len(result.record_ids) == 3


def test_an_interrupted_renewal_goes_on(judged, stopped_after):
    generate.run(judged)
    for name in "ab":
        Image.new("L", (64, 48), 255).save(judged.truth / f"{name}.png")
    with stopped_after(1):
        generate.run(judged)
    assert generate.run(judged).written == 1
    expected = [dice(read_mask(judged.masks / f"{name}.png"), np.ones((48, 64), bool)) for name in "ab"]
    assert rows(judged).dice[["a", "b"]].tolist() == expected


def test_predict_tells_what_it_was_given(bundle, judged, tmp_path):
    config = predict.PredictConfig(bundle, tmp_path / "out", images=judged.images, masks=judged.masks, worst=0)
    tags = Image.Exif()
    tags[0x0112] = 3
    Image.open(judged.images / "c.png").convert("RGB").save(judged.images / "c.jpg", exif=tags)
    (judged.images / "c.png").unlink()
    shutil.copy(judged.masks / "a.png", judged.masks / "zzz.png")
    first = predict.run(config)
    assert first.exit_status == 0 and first.table.dice.isna().all()
    assert "1 file of --masks is of no image, e.g. zzz.png\n" in first.summary()
    assert "1 image is turned by the EXIF tag: a mask drawn on the raw pixels would be misplaced, e.g. c.jpg\n" in (
        first.summary()
    )
    Image.open(judged.images / "b.png").rotate(180).save(judged.images / "a.png")
    fresh = predict.run(replace(config, out=tmp_path / "fresh"))
    before, after, right = (
        one.table.set_index("image_id").predicted_dice.sort_index() for one in (first, predict.run(config), fresh)
    )
    assert after.tolist() == pytest.approx(right.tolist(), abs=1e-6)
    assert (after != before).tolist() == [True, False, False, False]
    assert "files" not in (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0].split(",")
