"""The quality model on record sets of volumes: planes, backbones, training, prediction, orientation of the files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_volumes import SHAPE
from volumesets import SPLITS, WRONG, make_volume_set

from sqp.commands.train import run
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.evaluation.pixels import read_pixels
from sqp.quality import Bundle, error_maps, predict_records
from sqp.quality.judging import predict as judging
from sqp.quality.model.backbones import VOLUME_BACKBONES, build_backbone
from sqp.quality.model.channels import image_planes, plane_names, record_planes
from sqp.quality.model.module import ModelSpec, QualityModel
from sqp.records import RecordSet

CHANNELS = ("image", "mask", "self/epkl")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return make_volume_set(tmp_path_factory.mktemp("volumes"))


@pytest.mark.parametrize("name", VOLUME_BACKBONES)
def test_backbones_of_volumes(name):
    assert plane_names(CHANNELS, 3) == CHANNELS
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(name, CHANNELS, 32).eval()
    planes = torch.randn(2, 3, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    features = backbone(planes)
    assert features.shape == (2, backbone.width) and torch.isfinite(features).all()
    assert torch.allclose(backbone(planes[:1]), features[:1], atol=1e-4)
    if name == "slices":  # whatever the order of the slices
        assert torch.allclose(backbone(planes.flip(2)), features, atol=1e-4)


def test_planes_of_volumes(volumes):
    records = RecordSet(volumes)
    row = records.table.iloc[0]
    planes = record_planes(records, row.record_id, CHANNELS, 32)
    image = image_planes(row.image_path, 32)
    assert planes.shape == (2, 32, 32, 32) and planes.dtype == np.float32
    assert image.shape == (1, 32, 32, 32) and image.dtype == np.uint8 and np.ptp(image) > 200
    assert planes[0].mean() == pytest.approx(records.mask(row.record_id).mean(), abs=0.01)
    assert image[0][planes[0] > 0.9].mean() > image[0][planes[0] < 0.1].mean() + 60
    assert record_planes(records, row.record_id, ("image",), 32).shape == (0, 32, 32, 32)


@pytest.mark.parametrize(
    ("backbone", "error_map"), [*((name, False) for name in VOLUME_BACKBONES), ("compact3d", True)]
)
def test_trained_and_predicted(volumes, tmp_path, monkeypatch, backbone, error_map):
    told = {"size": 32, "epochs": 3, "batch_size": 12, "progress": False, "flips": 2, "accelerator": "cpu"}
    told["error_map"] = error_map
    result = run(TrainConfig([volumes], tmp_path, backbone=backbone, inputs="image+mask+self/entropy", **told))
    bundle = Bundle.load(result.bundle)
    assert bundle.model.spec.dims == 3 and list(bundle.description()["planes"]) == ["image", "mask", "self/entropy"]
    at_once, read = [], judging.read_batch
    monkeypatch.setattr(
        judging, "read_batch", lambda b, r, rows, pool: at_once.append(len(rows)) or read(b, r, rows, pool)
    )
    table = predict_records(bundle, [volumes], splits=["test"], progress=False)
    assert set(at_once) == {1}  # a volume in memory at a time
    assert len(table) == SPLITS["test"] * len(WRONG) and not table.unreadable.any()
    assert table.predicted_dice.between(0, 1).all() and (table.low <= table.high).all()
    other = make_volume_set(tmp_path / "other", {"test": SPLITS["test"]}, orientation="LPS")
    again = predict_records(bundle, [other], progress=False)
    both = table.merge(again, on="record_id", suffixes=("", "_other"))
    assert len(both) == len(table)
    assert both.predicted_dice_other.to_numpy() == pytest.approx(both.predicted_dice.to_numpy(), abs=1e-6)
    maps = error_maps(bundle, table)
    assert len(maps) == (len(table) if error_map else 0)
    assert all(values.shape == (16, 16, 16) and (values >= 0).all() and (values <= 1).all() for values in maps.values())


def test_a_backbone_reads_one_kind_of_records(volumes, record_set, tmp_path):
    with pytest.raises(ConfigError, match=r"holds volumes, and this run has the backbone compact, .* compact3d"):
        run(TrainConfig([volumes], tmp_path, progress=False))
    with pytest.raises(ConfigError, match="holds images, and this run has the backbone slices"):
        run(TrainConfig([record_set], tmp_path, backbone="slices", progress=False))
    with pytest.raises(ConfigError, match="no maps to draw an error map from"):
        QualityModel(ModelSpec(CHANNELS, 32, "slices", error_map=True))


def test_pixels_of_a_volume_for_the_pages(volumes):
    records = RecordSet(volumes)
    for row in records.table.head(3).to_dict("records"):
        pixels = read_pixels(records, row)
        assert pixels.mask.shape == SHAPE == pixels.truths[0].shape == pixels.probability.shape
        assert (pixels.probability[pixels.truths[0]] > 0.9).all()
