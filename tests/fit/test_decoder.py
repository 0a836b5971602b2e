"""Fine-tuning the decoder of a promptable segmenter: a tiny SAM learns, and LiteMedSAM's own file loads back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sam import tiny_sam

from sqp.config.fit import FitSegmenterConfig
from sqp.config.generate import GenerateConfig, SegmenterConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Prompt
from sqp.data.synthetic import write_synthetic
from sqp.fit import decoder as embeddings
from sqp.fit import decoder as fit_decoder
from sqp.fit import run as fit
from sqp.fit import task_of
from sqp.fit.data import fit_cases
from sqp.fit.decoder import CachedEmbeddings, DecoderModule, build_embeddings, drawn_boxes
from sqp.fit.module import Recipe
from sqp.networks.checkpoint import read_header, save_checkpoint
from sqp.records.fitted import fitted_checkpoints, leave_out_fitted
from sqp.records.make import collect_cases
from sqp.segmenters import build_segmenter
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.sam import PromptableSegmenter, min_max

FRACTIONS = {"segmenter": 0.6, "val": 0.2, "train": 0.2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("data"), 30, seed=3, size=(48, 64), fractions=FRACTIONS)


@pytest.fixture
def config(data, tmp_path, monkeypatch):
    """LiteMedSAM is a tiny SAM of random weights; its masks are 16 x 16."""
    monkeypatch.setattr(fit_decoder, "network", lambda full_resolution_stem: tiny_sam())
    monkeypatch.setattr(fit_decoder, "starting_state", lambda file: dict(tiny_sam().state_dict()))
    monkeypatch.setattr(fit_decoder, "encoder", lambda file: PromptableSegmenter("tiny", tiny_sam(), min_max))
    return FitSegmenterConfig(
        data, tmp_path / "fit", network="litemedsam", epochs=12, patience=12, batch_size=4, learning_rate=1e-2,
        progress=False, accelerator="cpu",
    )  # fmt: skip


def test_the_decoder_learns_and_nothing_else_moves(config) -> None:
    untrained = fit.fit_network(replace(config, epochs=1, learning_rate=1e-8, out=config.out.with_name("untrained")))
    result = fit.fit_network(config)
    (file, dice), (_, before) = next(iter(result.checkpoints.items())), next(iter(untrained.checkpoints.items()))
    assert dice > before + 0.1
    assert file.name == "litemedsam-seed0.safetensors" and "--segmenter litemedsam" in result.summary()
    state, start = fit_decoder.read_state(file), tiny_sam().state_dict()
    assert state.keys() == start.keys()
    moved = {name.split(".")[0] for name, value in state.items() if not torch.equal(value, start[name])}
    assert moved == {"mask_decoder"}
    assert len(read_header(file, NetworkSpec).info["data"]["fitted_images"]) == 18
    assert fit.fit_network(config).checkpoints == result.checkpoints


def test_val_dice_is_that_of_otsus_box_as_the_segmenter_draws_it(config) -> None:
    """The module on cached embeddings and `PromptableSegmenter` give the same logits for the same prompt."""
    _, held = fit_cases(config, task_of(config))
    segmenter = fit_decoder.encoder(None)
    cache = build_embeddings(held, segmenter, config.out, progress=False)
    batch = CachedEmbeddings(cache, np.arange(len(held))).__getitems__([2, 0])
    module = DecoderModule(NetworkSpec("litemedsam"), tiny_sam(), Recipe())
    with torch.no_grad():
        logits, iou = module(batch["features"], batch["boxes"][:, 1])
    assert logits.shape == batch["truth"].shape == batch["valid"].shape
    for row, case in enumerate((held[2], held[0])):
        image, truth = embeddings.read_pair(case)
        prompt = embeddings.PROMPTERS["otsu"](image)[0]
        decoded = segmenter.decode(segmenter.encode(image), [Prompt(box=prompt.box)])
        h, w = decoded.logits.shape[-2:]
        torch.testing.assert_close(logits[row, :, :h, :w], decoded.logits[0], atol=0.02, rtol=0.01)  # float16 features
        assert iou[row].item() == pytest.approx(decoded.iou.item(), abs=0.01)
        assert batch["valid"][row].sum() == h * w
        assert (batch["truth"][row, 0, :h, :w] == segmenter.frame(truth.shape).mask_to_grid(truth)).all()


def test_boxes_are_drawn_and_moved_within_reach() -> None:
    boxes = torch.tensor([[[10.0, 10, 30, 50], [12.0, 8, 20, 20]]]).repeat(200, 1, 1)
    one, two = (drawn_boxes(boxes, torch.Generator().manual_seed(0), 0.1) for _ in range(2))
    assert torch.equal(one, two)
    first = (one[:, 2] - 30).abs() <= 2.001
    assert 60 < first.sum() < 140
    reach = torch.tensor([2.0, 4, 2, 4])
    assert ((one[first] - boxes[0, 0]).abs() <= reach + 1e-4).all()
    assert (one[first] - boxes[0, 0]).abs().amax(0).gt(0.8 * reach).all()


def test_an_interrupted_encoding_goes_on_and_broken_images_are_told(config, monkeypatch) -> None:
    cases, _ = fit_cases(config, task_of(config))
    segmenter, encode, calls = fit_decoder.encoder(None), PromptableSegmenter.encode, []

    def stop_at_third(self, image):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        if len(calls) == 5:
            raise CaseError("broken")
        return encode(self, image)

    monkeypatch.setattr(PromptableSegmenter, "encode", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        build_embeddings(cases, segmenter, config.out, progress=False)
    cache = build_embeddings(cases, segmenter, config.out, progress=False)
    assert len(calls) == len(cases) + 1 and cache.broken == {3: "broken"}
    whole = build_embeddings(cases, segmenter, config.out / "whole", progress=False)
    good = [row for row in range(len(cases)) if row != 3]
    assert (cache.features[good] == whole.features[good]).all() and (cache.boxes[good] == whole.boxes[good]).all()


def test_options_of_plain_networks_are_refused(config) -> None:
    with pytest.raises(ConfigError, match="litemedsam has no option width: leave it out"):
        fit.fit_network(replace(config, width=8))
    with pytest.raises(ConfigError, match="litemedsam has no option dropout"):
        fit.fit_network(replace(config, dropout=0.3))
    with pytest.raises(ConfigError, match=r"unknown network 'litemedsm', did you mean 'litemedsam'"):
        fit.fit_network(replace(config, network="litemedsm"))


def test_litemedsams_own_network_loads_back_and_keeps_fitted_images_out(data, tmp_path) -> None:
    asked = FitSegmenterConfig(data, tmp_path, network="litemedsam", progress=False)
    start = fit_decoder.starting_state(None)
    weights = {name.removeprefix(fit_decoder.PART): w for name, w in start.items() if name.startswith(fit_decoder.PART)}
    weights["iou_prediction_head.layers.2.bias"] = weights["iou_prediction_head.layers.2.bias"] + 0.25
    task = task_of(asked)
    fitted, held = fit_cases(asked, task)
    info = {"data": fit.described_data(fitted, held)}
    file = tmp_path / "litemedsam-seed0.safetensors"
    save_checkpoint(file, task.kept(weights), task.spec(fitted), info)
    image = embeddings.read_pair(held[0])[0]
    prompt = Prompt(box=(10, 10, 50, 40))
    own, again = (build_segmenter("litemedsam", checkpoint) for checkpoint in (None, file))
    one, two = (segmenter.decode(segmenter.encode(image), [prompt]) for segmenter in (own, again))
    torch.testing.assert_close(one.logits, two.logits)
    assert (two.iou - one.iou).item() == pytest.approx(0.25, abs=1e-5)

    plan = GenerateConfig(data, tmp_path / "records", segmenter=SegmenterConfig("litemedsam", file))
    cases = collect_cases(plan)[0]
    seen = [replace(case, split="train") for case in cases]
    kept, out = leave_out_fitted(seen, fitted_checkpoints(plan))
    assert set(out) == {case.image_id for case in fitted} and len(kept) == len(cases) - len(fitted)
    own = replace(plan, segmenter=SegmenterConfig("litemedsam", Path("lite_medsam.pth")))
    assert fitted_checkpoints(own) == []
    cascade = replace(own, cascade="litemedsam", cascade_options={"checkpoint": str(file)})
    assert fitted_checkpoints(cascade) == [file]
