"""CVAT for images 1.1: each mask with its score and verdict as attributes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from sqp.core.files import write_atomic
from sqp.data.annotations.cvat import VERSION
from sqp.data.annotations.runs import to_box
from sqp.integrations.judged import Judged
from sqp.quality.judging.verdict import VERDICTS

FILE = "cvat.xml"
LABEL = "mask"
ATTRIBUTES = ("predicted_dice", "low", "high", "reason", "record_id")


def check() -> None:
    """Nothing is needed."""


def write(rows: Iterable[Judged], folder: Path) -> list[Path]:
    """FOLDER/cvat.xml: an image a file, in it its masks; `meta` has the label with its attributes as CVAT writes it.

    The CVAT task needs the label `mask` with these attributes, else it leaves them out: paste `meta/task/labels`.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = VERSION
    _describe(ElementTree.SubElement(root, "meta"))
    images: dict[int, ElementTree.Element] = {}
    for row in rows:
        height, width = row.mask.shape
        if row.group not in images:
            told = {"id": str(row.group), "name": row.image, "width": str(width), "height": str(height)}
            images[row.group] = ElementTree.SubElement(root, "image", told)
        _shape(images[row.group], row)
    ElementTree.indent(root)
    write_atomic(folder / FILE, lambda file: ElementTree.ElementTree(root).write(file, "utf-8", xml_declaration=True))
    return [folder / FILE]


def _shape(image: ElementTree.Element, row: Judged) -> None:
    runs, (left, top, width, height) = to_box(row.mask)
    where = {"left": str(left), "top": str(top), "width": str(width), "height": str(height)}
    fixed = {"label": LABEL, "source": "auto", "occluded": "0", "z_order": "0"}
    shape = ElementTree.SubElement(image, "mask", fixed | {"rle": ", ".join(map(str, runs))} | where)
    for name in ("verdict", *ATTRIBUTES):
        value = row.attributes[name]
        ElementTree.SubElement(shape, "attribute", {"name": name}).text = "" if value is None else str(value)


def _describe(meta: ElementTree.Element) -> None:
    """The label and its attributes."""
    labels = ElementTree.SubElement(ElementTree.SubElement(meta, "task"), "labels")
    label = ElementTree.SubElement(labels, "label")
    for name, value in {"name": LABEL, "type": "mask"}.items():
        ElementTree.SubElement(label, name).text = value
    attributes = ElementTree.SubElement(label, "attributes")
    for name in ("verdict", *ATTRIBUTES):
        attribute = ElementTree.SubElement(attributes, "attribute")
        of_verdict = name == "verdict"
        parts = {
            "name": name,
            "mutable": "False",
            "input_type": "select" if of_verdict else "text",
            "default_value": "review" if of_verdict else "",
            "values": "\n".join(VERDICTS) if of_verdict else "",
        }
        for key, value in parts.items():
            ElementTree.SubElement(attribute, key).text = value
