"""A point goes to a first segmenter, the box of its mask to the second."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeSegmenter
from plain_networks import write_checkpoint

from sqp import segmenters
from sqp.commands import generate
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.core.errors import ConfigError
from sqp.core.types import Decoded, Prompt
from sqp.records import RecordSet, fitted
from sqp.records.cascade import Cascade
from sqp.records.fitted import image_hash
from sqp.records.make import collect_cases, select_cases

POINT = Prompt(points=((32, 24),), labels=(1,), prompter="centre")
IMAGE = np.full((48, 64, 3), 200, np.uint8)


class Blobs(FakeSegmenter):
    """Whatever the prompt, its mask is a large and a small rectangle; `empty` for none."""

    empty = False

    def decode(self, embedding, prompts):
        logits = torch.full((len(prompts), 1, *embedding.frame.grid), -5.0)
        if not self.empty:
            logits[..., 2:8, 4:12] = logits[..., 10, 14] = 5.0
        return Decoded(logits, torch.full((len(prompts), 1), 0.5))


@pytest.fixture
def blobs(monkeypatch):
    monkeypatch.setitem(segmenters.SEGMENTERS, "blobs", lambda checkpoint=None, **options: Blobs(64, 4))
    monkeypatch.setattr(fitted, "locate", lambda name, checkpoint: (None, "ab" * 32))
    return Blobs


@pytest.fixture
def cascaded(lesions, fake_segmenter, blobs, tmp_path):
    return GenerateConfig(
        lesions, tmp_path / "r", segmenter=SegmenterConfig("fake"), prompter="centre", cascade="blobs", only=["test"],
        sampler=SamplerConfig(n=2), variants={"*": VariantPlan(prompters=["otsu"])},
    )  # fmt: skip


def test_the_box_is_that_of_the_largest_component(blobs, cascaded):
    prompt = Cascade(cascaded)(IMAGE, POINT)
    x0, y0, x1, y1 = prompt.box
    assert np.abs(np.array(prompt.box) - (16, 8, 48, 32)).max() <= 2  # cells are 4 pixels; the small one is left out
    assert prompt.prompter == "centre>blobs" and prompt.points == ()
    cascaded.cascade_options = {"margin": 0.25}
    w, h = x1 - x0, y1 - y0
    grown = (x0 - w / 4, max(0, y0 - h / 4), x1 + w / 4, y1 + h / 4)
    assert Cascade(cascaded)(IMAGE, POINT).box == pytest.approx(grown)


def test_an_empty_first_mask_is_the_whole_image_and_says_so(blobs, cascaded, monkeypatch):
    monkeypatch.setattr(blobs, "empty", True)
    prompt = Cascade(cascaded)(IMAGE, POINT)
    assert prompt.box == (0, 0, 64, 48) and prompt.prompter == "centre>blobs_empty"


def test_generate_cascades_its_main_prompter_alone(cascaded):
    result = generate.run(cascaded)
    assert result.skipped == {}
    records = RecordSet(cascaded.out)
    told = {row.prompter: json.loads(row.prompt) for row in records.table.itertuples()}
    assert told["centre"]["made_by"] == "centre>blobs" and told["centre"]["box"] and not told["centre"]["points"]
    assert told["otsu"]["made_by"].startswith("otsu") and ">" not in told["otsu"]["made_by"]
    assert records.config["cascade"] == "blobs" and records.config["cascade_sha256"] == "ab" * 32
    with pytest.raises(ConfigError, match="cascade"):
        cascaded.cascade = None
        generate.run(cascaded)


def test_a_plain_network_may_come_first_and_what_it_was_fitted_on_is_left_out(cascaded, tmp_path, monkeypatch):
    monkeypatch.undo()  # the real table
    cascaded.segmenter = SegmenterConfig("unet", checkpoint=write_checkpoint(tmp_path / "b.safetensors"))
    cascaded.sampler = SamplerConfig("tta", n=2)
    cases = select_cases(collect_cases(cascaded)[0], cascaded)
    name = cases[0].image_id
    file = write_checkpoint(tmp_path / "a.safetensors", fitted_images=(image_hash(name),))
    cascaded.cascade, cascaded.cascade_options, cascaded.variants = "unet", {"checkpoint": str(file)}, {}
    result = generate.run(cascaded)
    assert set(result.skipped) == {name} and "was fitted on it" in result.skipped[name]
    assert all("centre>unet" in prompt for prompt in RecordSet(cascaded.out).table.prompt)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cascade": "mobilesm"}, "unknown segmenter 'mobilesm', did you mean 'mobilesam'"),
        ({"cascade_options": {"margn": 1}}, "unknown option of a cascade 'margn', did you mean 'margin'"),
        ({"cascade_options": {"margin": "wide"}}, "cascade_options.margin is wide"),
        ({"cascade_options": {"precision": "int8"}}, "unknown precision 'int8'"),
        ({"cascade_options": {"multimask": "maybe"}}, "unknown choice of multimask 'maybe'"),
        ({"cascade": None, "cascade_options": {"margin": 1}}, "but no cascade"),
        ({"cascade": "unet"}, "unet comes without weights"),
        ({"prompter": "localizer"}, "the prompter 'localizer' needs a network: fit one with `sqp fit localizer`"),
        (
            {"prompter": "cam", "prompter_options": {"checkpoint": "no.pt"}},
            "'cam' has the checkpoint no.pt, which does",
        ),
        ({"prompters": {"otsu": {"prompter": "cam"}}}, "gives the name 'otsu' again"),
        ({"prompters": {"mine": {"prompter": "can"}}}, "unknown prompter 'can', did you mean 'cam'"),
        ({"prompters": {"mine": {"prompter": "truth_box"}}}, "which tables must know by its own name"),
        ({"prompters": {"mine": {"prompter": "otsu", "margn": 1}}}, "unknown option of the prompter otsu 'margn'"),
        ({"prompter": "landmarks"}, "needs a network: fit one with `sqp fit localizer --method landmarks`"),
        ({"variants": {"*": VariantPlan(prompters=["cam"])}}, "the prompter 'cam' needs a network"),
    ],
)
def test_wrong_options_are_told_before_anything_is_written(cascaded, changes, message):
    with pytest.raises(ConfigError, match=message):
        generate.run(replace(cascaded, **changes))
    assert not cascaded.out.exists()
