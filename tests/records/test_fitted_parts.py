"""Whose rows are behind a record set: networks, borrowed and given masks; and only the licences that were asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml

from sqp.commands import generate
from sqp.config.fit import FitSegmenterConfig
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.core.errors import ConfigError
from sqp.data import find_cases
from sqp.fit import task_of
from sqp.fit.data import fit_cases
from sqp.networks.checkpoint import save_checkpoint
from sqp.quality.bundle.licences import parts_behind
from sqp.records import RecordSet
from sqp.records.fitted import fitted_parts, parts_of_records

LICENCES = ("CC-0", "CC-0", "CC-0", "CC-BY-NC", "")


@dataclass(frozen=True)
class Spec:
    kind: ClassVar[str] = "segmenter"


@pytest.fixture
def table(lesions, tmp_path) -> Path:
    """A CSV of the images, licences in turn; splits as their own."""
    rows = ["image,truth,split,licence"]
    for number, case in enumerate(find_cases(lesions).cases):
        licence = LICENCES[number % len(LICENCES)]
        rows.append(f"{case.image_path},{case.truth_paths[0]},{('segmenter', 'val')[number % 2]},{licence}")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    return tmp_path / "cases.csv"


@pytest.fixture
def config(table, fake_segmenter, tmp_path) -> GenerateConfig:
    options = {"segmenter": SegmenterConfig("fake"), "sampler": SamplerConfig(n=2), "only": ["val"]}
    plan = VariantPlan(corruptions=1, families=["swap"])
    return GenerateConfig(table, tmp_path / "records", variants={"val": plan}, **options)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """As `sqp fit` writes one that started from another."""
    before = {"what": "the network first.safetensors", "sha256": "ab", "licences": ["NOS"]}
    info = {"data": {"licences": ["CC-0"], "fitted_images": []}, "behind": [before]}
    return save_checkpoint(tmp_path / "unet-seed0.safetensors", {"w": torch.zeros(1)}, Spec(), info)


def test_records_of_the_licences_that_were_asked_for(config):
    config.licence = ["CC-0"]
    assert generate.run(config).exit_status == 0
    records = RecordSet(config.out)
    assert set(records.table["licence"]) == {"CC-0"} and set(records.table["variant"]) == {"natural", "swap"}
    assert records.run["fitted"] == [{"what": "masks lent by other images", "licences": ["CC-0"]}]
    assert records.run["execution"]["licence"] == ["CC-0"]
    config.licence = ["CC0"]
    with pytest.raises(ConfigError, match="no case has the licence CC0; the data has: CC-0, CC-BY-NC, unknown"):
        generate.run(config)


def test_masks_lent_by_images_of_any_licence(config):
    config.max_images = 2
    generate.run(config)
    assert parts_behind([config.out])[0]["licences"] == ["CC-0", "CC-BY-NC", "unknown"]


def test_a_network_with_what_it_started_from(checkpoint, tmp_path):
    own, before = fitted_parts([checkpoint])
    assert own["what"] == "the network unet-seed0.safetensors" and own["licences"] == ["CC-0"]
    assert len(own["sha256"]) == 64 and before["licences"] == ["NOS"]
    others = save_checkpoint(
        tmp_path / "other.safetensors", {"bias": torch.zeros(1)}, Spec(), {"data": {"licences": []}}
    )
    assert fitted_parts([others])[0]["licences"] == []
    config = GenerateConfig(tmp_path, tmp_path, segmenter=SegmenterConfig("unet", checkpoint))
    assert parts_of_records(config, []) == [own, before]


def test_masks_that_were_given(config, table, lesions, tmp_path):
    cases = find_cases(table, masks=lesions / "masks").cases
    given = GenerateConfig(table, tmp_path / "judged", masks=lesions / "masks", segmenter=SegmenterConfig("fake"))
    assert parts_of_records(given, cases) == [{"what": "whoever drew the given masks", "licences": ["unknown"]}]
    given.masks_licence = ["CC-0"]
    assert parts_of_records(given, cases)[0]["licences"] == ["CC-0"]
    generate.run(config)  # masks of a record set bring what is behind it
    path = config.out / "run.yaml"
    part = {"what": "the network fpn.safetensors", "sha256": "cd", "licences": ["NOS"]}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"fitted": [part]}))
    given.masks, given.masks_licence = config.out / "masks", []
    assert parts_of_records(given, cases) == [part]


def test_networks_are_fitted_on_the_licences_that_were_asked_for(table, tmp_path):
    options = {"truth": None, "licence": ["CC-0"]}
    config = FitSegmenterConfig(table, tmp_path / "fit", **options)
    fitted, held = fit_cases(config, task_of(config))
    assert {case.licence for case in [*fitted, *held]} == {"CC-0"} and len(fitted) + len(held) == 24
