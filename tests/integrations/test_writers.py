"""`--write`: what each tool reads back of the predictions, by its own library where it is installed with the tests."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from recordsets import make_record

from sqp.core.errors import ConfigError
from sqp.core.volume import Geometry
from sqp.data.annotations.cases import read_annotations
from sqp.data.annotations.runs import from_brush
from sqp.integrations.judged import judged_rows, short_names
from sqp.integrations.writers import WRITERS, check_writers, write_for_tools
from sqp.records import RecordSet, RecordWriter
from sqp.records.load import load_case

SHAPES = ((20, 30), (16, 24))
VERDICTS = ("accept", "reject", "abstain")


def predicted(folder: Path) -> pd.DataFrame:
    """The predictions of a record set: made up, one of each verdict, the last without a number."""
    table = RecordSet(folder).table.assign(record_set=str(folder), reason=["", "", "empty mask"])
    return table.assign(
        predicted_dice=[0.91, 0.42, np.nan],
        low=[0.85, 0.3, np.nan],
        high=[0.95, 0.6, np.nan],
        verdict=VERDICTS,
        image_path=["/in/a.png", "/in/a.png", "/in/sub/b.png"],
    )


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Two masks of one image that overlap, and an empty one of another."""
    writer = RecordWriter(tmp_path / "records")
    writer.check({"kind": "fixture"})
    for number, shape in enumerate((SHAPES[0], SHAPES[0], SHAPES[1])):
        mask = np.zeros(shape, bool)
        mask[2 + number : 12, 3:20] = number < 2
        record = make_record(f"r{number}", image_id=f"i{number}", height=shape[0], width=shape[1])
        writer.write(record, mask, {"self/probability": mask.astype(float)})
    writer.finish({})
    return predicted(tmp_path / "records")


@pytest.fixture
def masks(table) -> list[np.ndarray]:
    records = RecordSet(table["record_set"][0])
    return [records.mask(name) for name in table["record_id"]]


def write(name: str, table: pd.DataFrame, folder: Path) -> Path:
    return write_for_tools([name], table, folder)[name][0]


def test_coco_is_read_by_pycocotools(tmp_path, table, masks):
    from pycocotools.coco import COCO

    file = write("coco", table, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pycocotools under numpy 2
        read = COCO(str(file))
        found = [read.annToMask(one).astype(bool) for one in read.dataset["annotations"]]
    assert all((a == b).all() for a, b in zip(found, masks, strict=True))
    images, annotations = read.dataset["images"], read.dataset["annotations"]
    assert [image["file_name"] for image in images] == ["a.png", "sub/b.png"]
    assert [one["image_id"] for one in annotations] == [1, 1, 2]
    assert [one["score"] for one in annotations] == [0.91, 0.42, None]
    assert annotations[1]["attributes"] == {
        "predicted_dice": 0.42, "low": 0.3, "high": 0.6, "verdict": "reject", "reason": "", "record_id": "r1",
    }  # fmt: skip
    assert annotations[0]["area"] == masks[0].sum() and annotations[0]["bbox"] == [3, 2, 17, 10]


@pytest.mark.parametrize("name", ["coco", "cvat"])
def test_what_is_written_is_read_by_masks(name, tmp_path, table, masks):
    found = read_annotations(write(name, table, tmp_path))
    assert [one.image for one in found] == ["a.png", "a.png", "sub/b.png"]
    assert all((one.mask() == mask).all() for one, mask in zip(found, masks, strict=True))


def test_label_studio_has_a_score_a_prediction(tmp_path, table, masks):
    tasks = json.loads(write("labelstudio", table, tmp_path).read_text())
    assert [task["data"]["image"] for task in tasks] == ["a.png", "sub/b.png"]
    predictions = [one for task in tasks for one in task["predictions"]]
    assert [one.get("score") for one in predictions] == [0.91, 0.42, None]
    for one, mask, verdict in zip(predictions, masks, VERDICTS, strict=True):
        (region,) = one["result"]
        assert (from_brush(region["value"]["rle"], mask.shape) == mask).all()
        assert region["value"]["brushlabels"] == [verdict]
    setup = ElementTree.parse(tmp_path / "labelstudio.xml").getroot()
    assert setup.find("BrushLabels").attrib == {"name": region["from_name"], "toName": region["to_name"]}
    assert {label.get("value") for label in setup.iter("Label")} > set(VERDICTS)
    found = read_annotations(tmp_path / "labelstudio.json")
    assert all((one.mask() == mask).all() for one, mask in zip(found, masks, strict=True))


def test_cvat_has_attributes_that_its_label_declares(tmp_path, table):
    root = ElementTree.parse(write("cvat", table, tmp_path)).getroot()
    declared = [name.text for name in root.iterfind("meta/task/labels/label/attributes/attribute/name")]
    shapes = list(root.iter("mask"))
    for shape in shapes:
        assert [one.get("name") for one in shape.iterfind("attribute")] == declared
    told = {one.get("name"): one.text for one in shapes[1].iterfind("attribute")}
    assert told["verdict"] == "reject" and told["predicted_dice"] == "0.42" and told["high"] == "0.6"


def test_slicer_has_a_layer_a_mask_and_its_status(tmp_path, table, masks):
    import nrrd

    file = write("slicer", table, tmp_path)
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.seg.nrrd", "sub_b.seg.nrrd"]
    voxels, header = nrrd.read(str(file))
    assert voxels.shape == (2, 30, 20, 1) and (voxels[1, :, :, 0].T > 0).tolist() == masks[1].tolist()
    assert header["Segment0_Tags"].startswith("Segmentation.Status:completed|")
    assert header["Segment1_Tags"].startswith("Segmentation.Status:flagged|sqp.predicted_dice:0.42|")
    found = read_annotations(file)
    assert [one.label for one in found] == ["accept 0.91 r0", "reject 0.42 r1"]
    assert all((one.mask()[0][0] == mask).all() for one, mask in zip(found, masks[:2], strict=True))


def test_a_segmentation_of_a_volume_lies_where_the_volume_lies(tmp_path):
    import nibabel

    from sqp.core.types import Case
    from sqp.core.volume import write_volume_mask

    affine = np.array([[0, 0, 2.5, 4], [-1.5, 0, 0, 3], [0, 0.8, 0, -20], [0, 0, 0, 1]])
    scan = np.random.default_rng(0).random((5, 6, 4), np.float32)
    nibabel.Nifti1Image(scan, affine).to_filename(tmp_path / "a.nii.gz")
    geometry = Geometry((5, 6, 4), affine)
    mask = np.random.default_rng(1).random(geometry.canonical_shape) > 0.5
    writer = RecordWriter(tmp_path / "records")
    writer.check({"kind": "fixture"})
    for number in range(3):
        record = make_record(f"r{number}", image_id=f"i{number}", mask_path=f"masks/r{number}.nii.gz")
        writer.write(record, mask, {"self/probability": mask.astype(float)}, geometry)
    writer.finish({})
    table = predicted(tmp_path / "records")
    with pytest.raises(ConfigError, match="--write coco holds masks of images, and these are of volumes"):
        write_for_tools(["coco"], table, tmp_path)
    found, place = read_annotations(write("slicer", table, tmp_path))[1].mask()
    write_volume_mask(tmp_path / "mask.nii.gz", found, place)
    case = Case("a", tmp_path / "a.nii.gz", mask_path=tmp_path / "mask.nii.gz")
    loaded = load_case(case)  # which refuses what lies elsewhere
    assert (loaded.given == mask).all()


def test_a_mask_that_cannot_be_read_is_left_out(tmp_path, table):
    (Path(table["record_set"][0]) / "masks" / "r1.png").write_bytes(b"no mask")
    assert [row.attributes["record_id"] for row in judged_rows(table)] == ["r0", "r2"]


def test_names_below_the_folder_that_all_share():
    assert short_names(["/in/x/a.png", "/in/y.png"]) == {"/in/x/a.png": "x/a.png", "/in/y.png": "y.png"}


def test_a_missing_package_and_a_wrong_name_are_told_before_anything_is_made(monkeypatch):
    import sys

    with pytest.raises(ConfigError, match="unknown format of --write 'cocoa', did you mean 'coco'"):
        check_writers(["cocoa"])
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "nrrd", None)
    for name, package in (("coco", "pycocotools"), ("slicer", "pynrrd")):
        with pytest.raises(ConfigError, match=rf"needs {package}, which is not .*'sqp\[formats\]'"):
            check_writers([name])


def test_the_table_is_what_the_config_offers():
    from typing import get_args

    from sqp.core.names import Tool

    assert tuple(WRITERS) == get_args(Tool)
