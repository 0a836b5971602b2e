"""Cases of the masks in a tool's file: one an annotation, beside the images that it names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqp.config.checks import label_error
from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_mask
from sqp.core.ownership import remove_written
from sqp.core.types import Case
from sqp.core.untrusted import read_json
from sqp.core.volume import SUFFIX as NIFTI
from sqp.core.volume import Geometry, write_volume_mask
from sqp.data.annotations import coco, cvat, dicom_seg, label_studio, seg_nrrd
from sqp.data.annotations.annotation import Annotation
from sqp.data.cases import CaseList, find_cases
from sqp.data.layouts.folders import composed, match_names, stem_of
from sqp.data.left_aside import counted
from sqp.data.volumes import is_volume, read_geometry

FOLDER = "given"
"""Where the masks of annotations lie in a record set: decoded once, then files as any others."""

Label = int | str


def holds_annotations(masks: Path | None) -> bool:
    """Whether masks are in the file of an annotation tool (or, of 3D Slicer, in a folder of such)."""
    if masks is None:
        return False
    if masks.is_dir():
        return any(masks.glob(f"[!.]*{seg_nrrd.SUFFIX}"))
    return masks.name.lower().endswith((".json", ".xml", seg_nrrd.SUFFIX, dicom_seg.SUFFIX))


def read_annotations(path: Path) -> list[Annotation]:
    """The annotations of a file of COCO, Label Studio, CVAT or 3D Slicer, or of DICOM SEG. ConfigError for another."""
    if path.is_dir():
        files = sorted(path.glob(f"[!.]*{seg_nrrd.SUFFIX}"))
        return [one for file in files for one in seg_nrrd.read(file)]
    if not path.is_file():
        raise ConfigError(f"--masks {path} does not exist: check the path")
    if path.name.lower().endswith(seg_nrrd.SUFFIX):
        return seg_nrrd.read(path)
    if path.suffix.lower() == dicom_seg.SUFFIX:
        return dicom_seg.read(path)
    if path.suffix.lower() == ".xml":
        return cvat.read(path)
    content = read_json(path)
    for reader in (coco, label_studio):
        if reader.recognise(content):
            return reader.read(path, content)
    raise ConfigError(
        f"--masks {path} is neither COCO (images and annotations) nor an export of Label Studio (a list of tasks with "
        "data): export one of them, of Label Studio as JSON, not as JSON-MIN"
    )


def annotated_cases(
    images: Path, masks: Path, out: Path, truth: Path | None = None, layout: str = "auto", labels: Sequence[Label] = ()
) -> CaseList:
    """A case an annotation, named IMAGE_ANNOTATION, whose mask is to be written into `out` (`write_masks`).

    The images are those of `find_cases`, met by the name of their file; an image's truth is that of each of its
    annotations, and they are of one group.

    Args:
        images: where the images lie.
        masks: the tool's file, or of 3D Slicer a folder of them.
        out: the folder of the record set.
        truth: folder of ground truth, by the names of the images.
        layout: of the images.
        labels: names or numbers of the categories (or segments) that count; () is all of them.

    Returns:
        The cases; `unmatched` names the annotations whose image is not there, `notes` tells what was left aside.

    Raises:
        ConfigError: the file is none of these formats, a label is not in it, or none of its images is there.
    """
    listed = find_cases(images, truth, layout=layout)
    found = chosen(read_annotations(masks), labels, masks)
    owners = owners_of({one.image for one in found}, list(listed), segments=holds_segments(masks))
    check_apart(owners)
    if not owners:
        raise ConfigError(
            f"none of the {len({one.image for one in found})} images of {masks} is in --images {images}, e.g. "
            f"{found[0].image}: give the folder in which they lie"
        )
    cases = [_case(one, owners[one.image], out) for one in found if one.image in owners]
    twice = [name for name, times in Counter(case.image_id for case in cases).items() if times > 1]
    if twice:
        raise ConfigError(f"two annotations of {masks} would both be the case '{twice[0]}': rename an image")
    missing = [f"{stem_of(Path(one.image))}_{one.name}" for one in found if one.image not in owners]
    bare = sorted({case.image_id for case in listed} - {case.image_id for case in owners.values()})
    notes = [*listed.notes, *counted(bare, f"image{{s}} {{are}} without an annotation in {masks.name}")]
    return CaseList(sorted(cases, key=lambda case: case.image_id), tuple(sorted(missing)), (), tuple(notes))


def holds_segments(masks: Path) -> bool:
    """Whether masks are segmentations of 3D Slicer, or of DICOM."""
    return masks.is_dir() or masks.name.lower().endswith((seg_nrrd.SUFFIX, dicom_seg.SUFFIX))


def owners_of(images: Iterable[str], cases: list[Case], segments: bool = False) -> dict[str, Case]:
    """The case of each image that a tool names; of segmentations by their stem, a single one is of a single image."""
    names = sorted(images)
    if segments:
        if len(names) == len(cases) == 1:
            return {names[0]: cases[0]}
        ids = {case.image_id: case for case in cases}
        return {name: ids[image_id] for name, image_id in match_names(names, ids).items()}
    files = {composed(case.image_path.name): case for case in cases}
    short = {image: composed(image.replace("\\", "/").rsplit("/", 1)[-1]) for image in names}
    return {image: files[name] for image, name in short.items() if name in files}


def check_apart(owners: dict[str, Case]) -> None:
    """ConfigError where two images of the tool, of two folders, would be one image here."""
    seen: dict[str, str] = {}
    for image, case in owners.items():
        other = seen.setdefault(case.image_id, image)
        if other != image:
            raise ConfigError(
                f"{other} and {image} have one name, so that both would be {case.image_path}: give each folder of "
                "images its own file and its own run"
            )


def chosen(found: list[Annotation], labels: Sequence[Label], path: Path) -> list[Annotation]:
    """The annotations of these categories. ConfigError naming what there is where one is not, or where none is left."""
    if not found:
        raise ConfigError(f"{path} holds no masks: no polygon, brush or segment is in it")
    for label in labels:
        if not any(label in (one.label, one.number) for one in found):
            there = dict.fromkeys(one.label if one.number is None else f"{one.label} ({one.number})" for one in found)
            raise ConfigError(f"--label {label} is not in {path}, which has: {', '.join(list(there)[:20])}")
    wanted = {*labels}
    return [one for one in found if not wanted or one.label in wanted or one.number in wanted]


def write_masks(cases: Iterable[Case], masks: Path, out: Path, labels: Sequence[Label] = ()) -> dict[str, str]:
    """Decode the masks of `annotated_cases`, one at a time; those of earlier runs that are not among them go.

    Args:
        cases: of `annotated_cases`.
        masks: the tool's file.
        out: the folder of the record set.
        labels: as there.

    Returns:
        By the id of a case why its mask cannot be decoded.
    """
    folder = out / FOLDER
    wanted = {case.mask_path.name.split(".")[0]: case for case in cases if case.mask_path is not None}
    kept = {case.mask_path for case in wanted.values()}
    folder.mkdir(parents=True, exist_ok=True)
    remove_written(lambda path: path.parent == folder and path not in kept)
    broken = {}
    for one in chosen(read_annotations(masks), labels, masks):
        case = wanted.get(_stem(one))
        if case is None or case.mask_path is None:
            continue
        try:
            _write(one, case.image_path, case.mask_path)
        except ValueError as error:
            broken[case.image_id] = f"annotation {one.name} of {one.image} in {masks}: {error}"
            case.mask_path.unlink(missing_ok=True)
    return broken


def _case(one: Annotation, case: Case, out: Path) -> Case:
    """The case of an annotation of an image's case."""
    suffix = NIFTI if is_volume(case.image_path) else ".png"
    file = out / FOLDER / f"{_stem(one)}{suffix}"
    return replace(case, image_id=f"{case.image_id}_{composed(one.name)}", mask_path=file, labels=())


def _stem(one: Annotation) -> str:
    """A name for the file of a mask, the same in every run: readable, with a hash of image and annotation."""
    digest = hashlib.sha256(f"{one.image}\x1f{one.name}".encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w-]+", "_", f"{stem_of(Path(one.image))}_{one.name}")[:80]
    return f"{readable}-{digest}"


def _write(one: Annotation, image: Path, file: Path) -> None:
    """Decode and write. ValueError where the mask is damaged, or flat where the image is a volume.

    Tools keep of a volume's mask the part that holds something: it is laid into the grid of its image.
    """
    decoded = one.mask()
    volume = file.name.endswith(NIFTI)
    if isinstance(decoded, tuple):
        mask, geometry = decoded
        if volume:
            whole = _place_of(image) or geometry
            if whole.canonical_shape != geometry.canonical_shape:
                mask, geometry = whole.laid(mask, geometry), whole
            write_volume_mask(file, mask, geometry)
        elif len(mask) == 1:
            write_mask(file, mask[0])
        else:
            raise ValueError(f"it is a volume of {len(mask)} slices, and its image is flat")
    elif volume:
        raise ValueError(
            "it is flat, and its image is a volume: give the segmentation of 3D Slicer, .seg.nrrd, or DICOM SEG"
        )
    else:
        write_mask(file, decoded)


def _place_of(image: Path) -> Geometry | None:
    """Where a volume lies; None where it cannot be read, which is told where its voxels are needed."""
    try:
        return read_geometry(image)
    except (CaseError, ConfigError):
        return None


def without_broken(cases: list[Case], broken: Mapping[str, str], strict: bool = False) -> list[Case]:
    """The cases whose mask could be decoded. CaseError for the first that could not, where `strict`."""
    if broken and strict:
        raise CaseError(next(iter(broken.values())))
    return [case for case in cases if case.image_id not in broken]


def number_labels(labels: Sequence[Label]) -> list[int]:
    """The labels of files of masks, which are numbers. ConfigError for a name, which only annotations have."""
    for label in labels:
        if isinstance(label, str):
            raise label_error(label)
    return [label for label in labels if isinstance(label, int)]
