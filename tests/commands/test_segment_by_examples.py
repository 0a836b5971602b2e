"""In-context segmenters as `--segmenter`: what references show becomes masks, samples, maps, and a bundle's input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from beside_references import few
from fakes import Seeing
from few_lesions import copy_lesions, names_of
from tiny_universeg import write_universeg

from sqp import segmenters
from sqp.cli.main import main
from sqp.commands import generate, predict, train
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig
from sqp.config.predict import PredictConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.records import RecordSet
from sqp.segmenters import atlas

JUDGED, SHOWN = 2, 4


@pytest.fixture(scope="module")
def home(lesions, tmp_path_factory) -> Path:
    """`data` to segment, `refs` to show, and the weights."""
    home = few(lesions, tmp_path_factory.mktemp("few"), JUDGED, SHOWN)
    write_universeg(home / "universeg.safetensors")
    return home


def records(home, images, out, sampler="auto", **options):
    return GenerateConfig(
        images,
        out,
        references=home / "refs",
        segmenter=SegmenterConfig("universeg", home / "universeg.safetensors"),
        sampler=SamplerConfig(sampler, n=3),
        **options,
    )


@pytest.mark.parametrize("sampler", ["auto", "deterministic", "mc_dropout", "tta", "noise"])
def test_it_is_sampled_as_every_segmenter(home, tmp_path, sampler):
    result = generate.run(records(home, home / "data", tmp_path, sampler))
    assert result.exit_status == 0 and result.records == JUDGED
    made = RecordSet(tmp_path)
    told = made.config["segmenter"]
    assert told["name"] == "universeg" and told["weights_sha256"] == sha256_of(home / "universeg.safetensors")
    assert made.config["references_weights_sha256"] == told["weights_sha256"]
    assert set(made.table.sampler) == {"support_sets" if sampler == "auto" else sampler}
    assert made.table[["dice", "rca_mean", "references_dice", "mean_entropy"]].notna().all().all()
    maps = made.maps(made.table.record_id[0])
    assert (maps["self/variance"].max() > 0) == (sampler != "deterministic")
    assert made.table.n_samples.eq(1 if sampler == "deterministic" else 3).all()


def test_given_masks_are_judged_beside_its_answer_and_a_prompted_referee(home, tmp_path, monkeypatch):
    monkeypatch.setitem(segmenters.SEGMENTERS, "litemedsam", lambda checkpoint=None, **options: Seeing())
    generate.run(records(home, home / "data" / "images", tmp_path, masks=home / "data" / "masks"))
    made = RecordSet(tmp_path)
    assert made.config["referee"]["name"] == "litemedsam" and set(made.table.segmenter) == {"given"}
    assert made.table[["referee_dice", "rca_mean", "mean_entropy"]].notna().all().all()
    assert made.maps(made.table.record_id[0])["self/variance"].max() > 0


def test_fused_and_refined_records_are_made_of_its_samples(home, tmp_path):
    generate.run(records(home, home / "data", tmp_path, fusion="mean", refine=["crf"]))
    table = RecordSet(tmp_path).table
    assert len(table) == 3 * JUDGED and set(table.fused_by) == {"", "mean"} and set(table.refined_by) == {"", "crf"}


def test_a_segmented_reference_is_drawn_by_the_others(home, tmp_path):
    """Of four references each is drawn by three: as if it were not among them."""
    generate.run(records(home, home / "refs", tmp_path / "all", "deterministic"))
    name = names_of(home / "refs")[0]
    copy_lesions(home / "refs", tmp_path / "others", names_of(home / "refs")[1:])
    alone = records(home, home / "refs", tmp_path / "alone", "deterministic")
    generate.run(replace(alone, references=tmp_path / "others"))
    tables = [RecordSet(tmp_path / folder).table.set_index("image_id") for folder in ("all", "alone")]
    assert tables[0].mean_probability[name] == pytest.approx(tables[1].mean_probability[name], abs=1e-7)


@pytest.mark.parametrize("name", ["personalised", "pixel_classifier"])
def test_those_that_read_an_encoding_need_no_weights(home, tmp_path, name, monkeypatch):
    built: list[Seeing] = []

    def build(checkpoint=None, **options):
        built.append(Seeing(size=64, stride=4))
        return built[-1]

    monkeypatch.setitem(segmenters.SEGMENTERS, "litemedsam", build)
    config = replace(records(home, home / "data", tmp_path, "auto"), segmenter=SegmenterConfig(name))
    result = generate.run(config)
    assert result.exit_status == 0
    table = RecordSet(tmp_path).table
    assert table[["dice", "rca_mean"]].notna().all().all() and set(table.segmenter) == {name}
    assert sum(fake.encoded for fake in built) == SHOWN + JUDGED  # once each, whatever is made of it


def test_an_atlas_needs_neither_weights_nor_an_encoding(home, tmp_path, monkeypatch):
    monkeypatch.setattr(atlas, "LEAST_SIDE", 10_000)  # laid over by the centres, which takes no time
    config = replace(records(home, home / "data", tmp_path / "out", "auto"), segmenter=SegmenterConfig("atlas"))
    assert generate.run(config).exit_status == 0
    made = RecordSet(tmp_path / "out")
    assert made.table[["dice", "rca_mean", "references_dice"]].notna().all().all()
    assert set(made.table.segmenter) == {"atlas"} and set(made.table.sampler) == {"support_sets"}
    told = made.config["segmenter"]["weights_sha256"]
    assert len(told) == 64 and made.config["references_weights_sha256"] == told
    dropout = SamplerConfig("mc_dropout", n=2)
    with pytest.raises(ConfigError, match="is no torch network"):
        generate.run(replace(config, sampler=dropout, out=tmp_path / "dropout"))


def test_a_bundle_trained_so_judges_the_masks_that_other_references_show(home, lesions, tmp_path):
    made = generate.run(records(home, lesions, tmp_path / "records"))
    trained = train.run(
        TrainConfig(
            [made.out], tmp_path / "model", "mask+self/entropy", ["mean_entropy", "rca_mean"], size=32, epochs=1,
            alpha=0.3, progress=False,
        )
    )  # fmt: skip
    asked = PredictConfig(
        trained.bundle, tmp_path / "out", images=home / "data" / "images", references=home / "refs",
        checkpoint=home / "universeg.safetensors", worst=1,
    )  # fmt: skip
    table = predict.run(asked).table
    assert len(table) == JUDGED and table[["predicted_dice", "rca_mean"]].notna().all().all()
    copy_lesions(home / "refs", tmp_path / "fewer", names_of(home / "refs")[1:])
    other = predict.run(replace(asked, references=tmp_path / "fewer", out=tmp_path / "other")).table
    assert (table.mean_entropy - other.mean_entropy).abs().max() > 1e-6
    with pytest.raises(ConfigError, match="with examples of the task: give --references DIR"):
        predict.run(replace(asked, references=None, out=tmp_path / "none"))


def test_reverse_scores_of_another_reader_are_refused(home, lesions, tmp_path, monkeypatch):
    """A bundle that reads them alone builds no segmenter for given masks, so another network would make them."""
    monkeypatch.setitem(segmenters.SEGMENTERS, "litemedsam", lambda checkpoint=None, **options: Seeing(64, 4))
    made = generate.run(records(home, lesions, tmp_path / "records", "deterministic"))
    scores = {"inputs": "mask", "scores": ["rca_mean"], "backbone": "tabular", "augment": False}
    trained = train.run(
        TrainConfig([made.out], tmp_path / "model", **scores, size=32, epochs=1, alpha=0.3, progress=False)
    )
    asked = PredictConfig(
        trained.bundle, tmp_path / "out", images=home / "data" / "images", masks=home / "data" / "masks",
        references=home / "refs", worst=1,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="references_weights_sha256"):
        predict.run(asked)


def test_workers_draw_what_one_process_draws(home, tmp_path):
    tables = []
    for workers in (0, 2):
        generate.run(records(home, home / "data", tmp_path / str(workers), workers=workers))
        tables.append(RecordSet(tmp_path / str(workers)).table.sort_values("record_id").reset_index(drop=True))
    assert tables[0][["dice", "rca_mean", "mean_entropy"]].equals(tables[1][["dice", "rca_mean", "mean_entropy"]])


def test_what_is_missing_is_one_sentence(home, tmp_path, capsys):
    data, file = str(home / "data"), str(home / "universeg.safetensors")
    words = ["generate", "--images", data, "--out", str(tmp_path / "out"), "--segmenter", "universeg"]
    assert main([*words, "--checkpoint", file]) == 2
    assert "the segmenter universeg is shown examples of the task: give --references DIR" in capsys.readouterr().err
    assert main([*words, "--references", str(home / "refs")]) == 2
    assert "universeg comes without weights: give --checkpoint FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"referee": RefereeConfig("personalised")}, "would not be independent: leave out the referee"),
        ({"segmenter": SegmenterConfig("personalised", checkpoints=("a", "b"))}, "an ensemble over its references"),
        ({"segmenter": SegmenterConfig("unet", "w"), "sampler": SamplerConfig("support_sets")}, "is shown none"),
        (
            {"referee": RefereeConfig("universeg", weights="w"), "segmenter": SegmenterConfig("universeg", "w")},
            "not be",
        ),
        ({"segmenter": SegmenterConfig("atlas", "w")}, "atlas has no weights: leave it out"),
        ({"cascade": "universeg"}, "cascade is universeg, which is shown references, not prompted"),
    ],
)
def test_what_does_not_go_together_is_told(home, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        generate.run(replace(records(home, home / "data", tmp_path), **options))
