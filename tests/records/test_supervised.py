"""The supervised referee in `generate`: symmetries brought back, maps and scores, what is its own answer, refusals."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_networks import write_checkpoint

from sqp.commands import generate
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig, SupervisedConfig
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.core.frame import Frame
from sqp.metrics.overlap import soft_dice
from sqp.records import RecordSet
from sqp.records.make import check_parts
from sqp.records.referees.referee import independent_prompts
from sqp.records.referees.supervised import SYMMETRIES, SupervisedReferee
from sqp.uncertainty.referee import SUPERVISED_SCORES

IMAGES = 3


@pytest.fixture
def config(lesions, tmp_path):
    """Given masks beside the answers of a small random U-Net."""
    for name in sorted(path.stem for path in (lesions / "masks").iterdir())[:IMAGES]:
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            shutil.copy(next((lesions / kind).glob(f"{name}.*")), tmp_path / kind)
    checkpoint = write_checkpoint(tmp_path / "unet.safetensors")
    return GenerateConfig(
        tmp_path / "images",
        tmp_path / "records",
        masks=tmp_path / "masks",
        segmenter=SegmenterConfig("none"),
        referee=RefereeConfig("none"),
        supervised=SupervisedConfig(checkpoint, symmetries=2),
    )


def test_its_maps_and_scores_are_those_of_its_answers(config):
    generate.run(config)
    records = RecordSet(config.out)
    assert set(records.map_names()) >= {f"supervised/{name}" for name in ("probability", "entropy", "variance")}
    assert set(SUPERVISED_SCORES) <= set(records.table)
    assert records.config["supervised"]["weights_sha256"] == sha256_of(config.supervised.network)
    for row in records.table.itertuples():
        maps = records.maps(row.record_id, ["supervised/probability"])
        p = maps["supervised/probability"].astype(float)
        frame = Frame((row.height, row.width), size=64)
        mask = frame.mask_to_grid(records.mask(row.record_id)).numpy()
        assert row.supervised_dice == pytest.approx(soft_dice(p, mask), abs=2e-3)  # p is stored in 8 bits
        assert row.supervised_confidence == pytest.approx(soft_dice(p, p >= 0.5), abs=2e-3)


@pytest.mark.parametrize("symmetries", [1, 2, 4, 8])
def test_answers_under_symmetries_come_back_to_the_image(config, symmetries):
    """A network that answers with the image itself says the same under each of them."""
    referee = SupervisedReferee(replace(config, supervised=replace(config.supervised, symmetries=symmetries)), None)

    class Copies(torch.nn.Module):
        final_conv = torch.nn.Conv2d(3, 1, 1)

        def forward(self, x):
            self.final_conv(x)  # what the token is read from
            return x[:, :1]

    referee.segmenters[0].network = Copies()
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    answers, frame, token = referee.answers(image)
    assert answers.logits.shape == (symmetries, *frame.grid)
    assert len(set(SYMMETRIES)) == 8
    for logits in answers.logits[1:]:
        torch.testing.assert_close(logits, answers.logits[0], atol=1e-5, rtol=0)
    assert token.shape == (6,)


def test_a_mask_that_it_drew_itself_says_nothing(config, tmp_path):
    own = replace(
        config,
        masks=None,
        segmenter=SegmenterConfig("unet", config.supervised.network),
        sampler=SamplerConfig("deterministic", 1),
    )
    generate.run(own)
    table = RecordSet(own.out).table
    assert table.supervised_dice.isna().all()
    assert table.referee_own.all()
    given = replace(config, out=tmp_path / "given")
    masks = tmp_path / "drawn"
    masks.mkdir()
    for row in table.itertuples():
        shutil.copy(own.out / row.mask_path, masks / f"{row.image_id}.png")
    generate.run(replace(given, masks=masks, supervised=replace(config.supervised, symmetries=1)))
    again = RecordSet(given.out).table
    drawn = [RecordSet(given.out).mask(name).any() for name in again.record_id]
    assert again.referee_own.tolist() == drawn
    assert [math.isnan(value) for value in again.supervised_dice] == drawn


def test_several_networks_count_alike(config, tmp_path):
    """The mean of all answers; the vector by which a strange image is told stays the first network's."""
    other = write_checkpoint(tmp_path / "other.safetensors", seed=1)
    alone = [SupervisedReferee(replace(config, supervised=SupervisedConfig(file, 2)), None)
             for file in (config.supervised.network, other)]  # fmt: skip
    together = replace(config, supervised=SupervisedConfig(config.supervised.network, 2, [other]))
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    answers, frame, token = SupervisedReferee(together, None).answers(image)
    each = [referee.answers(image) for referee in alone]
    torch.testing.assert_close(answers.logits, torch.cat([one.logits for one, _, _ in each]))
    torch.testing.assert_close(answers.mean_p, (each[0][0].mean_p + each[1][0].mean_p) / 2)
    assert frame.grid == each[0][1].grid
    torch.testing.assert_close(token, each[0][2])
    generate.run(together)
    stored = RecordSet(config.out).config["supervised"]
    assert stored["weights_sha256"] == sha256_of(config.supervised.network)
    assert stored["more_sha256"] == [sha256_of(other)]
    drawn = replace(together, out=tmp_path / "drawn", masks=None, segmenter=SegmenterConfig("unet", other))
    generate.run(replace(drawn, sampler=SamplerConfig("deterministic", 1)))
    assert RecordSet(drawn.out).table.referee_own.all()  # of either of them


def test_networks_that_do_not_go_together_are_refused(config, tmp_path):
    first = config.supervised.network
    smaller = write_checkpoint(tmp_path / "smaller.safetensors", seed=1, size=48)
    with pytest.raises(ConfigError, match=r"see an image at 48 and 64 pixels: fit them with one --size"):
        check_parts(replace(config, supervised=SupervisedConfig(first, more=[smaller])))
    shutil.copy(first, tmp_path / "twin.safetensors")
    with pytest.raises(ConfigError, match=r"are the same: leave one out"):
        check_parts(replace(config, supervised=SupervisedConfig(first, more=[tmp_path / "twin.safetensors"])))
    with pytest.raises(ConfigError, match=r"without a first network: give --supervised\.network FILE"):
        replace(config, supervised=SupervisedConfig(more=[first]))


def test_another_network_has_its_say(config, tmp_path):
    other = write_checkpoint(tmp_path / "other.safetensors", seed=1)
    own = replace(
        config,
        masks=None,
        segmenter=SegmenterConfig("unet", other),
        sampler=SamplerConfig("deterministic", 1),
    )
    generate.run(own)
    assert RecordSet(own.out).table.supervised_dice.notna().all()


@pytest.mark.parametrize(
    ("name", "words"), [("unet3d", "does not segment images"), ("missing", "does not exist"), ("text", "checkpoint")]
)
def test_a_file_that_is_no_network_of_images_is_refused(config, tmp_path, name, words):
    file = tmp_path / f"{name}.safetensors"
    if name == "unet3d":
        write_checkpoint(file, name)
    elif name == "text":
        file.write_text("no network")
    with pytest.raises(ConfigError, match=words):
        check_parts(replace(config, supervised=SupervisedConfig(file)))


def test_a_strange_number_of_symmetries_is_refused(config):
    with pytest.raises(ConfigError, match=r"supervised\.symmetries is 3"):
        replace(config, supervised=SupervisedConfig(symmetries=3))


def test_its_box_may_prompt_the_other_referee(config, fake_segmenter, monkeypatch):
    both = replace(config, referee=RefereeConfig("fake", prompters=["supervised"], prompts=2))
    drawn = np.zeros((8, 10), bool)
    drawn[2:5, 3:9] = True
    image = np.zeros((8, 10, 3), np.uint8)
    (prompt,) = independent_prompts(image, "a", both, drawn)
    assert prompt.box == (3, 2, 9, 5) and prompt.prompter == "supervised"
    (prompt,) = independent_prompts(image, "a", both, np.zeros((8, 10), bool))
    assert prompt.box == (0, 0, 10, 8) and prompt.prompter == "supervised_fallback"
    generate.run(both)
    table = RecordSet(config.out).table
    assert table[["referee_dice", "supervised_dice"]].notna().all().all()


def test_its_box_needs_the_network(config):
    with pytest.raises(ConfigError, match=r"'supervised' needs a network: .*--supervised\.network"):
        replace(config, referee=RefereeConfig("litemedsam", prompters=["supervised"]), supervised=SupervisedConfig())
