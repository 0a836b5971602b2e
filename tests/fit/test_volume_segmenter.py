"""Networks of volumes: fitted, and at once a segmenter of `generate`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_volumes import write_data

from sqp.commands import generate
from sqp.config.fit import FitSegmenterConfig
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.core.errors import ConfigError
from sqp.fit import run as fit
from sqp.networks.checkpoint import read_header
from sqp.records import RecordSet
from sqp.segmenters.plain import NetworkSpec


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("volumes"), 8)


def config(data, out, network="unet25d", **more):
    told = {"width": 4, "epochs": 4, "batch_size": 8, "learning_rate": 0.02, "size": 32, "patch": 16}
    told |= {"label": [1, 2], "train_splits": ["train"], "progress": False, "neighbours": 1, "accelerator": "cpu"}
    return FitSegmenterConfig(images=data, out=out, network=network, **(told | more))


@pytest.mark.parametrize(
    "network,spacing,patch",
    [("unet25d", (0.0, 1.0, 0.75), (1, 16, 16)), ("unet3d", (3.0, 1.0, 0.75), (16, 16, 16))],
)
def test_fitted_and_used(data, tmp_path, network, spacing, patch):
    result = fit.fit_network(config(data, tmp_path / "fit", network))
    (checkpoint, value), *_ = result.checkpoints.items()
    spec = read_header(checkpoint, NetworkSpec).spec
    assert (spec.name, spec.spacing, spec.patch) == (network, spacing, patch)
    assert value > 0.6 and result.skipped == {}  # bright on dark: easy
    assert f"--segmenter {network} --checkpoint" in result.next
    assert fit.fit_network(config(data, tmp_path / "fit", network)).checkpoints == result.checkpoints
    told = GenerateConfig(
        images=data,
        out=tmp_path / "records",
        label=[1, 2],
        segmenter=SegmenterConfig(network, checkpoint),
        sampler=SamplerConfig("mc_dropout", n=2),
        only=["val", "test"],
    )
    made = generate.run(told)
    assert made.skipped == {} and RecordSet(told.out).table.dice.mean() > 0.5


def test_what_is_refused(data, tmp_path):
    told = config(data, tmp_path)
    for change, message in (
        ({"spacing": [1.0]}, "give three numbers in mm"),
        ({"encoder": "resnet50"}, "has no timm encoder"),
        ({"patch": 8}, "patch is 8"),
        ({"network": "unet4d"}, "unknown network 'unet4d', did you mean 'unet3d'"),
        ({"network": "unet3d", "width": 6}, "must be a multiple of 4"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit.fit_network(replace(told, **change))
