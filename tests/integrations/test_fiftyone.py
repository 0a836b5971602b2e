"""FiftyOne, by a stand-in of the few names that are used: the library (with its MongoDB) is too large for every run."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sqp.core.errors import CaseError, ConfigError
from sqp.integrations import fiftyone


class Label(dict):
    """A label: its attributes are its items, as of FiftyOne's dynamic documents."""

    __getattr__ = dict.get


class Segmentation(Label):
    def get_mask(self) -> np.ndarray | None:
        return self.mask


class Detections(Label): ...


class Heatmap(Label): ...


class Dataset(list):
    name = "lesions"

    def has_sample_field(self, name: str) -> bool:
        return name == "masks"

    def iter_samples(self, **options: object) -> Dataset:
        assert options == {"autosave": True, "progress": True}
        return self


class Judge:
    def assess(self, image: np.ndarray, mask: np.ndarray) -> SimpleNamespace:
        if mask.shape != image.shape[:2]:
            raise CaseError("they do not fit")
        share = float(mask.mean())
        dice = share or float("nan")
        return SimpleNamespace(
            dice=dice,
            low=dice - 0.1,
            high=dice,
            verdict="review",
            reason="",
            maps={"error": np.full((3, 4), 0.25, np.float16)},
        )


@pytest.fixture(autouse=True)
def library(monkeypatch):
    names = SimpleNamespace(Segmentation=Segmentation, Detections=Detections, Heatmap=Heatmap)
    monkeypatch.setitem(sys.modules, "fiftyone", names)


@pytest.fixture
def samples(tmp_path):
    """Two samples of 6 x 8 pixels, without masks yet."""
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    return Dataset(Label(id=str(n), filepath=str(tmp_path / "a.png"), masks=None) for n in range(2))


def test_a_segmentation_gets_fields_and_a_heatmap(samples):
    mask = np.zeros((6, 8), np.uint8)
    mask[:3] = 7
    samples[0]["masks"] = Segmentation(mask=mask)
    assert fiftyone.judge(samples, "masks", Judge()) == {}
    sample = samples[0]
    assert (sample["sqp_dice"], sample["sqp_low"], sample["sqp_high"], sample["sqp_verdict"]) == (
        0.5,
        0.4,
        0.5,
        "review",
    )
    assert sample["sqp_error"]["map"].shape == (3, 4) and sample["sqp_error"]["range"] == [0.0, 1.0]
    assert "sqp_dice" not in samples[1]


def test_an_empty_mask_has_no_number_and_colours_are_a_mask(samples):
    samples[0]["masks"] = Segmentation(mask=np.zeros((6, 8), bool))
    samples[1]["masks"] = Segmentation(mask=np.full((6, 8, 3), 9, np.uint8))
    fiftyone.judge(samples, "masks", Judge(), prefix="q_", heatmap=False)
    assert samples[0]["q_dice"] is None and samples[1]["q_dice"] == 1.0 and "q_error" not in samples[1]


def test_instances_are_judged_one_by_one(samples):
    half = Label(mask=np.ones((3, 8), bool), bounding_box=[0.0, 0.5, 1.0, 0.5])
    corner = Label(mask=np.ones((3, 4), bool), bounding_box=[0.5, 0.5, 0.5, 0.5])
    samples[0]["masks"] = Detections(detections=[half, corner, Label(bounding_box=[0, 0, 1, 1])])
    fiftyone.judge(samples, "masks", Judge())
    assert (half["sqp_dice"], corner["sqp_dice"], samples[0]["sqp_dice"]) == (0.5, 0.25, 0.25)


def test_a_sample_that_cannot_be_judged_is_told(samples):
    samples[0]["masks"] = Segmentation(mask=np.ones((2, 2), bool))
    samples[1]["masks"] = Label()
    told = fiftyone.judge(samples, "masks", Judge())
    assert told["0"] == "they do not fit" and "holds a Label, no Segmentation nor Detections" in told["1"]


def test_a_field_that_is_not_there_and_a_missing_library_are_told(samples, monkeypatch):
    with pytest.raises(ConfigError, match="the dataset 'lesions' has no field 'mask': name that of the masks"):
        fiftyone.judge(samples, "mask", Judge())
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(ConfigError, match=r"fiftyone is not installed: pip install 'sqp\[fiftyone\]'"):
        fiftyone.judge(samples, "masks", Judge())
