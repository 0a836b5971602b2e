"""Cases -> record set: what is in it, that it goes on, and what broken input does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import FakeSegmenter
from PIL import Image

from sqp.commands import generate
from sqp.config.generate import SamplerConfig, SegmenterConfig, VariantPlan
from sqp.core.errors import CaseError, ConfigError
from sqp.core.seeding import derive_seed
from sqp.core.types import Case
from sqp.data import read_mask
from sqp.data.splits import with_default_splits
from sqp.metrics.overlap import dice
from sqp.records import RecordSet, record_maker
from sqp.records.make import collect_cases, too_few_to_train
from sqp.records.record_maker import RecordMaker
from sqp.uncertainty import sample_many


def few(config, n=6):
    return replace(config, max_images=n)


def test_a_record_set_as_designed(config):
    result = generate.run(config)
    records = RecordSet(config.out)
    table = records.table
    assert result.images == 40 and result.skipped == {} and result.exit_status == 0
    assert result.records == result.written == len(table)
    assert set(table.variant) > {"natural", "erosion", "swap"}
    assert (table[table.split == "test"].variant == "natural").all()
    assert table.groupby("image_id").size()[table[table.split == "train"].image_id].eq(6).all()
    assert set(records.map_names()) == {
        *(f"self/{m}" for m in ("probability", "certainty", "entropy", "mutual_information", "epkl", "variance")),
        "features/embedding",
        "features/mask_token",
    }
    for row in table.sample(12, random_state=0).itertuples():
        mask = records.mask(row.record_id)
        assert mask.shape == (row.height, row.width) == (48, 64)
        assert row.dice == pytest.approx(dice(mask, read_mask(row.truth_path[0])))
        assert row.area == mask.mean()  # of the image, not of the grid of 12 x 16
        maps = records.maps(row.record_id)
        assert maps["self/entropy"].shape == (12, 16)
        p = maps["self/probability"].astype(float)
        assert np.abs(2 * p - 1) == pytest.approx(maps["self/certainty"], abs=2e-3)
    own = table.natural
    assert table[own].predicted_iou.notna().all() and table[~own].predicted_iou.isna().all()
    by_parent = table[~own].groupby(table["parent_record_id"] == "")
    assert set(by_parent.get_group(True).segmenter) == {"truth"}  # a corruption of the truth has no parent
    assert set(by_parent.get_group(False).segmenter) == {"fake"}
    assert by_parent.get_group(False).parent_record_id.isin(table[own].record_id).all()
    assert records.config["segmenter"]["weights_sha256"] == FakeSegmenter.weights_sha256


def test_one_encoding_serves_all_records_of_an_image(config, fake_segmenter):
    generate.run(few(config))
    assert fake_segmenter[0].encoded == RecordSet(config.out).table.image_id.nunique()


def test_corruptions_are_steered_over_the_range_of_quality(config):
    generate.run(config)
    table = RecordSet(config.out).table
    corrupted = table[~table.natural]
    assert corrupted.dice.std() > 0.2
    assert corrupted.dice.min() < 0.3 and corrupted.dice.max() > 0.9


def test_records_do_not_depend_on_order_subset_or_workers(config, tmp_path):
    generate.run(config)
    whole = RecordSet(config.out)
    generate.run(replace(few(config, 5), out=tmp_path / "part"))
    part = RecordSet(tmp_path / "part")
    both = whole.table.merge(part.table, on="record_id", suffixes=("", "_part"))
    assert len(both) == len(part.table) >= 5
    assert both.dice.equals(both.dice_part) and both.pairwise_dice.equals(both.pairwise_dice_part)
    for name in part.table.record_id[:5]:
        assert (whole.mask(name) == part.mask(name)).all()
        assert (whole.maps(name)["self/epkl"] == part.maps(name)["self/epkl"]).all()


def test_a_stopped_run_goes_on_and_a_finished_one_does_nothing(config, fake_segmenter, stopped_after):
    with stopped_after(7) as written:
        generate.run(few(config))
    assert sorted(RecordSet(config.out).table.record_id) == sorted(written)
    result = generate.run(few(config))
    assert result.written == result.records - 7
    fake_segmenter.clear()
    assert generate.run(few(config)).written == 0
    assert fake_segmenter == []  # not even the segmenter is built


def test_another_config_in_the_same_folder_is_refused(config):
    generate.run(few(config, 1))
    with pytest.raises(ConfigError, match=r"sampler\.n=3, this run has sampler\.n=4"):
        generate.run(replace(few(config, 1), sampler=SamplerConfig(n=4)))
    generate.run(replace(few(config, 1), sampler=SamplerConfig(n=4), overwrite=True))
    assert set(RecordSet(config.out).table.n_samples) == {4}


def test_masks_made_elsewhere_are_judged_as_they_are(config, lesions, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(lesions / "masks", masks)
    names = sorted(path.name for path in masks.iterdir())
    (masks / names[0]).unlink()
    Image.new("L", (64, 48)).save(masks / names[1])  # empty
    Image.new("L", (64, 48), 255).save(masks / names[2])  # full
    result = generate.run(replace(config, masks=masks, variants={}))
    table = RecordSet(config.out).table.set_index("image_id")
    stems = [name.removesuffix(".png") for name in names]
    assert result.skipped == {stems[0]: "no mask of that name in --masks"} and result.exit_status == 1
    assert len(table) == 39 and set(table.segmenter) == {"given"} and set(table.prompter) == {"mask_box"}
    assert table.dice[stems[3]] == 1
    assert table.dice[stems[1]] == 0 and np.isnan(table.c_lesion[stems[1]])
    assert table.area[stems[2]] == 1
    assert table.predicted_iou.isna().all()


def test_a_masks_area_is_the_same_with_any_segmenter_and_with_none(config, lesions, tmp_path):
    areas = []
    for name in (config.segmenter.name, "none"):
        made = replace(few(config), masks=lesions / "masks", variants={}, out=tmp_path / name)
        generate.run(replace(made, segmenter=SegmenterConfig(name), prompter="mask_box"))
        areas.append(RecordSet(made.out).table.set_index("image_id").area)
    pd.testing.assert_series_equal(*areas, check_exact=True)


def test_a_broken_image_is_skipped_counted_and_strict_stops_at_it(config, lesions, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(lesions, data)
    first, second, third = sorted((data / "images").iterdir())[:3]
    first.write_bytes(first.read_bytes()[:300])
    Image.new("RGB", (10, 20)).save(second)
    Image.new("L", (64, 48)).save(data / "masks" / f"{third.stem}.png")  # an empty truth has no box to be jittered
    broken = replace(config, images=data, variants={"*": VariantPlan(truth_jitter=1)})
    result = generate.run(broken)
    assert set(result.skipped) == {first.stem, second.stem, third.stem} and result.exit_status == 1
    assert str(first) in result.skipped[first.stem]
    assert "10x20" in result.skipped[second.stem] and "64x48" in result.skipped[second.stem]
    assert "empty" in result.skipped[third.stem]
    skipped = pd.read_csv(config.out / "skipped.csv")
    assert set(skipped.image_id) == set(result.skipped)
    table = RecordSet(config.out).table
    assert table.image_id.nunique() == 38
    assert table[table.image_id == third.stem].dice.tolist() == [0]  # its natural record is there
    with pytest.raises(CaseError, match=first.name):
        generate.run(replace(broken, out=tmp_path / "strict", strict=True))


def test_a_mask_that_changed_is_judged_anew(config, lesions, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(lesions / "masks", masks)
    judged = replace(few(config, 2), masks=masks, variants={})
    before = generate.run(judged)
    for path in masks.iterdir():
        Image.new("L", (64, 48), 255).save(path)
    after = generate.run(judged)
    assert after.written == len(after.record_ids) == len(before.record_ids) >= 2
    assert not set(after.record_ids) & set(before.record_ids)


def test_the_prompter_s_own_options_reach_it(config):
    generate.run(few(config, 2))
    generate.run(replace(few(config, 2), out=config.out.with_name("wide"), prompter_options={"margin": 0.5}))
    narrow, wide = (
        RecordSet(out).table.query("prompter == 'otsu'").set_index("image_id").prompt.map(json.loads)
        for out in (config.out, config.out.with_name("wide"))
    )
    for image_id in narrow.index:
        assert wide[image_id]["box"][0] <= narrow[image_id]["box"][0]
        assert wide[image_id]["box"][2] >= narrow[image_id]["box"][2]
    assert any(wide[i]["box"] != narrow[i]["box"] for i in narrow.index)


def test_a_broken_donor_costs_no_other_image(config, lesions, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(lesions, data)
    broken = sorted((data / "masks").iterdir())[0]
    broken.write_bytes(b"no image")
    plan = {"*": VariantPlan(corruptions=1, families=["swap"])}
    result = generate.run(replace(config, images=data, variants=plan))
    assert set(result.skipped) == {broken.stem}


def test_own_data_are_split_by_group_once_and_for_all(config, lesions, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(lesions / "images", data / "images")
    own = replace(config, images=data / "images", truth=lesions / "masks", variants={})
    first = sorted((data / "images").iterdir())[0]
    late = first.read_bytes()
    first.unlink()
    generate.run(own)
    before = RecordSet(config.out).table.set_index("image_id").split
    assert set(before) == {"train", "calibration", "val", "test"}
    first.write_bytes(late)
    result = generate.run(own)
    after = RecordSet(config.out).table.set_index("image_id").split
    assert after.drop(first.stem).sort_index().equals(before.sort_index())
    assert after[first.stem] == "" and result.unsplit == 1


def test_nan_logits_are_a_broken_case(config, monkeypatch):
    decode = FakeSegmenter.decode

    def broken(self, embedding, prompts):
        decoded = decode(self, embedding, prompts)
        decoded.logits[0, :, 0, 0] = torch.nan
        return decoded

    monkeypatch.setattr(FakeSegmenter, "decode", broken)
    result = generate.run(few(config, 2))
    assert result.records == 0 and all("NaN" in reason for reason in result.skipped.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmenter": SegmenterConfig("litemedsan")}, "did you mean 'litemedsam'"),
        ({"prompter": "otzu"}, "did you mean 'otsu'"),
        ({"sampler": SamplerConfig("prompt_jiter")}, "did you mean 'prompt_jitter'"),
        ({"sampler": SamplerConfig(n=0)}, r"sampler\.n is 0; it must lie between 1 and 1000"),
        ({"measures": ["entropie"]}, "did you mean 'entropy'"),
        ({"variants": {"train": VariantPlan(families=["erosio"])}}, "did you mean 'erosion'"),
        ({"variants": {"train": VariantPlan(prompters=["center"])}}, "did you mean 'centre'"),
        ({"only": ["tset"]}, "unknown split 'tset', did you mean 'test'"),
        ({"only": ["raters"]}, "no case is in split raters"),
        ({"variants": {"trian": VariantPlan()}}, "unknown split 'trian', did you mean 'train'"),
        ({"variants": {"train": VariantPlan(corruptions=-1)}}, r"variants\.train\.corruptions is -1"),
        ({"segmenter": SegmenterConfig("fake", precision="bf16")}, "unknown precision 'bf16'"),
        ({"prompter_options": {"margn": 0.1}}, "unknown option of the prompter otsu 'margn', did you mean 'margin'"),
        ({"prompter": "mask_box"}, "give --masks"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_wrong_names_are_told_before_anything_is_written(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        generate.run(replace(config, **changes))
    assert not (config.out / "run.yaml").exists()


def test_swap_needs_another_mask_of_the_same_split(config, tmp_path):
    only = replace(config, max_images=0, variants={"*": VariantPlan(corruptions=1, families=["swap"])})
    first = sorted((config.images / "images").iterdir())[0]
    result = generate.run(replace(only, images=first, truth=config.images / "masks" / f"{first.stem}.png"))
    assert "swap" in result.skipped[first.stem]


@pytest.mark.slow
def test_workers_write_what_one_process_writes(lesions, tmp_path):
    plan = {"*": VariantPlan(corruptions=1)}
    one, two = (
        generate.GenerateConfig(
            images=lesions, out=tmp_path / name, max_images=3, sampler=SamplerConfig(n=2), variants=plan, workers=n
        )
        for name, n in (("one", 0), ("two", 2))
    )
    generate.run(one), generate.run(two)
    a, b = (RecordSet(c.out).table.sort_values("record_id", ignore_index=True) for c in (one, two))
    pd.testing.assert_frame_equal(a, b, rtol=1e-4)


def test_a_refused_folder_gets_no_splits_file(config, lesions, tmp_path):
    (tmp_path / "mine" / "masks").mkdir(parents=True)
    own = replace(config, images=lesions / "images", truth=lesions / "masks", out=tmp_path / "mine")
    with pytest.raises(ConfigError, match="not sqp's"):
        generate.run(own)
    assert not (tmp_path / "mine" / "splits.json").exists()


def test_a_swapped_mask_is_never_of_the_same_lesion(config):
    """Other images of a lesion have nearly its mask: a swap with one of them would be no error."""
    cases = collect_cases(config)[0]
    case = next(case for case in cases if sum(one.group == case.group for one in cases) > 1)
    kin = [one for one in cases if one.group == case.group]
    stranger = next(one for one in cases if one.group != case.group)
    stranger = replace(stranger, split=case.split)
    maker = RecordMaker(config, FakeSegmenter(), [*(replace(one, split=case.split) for one in kin), stranger])
    for seed in range(20):
        assert (maker._donor(case, np.random.default_rng(seed)) == read_mask(stranger.truth_paths[0])).all()
    with pytest.raises(CaseError, match="no other image of split"):
        RecordMaker(config, FakeSegmenter(), kin)._donor(case, np.random.default_rng(0))


def test_every_record_is_sampled_under_its_own_seed(config, monkeypatch):
    """Equal draws for all records would tie their uncertainty together."""
    drawn = {}

    def spy(segmenter, image, prompts, n, generators, **options):
        for generator in generators:
            drawn[len(drawn)] = generator.initial_seed()
        return sample_many(segmenter, image, prompts, n, generators, **options)

    monkeypatch.setattr(record_maker, "sample_many", spy)
    generate.run(few(config, 2))
    table = RecordSet(config.out).table
    assert len(drawn) == len(table) == len(set(drawn.values()))
    assert set(drawn.values()) == {derive_seed(config.seed, name) for name in table.record_id}


@pytest.mark.parametrize(("images", "enough"), [(4, False), (30, False), (60, True)])
def test_too_few_images_to_train_on_are_told_with_how_many_it_takes(tmp_path, images, enough):
    cases = [Case(f"i{k}", tmp_path / f"{k}.png", truth_paths=(tmp_path / f"{k}_gt.png",)) for k in range(images)]
    told = too_few_to_train(with_default_splits(cases)[0])
    assert bool(told) != enough
    if told:
        assert (
            told[0].startswith(f"{images} images with truth make ") and "needs 9" in told[0] and "60 images" in told[0]
        )
    assert too_few_to_train([replace(case, truth_paths=()) for case in cases]) == []
    assert too_few_to_train([replace(case, split="test") for case in cases]) == []


def test_generate_says_it_before_the_first_record(config, tmp_path, capsys):
    for kind in ("images", "masks"):
        (tmp_path / "few" / kind).mkdir(parents=True)
        for path in sorted((config.images / kind).iterdir())[:4]:
            shutil.copy(path, tmp_path / "few" / kind)
    generate.run(replace(config, images=tmp_path / "few", variants={}))
    assert capsys.readouterr().out.startswith("4 images with truth make 0 calibration groups, and `sqp train` needs 9")
