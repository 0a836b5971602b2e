"""A small volume as a DICOM series."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from tiny_volumes import SPACING

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
