"""The referee in `generate`: one encoding, prompts that no mask has a part in, and what is its own answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeSegmenter
from PIL import Image
from tiny_prompters import write_localizer

from sqp import segmenters
from sqp.cli.parser import parse
from sqp.commands import generate
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.core.errors import ConfigError
from sqp.core.frame import Frame
from sqp.data import read_image
from sqp.prompts import Prompter
from sqp.records import RecordSet
from sqp.records.draft import Draft
from sqp.records.fitted import image_hash
from sqp.records.make import collect_cases, select_cases
from sqp.records.referees import referee
from sqp.records.referees.referee import beside_priors, independent_prompts, is_answer
from sqp.uncertainty import Moments
from sqp.uncertainty.referee import REFEREE_SCORES

IMAGES = 4
MAPS = {f"referee/{name}" for name in ("probability", "entropy", "variance", "own_box")}
SCORES = list(REFEREE_SCORES)


class Other(FakeSegmenter):
    """Another network: other weights, a coarser grid."""

    name = "other"
    weights_sha256 = "1" * 64


@pytest.fixture
def other(monkeypatch):
    """`--referee other` works; the list holds every one that was built."""
    built = []

    def build(checkpoint=None, **options):
        built.append(Other(size=64, stride=8, shift=0.5))
        return built[-1]

    monkeypatch.setitem(segmenters.SEGMENTERS, "other", build)
    return built


@pytest.fixture
def data(lesions, tmp_path):
    """A few images with their masks, and these once more as truth."""
    names = sorted(path.stem for path in (lesions / "masks").iterdir())[:IMAGES]
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(next((lesions / kind).glob(f"{name}.*")), tmp_path / "data" / kind)
    shutil.copytree(tmp_path / "data" / "masks", tmp_path / "data" / "truth")
    return tmp_path / "data"


@pytest.fixture
def config(data, fake_segmenter, tmp_path):
    """Given masks, judged by the fake segmenter in both parts."""
    return GenerateConfig(
        images=data / "images",
        masks=data / "masks",
        out=tmp_path / "records",
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig("deterministic"),
    )


def test_given_masks_have_a_referee_by_default_and_one_encoding_serves_both(config, fake_segmenter):
    assert config.referee.name == "fake"
    generate.run(config)
    (segmenter,) = fake_segmenter
    assert segmenter.encoded == IMAGES
    assert segmenter.decoded == [1, 2] * IMAGES  # its own box once, for both; then two that are independent
    records = RecordSet(config.out)
    table = records.table
    assert set(records.map_names()) >= MAPS and set(table.segmenter) == {"given"}
    assert table[SCORES].notna().all().all() and not table.referee_own.any()
    assert table.referee_dice.between(table.referee_dice_min, table.referee_dice_max).all()
    own_box = records.maps(table.record_id[0], ["referee/own_box", "self/probability"])
    assert (own_box["referee/own_box"] == own_box["self/probability"]).all()  # one sample: the same answer


def test_generate_alone_has_no_referee_by_default(config):
    alone = GenerateConfig(config.images, config.out)
    assert alone.referee.name == "none"
    plain = GenerateConfig(config.images, config.out, masks=config.masks, segmenter=SegmenterConfig("unet"))
    assert plain.referee.name == "litemedsam"
    none = replace(config, referee=RefereeConfig("none"))
    generate.run(none)
    assert not [name for name in RecordSet(config.out).table.columns if name in SCORES]


def test_another_referee_encodes_once_an_image_and_has_its_own_grid(config, fake_segmenter, other, data):
    plan = {"*": VariantPlan(corruptions=2, families=["erosion", "shift"])}
    generate.run(replace(config, referee=RefereeConfig("other"), truth=data / "truth", variants=plan))
    assert fake_segmenter[0].encoded == other[0].encoded == IMAGES
    assert other[0].decoded == [2 + 3] * IMAGES  # two independent ones, and the boxes of three masks
    records = RecordSet(config.out)
    maps = records.maps(records.table.record_id[0])
    assert maps["self/probability"].shape == (12, 16) and maps["referee/probability"].shape == (6, 8)


def test_no_mask_has_a_part_in_the_independent_answers(config, data):
    plan = {"*": VariantPlan(corruptions=2, families=["erosion", "shift"])}
    generate.run(replace(config, truth=data / "truth", variants=plan))
    records = RecordSet(config.out)
    for _, rows in records.table.groupby("image_id"):
        maps = [records.maps(name, MAPS) for name in rows.record_id]
        assert len(maps) == 3
        assert all((one["referee/probability"] == maps[0]["referee/probability"]).all() for one in maps)
        assert any((one["referee/own_box"] != maps[0]["referee/own_box"]).any() for one in maps)


@pytest.mark.parametrize("name", ["fake", "other"])
def test_further_masks_of_an_image_change_nothing_that_the_referee_says_of_one(config, data, other, name):
    """The answers to the boxes of masks are asked for together with the independent ones, and are none of them."""
    alone = replace(config, truth=data / "truth", referee=RefereeConfig(name))
    generate.run(alone)
    plan = {"*": VariantPlan(corruptions=3, families=["erosion", "shift"])}
    generate.run(replace(alone, variants=plan, out=config.out.with_name("more")))
    few, many = (RecordSet(out) for out in (config.out, config.out.with_name("more")))
    both = few.table.merge(many.table, on="record_id", suffixes=("", "_more"))
    assert len(both) == IMAGES == len(few.table) < len(many.table)
    for score in SCORES:
        assert both[score].to_numpy() == pytest.approx(both[f"{score}_more"].to_numpy(), abs=1e-6)
    for record in both.record_id:
        for key in MAPS:
            assert np.abs(few.maps(record)[key].astype(float) - many.maps(record)[key]).max() < 2e-3


def test_its_score_tells_a_wrong_mask(config, data):
    masks = data.parent / "wrong"
    masks.mkdir()
    for path in (data / "masks").iterdir():
        mask = np.zeros((48, 64), np.uint8)
        mask[:12, :16] = 255
        Image.fromarray(mask).save(masks / path.name)
    generate.run(config)
    generate.run(replace(config, masks=masks, out=config.out.with_name("wrong_records")))
    good, bad = (RecordSet(out).table for out in (config.out, config.out.with_name("wrong_records")))
    assert good.referee_dice.min() > bad.referee_dice.max() + 0.1


def test_the_referee_s_own_answers_are_marked_and_say_nothing(config, data, other):
    plan = {"*": VariantPlan(["centre"], truth_jitter=1, corruptions=4, families=["erosion", "blob_add"])}
    own = replace(config, masks=None, truth=data / "masks", variants=plan, referee=RefereeConfig("fake"))
    generate.run(own)
    table = RecordSet(config.out).table
    expected = (table.natural & (table.prompter == "otsu")) | (~table.natural & (table.segmenter == "fake"))
    assert (table.referee_own == expected).all() and 0 < expected.sum() < len(table)
    assert table[expected][SCORES].isna().all().all() and table[~expected][SCORES].notna().all().all()
    generate.run(replace(own, referee=RefereeConfig("other"), out=config.out.with_name("other")))
    assert not RecordSet(config.out.with_name("other")).table.referee_own.any()


def test_a_given_mask_that_the_referee_itself_drew_is_recognised(config, data):
    drawn = config.out.with_name("drawn")
    generate.run(replace(config, masks=None, out=drawn, referee=RefereeConfig("none")))
    table = RecordSet(drawn).table
    masks = data.parent / "own"
    masks.mkdir()
    for image_id, mask in zip(table.image_id, table.mask_path, strict=True):
        shutil.copy(drawn / mask, masks / f"{image_id}.png")
    generate.run(replace(config, masks=masks))
    found = RecordSet(config.out).table
    assert found.referee_own.all() and found[SCORES].isna().all().all()


def test_an_answer_is_known_up_to_a_few_pixels():
    frame = Frame((40, 40), 40)
    answers = Moments.of(torch.full((2, 40, 40), -9.0))
    answers.logits[0, 5:35, 5:35] = 9.0
    answers.logits[1, :20] = 9.0
    mask = (answers.logits[0] > 0).numpy()
    mask[5, 5:14] = False  # 891 of 900 pixels are left

    def made(mask):
        return Draft(None, None, None, mask, 0.0, "given")

    assert is_answer(made(mask), frame, answers) and is_answer(made((answers.logits[1] > 0).numpy()), frame, answers)
    mask[6, 5] = False
    assert not is_answer(made(mask), frame, answers)
    assert not is_answer(made(np.zeros((40, 40), bool)), frame, answers)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(config, fake_segmenter, stopped_after):
    generate.run(replace(config, out=config.out.with_name("whole")))
    with stopped_after(2):
        generate.run(config)
    assert generate.run(config).written == IMAGES - 2
    fake_segmenter.clear()
    assert generate.run(config).written == 0 and fake_segmenter == []
    one, two = (RecordSet(out).table.sort_values("record_id") for out in (config.out, config.out.with_name("whole")))
    assert np.array_equal(one[SCORES].to_numpy(), two[SCORES].to_numpy())
    with pytest.raises(ConfigError, match=r"referee\.prompts=3, this run has referee\.prompts=4"):
        generate.run(replace(config, referee=replace(config.referee, prompts=4)))


def test_empty_tiny_split_and_border_touching_masks_in_small_and_large_images(config, tmp_path):
    masks = {name: np.zeros((48, 64), np.uint8) for name in ("empty", "full", "tiny", "two", "border")}
    masks |= {"large": np.zeros((700, 30), np.uint8), "pixel": np.zeros((64, 64), np.uint8)}
    masks["full"][:] = masks["tiny"][20, 30] = masks["border"][:, :10] = 255
    masks["two"][5:15, 5:15] = masks["two"][30:40, 40:60] = masks["large"][200:400] = masks["pixel"][0, 0] = 255
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "odd" / kind).mkdir(parents=True)
    for name, mask in masks.items():
        noise = rng.integers(0, 255, (*mask.shape, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "odd" / "images" / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / "odd" / "masks" / f"{name}.png")
    odd = replace(config, images=tmp_path / "odd" / "images", masks=tmp_path / "odd" / "masks")
    assert generate.run(odd).skipped == {}
    table = RecordSet(config.out).table.set_index("image_id")
    assert table[SCORES].notna().all().all() and table.referee_dice.between(0, 1).all()
    assert table.referee_dice["empty"] in (0, 1) and table.c_lesion.isna()["empty"]


def test_a_fallback_gives_way_to_a_prompter_that_found_something(config, monkeypatch, tmp_path):
    image = read_image(next(config.images.iterdir()))
    localizer = write_localizer(tmp_path / "l.safetensors")
    config = replace(config, referee=RefereeConfig("fake", localizer=localizer, prompts=6))
    assert config.referee.prompters == ["localizer", "otsu"]
    names = [prompt.prompter for prompt in independent_prompts(image, "a", config)]
    assert len(names) == 5 and names[1] == "otsu" and names[0].startswith("localizer")
    prompters = dict(referee.PROMPTERS)
    blind = [replace(prompters["otsu"](image)[0], prompter="localizer_fallback")]
    monkeypatch.setitem(referee.PROMPTERS, "localizer", Prompter(lambda image, **options: blind))
    prompts = independent_prompts(image, "a", config)
    assert {prompt.prompter for prompt in prompts} == {"otsu"} and len({prompt.box for prompt in prompts}) == 5
    assert prompts == independent_prompts(image, "a", config) != independent_prompts(image, "b", config)


def test_on_the_command_line_too_a_localizer_is_the_first_prompter():
    options = ["--images", "a", "--out", "b", "--referee", "litemedsam"]
    assert parse("generate", options).referee.prompters == ["otsu"]
    assert parse("generate", [*options, "--referee.localizer", "l"]).referee.prompters == ["localizer", "otsu"]


def test_images_that_the_localizer_was_fitted_on_are_left_out(config, lesions, tmp_path):
    own = replace(config, images=lesions, masks=None, only=["test"])
    name = select_cases(collect_cases(own)[0], own)[0].image_id
    localizer = write_localizer(tmp_path / "l.safetensors", (image_hash(name),))
    result = generate.run(replace(own, referee=RefereeConfig("fake", localizer=localizer)))
    assert set(result.skipped) == {name} and "was fitted on it" in result.skipped[name]
    assert "localizer_sha256" in RecordSet(config.out).config["referee"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "litemedsan"}, "unknown referee 'litemedsan', did you mean 'litemedsam'"),
        ({"name": "unet"}, "the referee is unet, which ignores prompts"),
        ({"prompters": ["truth_box"]}, "must not know mask or truth.* 'truth_box'"),
        ({"prompters": ["localizer"]}, "needs a network: fit one with `sqp fit localizer`"),
        ({"prompts": 1}, r"referee\.prompts is 1; it must lie between 2"),
        ({"jitter": 0.0}, r"referee\.jitter is 0\.0"),
        ({"maps": ["entropi"]}, "unknown measure 'entropi', did you mean 'entropy'"),
        ({"localizer": Path("no.safetensors")}, r"referee\.localizer is no\.safetensors, which does not exist"),
    ],
)
def test_wrong_options_are_told_before_anything_is_written(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        generate.run(replace(config, referee=replace(config.referee, **changes)))
    assert not config.out.exists()


def test_beside_what_references_show_only_answers_of_the_same_structure_count():
    prior = torch.full((8, 8), -4.0)
    prior[2:6, 2:6] = 4.0
    near, far = prior.roll(1, 0), prior.roll(4, 0)
    kept = beside_priors([prior], [far, near])
    assert len(kept) == 2 and torch.equal(kept[0], prior) and torch.equal(kept[1], near)
