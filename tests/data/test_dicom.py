"""A DICOM series as a case, against the array that it was written from; faulty series are told."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from monai.data.image_reader import PydicomReader
from tiny_dicom import write_series
from tiny_volumes import SHAPE, SPACING, bright, ellipsoid, write_nifti

from sqp.core.errors import CaseError
from sqp.data import find_cases
from sqp.data.dicom import is_series
from sqp.data.volumes import check_same_place, read_structure, read_volume


def test_a_series_is_what_was_written_and_lies_where_its_nifti_does(tmp_path):
    voxels = bright(ellipsoid()).round()
    volume = read_volume(write_series(tmp_path / "ct", voxels))
    assert np.array_equal(volume.voxels, voxels)
    assert volume.spacing == pytest.approx(SPACING)
    mask, there = read_structure(write_nifti(tmp_path / "m.nii.gz", ellipsoid()))
    check_same_place("ct", volume.geometry, "m", there)
    assert volume.voxels[mask].min() > 60


def test_series_are_cases_named_as_their_folders(tmp_path):
    for name in ("p1", "p2"):
        write_series(tmp_path / "images" / name, bright(ellipsoid()))
        write_nifti(tmp_path / "masks" / f"{name}.nii.gz", ellipsoid())
    cases = find_cases(tmp_path)
    assert [(c.image_id, c.truth_paths[0].name) for c in cases] == [("p1", "p1.nii.gz"), ("p2", "p2.nii.gz")]
    (alone,) = find_cases(tmp_path / "images" / "p1")
    assert alone.image_id == "p1"


def test_what_lies_beside_the_slices_does_not_hide_a_series(tmp_path):
    voxels = bright(ellipsoid()).round()
    folder = write_series(tmp_path / "images" / "p1 [CT]", voxels)
    for name in ("000 README", "000.txt", "zz.json"):
        (folder / name).write_text("of the export")
    index = write_series(tmp_path / "elsewhere", voxels, skip=range(1, SHAPE[0]))  # DICOM, but no slice of this series
    next(index.iterdir()).rename(folder / "DICOMDIR")
    index.rmdir()
    (case,) = find_cases(tmp_path)
    assert np.array_equal(read_volume(case.image_path).voxels, voxels)
    (folder / "003.dcm").write_bytes(b"")
    with pytest.raises(CaseError, match=r"003\.dcm is named as the DICOM slices beside it and is none"):
        read_volume(folder)
    for file in folder.glob("*.dcm"):
        file.unlink()
    assert not is_series(folder)  # a DICOMDIR alone is none


def test_faulty_series(tmp_path):
    voxels = bright(ellipsoid())
    with pytest.raises(CaseError, match="lie unevenly"):
        read_volume(write_series(tmp_path / "gap", voxels, skip=(4,)))
    with pytest.raises(CaseError, match=r"holds 1 DICOM slice: .*PNG"):
        read_volume(write_series(tmp_path / "one", voxels, skip=range(1, SHAPE[0])))
    mixed = write_series(tmp_path / "mixed", voxels)
    for file in write_series(tmp_path / "other", voxels).iterdir():
        file.rename(mixed / f"b{file.name}")
    with pytest.raises(CaseError, match="slices of 2 DICOM series"):
        read_volume(mixed)
    cut = write_series(tmp_path / "cut", voxels)
    file = next(cut.iterdir())
    told = pydicom.dcmread(file)
    told.PixelData = told.PixelData[:10]
    told.save_as(file)
    with pytest.raises(CaseError, match="cannot read the DICOM series"):
        read_volume(cut)


def changed(folder, **tags):
    """The series with tags of its slices set: a value, or a function of the slice's number; None takes it away."""
    for number, file in enumerate(sorted(folder.iterdir())):
        one = pydicom.dcmread(file)
        for tag, value in tags.items():
            if value is None:
                delattr(one, tag)
            else:
                setattr(one, tag, value(number) if callable(value) else value)
        one.save_as(file)
    return folder


def test_a_series_without_decoder_is_a_case_error(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "ct", bright(ellipsoid()))

    def undecodable(*args, **kwargs):
        raise RuntimeError("Unable to decompress 'JPEG 2000' pixel data because all plugins are missing dependencies")

    monkeypatch.setattr(PydicomReader, "get_data", undecodable)
    with pytest.raises(CaseError, match=r"cannot read the DICOM series .*missing dependencies.*: export it again"):
        read_volume(folder)


@pytest.mark.parametrize("number", [None, "", 1, lambda n: n // 2, lambda n: 5 * n % SHAPE[0], lambda n: 900 - n])
def test_slices_lie_where_they_say_whatever_their_numbers(tmp_path, number):
    voxels = bright(ellipsoid()).round()
    folder = changed(write_series(tmp_path / "ct", voxels), InstanceNumber=number)
    assert np.array_equal(read_volume(folder).voxels, voxels)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PixelSpacing": None}, "have no PixelSpacing, without which"),
        ({"ImagePositionPatient": None}, "have no ImagePositionPatient"),
        ({"ImageOrientationPatient": ""}, "have no ImageOrientationPatient"),
        ({"NumberOfFrames": 8}, "a DICOM of 8 frames, which are not read: export the series as NIfTI"),
        ({"Modality": "SEG"}, "is a DICOM SEG, no image: leave it out, and give masks as NIfTI"),
    ],
)
def test_what_makes_no_volume_is_named(tmp_path, tags, message):
    with pytest.raises(CaseError, match=message):
        read_volume(changed(write_series(tmp_path / "ct", bright(ellipsoid())), **tags))


def test_dicom_of_inverted_grey_and_of_several_orientations(tmp_path):
    voxels = bright(ellipsoid()).round()
    folder = write_series(tmp_path / "inverted", voxels)
    for file in folder.iterdir():
        one = pydicom.dcmread(file)
        one.PhotometricInterpretation = "MONOCHROME1"
        one.save_as(file)
    assert np.array_equal(read_volume(folder).voxels, voxels.max() + voxels.min() - voxels)
    file = next(folder.iterdir())
    one = pydicom.dcmread(file)
    one.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    one.save_as(file)
    with pytest.raises(CaseError, match="several orientations"):
        read_volume(folder)
