"""A DICOM series as a case, against the array that it was written from; faulty series are told."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from monai.data.image_reader import PydicomReader
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from tiny_volumes import SHAPE, SPACING, bright, ellipsoid, write_nifti

from sqp.core.errors import CaseError
from sqp.data import find_cases
from sqp.data.dicom import is_series
from sqp.data.volumes import check_same_place, read_structure, read_volume

OFFSET = (5.0, -7.0, 11.0)  # RAS mm of the voxel (0, 0, 0), as in tiny_volumes


def write_series(folder, voxels, skip=(), series=None):
    """`[d, h, w]` as a CT series: rows run from front to back, columns from right to left, slices upwards."""
    folder.mkdir(parents=True)
    series = series or generate_uid()
    for z, pixels in enumerate(voxels):
        if z in skip:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        one.SeriesInstanceUID, one.Modality, one.InstanceNumber = series, "CT", z + 1
        one.Rows, one.Columns, one.SamplesPerPixel = *pixels.shape, 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, -1000
        one.PixelSpacing = [SPACING[1], SPACING[2]]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [-OFFSET[0], -OFFSET[1], OFFSET[2] + SPACING[0] * z]
        one.PixelData = (pixels + 1000).astype(np.int16).tobytes()
        one.save_as(folder / f"{voxels.shape[0] - z:03d}.dcm", enforce_file_format=True)
    return folder


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
    with pytest.raises(CaseError, match="holds 1 DICOM slices"):
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


@pytest.mark.parametrize("broken", ["decoder", "order"])
def test_a_series_without_decoder_or_order_is_a_case_error(tmp_path, monkeypatch, broken):
    folder = write_series(tmp_path / "ct", bright(ellipsoid()))
    first = sorted(folder.iterdir())[0]
    if broken == "order":
        one = pydicom.dcmread(first)
        one.InstanceNumber = None
        one.save_as(first)
        message = "1 slices of .* have no InstanceNumber"
    else:

        def undecodable(*args, **kwargs):
            raise RuntimeError(
                "Unable to decompress 'JPEG 2000' pixel data because all plugins are missing dependencies"
            )

        monkeypatch.setattr(PydicomReader, "get_data", undecodable)
        message = "cannot read the DICOM series .*missing dependencies.*: export it again"
    with pytest.raises(CaseError, match=message):
        read_volume(folder)


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
