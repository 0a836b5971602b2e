"""A bundle that compares with a fitted network: cross-fitted records, the file beside it, predictions, refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plain_networks import write_checkpoint

import sqp
from sqp.commands import export, generate, predict, recalibrate, train
from sqp.config.export import ExportConfig
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig, SupervisedConfig
from sqp.config.predict import PredictConfig
from sqp.config.recalibrate import RecalibrateConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.quality.bundle.expected_config import NETWORK, name_of, networks_in
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.strangeness import IMAGE
from sqp.records import RecordSet

IMAGES = 3


@pytest.fixture(scope="module")
def made(lesions, fake_for_module, tmp_path_factory) -> tuple[list[Path], Path, Path]:
    """Record sets, the bundle, and its network: train's answers come from another network than all others."""
    home = tmp_path_factory.mktemp("supervised")
    networks = [write_checkpoint(home / f"{seed}.safetensors", seed=seed) for seed in range(2)]
    folders = []
    for network, only in zip(networks, (["train"], ["val", "calibration", "test"]), strict=True):
        config = GenerateConfig(
            lesions,
            home / f"records-{network.stem}",
            prompter="centre",
            segmenter=SegmenterConfig("fake"),
            sampler=SamplerConfig("deterministic"),
            referee=RefereeConfig("none"),
            supervised=SupervisedConfig(network, symmetries=2),
            only=only,
        )
        folders.append(generate.run(config).out)
    config = TrainConfig(
        folders, home / "train", "image+mask+supervised", ["supervised_dice"], size=32, epochs=1, alpha=0.3,
        progress=False,
    )  # fmt: skip
    return folders, train.run(config).bundle, networks[1]


@pytest.fixture
def given(lesions, tmp_path) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for path in sorted((lesions / "masks").iterdir())[:IMAGES]:
            shutil.copy(next((lesions / kind).glob(f"{path.stem}.*")), tmp_path / "data" / kind)
    return tmp_path / "data"


def test_strange_images_are_told_by_the_network_that_judges(made):
    bundle = Bundle.load(made[1])
    assert bundle.sources == ("supervised",)
    assert len(bundle.expects) == 1
    assert set(bundle.ood.spaces) == {"model", IMAGE}


def test_masks_are_judged_beside_the_network_in_the_bundles_folder(made, given, tmp_path, fake_segmenter):
    _, trained, network = made
    bundle = tmp_path / "bundle"
    shutil.copytree(trained, bundle)
    asked = PredictConfig(bundle, tmp_path / "out", images=given / "images", masks=given / "masks", worst=1)
    with pytest.raises(ConfigError, match="compares with a fitted network: give its file, --supervised FILE"):
        predict.run(asked)
    shutil.copy(network, bundle / NETWORK)
    table = predict.run(asked).table
    assert table[["predicted_dice", "supervised_dice", "ood_image_distance"]].notna().all().all()
    again = predict.run(replace(asked, out=tmp_path / "again", supervised=network)).table
    assert again.predicted_dice.tolist() == table.predicted_dice.tolist()
    assert fake_segmenter == []  # no segmenter is needed
    image = np.asarray(sqp.data.read_image(table.image_path[0]))
    mask = np.asarray(sqp.data.read_mask(given / "masks" / f"{table.image_id[0]}.png"))
    assert sqp.load(bundle).assess(image, mask).dice == pytest.approx(table.predicted_dice[0], abs=1e-6)


def test_several_networks_lie_beside_the_bundle(made, given, tmp_path, fake_segmenter):
    """Train's answers come from one network, those of all other splits from two that have not seen them."""
    folders, _, network = made
    other = write_checkpoint(tmp_path / "other.safetensors", seed=5)
    told = RecordSet(folders[1]).config
    config = GenerateConfig(
        Path(told["images"]),
        tmp_path / "records",
        prompter="centre",
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig("deterministic"),
        referee=RefereeConfig("none"),
        supervised=SupervisedConfig(network, 2, [other]),
        only=["val", "calibration"],
    )
    config = TrainConfig(
        [folders[0], generate.run(config).out], tmp_path / "train", "image+mask+supervised", ["supervised_dice"],
        size=32, epochs=1, alpha=0.3, progress=False,
    )  # fmt: skip
    bundle = train.run(config).bundle
    asked = PredictConfig(bundle, tmp_path / "out", images=given / "images", masks=given / "masks", worst=0)
    shutil.copy(network, bundle / NETWORK)
    with pytest.raises(ConfigError, match=r"supervised_2\.safetensors is not there; put it beside the bundle"):
        predict.run(asked)
    shutil.copy(network, bundle / name_of(1))
    with pytest.raises(ConfigError, match=r"supervised_2\.safetensors is not the file that .* was trained with"):
        predict.run(asked)
    shutil.copy(other, bundle / name_of(1))
    table = predict.run(asked).table
    assert table[["predicted_dice", "supervised_dice", "ood_image_distance"]].notna().all().all()
    recalibrate.run(RecalibrateConfig(bundle, tmp_path / "new", config.records, progress=False))
    assert [file.name for file in networks_in(tmp_path / "new")] == [NETWORK, name_of(1)]
    export.run(ExportConfig(bundle, card=tmp_path / "card.md"))
    told = f"the mean of 2 networks that were fitted on true masks (`{NETWORK}`, `{name_of(1)}`)"
    assert f"It compares with {told}." in (tmp_path / "card.md").read_text()


def test_another_network_is_refused_and_so_is_one_that_is_not_read(made, given, trained, fake_segmenter, tmp_path):
    other = write_checkpoint(tmp_path / "other.safetensors", seed=7)
    asked = PredictConfig(
        made[1], tmp_path / "out", images=given / "images", masks=given / "masks", supervised=other
    )  # fmt: skip
    with pytest.raises(ConfigError, match="is not the file that"):
        predict.run(asked)
    with pytest.raises(ConfigError, match="reads nothing of one: leave it out"):
        predict.run(replace(asked, model=trained / "bundle"))


def test_a_bundle_that_is_calibrated_anew_keeps_its_network(made, tmp_path):
    folders, trained, network = made
    bundle = tmp_path / "bundle"
    shutil.copytree(trained, bundle)
    shutil.copy(network, bundle / NETWORK)
    recalibrate.run(RecalibrateConfig(bundle, tmp_path / "new", folders, progress=False))
    assert (tmp_path / "new" / NETWORK).read_bytes() == network.read_bytes()
