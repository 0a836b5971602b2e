"""Each sampler through `generate`: its own options reach it, older record sets go on, ensembles are what they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fakes import FakeSegmenter
from plain_networks import write_checkpoint
from safetensors.numpy import save_file

from sqp import segmenters
from sqp.commands import generate
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.core.errors import ConfigError
from sqp.quality.bundle.expected_config import generate_config
from sqp.records import RecordSet, fitted, record_maker
from sqp.segmenters.ensemble import ensemble_sha256
from sqp.uncertainty import sample_many

OPTIONS = {
    "deterministic": {},
    "prompt_jitter": {"ratio": 0.2, "edges": True},
    "tta": {"set": "paper"},
    "noise": {"sigma": 0.3},
    "mc_dropout": {"p": 0.2, "sites": ("own",)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sampler_gets_its_own_options_and_no_other(config, monkeypatch, name):
    given = []

    def spy(*args, sampler, embedding, **options):
        given.append(options)
        return sample_many(*args, sampler=sampler, embedding=embedding, **options)

    monkeypatch.setattr(record_maker, "sample_many", spy)
    every = {key: value for options in OPTIONS.values() for key, value in options.items()}
    result = generate.run(replace(config, max_images=2, sampler=SamplerConfig(name, 3, **every)))
    assert result.skipped == {} and given and all(options == OPTIONS[name] for options in given)
    table = RecordSet(config.out).table
    assert set(table.sampler) == {name} and set(table.n_samples) == {1 if name == "deterministic" else 3}


def test_noise_is_one_image_s_whatever_the_prompt(config, fake_segmenter):
    plan = {"*": VariantPlan(prompters=["centre", "whole_image"])}
    generate.run(replace(config, max_images=1, variants=plan, sampler=SamplerConfig("noise", 4)))
    images = RecordSet(config.out).table.image_id.nunique()
    assert len(RecordSet(config.out).table) == 3 * images and fake_segmenter[0].encoded == 4 * images


def test_a_network_that_no_mask_prompts_is_sampled_once_an_image(config, monkeypatch, tmp_path):
    calls = []

    def spy(*args, **options):
        calls.append(args)
        return sample_many(*args, **options)

    monkeypatch.setattr(record_maker, "sample_many", spy)
    network = SegmenterConfig("unet", write_checkpoint(tmp_path / "w.safetensors", "unet"))
    plan = {"*": VariantPlan(corruptions=2)}
    generate.run(
        replace(config, max_images=1, segmenter=network, variants=plan, sampler=SamplerConfig("mc_dropout", 3))
    )
    records = RecordSet(config.out)
    assert len(records.table) == 3 * len(calls) and len(calls) == records.table.image_id.nunique()
    for _, rows in records.table.groupby("image_id"):
        natural, *others = (records.maps(name)["self/probability"] for name in rows.record_id)
        assert len(others) == 2 and all(np.array_equal(natural, other) for other in others)


def test_a_record_set_from_before_an_option_goes_on(config):
    first = generate.run(replace(config, max_images=1))
    path = config.out / "run.yaml"
    stored = yaml.safe_load(path.read_text())
    stored["config"]["sampler"] = {"name": "prompt_jitter", "n": 3, "ratio": 0.05, "edges": False}
    del stored["config"]["segmenter"]["checkpoints"]
    path.write_text(yaml.safe_dump(stored))
    assert generate.run(replace(config, max_images=1)).written == 0 < first.written
    with pytest.raises(ConfigError, match=r"sampler\.p=0\.01, this run has sampler\.p=0\.2"):
        generate.run(replace(config, max_images=1, sampler=SamplerConfig(n=3, p=0.2)))


@pytest.fixture
def three(config, monkeypatch, tmp_path):
    """The config of an ensemble of three fakes, told apart by the file's name."""

    def build(checkpoint=None, **options):
        made = FakeSegmenter(shift=float(Path(checkpoint).stem))
        made.weights_sha256 = Path(checkpoint).stem
        return made

    monkeypatch.setitem(segmenters.SEGMENTERS, "fake", build)
    monkeypatch.setattr(fitted, "locate", lambda name, checkpoint: (None, Path(checkpoint).stem))
    files = tuple(tmp_path / f"{i}.safetensors" for i in range(3))
    for file in files:
        save_file({}, file)
    return replace(
        config, max_images=2, segmenter=SegmenterConfig("fake", checkpoints=files), sampler=SamplerConfig("ensemble", 3)
    )


def test_an_ensemble_of_checkpoints(three):
    assert generate.run(three).skipped == {}
    records = RecordSet(three.out)
    expected = ensemble_sha256(["0", "1", "2"])
    assert set(records.table.weights_sha256) == {expected} and set(records.table.n_samples) == {3}
    assert records.config["segmenter"]["weights_sha256"] == expected
    assert records.maps(records.table.record_id[0])["self/variance"].max() > 0
    turned = replace(three.segmenter, checkpoints=three.segmenter.checkpoints[::-1])
    with pytest.raises(ConfigError, match=r"this run has segmenter\.checkpoints"):
        generate.run(replace(three, segmenter=turned))


@pytest.mark.parametrize(
    ("sampler", "segmenter", "message"),
    [
        ({"name": "ensemble"}, {}, r"sampler\.name ensemble and 0 checkpoints"),
        ({"name": "tta"}, {"checkpoints": ("a", "b")}, r"sampler\.name tta and 2 checkpoints"),
        ({"name": "ensemble"}, {"checkpoints": ("a",)}, "at least 2 files"),
        (
            {"name": "ensemble", "n": 4},
            {"checkpoints": ("a", "b")},
            r"sampler\.n is 4.* has 2 files: give sampler\.n 2",
        ),
        ({"name": "ensemble"}, {"checkpoints": ("a", "b"), "checkpoint": Path("c")}, "both given"),
        ({"name": "mc_dropout", "p": 0}, {}, r"sampler\.p is 0"),
        ({"name": "noise", "sigma": -1}, {}, r"sampler\.sigma is -1"),
        ({"name": "mc_dropout", "sites": ["decodr"]}, {}, "unknown site of dropout 'decodr', did you mean 'decoder'"),
        ({"name": "tta", "set": "ful"}, {}, "unknown set of transforms 'ful', did you mean 'full'"),
        ({"name": "tta", "set": "paper", "n": 31}, {}, r"sampler\.set paper has 30: give sampler\.n 30"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(config, sampler, segmenter, message):
    with pytest.raises(ConfigError, match=message):
        generate.run(
            replace(
                config, sampler=SamplerConfig(**{"n": 2, **sampler}), segmenter=SegmenterConfig("fake", **segmenter)
            )
        )
    assert not (config.out / "run.yaml").exists()


def test_predict_makes_records_with_the_ensemble_s_files(tmp_path):
    from sqp.config.predict import PredictConfig

    sampler = {"name": "ensemble", "n": 2, "ratio": 0.05, "edges": False, "set": "full", "sites": ["auto"]}
    expects = [{"segmenter": {"name": "unet"}, "prompter": "otsu", "sampler": sampler, "measures": ["entropy"]}]
    files = (tmp_path / "a", tmp_path / "b")
    made = generate_config(PredictConfig(tmp_path, tmp_path, images=tmp_path, checkpoints=files), expects)
    assert isinstance(made, GenerateConfig) and made.segmenter.files() == files and made.sampler.name == "ensemble"
