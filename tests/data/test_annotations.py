"""Masks of COCO, Label Studio, CVAT and 3D Slicer: an annotation a case, its mask as the tool's own library has it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coder

from sqp.core.errors import ConfigError
from sqp.core.volume import Geometry, write_volume_mask
from sqp.data.annotations.annotation import polygon_mask
from sqp.data.annotations.cases import annotated_cases, chosen, read_annotations, write_masks
from sqp.data.annotations.runs import from_box, from_brush, to_box, to_brush
from sqp.data.reading import read_structure_or_mask

SHAPE = (48, 64)
OF_THE_LIBRARY = [
    *(0, 0, 0, 168, 57, 27, 254, 35, 0, 191, 255, 108, 2),
    *(255, 252, 96, 17, 255, 198, 1, 127, 255, 29, 128, 0),
]
"""What label-studio-sdk 2.1 (converter.brush.encode_rle) makes of `SMALL`."""
SMALL = np.zeros((6, 7), bool)
SMALL[1:4, 2:6] = SMALL[3, 0] = True


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


A, B, C = rectangle(4, 5, 20, 30), rectangle(10, 8, 40, 50), rectangle(0, 0, 48, 64)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images of one size."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", SHAPE[::-1], (200, 150, 120)).save(folder / f"{name}.png")
    return folder


def compressed(mask: np.ndarray) -> dict:
    coded = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [*SHAPE], "counts": coded["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {"size": [*SHAPE], "counts": [0, *counts] if flat[0] else counts}


def coco(**changes: object) -> dict:
    """Two images, two categories; one mask in each of the three ways."""
    sides = {"height": SHAPE[0], "width": SHAPE[1]}
    return {
        "images": [{"id": 7, "file_name": "a.png", **sides}, {"id": 8, "file_name": "sub/b.png", **sides}],
        "categories": [{"id": 1, "name": "lesion"}, {"id": 2, "name": "hair"}],
        "annotations": [
            {"id": 11, "image_id": 7, "category_id": 1, "segmentation": [[5, 4, 30, 4, 30, 20, 5, 20]]},
            {"id": 12, "image_id": 7, "category_id": 2, "segmentation": compressed(B)},
            {"id": 13, "image_id": 8, "category_id": 1, "segmentation": uncompressed(C)},
        ],
    } | changes


def tasks() -> list[dict]:
    sides = {"original_height": SHAPE[0], "original_width": SHAPE[1]}
    brush = {"format": "rle", "rle": to_brush(B), "brushlabels": ["lesion"]}
    corners = [[5 / 0.64, 4 / 0.48], [30 / 0.64, 4 / 0.48], [30 / 0.64, 20 / 0.48], [5 / 0.64, 20 / 0.48]]
    polygon = {"points": corners, "polygonlabels": ["hair"]}
    regions = [{"id": "r1", "type": "brushlabels", "value": brush, **sides}]
    regions += [{"id": "r2", "type": "polygonlabels", "value": polygon, **sides}, {"id": "c", "type": "choices"}]
    gone = {"id": 6, "was_cancelled": True, "result": regions}
    return [
        {
            "id": 1,
            "data": {"image": "/data/upload/3/0a1b2c3d-a.png"},
            "annotations": [{"id": 5, "result": regions}, gone],
        }
    ]


def cvat(version: str = "1.1", image: str = "a.png") -> str:
    runs, (left, top, width, height) = to_box(B)
    box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    points = "5.0,4.0;30.0,4.0;30.0,20.0;5.0,20.0"
    return (
        f'<annotations><version>{version}</version><image id="0" name="{image}" width="64" height="48">'
        f'<mask label="lesion" rle="{", ".join(map(str, runs))}" {box}/><polygon label="hair" points="{points}"/>'
        '<box label="hair" xtl="1" ytl="1" xbr="2" ybr="2"/></image></annotations>'
    )


def written(folder: Path, images: Path, content: object, labels: tuple = (), name: str = "masks.json") -> dict:
    """The masks of a file's cases by id, through files as a run writes them."""
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    cases = annotated_cases(images, file, folder / "out", labels=labels)
    assert write_masks(cases, file, folder / "out", labels) == {}
    return {case.image_id: read_structure_or_mask(case.mask_path, given=True) for case in cases}


def test_coco_in_polygons_and_run_lengths_compressed_or_not(tmp_path, images):
    masks = written(tmp_path, images, coco())
    assert list(masks) == ["a_11", "a_12", "b_13"]
    assert all((masks[name] == mask).all() for name, mask in zip(masks, (A, B, C), strict=True))


def test_label_studio_in_brushes_and_polygons(tmp_path, images):
    content = tasks()
    content[0]["predictions"] = [7]  # Label Studio's export names those behind its annotations by their ids alone
    masks = written(tmp_path, images, content)
    assert list(masks) == ["a_a5_r1", "a_a5_r2"]
    assert (masks["a_a5_r1"] == B).all() and (masks["a_a5_r2"] == A).all()


def test_cvat_in_masks_and_polygons(tmp_path, images):
    masks = written(tmp_path, images, cvat(), name="masks.xml")
    assert list(masks) == ["a_1", "a_2"] and (masks["a_1"] == B).all() and (masks["a_2"] == A).all()


@pytest.mark.parametrize(("labels", "kept"), [(("lesion",), ["a_11", "b_13"]), ((2,), ["a_12"]), (("hair", 1), 3)])
def test_categories_are_chosen_by_name_or_number(tmp_path, images, labels, kept):
    masks = written(tmp_path, images, coco(), labels)
    assert len(masks) == kept if isinstance(kept, int) else list(masks) == kept


def test_annotations_of_one_image_are_one_group_with_its_truth(tmp_path, images):
    (tmp_path / "gt").mkdir()
    Image.fromarray(A).save(tmp_path / "gt" / "a.png")
    (tmp_path / "m.json").write_text(json.dumps(coco()))
    cases = annotated_cases(images, tmp_path / "m.json", tmp_path / "out", truth=tmp_path / "gt")
    assert [case.group for case in cases] == ["a", "a", "b"]
    assert [len(case.truth_paths) for case in cases] == [1, 1, 0]
    assert "1 image is without an annotation in m.json, e.g. c" in cases.notes


def test_an_image_that_is_not_there_is_told_and_the_others_are_judged(tmp_path, images):
    (images / "b.png").unlink()
    (tmp_path / "m.json").write_text(json.dumps(coco()))
    cases = annotated_cases(images, tmp_path / "m.json", tmp_path / "out")
    assert [case.image_id for case in cases] == ["a_11", "a_12"] and cases.unmatched == ("b_13",)


def test_the_mask_of_another_size_is_told_and_the_others_are_written(tmp_path, images):
    content = coco()
    content["annotations"][1]["segmentation"]["size"] = [64, 48]
    content["annotations"][2]["segmentation"]["counts"][0] += 5
    (tmp_path / "m.json").write_text(json.dumps(content))
    cases = annotated_cases(images, tmp_path / "m.json", tmp_path / "out")
    broken = write_masks(cases, tmp_path / "m.json", tmp_path / "out")
    assert "run lengths are of size [64, 48], its image of [48, 64]" in broken["a_12"] and "m.json" in broken["a_12"]
    assert "its runs have 3077 pixels, not 3072" in broken["b_13"]
    assert [case.mask_path.exists() for case in cases] == [True, False, False]


def twice(content: dict) -> dict:
    return content | {"images": [content["images"][0], content["images"][0] | {"id": 8}]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (twice(coco()), "lists two images named 'a.png'"),
        (coco(images=[]), "annotation 11 of .* is of an image that it does not list"),
        (coco(annotations=[]), "holds no masks"),
        (coco(annotations=[{"id": 1}]), "annotation 1 of .* has no image_id"),
        (coco(annotations=[{"id": 1, "image_id": 7}] * 2), "two annotations of the id 1"),
        (coco(images="x"), "has no images, or one that is not what the format says"),
        ({"a": 1}, "is neither COCO .* nor an export of Label Studio"),
        (tasks() * 2, "lists two images named 'a.png'"),
        ([{"id": 3, "data": {}}], "task 3 of .* has no image in its data"),
        (cvat("2.0"), r"has the version '2\.0'; version 1\.1 is read"),
        (cvat().replace("annotations", "other"), "is no file of CVAT"),
        (cvat()[:40], "is no XML"),
        ("<!DOCTYPE x>" + cvat(), "has a document type"),
        (cvat(image="z.png"), r"none of the 1 images of .* is in --images .*, e\.g\. z\.png"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_sentence(tmp_path, images, content, says):
    file = tmp_path / ("m.xml" if isinstance(content, str) else "m.json")
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match=says):
        annotated_cases(images, file, tmp_path / "out")


@pytest.mark.parametrize("segmentation", [None, [], [[1, 2, 3]], [[1, 2, 3, 4, "x", 6]], {"counts": "z"}, {"size": 3}])
def test_a_segmentation_that_is_none_is_told(tmp_path, images, segmentation):
    content = coco()
    content["annotations"][0]["segmentation"] = segmentation
    (tmp_path / "m.json").write_text(json.dumps(content))
    cases = annotated_cases(images, tmp_path / "m.json", tmp_path / "out")
    assert list(write_masks(cases, tmp_path / "m.json", tmp_path / "out")) == ["a_11"]


def test_a_category_that_is_not_there_is_told_with_those_that_are(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(coco()))
    with pytest.raises(ConfigError, match=r"--label mole is not in .*m\.json, which has: lesion \(1\), hair \(2\)"):
        chosen(read_annotations(tmp_path / "m.json"), ["mole"], tmp_path / "m.json")


def test_masks_of_annotations_that_are_gone_are_removed_by_the_next_run(tmp_path, images):
    from sqp.core.ownership import owned

    file, out = tmp_path / "m.json", tmp_path / "out"
    for content, left in ((coco(), 3), (coco(annotations=coco()["annotations"][:1]), 1)):
        file.write_text(json.dumps(content))
        with owned(out, "generate"):
            write_masks(annotated_cases(images, file, out), file, out)
        assert len(list((out / "given").iterdir())) == left


def test_a_brush_is_the_stream_of_label_studios_own_library():
    assert to_brush(SMALL) == OF_THE_LIBRARY and (from_brush(OF_THE_LIBRARY, SMALL.shape) == SMALL).all()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (200, 300)])
def test_runs_come_back(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    assert (from_brush(to_brush(mask), shape) == mask).all()
    assert (from_box(*to_box(mask), shape) == mask).all()


def test_literal_runs_of_a_brush_are_read():
    bits = f"{4:032b}{7:05b}" + "0010001101111111" + "0" + "00" + "011" + "".join(f"{v:08b}" for v in (9, 9, 9, 9))
    bits += "0" * (-len(bits) % 8)
    data = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert from_brush(data, (1, 1)).all()


@pytest.mark.parametrize("data", [[], OF_THE_LIBRARY[:9], [0, 0, 0, 4, *OF_THE_LIBRARY[4:]]])
def test_a_damaged_brush_is_told(data):
    with pytest.raises(ValueError, match="its brush"):
        from_brush(data, SMALL.shape)


def test_a_polygon_covers_the_pixels_whose_middle_it_holds():
    assert (polygon_mask([[(5, 4), (30, 4), (30, 20), (5, 20)]], SHAPE) == A).all()
    assert not polygon_mask([[(-9, -9), (-5, -9), (-5, -5)]], SHAPE).any()


def segments(path: Path, **changes: object) -> np.ndarray:
    """Two layers of 6 x 5 x 4 voxels, as 3D Slicer writes them; returns them `[2, x, y, z]`."""
    import nrrd

    voxels = np.zeros((2, 6, 5, 4), np.uint8)
    voxels[0, 1:4, 2:, 1:3], voxels[0, 0, 0, 0], voxels[1, 2:, 1:3, :2] = 1, 2, 1
    header = {
        "space": "left-posterior-superior",
        "space directions": np.array([[np.nan] * 3, [2.0, 0, 0], [0, 1.0, 0], [0, 0, 3.0]]),
        "space origin": np.array([-10.0, 5.0, 7.0]),
        "kinds": ["list", "domain", "domain", "domain"],
        **{f"Segment{i}_ID": f"S{i}" for i in range(3)},
        **{f"Segment{i}_Name": name for i, name in enumerate(("liver", "vessel", "spleen"))},
        **{f"Segment{i}_LabelValue": value for i, value in enumerate(("1", "2", "1"))},
        **{f"Segment{i}_Layer": layer for i, layer in enumerate(("0", "0", "1"))},
    }
    nrrd.write(str(path), voxels, header | changes)
    return voxels


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A volume that lies as the segmentation does, LPS there and RAS here."""
    import nibabel

    affine = np.array([[-2.0, 0, 0, 10], [0, -1, 0, -5], [0, 0, 3, 7], [0, 0, 0, 1]])
    (tmp_path / "scans").mkdir()
    voxels = np.arange(120, dtype=np.float32).reshape(6, 5, 4)
    nibabel.Nifti1Image(voxels, affine).to_filename(tmp_path / "scans" / "ct.nii.gz")
    return tmp_path / "scans"


def test_segments_of_slicer_by_name_lie_where_their_scan_lies(tmp_path, scan):
    from sqp.records.load import load_case

    voxels = segments(tmp_path / "ct.seg.nrrd")
    everything = annotated_cases(scan, tmp_path / "ct.seg.nrrd", tmp_path / "out")
    assert [case.image_id for case in everything] == ["ct_S0", "ct_S1", "ct_S2"]
    cases = annotated_cases(scan, tmp_path / "ct.seg.nrrd", tmp_path / "out", labels=["spleen"])
    assert write_masks(cases, tmp_path / "ct.seg.nrrd", tmp_path / "out", ["spleen"]) == {}
    loaded = load_case(cases[0])
    assert (loaded.image.geometry.to_file(loaded.given) == voxels[1]).all()
    folder = annotated_cases(scan, tmp_path, tmp_path / "out")  # a folder of them, met by their names
    assert [case.image_id for case in folder] == ["ct_S0", "ct_S1", "ct_S2"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Segment1_LabelValue": "x"}, "label value or layer of segment 1 is no number"),
        ({"Segment2_Layer": "5"}, "it lies in layer 5, and the file has 2"),
        ({"space": "right-anterior-inferior"}, "in the space right-anterior-inferior"),
    ],
)
def test_a_segmentation_that_is_damaged_is_told(tmp_path, scan, changes, says):
    segments(tmp_path / "ct.seg.nrrd", **changes)
    try:
        cases = annotated_cases(scan, tmp_path / "ct.seg.nrrd", tmp_path / "out")
        broken = write_masks(cases, tmp_path / "ct.seg.nrrd", tmp_path / "out")
        told = broken["ct_S2"]
    except ConfigError as error:
        told = str(error)
    assert says in told and "ct.seg.nrrd" in told


def test_a_segmentation_that_leads_to_another_file_is_refused(tmp_path, scan):
    head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/passwd\n\n"
    (tmp_path / "ct.seg.nrrd").write_text(head)
    with pytest.raises(ConfigError, match="keeps its voxels in another file"):
        annotated_cases(scan, tmp_path / "ct.seg.nrrd", tmp_path / "out")
    (tmp_path / "ct.seg.nrrd").write_text(head.replace("data file: /etc/passwd\n", "Segment0_Name:=x\n")[:-1])
    (tmp_path / "ct.seg.nrrd").write_bytes(b"no nrrd")
    with pytest.raises(ConfigError, match="is damaged, or no NRRD"):
        annotated_cases(scan, tmp_path / "ct.seg.nrrd", tmp_path / "out")


def test_a_flat_mask_of_a_volume_is_told(tmp_path, scan):
    image = {"id": 7, "file_name": "ct.nii.gz", "height": 48, "width": 64}
    content = coco(images=[image], annotations=coco()["annotations"][:1])
    (tmp_path / "m.json").write_text(json.dumps(content))
    cases = annotated_cases(scan, tmp_path / "m.json", tmp_path / "out")
    assert "its image is a volume" in write_masks(cases, tmp_path / "m.json", tmp_path / "out")["ct_11"]


def test_a_volume_mask_is_what_the_house_writes(tmp_path):
    geometry = Geometry((2, 3, 4), np.eye(4))
    write_volume_mask(tmp_path / "m.nii.gz", np.ones(geometry.canonical_shape, bool), geometry)
    assert read_structure_or_mask(tmp_path / "m.nii.gz", given=True).all()


@pytest.mark.parametrize(("masks", "labels"), [("m.json", ()), ("ct.seg.nrrd", ()), ("masks", (2,)), (None, (2,))])
def test_a_record_set_reads_its_truth_by_labels_that_are_values_alone(masks, labels):
    """Of a tool's file they chose a category, and the truth beside it is read without them."""
    from types import SimpleNamespace

    from sqp.records import RecordSet

    config = SimpleNamespace(config={"label": [2], "masks": masks})
    assert RecordSet.labels.fget(config) == labels
