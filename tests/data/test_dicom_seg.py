"""Masks of DICOM SEG, written by highdicom: a segment a case, in the grid of its series, whatever frames are kept."""

from __future__ import annotations

import numpy as np
import pydicom.sr.codedict
import pytest
from tiny_dicom import write_series
from tiny_volumes import bright, ellipsoid, write_nifti

from sqp.core.errors import ConfigError
from sqp.data.annotations.cases import annotated_cases, read_annotations, write_masks
from sqp.records.load import load_case

hd = pytest.importorskip("highdicom")
WORDS = pydicom.sr.codedict.codes.SCT

pytestmark = pytest.mark.filterwarnings("ignore")  # of pydicom's and highdicom's own use of each other


def write_segments(path, series, masks, omit=True, kind="BINARY"):
    """masks: label -> `[d, h, w]`, in the order of the series' files by their place."""
    files = [pydicom.dcmread(file) for file in sorted(series.iterdir())]
    files.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    for one in files:  # what a scanner writes beside what makes a volume
        one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "p", "p", "", ""
        one.StudyInstanceUID, one.StudyID, one.AccessionNumber = "1.2.3", "1", ""
        one.StudyDate, one.StudyTime, one.ReferringPhysicianName = "20260101", "120000", ""
        one.FrameOfReferenceUID, one.SliceThickness = "1.2.4", 1.0
    described = [
        hd.seg.SegmentDescription(
            segment_number=number, segment_label=label, segmented_property_category=WORDS.Organ,
            segmented_property_type=WORDS.Liver, algorithm_type="MANUAL",
        )
        for number, label in enumerate(masks, 1)
    ]  # fmt: skip
    stacked = np.stack(list(masks.values()), axis=-1)
    hd.seg.Segmentation(
        source_images=files, pixel_array=stacked.astype(np.uint8) if kind == "BINARY" else stacked.astype(np.float32),
        segmentation_type=kind, segment_descriptions=described, series_instance_uid=hd.UID(), series_number=2,
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer="m", manufacturer_model_name="m",
        software_versions="1", device_serial_number="1", omit_empty_frames=omit,
    ).save_as(path)  # fmt: skip
    return path


@pytest.fixture
def scan(tmp_path):
    return write_series(tmp_path / "images" / "ct", bright(ellipsoid()).round())


def masks_of(scan):
    whole, part = ellipsoid(), ellipsoid()
    part[: len(part) // 2] = False
    return {"liver": whole, "upper half": part}


@pytest.mark.parametrize("omit", [True, False])
def test_segments_by_name_or_number_lie_where_their_series_lies(tmp_path, scan, omit):
    masks = masks_of(scan)
    file = write_segments(tmp_path / "seg.dcm", scan, masks, omit)
    assert [(one.label, one.number) for one in read_annotations(file)] == [("liver", 1), ("upper half", 2)]
    for number, (label, mask) in enumerate(masks.items(), 1):
        for wanted in (label, number):
            (case,) = annotated_cases(scan.parent, file, tmp_path / "out", labels=[wanted])
            assert write_masks([case], file, tmp_path / "out", [wanted]) == {}
            assert case.image_id == f"ct_{number}" and (load_case(case).given == mask).all()


def test_fractional_segments_count_from_a_half_on(tmp_path, scan):
    mask = ellipsoid()
    file = write_segments(tmp_path / "seg.dcm", scan, {"liver": mask * 0.75 + ~mask * 0.25}, kind="FRACTIONAL")
    decoded, _ = read_annotations(file)[0].mask()
    assert (decoded == mask).all()


def test_what_is_not_there_or_no_segmentation_is_told(tmp_path, scan):
    file = write_segments(tmp_path / "seg.dcm", scan, masks_of(scan))
    with pytest.raises(ConfigError, match=r"--label spleen is not in .*: liver \(1\), upper half \(2\)"):
        annotated_cases(scan.parent, file, tmp_path / "out", labels=["spleen"])
    for name, content in (("cut.dcm", file.read_bytes()[:2000]), ("no.dcm", b"no dicom")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=rf"{name} is damaged, or no DICOM segmentation"):
            annotated_cases(scan.parent, tmp_path / name, tmp_path / "out")
    with pytest.raises(ConfigError, match="no DICOM segmentation"):
        read_annotations(next(scan.iterdir()))
    with pytest.raises(ConfigError, match=r"gone\.dcm does not exist"):
        read_annotations(tmp_path / "gone.dcm")


def test_a_segmentation_of_another_scan_is_told(tmp_path, scan):
    file = write_segments(tmp_path / "seg.dcm", scan, masks_of(scan))
    (tmp_path / "others").mkdir()
    write_nifti(tmp_path / "others" / "mr.nii.gz", bright(ellipsoid())[1:-1, 2:-2, 3:-3])
    cases = annotated_cases(tmp_path / "others", file, tmp_path / "out")
    broken = write_masks(cases, file, tmp_path / "out")
    assert len(broken) == 2 and all("image" in why for why in broken.values())
