"""The referee `universeg` end to end with tiny random weights: generate, a bundle that reads what it says, predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from beside_references import few
from tiny_universeg import write_universeg

from sqp.commands import generate, predict, train
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig
from sqp.config.predict import PredictConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.quality.bundle.storage import Bundle
from sqp.records import RecordSet
from sqp.records.fitted import image_hash
from sqp.segmenters import atlas
from sqp.uncertainty.rca import RCA_SCORES

JUDGED, SHOWN = 2, 8
RCA = list(RCA_SCORES)


@pytest.fixture(scope="module")
def home(lesions, tmp_path_factory) -> Path:
    """`data` to judge, `refs` to show, and the weights."""
    home = few(lesions, tmp_path_factory.mktemp("few"), JUDGED, SHOWN)
    write_universeg(home / "universeg.safetensors")
    return home


def records(images, home, out, referee="universeg", **options):
    weights = home / "universeg.safetensors" if referee == "universeg" else None
    return GenerateConfig(
        images,
        out,
        references=home / "refs",
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig("deterministic"),
        referee=RefereeConfig(referee, weights=weights),
        **options,
    )


@pytest.fixture(scope="module")
def made(lesions, home, fake_for_module) -> RecordSet:
    return RecordSet(generate.run(records(lesions, home, home / "records")).out)


@pytest.fixture(scope="module")
def bundles(made, home) -> dict[str, Path]:
    """Of a model that reads the referee's map, and of one that reads the reverse scores alone."""
    reads = {"referee": ("mask+referee/probability", ["referee_dice"]), "rca": ("mask", ["rca_mean"])}
    return {
        name: train.run(
            TrainConfig([made.folder], home / name, inputs, scores, size=32, epochs=1, alpha=0.3, progress=False)
        ).bundle
        for name, (inputs, scores) in reads.items()
    }


def test_it_draws_what_the_references_show(made, home):
    assert made.table[[*RCA, "referee_dice", "referee_self_dice"]].notna().all().all()
    told = made.config["referee"]
    assert told["name"] == "universeg" and told["encoder"] == "fake"
    assert told["in_context_sha256"] == sha256_of(home / "universeg.safetensors")
    assert told["weights_sha256"] == "0" * 64  # of the promptable one behind it
    assert made.config["references_weights_sha256"] == told["in_context_sha256"]
    shown = {path.stem for path in (home / "refs" / "images").iterdir()}
    judged = made.table[~made.table.image_id.isin(shown)]
    maps = made.maps(judged.record_id.iloc[0])
    assert maps["referee/variance"].max() > 0  # of eight references also two sets of four are shown
    assert judged.referee_agreement.notna().all()


def test_reverse_scores_are_its_own(made, home, lesions, tmp_path, fake_segmenter):
    other = records(lesions, home, tmp_path / "other", "personalised")
    table = RecordSet(generate.run(other).out).table.set_index("record_id")
    assert (table.rca_mean - made.table.set_index("record_id").rca_mean).abs().max() > 1e-3


def test_a_bundle_of_reverse_scores_by_registration_registers_again(
    home, lesions, tmp_path, fake_segmenter, monkeypatch
):
    """It reads nothing else of its referee, and still asks the same one."""
    monkeypatch.setattr(atlas, "LEAST_SIDE", 10_000)  # laid over by the centres, which takes no time
    made = RecordSet(generate.run(records(lesions, home, tmp_path / "records", "atlas")).out)
    assert made.table[[*RCA, "referee_dice"]].notna().all().all()
    bundle = train.run(
        TrainConfig(
            [made.folder], tmp_path / "model", "mask", ["rca_mean"], size=32, epochs=1, alpha=0.3, progress=False
        )
    ).bundle
    asked = PredictConfig(
        bundle, tmp_path / "out", images=home / "data" / "images", masks=home / "data" / "masks",
        references=home / "refs", worst=1,
    )  # fmt: skip
    predict.run(asked)
    assert RecordSet(tmp_path / "out" / "records").config["referee"]["name"] == "atlas"


def test_its_references_are_not_encoded(home, tmp_path, fake_segmenter):
    config = records(home / "data", home, tmp_path / "out")
    generate.run(config)
    assert sum(fake.encoded for fake in fake_segmenter) == JUDGED


def test_images_that_it_was_fitted_on_are_left_out(home, lesions, tmp_path, fake_segmenter):
    name = next(p.stem for p in sorted((lesions / "images").iterdir()))
    weights = write_universeg(tmp_path / "fitted.safetensors", (image_hash(name),))
    config = records(lesions, home, tmp_path / "out")
    result = generate.run(replace(config, referee=replace(config.referee, weights=weights)))
    assert "was fitted on it" in result.skipped[name]


def test_its_weights_are_asked_for(home, tmp_path):
    with pytest.raises(ConfigError, match=r"universeg comes without weights: give --referee\.weights FILE"):
        GenerateConfig(home / "data", tmp_path, references=home / "refs", referee=RefereeConfig("universeg"))
    config = records(home / "data", home, tmp_path / "out")
    missing = replace(config.referee, weights=tmp_path / "none.pt")
    with pytest.raises(ConfigError, match=r"referee\.weights is .*none\.pt, which does not exist"):
        generate.run(replace(config, referee=missing))


@pytest.mark.parametrize("name", ["referee", "rca"])
def test_a_bundle_judges_beside_references_with_the_same_weights(bundles, name, home, tmp_path, fake_segmenter):
    asked = PredictConfig(
        bundles[name], tmp_path / "out", images=home / "data" / "images", masks=home / "data" / "masks",
        references=home / "refs", referee_weights=home / "universeg.safetensors", worst=1,
    )  # fmt: skip
    assert "universeg" in str(Bundle.load(bundles[name]).expects[0]["referee"])
    table = predict.run(asked).table
    assert len(table) == JUDGED and table[["predicted_dice", *RCA]].notna().all().all()
    with pytest.raises(ConfigError, match="universeg comes without weights"):
        predict.run(replace(asked, referee_weights=None))
    other = write_universeg(tmp_path / "other.safetensors", ("0" * 16,))
    with pytest.raises(ConfigError, match="_sha256="):
        predict.run(replace(asked, referee_weights=other, out=tmp_path / "second"))
