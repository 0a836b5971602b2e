"""Going on in a folder: what changed since is made anew, what did not stays."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqp.commands import evaluate, generate, predict
from sqp.config.evaluate import EvaluateConfig
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.config.predict import PredictConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.data import read_mask
from sqp.metrics.overlap import dice
from sqp.records import RecordSet

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
    assert result.written == 2 and result.record_ids == first.record_id[list(FOUR)].tolist()
    assert second.record_id.tolist() == first.record_id.tolist()
    assert "2 images or truths changed since the records were made: made anew, e.g. a" in result.summary()
    assert "1 record is joined with the truth that was added" in result.summary()
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


def test_truth_that_is_given_later_is_joined_and_nothing_is_made_again(judged, fake_segmenter):
    generate.run(replace(judged, truth=None))
    before, records = rows(judged), RecordSet(judged.out)
    assert before.dice.isna().all()
    content = {path: path.read_bytes() for folder in ("masks", "maps") for path in (judged.out / folder).iterdir()}
    fake_segmenter.clear()
    result = generate.run(judged)
    after = rows(judged)
    assert result.written == 0 and fake_segmenter == [] and result.exit_status == 0
    assert "2 records are joined with the truth that was added" in result.summary()
    fresh = replace(judged, out=judged.out.with_name("fresh"))
    generate.run(fresh)
    assert after.drop(columns="spacing").equals(rows(fresh).drop(columns="spacing"))
    assert {path: path.read_bytes() for path in content} == content
    assert RecordSet(judged.out).contents == records.contents
    assert RecordSet(judged.out).config["truth"] == str(judged.truth)
    with pytest.raises(ConfigError, match=r"made with truth=.*this run has truth=None"):
        generate.run(replace(judged, truth=None))
    assert generate.run(judged).notes == generate.run(fresh).notes


def test_corruptions_that_were_made_without_truth_are_steered_anew(judged):
    plan = {"*": VariantPlan(corruptions=1, families=["erosion"])}
    generate.run(replace(judged, truth=None, variants=plan))
    result = generate.run(replace(judged, variants=plan))
    assert result.written == 2 and "2 records are joined" in result.summary()
    fresh = replace(judged, out=judged.out.with_name("fresh"), variants=plan)
    generate.run(fresh)
    ours, theirs = (RecordSet(config.out).table.set_index("record_id").dice for config in (judged, fresh))
    assert ours.sort_index().equals(theirs.sort_index())


def test_a_truth_that_cannot_be_joined_is_told_and_the_record_stays(judged):
    generate.run(replace(judged, truth=None))
    good = (judged.truth / "a.png").read_bytes()
    Image.new("L", (8, 8), 255).save(judged.truth / "a.png")
    result = generate.run(judged)
    assert list(result.skipped) == ["a"] and "a.png is 8x8 pixels" in result.skipped["a"]
    assert rows(judged).dice.notna().tolist() == [False, True, False, False]
    (judged.truth / "a.png").write_bytes(good)
    assert generate.run(judged).written == 0
    assert rows(judged).dice.notna().tolist() == [True, True, False, False]


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


def test_truth_added_to_predictions_is_joined_without_judging_again(bundle, judged, tmp_path, monkeypatch):
    config = predict.PredictConfig(bundle, tmp_path / "out", images=judged.images, masks=judged.masks, worst=1)
    first = predict.run(config).table.set_index("image_id")
    judge = predict.predict_records
    monkeypatch.setattr(predict, "predict_records", lambda *_, **__: pytest.fail("judged again"))
    result = predict.run(replace(config, truth=judged.truth))
    table = result.table.set_index("image_id").loc[first.index]
    assert "2 records are joined with the truth" in result.summary()
    assert table.dice.notna().loc[list(FOUR)].tolist() == [True, True, False, False]
    same = [name for name in first if name not in predict.OF_TRUTH]
    assert table[same].equals(first[same])
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 4
    monkeypatch.setattr(predict, "predict_records", judge)
    Image.open(judged.images / "b.png").rotate(180).save(judged.images / "a.png")
    again = predict.run(replace(config, truth=judged.truth, overwrite=True)).table.set_index("image_id")
    assert again.predicted_dice["a"] != first.predicted_dice["a"]


def test_image_and_mask_that_both_changed_leave_no_record_behind(judged):
    first = generate.run(judged).record_ids
    for folder in (judged.images, judged.masks):
        pixels = np.asarray(Image.open(folder / "c.png"))
        Image.fromarray(np.ascontiguousarray(pixels[:, ::-1])).save(folder / "c.png")
    result = generate.run(judged)
    assert result.written == 1 and len(rows(judged)) == 4 and set(first) - set(result.record_ids)
    assert "1 image or truth changed since the records were made: made anew, e.g. c" in result.summary()
    gone = (set(first) - set(result.record_ids)).pop()
    assert not list(judged.out.rglob(f"{gone}*"))


def test_a_truth_that_became_unreadable_takes_its_record_along(judged):
    generate.run(judged)
    (judged.truth / "a.png").write_bytes(b"no mask")
    result = generate.run(judged)
    assert list(result.skipped) == ["a"] and rows(judged).index.tolist() == ["b", "c", "d"]


@pytest.mark.parametrize("damage", ["mask altered", "mask lost", "maps empty", "maps lost"])
def test_a_record_whose_own_files_were_altered_is_made_anew(judged, damage):
    generate.run(judged)
    before, name = rows(judged), rows(judged).record_id["b"]
    what, how = damage.split()
    path = judged.out / ("masks" if what == "mask" else "maps") / f"{name}.{'png' if what == 'mask' else 'npz'}"
    content = path.read_bytes()
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "empty" else (judged.masks / "a.png").read_bytes())
        with pytest.raises(CaseError, match=f"{path.name} is not the file that was written"):
            (RecordSet(judged.out).mask if what == "mask" else RecordSet(judged.out).maps)(name)
    result = generate.run(judged)
    assert result.written == 1 and path.read_bytes() == content and rows(judged).equals(before[rows(judged).columns])
    assert f"1 record had a mask or maps that were altered or lost: made anew, e.g. {name}" in result.summary()
    assert generate.run(judged).written == 0


def test_an_image_or_truth_that_changed_is_told_by_whoever_reads_the_records(judged):
    generate.run(judged)
    records = RecordSet(judged.out)
    for row in records.table.to_dict("records"):
        records.check_sources(row)
    (judged.images / "d.png").unlink()  # cannot be told: it may lie elsewhere now
    (judged.truth / "a.png").write_bytes(b"another")
    (judged.images / "b.png").write_bytes(b"another")
    told = []
    for row in records.table.sort_values("image_id").to_dict("records"):
        try:
            records.check_sources(row)
        except CaseError as error:
            told.append(str(error).split(" has changed since record")[0])
    assert told == [str((judged.truth / "a.png").absolute()), str((judged.images / "b.png").absolute())]


def test_overwrite_removes_the_records_and_no_other_file(judged):
    generate.run(judged)
    for name in ("masks/mine.png", "maps/mine.npz", "notes.txt"):
        (judged.out / name).write_text("mine")
    first = rows(judged).record_id.tolist()
    generate.run(replace(judged, seed=5, overwrite=True))
    assert not set(first) & set(rows(judged).record_id)
    for name in ("masks/mine.png", "maps/mine.npz", "notes.txt"):
        assert (judged.out / name).read_text() == "mine"
    assert len(list((judged.out / "masks").iterdir())) == 5


def test_neither_records_nor_predictions_go_into_anothers_folder(judged):
    generate.run(judged)
    before = (judged.out / "run.yaml").read_bytes()
    for command, made in (
        (predict, PredictConfig(records=[judged.out], out=judged.out)),
        (evaluate, EvaluateConfig(records=[judged.out], out=judged.out, model=judged.out)),
    ):
        with pytest.raises(ConfigError, match="belongs to `sqp generate`: choose another --out"):
            command.run(made)
    assert (judged.out / "run.yaml").read_bytes() == before
    (judged.out / ".sqp").unlink()  # as an earlier version left it
    with pytest.raises(ConfigError, match="belongs to `sqp generate`"):
        predict.run(PredictConfig(records=[judged.out], out=judged.out))
    assert generate.run(judged).written == 0
