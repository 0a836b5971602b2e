"""NIfTI cases: orientation, spacing, labels, and every kind of bad input told in one sentence."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from tiny_volumes import ORIENTATIONS, SHAPE, SPACING, bright, ellipsoid, write_data, write_nifti

from sqp.core.errors import CaseError, ConfigError
from sqp.core.volume import Geometry
from sqp.data import find_cases
from sqp.data.volumes import check_same_place, read_structure, read_volume


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_volume_is_the_same_in_every_orientation(tmp_path, orientation):
    voxels = bright(ellipsoid())
    volume = read_volume(write_nifti(tmp_path / "a.nii.gz", voxels, orientation=orientation))
    assert np.array_equal(volume.voxels, voxels) and volume.voxels.dtype == np.float32
    assert volume.spacing == pytest.approx(SPACING)


def test_scaled_integers_and_a_fourth_axis_of_one(tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4, 1) * 0.5 + 10
    image = nib.Nifti1Image(values, np.eye(4))
    image.set_data_dtype(np.int16)  # nibabel then stores a slope and an intercept
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.shape == (4, 3, 2)
    assert volume.voxels == pytest.approx(values[::-1, ::-1, :, 0].T, abs=1e-3)


@pytest.mark.parametrize("labels,want", [((1,), [1]), ((2,), [2]), ((1, 2), [1, 2])])
def test_a_label_or_several_make_the_structure(tmp_path, labels, want):
    write_data(tmp_path, 1)
    path = tmp_path / "labels" / "v00.nii.gz"
    mask, geometry = read_structure(path, labels)
    assert np.array_equal(mask, np.isin(geometry.to_canonical(np.asarray(nib.load(path).dataobj)), want))


def test_one_value_of_any_number_needs_no_choice(tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", ellipsoid().astype(np.uint8) * 255)
    assert np.array_equal(read_structure(path)[0], ellipsoid())


def test_labels_that_miss_their_number_by_rounding(tmp_path):
    near = write_nifti(tmp_path / "near.nii.gz", np.where(ellipsoid(), 0.9999999, 0).astype(np.float64))
    assert np.array_equal(read_structure(near, (1,))[0], ellipsoid())
    far = write_nifti(tmp_path / "far.nii.gz", np.where(ellipsoid(), 0.98, 0).astype(np.float64))
    with pytest.raises(CaseError, match="no whole numbers"):
        read_structure(far, (1,))


def test_labels_that_are_not_there(tmp_path):
    write_data(tmp_path, 1)
    path = tmp_path / "labels" / "v00.nii.gz"
    with pytest.raises(CaseError, match=r"v00.nii.gz holds the labels 1, 2: choose with --label"):
        read_structure(path)
    with pytest.raises(CaseError, match=r"label 3 is not in .*v00.nii.gz, which holds 1, 2"):
        read_structure(path, (1, 3))
    empty = write_nifti(tmp_path / "empty.nii.gz", np.zeros(SHAPE, bool))
    with pytest.raises(CaseError, match=r"empty\.nii\.gz is empty"):
        read_structure(empty, (1,))
    image = write_nifti(tmp_path / "image.nii.gz", bright(ellipsoid()))
    with pytest.raises(CaseError, match="no whole numbers"):
        read_structure(image)


def test_a_given_mask_is_binary_or_may_lack_the_label(tmp_path):
    mask = ellipsoid()
    for value in (1, 255):
        binary = write_nifti(tmp_path / f"{value}.nii.gz", mask.astype(np.uint8) * value)
        for labels in ((), (1,)):
            assert np.array_equal(read_structure(binary, labels, given=True)[0], mask)
        for labels in ((2,), (2, 3)):  # 1 alone is another structure, and the one that was asked for is missed
            assert read_structure(binary, labels, given=True)[0].any() == (value == 255)
        if value == 255:  # one structure, whatever the labels of another tool are
            assert np.array_equal(read_structure(binary, (2,))[0], mask)
            continue
        with pytest.raises(CaseError, match=r"label 2 is not in .*1\.nii\.gz, which holds 1"):
            read_structure(binary, (2,))  # a truth
    write_data(tmp_path, 1)
    both = tmp_path / "labels" / "v00.nii.gz"
    assert np.array_equal(read_structure(both, (1, 3), given=True)[0], read_structure(both, (1,))[0])
    assert not read_structure(both, (3,), given=True)[0].any()
    other = write_nifti(tmp_path / "other.nii.gz", mask.astype(np.uint8) * 3)
    assert not read_structure(other, (2,), given=True)[0].any()
    empty = write_nifti(tmp_path / "empty.nii.gz", np.zeros(SHAPE, bool))
    assert not read_structure(empty, (1,), given=True)[0].any()
    with pytest.raises(CaseError, match="holds the labels 1, 2: choose"):
        read_structure(both, given=True)


def broken(path, kind):
    """A file that is wrong in one way, and what is said of it."""
    voxels = bright(ellipsoid())
    if kind in (np.nan, np.inf):
        voxels[2, 3, 4] = kind
        write_nifti(path, voxels)
        return "holds 1 NaN or infinite voxels"
    if kind == "4D":
        nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 6), np.float32), np.eye(4)), path)
        return r"is 4D \(3 x 4 x 5 x 6\), time points or channels: save one 3D volume"
    if kind == "one slice":
        write_nifti(path, voxels[:1])
        return "has one slice only"
    if kind == "cut":
        write_nifti(path, voxels)
        path.write_bytes(path.read_bytes()[:200])
        return "cannot read volume"
    if kind == "text":
        path.write_text("no volume")
        return "cannot read volume"
    if kind == "colours":
        rgb = np.zeros((3, 4, 5), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        nib.save(nib.Nifti1Image(rgb, np.eye(4)), path)
        return "colours"
    return "does not exist"


@pytest.mark.parametrize("kind", [np.nan, np.inf, "4D", "one slice", "cut", "text", "colours", "missing"], ids=str)
def test_a_broken_volume_is_named(tmp_path, kind):
    path = tmp_path / "case.nii.gz"
    with pytest.raises(CaseError, match=broken(path, kind)) as caught:
        read_volume(path)
    assert "case.nii.gz" in str(caught.value)


def test_a_mask_of_another_place_names_both(tmp_path):
    image = write_nifti(tmp_path / "image.nii.gz", bright(ellipsoid()))
    same = write_nifti(tmp_path / "same.nii.gz", ellipsoid(), orientation="PSR")
    moved = write_nifti(tmp_path / "moved.nii.gz", ellipsoid(), offset=(5.0, -7.0, 12.5))
    coarse = write_nifti(tmp_path / "coarse.nii.gz", ellipsoid(), spacing=(3.0, 1.0, 1.0))
    short = write_nifti(tmp_path / "short.nii.gz", ellipsoid()[:-1])
    here = read_volume(image).geometry

    def check(path):
        check_same_place(image, here, path, read_structure(path)[1])

    check(same)
    with pytest.raises(
        CaseError, match=r"moved\.nii\.gz has another affine than its image .*image\.nii\.gz: .* 0\.5 v"
    ):
        check(moved)
    with pytest.raises(CaseError, match=r"spacing 3 x 1 x 1 mm against 3 x 1 x 0.75 mm"):
        check(coarse)
    with pytest.raises(CaseError, match=r"short.nii.gz has 9 x 14 x 12 voxels .*image.nii.gz has 10 x 14 x 12"):
        check(short)


@pytest.mark.parametrize("images,truth", [("images", "labels"), ("imagesTr", "labelsTr"), ("images", "masks")])
def test_folders_of_volumes(tmp_path, images, truth):
    write_data(tmp_path, 2, images=images, truth=truth)
    (tmp_path / images / "._v00.nii.gz").write_text("macOS")
    cases = find_cases(tmp_path, labels=[1, 2])
    assert [case.image_id for case in cases] == ["v00", "v01"]
    assert all(case.truth_paths[0].parent.name == truth and case.labels == (1, 2) for case in cases)
    judged = find_cases(tmp_path / images, masks=tmp_path / truth)
    assert [case.mask_path.name for case in judged] == ["v00.nii.gz", "v01.nii.gz"]


def test_a_table_of_volumes(tmp_path):
    write_data(tmp_path, 1)
    (tmp_path / "cases.csv").write_text("image,truth,group\nimages/v00.nii.gz,labels/v00.nii.gz,p1\n")
    (case,) = find_cases(tmp_path / "cases.csv", labels=[1])
    assert (case.image_id, case.group, case.labels) == ("v00", "p1", (1,))


def test_nothing_there(tmp_path):
    with pytest.raises(ConfigError, match=r"\.nii\.gz"):
        find_cases(tmp_path)


def test_a_part_of_a_grid_is_laid_into_the_whole():
    whole = Geometry((6, 5, 4), np.diag([-2.0, -1.0, 3.0, 1.0]))
    mask = np.zeros(whole.canonical_shape, bool)
    mask[1:3, 2:4, 1:5] = True
    corner = whole.canonical_affine @ np.array([1, 2, 1, 1.0])
    affine = whole.canonical_affine.copy()
    affine[:, 3] = corner
    part = Geometry((2, 2, 4), affine)  # whose file has the canonical axes already
    assert (whole.laid(np.ones((2, 2, 4), bool), part) == mask).all()
    assert not whole.laid(np.zeros((9, 9, 9), bool), part).any()
    with pytest.raises(ValueError, match="reaches out of its image"):
        whole.laid(np.ones((9, 9, 9), bool), part)
    affine = affine.copy()
    affine[:3, 3] += 0.5
    with pytest.raises(ValueError, match="not those of its image"):
        whole.laid(np.ones((2, 2, 4), bool), Geometry((2, 2, 4), affine))
