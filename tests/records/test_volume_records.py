"""Record sets of volumes: masks come back voxel for voxel, in the affine and orientation of the case."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from recordsets import make_record_set
from tiny_volumes import ORIENTATIONS, SHAPE, SPACING, bright, ellipsoid, write_nifti

from sqp.data.volumes import check_same_place, read_volume
from sqp.records import Record, RecordSet, RecordWriter


def record(name="a"):
    words = dict.fromkeys(
        ("image_id", "group", "split", "dataset", "licence", "diagnosis", "image_path", "segmenter", "prompter"), "x"
    )
    more = dict.fromkeys(("weights_sha256", "prompt", "sampler", "variant", "parent_record_id", "refined_by"), "")
    return Record(
        record_id=name,
        mask_path=f"masks/{name}.nii.gz",
        truth_path=[],
        height=SHAPE[1],
        width=SHAPE[2],
        spacing=list(SPACING),
        n_samples=1,
        seed=0,
        severity=0.0,
        natural=True,
        fused_by="",
        dice=0.5,
        iou=0.5,
        **words,
        **more,
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mask_comes_back_and_lies_in_its_case(tmp_path, orientation):
    image = write_nifti(tmp_path / "image.nii.gz", bright(ellipsoid()), orientation=orientation)
    volume, writer = read_volume(image), RecordWriter(tmp_path / "out")
    writer.check({})
    maps = {"self/probability": np.random.default_rng(0).random((5, 7, 6)).astype(np.float16)}
    writer.write(record(), ellipsoid(), maps, volume.geometry)
    writer.finish({})
    records = RecordSet(tmp_path / "out")
    mask, geometry = records.volume_mask("a")
    assert records.volumes and np.array_equal(mask, ellipsoid()) and np.array_equal(records.mask("a"), mask)
    assert records.maps("a")["self/probability"].shape == (5, 7, 6)
    assert geometry.difference(volume.geometry) < 1e-6 and geometry.spacing == pytest.approx(SPACING)
    check_same_place(image, volume.geometry, "mask", geometry)
    stored, source = nib.load(tmp_path / "out" / "masks" / "a.nii.gz"), nib.load(image)
    assert stored.shape == source.shape and stored.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(stored.affine) == nib.aff2axcodes(source.affine) == tuple(orientation)
    assert stored.affine == pytest.approx(source.affine, abs=1e-6)


def test_the_same_mask_is_the_same_file(tmp_path):
    geometry = read_volume(write_nifti(tmp_path / "i.nii.gz", bright(ellipsoid()))).geometry
    writer = RecordWriter(tmp_path)
    writer.check({})
    for name in ("a", "b"):
        writer.write(replace(record(name)), ellipsoid(), {}, geometry)
    assert (tmp_path / "masks" / "a.nii.gz").read_bytes() == (tmp_path / "masks" / "b.nii.gz").read_bytes()


def test_a_record_set_of_images_has_no_volumes(tmp_path):
    assert not RecordSet(make_record_set(tmp_path, {"train": 1}, ("natural",))).volumes
