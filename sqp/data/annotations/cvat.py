"""CVAT for images 1.1: XML with an `image` a file and in it `mask` (run lengths in a box) and `polygon`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from sqp.core.errors import ConfigError
from sqp.core.untrusted import read_text
from sqp.data.annotations.annotation import Annotation, check_once, polygon_mask, size_of
from sqp.data.annotations.runs import from_box

VERSION = "1.1"


def read(path: Path) -> list[Annotation]:
    """Masks and polygons, each a case; other shapes are left out.

    ConfigError for a file that is no XML of CVAT, of another version, or that names an image twice.
    """
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ConfigError(f"{path} has a document type, which CVAT never writes: export the annotations again")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigError(f"{path} is no XML ({error}): export 'CVAT for images 1.1' again") from error
    version = (root.findtext("version") or "").strip()
    if root.tag != "annotations" or version != VERSION:
        what = f"has the version '{version}'" if root.tag == "annotations" else "is no file of CVAT"
        raise ConfigError(f"{path} {what}; version {VERSION} is read: export 'CVAT for images 1.1'")
    if root.find("track") is not None:
        raise ConfigError(f"{path} holds tracks of a video: export 'CVAT for images 1.1'")
    images = root.findall("image")
    check_once([image.get("name", "") for image in images], path)
    found = []
    for image in images:
        for number, shape in enumerate((s for s in image if s.tag in ("mask", "polygon")), start=1):
            make = partial(decode, shape, image)
            found.append(Annotation(image.get("name", ""), str(number), shape.get("label", ""), None, make))
    return found


def decode(shape: ElementTree.Element, image: ElementTree.Element) -> np.ndarray:
    """bool `[h, w]` of the image's size. ValueError where shape or size are damaged."""
    size = size_of(image.get("height"), image.get("width"))
    try:
        if shape.tag == "mask":
            runs = [int(run) for run in shape.attrib["rle"].split(",")]
            left, top, width, height = (int(shape.attrib[name]) for name in ("left", "top", "width", "height"))
        else:
            points = [tuple(map(float, point.split(","))) for point in shape.attrib["points"].split(";")]
            corners = [(x, y) for x, y in points]
    except (KeyError, ValueError):
        raise ValueError(f"its {shape.tag} lacks a number, or has one that is none") from None
    if shape.tag == "mask":
        return from_box(runs, (left, top, width, height), size)
    return polygon_mask([corners], size)
