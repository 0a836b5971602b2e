"""Bad files of annotation tools: COCO, Label Studio, CVAT, 3D Slicer, and DICOM SEG."""

from __future__ import annotations

import json
from typing import Any

from bad_inputs import damage as d
from bad_inputs.world import Case, World

JUDGE = "generate --images {images} --masks {bad}/%s --segmenter none --referee none --out {out}"
COCO, XML, SEG, DICOM = (JUDGE % name for name in ("m.json", "m.xml", "m.seg.nrrd", "m.dcm"))
BOX = [[10, 10, 40, 10, 40, 30, 10, 30]]
SIDES = {"height": 48, "width": 64}
BOMB = {"height": 10**9, "width": 10**9}


def coco(segmentation: Any = BOX, **changes: Any) -> d.Make:
    """COCO of the images a and b: the mask of a is good, of b this one."""
    images = [{"id": n, "file_name": f"{name}.png", **SIDES} for n, name in enumerate("ab")]
    parts = ((0, BOX), (1, segmentation))
    annotations = [{"id": n, "image_id": n, "category_id": 1, "segmentation": one} for n, one in parts]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "lesion"}]}
    return d.write("m.json", json.dumps(content | changes))


def tasks(*regions: Any, **changes: Any) -> d.Make:
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [*regions]}]}
    return d.write("m.json", json.dumps([task | changes]))


def brush(rle: Any, **changes: Any) -> dict[str, Any]:
    sides = {"original_height": 48, "original_width": 64}
    return {"id": "r", "type": "brushlabels", "value": {"format": "rle", "rle": rle}, **sides} | changes


def cvat(shape: str = "", version: str = "1.1", sides: str = 'width="64" height="48"') -> d.Make:
    image = f'<image id="0" name="a.png" {sides}>{shape}</image>'
    return d.write("m.xml", f"<annotations><version>{version}</version>{image}</annotations>")


def without_images(world: World, bad: Any) -> None:
    coco(images=[{"id": n, "file_name": f"{n}.png", **SIDES} for n in (0, 1)])(world, bad)


POLYGON = '<polygon label="x" points="{}"/>'
HEAD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 9 9 9\nencoding: raw\nspace: left-posterior-superior\n"

CASES = [
    Case("coco-none", d.folder("other"), COCO, 2, "does not exist"),
    Case("coco-empty", d.write("m.json", ""), COCO, 2, "m.json"),
    Case("coco-binary", d.write("m.json", d.GARBAGE), COCO, 2, "m.json"),
    Case("coco-other-json", d.write("m.json", '{"a": 1}'), COCO, 2, "is neither COCO"),
    Case("coco-a-number", d.write("m.json", "3"), COCO, 2, "is neither COCO"),
    Case("coco-images-missing", without_images, COCO, 2, "none of the 2 images of"),
    Case(
        "coco-two-images-of-one-name", coco(images=[{"id": n, "file_name": "a.png"} for n in (0, 1)]), COCO, 2, "a.png"
    ),
    Case("coco-images-a-word", coco(images=["a", "b"]), COCO, 2, "m.json"),
    Case("coco-annotations-a-word", coco(annotations=["a"]), COCO, 2, "annotation 1 of"),
    Case("coco-categories-a-word", coco(categories=["a"]), COCO, 2, "categories of"),
    Case("coco-category-not-there", coco(), COCO + " --label mole", 2, "--label mole is not in"),
    Case("coco-rle-of-another-size", coco({"size": [9, 9], "counts": [81]}), COCO, 1, "1 images skipped"),
    Case("coco-rle-cut", coco({"size": [48, 64], "counts": "oo"}), COCO, 1, "1 images skipped"),
    Case("coco-rle-negative", coco({"size": [48, 64], "counts": [-1, 3073]}), COCO, 1, "1 images skipped"),
    Case("coco-rle-strict", coco({"size": [9, 9], "counts": [81]}), COCO + " --strict", 2, "size [9, 9]"),
    Case("coco-polygon-nan", coco([[float("nan")] * 6]), COCO, 1, "1 images skipped"),
    Case("coco-no-segmentation", coco(None), COCO, 1, "1 images skipped"),
    Case(
        "coco-bomb",
        coco(images=[{"id": n, "file_name": f"{name}.png"} | (BOMB if n else SIDES) for n, name in enumerate("ab")]),
        COCO,
        1,
        "1 images skipped",
    ),
    Case("coco-with-probs", coco(), COCO + " --probs {probs}", 2, "--probs goes with a folder of masks"),
    Case("labelstudio-empty", d.write("m.json", "[]"), COCO, 2, "holds no masks"),
    Case("labelstudio-no-image", tasks(data={}), COCO, 2, "has no image in its data"),
    Case("labelstudio-results-a-word", tasks("x"), COCO, 2, "task 1 of"),
    Case("labelstudio-annotations-a-word", tasks(annotations="x"), COCO, 2, "task 1 of"),
    Case("labelstudio-brush-cut", tasks(brush([0, 0, 48, 0])), COCO, 1, "1 images skipped"),
    Case("cvat-empty", d.write("m.xml", ""), XML, 2, "is no XML"),
    Case("cvat-binary", d.write("m.xml", d.GARBAGE), XML, 2, "m.xml"),
    Case("cvat-version", cvat(POLYGON.format("1,1;9,1;9,9"), "3.0"), XML, 2, "has the version '3.0'"),
    Case("cvat-no-masks", cvat(), XML, 2, "holds no masks"),
    Case("cvat-entities", d.write("m.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), XML, 2, "document type"),
    Case("slicer-binary", d.write("m.seg.nrrd", d.GARBAGE), SEG, 2, "m.seg.nrrd"),
    Case("slicer-no-segment", d.write("m.seg.nrrd", HEAD + "\n"), SEG, 2, "names no segment"),
    Case("slicer-other-file", d.write("m.seg.nrrd", HEAD + "data file: a.raw\n\n"), SEG, 2, "in another file"),
    Case("dicom-binary", d.write("m.dcm", d.GARBAGE), DICOM, 2, "m.dcm"),
    Case("dicom-none", d.folder("other"), DICOM, 2, "m.dcm"),
    Case(
        "label-a-name",
        d.folder("other"),
        "generate --images {images} --masks {masks} --label mole --out {out}",
        2,
        "--label is 'mole'",
    ),
    Case(
        "write-nothing-known",
        d.folder("other"),
        "predict --model {bundle} --records {records} --write cocoa --out {out}",
        2,
        "coco",
    ),
]
