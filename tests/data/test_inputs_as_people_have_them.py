"""Masks, tables and folders in the forms of public reports: right, or told; never wrong numbers in silence."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_volumes import bright, ellipsoid, write_nifti

import sqp
from sqp.cli.main import main
from sqp.config.generate import GenerateConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.data import find_cases
from sqp.data.images import read_image
from sqp.data.layouts.table import read_table
from sqp.data.masks import read_mask
from sqp.data.volumes import read_structure, read_volume

Y, X = np.mgrid[:120, :160]
AWAY = np.hypot(Y - 60, X - 80)
DISC, CUP, BORDER = AWAY < 40, AWAY < 20, (AWAY >= 40) & (AWAY < 43)


def grey(disc, cup, border, outside=0):
    values = np.full(DISC.shape, outside, np.uint8)
    values[DISC], values[CUP], values[BORDER] = disc, cup, border
    return values


def colours(*parts):
    rgb = np.zeros((*DISC.shape, 3), np.uint8)
    for where, colour in parts:
        rgb[where] = colour
    return rgb


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SEVERAL = {
    "void": (grey(1, 1, 255), [1], "0 .*1 .*255 "),
    "refuge": (grey(128, 0, 255, 255), [128, 0], "0 .*128 .*255 "),
    "trimap": (grey(127, 255, 0), [127, 255], "127 "),
    "sixteen bits": (grey(1, 1, 2).astype(np.uint16) * 300, [300], "300 .*600 "),
    "red and green": (colours((DISC, RED), (CUP, GREEN)), [0xFF0000, 0x00FF00], "0x00ff00 .*0xff0000 "),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_three_values_are_asked_for_and_chosen_by_label(tmp_path, name):
    array, labels, told = SEVERAL[name]
    Image.fromarray(array).save(tmp_path / "m.png")
    with pytest.raises(CaseError, match=rf"m\.png holds 3 values, not two: .*{told}.*--label"):
        read_mask(tmp_path / "m.png")
    for given in (True, False):
        assert np.array_equal(read_mask(tmp_path / "m.png", labels, given), DISC)
    missing = 77 if array.ndim == 2 else 0x770000
    assert not read_mask(tmp_path / "m.png", [missing], given=True).any()
    with pytest.raises(CaseError, match="is not in mask"):
        read_mask(tmp_path / "m.png", [missing])


def test_a_number_names_no_colour(tmp_path):
    Image.fromarray(colours((DISC, RED), (CUP, GREEN))).save(tmp_path / "m.png")
    with pytest.raises(CaseError, match=r"holds colours, 0x000000 .*--label 0x"):
        read_mask(tmp_path / "m.png", [1], given=True)


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("labels", [[128], [128, 255], [255]])
def test_a_blurred_label_map_has_no_exact_labels(tmp_path, ending, labels):
    Image.fromarray(grey(128, 255, 0)).save(tmp_path / "m.jpg", quality=90)
    Image.open(tmp_path / "m.jpg").save(tmp_path / "m.png")
    for given in (True, False):
        with pytest.raises(CaseError, match=r"smoothed or compressed.*nearest"):
            read_mask(tmp_path / f"m.{ending}", labels, given)
    with pytest.raises(CaseError, match=r"values, not two.*has blurred them: save label maps as PNG"):
        read_mask(tmp_path / f"m.{ending}")


def test_a_jpeg_of_small_labels_is_known_by_its_format(tmp_path):
    Image.fromarray(grey(1, 2, 0)).save(tmp_path / "m.jpg", quality=95)
    with pytest.raises(CaseError, match="smoothed or compressed"):
        read_mask(tmp_path / "m.jpg", [1], given=True)


def test_a_grey_photograph_lacks_no_label(tmp_path):
    noise = np.random.default_rng(0).normal(0, 6, DISC.shape)
    Image.fromarray(np.clip(90 + 80 * DISC + noise, 0, 255).astype(np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(CaseError, match="is no mask but a photograph"):
        read_mask(tmp_path / "m.png", [1], given=True)


def test_many_instances_are_no_photograph(tmp_path):
    array = (6 * (1 + X // 20 + 8 * (Y // 20)) * (np.hypot(X % 20 - 10, Y % 20 - 10) < 9)).clip(0, 255).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "m.png")
    with pytest.raises(CaseError, match=r"values, not two.*--label 255 .*or write one mask a file"):
        read_mask(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", [12]), array == 12)


@pytest.mark.parametrize("white", [255, 65535])
def test_white_alone_is_the_mask_under_any_label(tmp_path, white):
    array = np.where(DISC, white, 0).astype(np.uint16)
    Image.fromarray(array).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", [1], given=True), DISC)
    nib.save(nib.Nifti1Image(np.stack([array] * 4), np.eye(4)), tmp_path / "m.nii.gz")
    assert read_structure(tmp_path / "m.nii.gz", [1], given=True)[0].sum() == 4 * DISC.sum()


@pytest.mark.parametrize("colour", [BLUE, RED])
def test_a_colour_and_white_are_asked_for(tmp_path, colour):
    rgb = np.full((*DISC.shape, 3), 255, np.uint8)
    rgb[DISC] = colour
    Image.fromarray(rgb).save(tmp_path / "m.png")
    code = "0x{:02x}{:02x}{:02x}".format(*colour)
    with pytest.raises(CaseError, match=f"holds a colour and white .*--label {code}"):
        read_mask(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", [int(code, 16)]), DISC)


def two(kind):
    u = DISC.astype(np.uint8)
    rgba = np.zeros((*DISC.shape, 4), np.uint8)
    if kind == "palette":
        image = Image.frombytes("P", DISC.shape[::-1], u.tobytes())
        image.putpalette([0, 0, 0, 128, 0, 0] + [0] * 750)
        return image
    if kind == "red rgba":
        rgba[DISC] = (*RED, 255)
        return Image.fromarray(rgba)
    if kind == "black on transparent white":
        rgba[:] = (255, 255, 255, 0)
        rgba[DISC] = (0, 0, 0, 255)
        return Image.fromarray(rgba)
    return Image.fromarray({"red": colours((DISC, RED)), "blue": colours((DISC, BLUE)), "127": 127 * u}[kind])


@pytest.mark.parametrize("kind", ["red", "blue", "palette", "red rgba", "black on transparent white", "127"])
def test_two_values_in_any_dress_are_binary(tmp_path, kind):
    two(kind).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), DISC)


def test_a_mask_without_the_label_is_empty(tmp_path):
    Image.fromarray(DISC.astype(np.uint8)).save(tmp_path / "m.png")
    assert not read_mask(tmp_path / "m.png", [2], given=True).any()
    assert np.array_equal(read_mask(tmp_path / "m.png", [1], given=True), DISC)
    assert np.array_equal(read_mask(tmp_path / "m.png", [0], given=True), ~DISC)
    volume = write_nifti(tmp_path / "m.nii.gz", ellipsoid())
    assert not read_structure(volume, [2], given=True)[0].any()


def test_a_table_of_masks_gives_masks_and_a_row_is_a_mask(tmp_path):
    for name in ("c0.png", "a.png", "b.png"):
        Image.fromarray(DISC).save(tmp_path / name)
    for sign in (",", ";"):
        table = tmp_path / "t.csv"
        rows = [["image", "mask"], ["c0.png", "a.png"], ["c0.png", "b.png"]]
        table.write_text("\ufeff" + "\n".join(sign.join(row) for row in rows))
        assert GenerateConfig(table, tmp_path / "out").given
        found = find_cases(table)
        assert [(c.image_id, c.group, c.mask_path.name) for c in found] == [
            ("c0_a", "c0", "a.png"),
            ("c0_b", "c0", "b.png"),
        ]
    (tmp_path / "u.csv").write_text("image\nc0.png\n")
    assert not GenerateConfig(tmp_path / "u.csv", tmp_path / "out").given


def test_spaces_and_semicolons_of_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("\ufefflesion_id; image_id ;dx\nL1; I1 ; nv\n")
    assert read_table(tmp_path / "t.csv").to_dict("records") == [{"lesion_id": "L1", "image_id": "I1", "dx": "nv"}]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, capsys):
    told = GenerateConfig(Path("~/images"), Path("~/out"))
    assert (told.images, told.out) == (Path.home() / "images", Path.home() / "out")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("images: ~/nothing\nout: ~/out\n")
    for argument in (["--config", "~/c.yaml"], ["--config=~/c.yaml"]):
        assert main(["generate", *argument]) == 2
        assert f"{tmp_path / 'nothing'} does not exist" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=f"{tmp_path / 'bundle'} is no bundle"):
        sqp.load("~/bundle")


def test_names_of_nnunet_and_images_without_truth(tmp_path):
    for name in ("c_000_0000", "c_000_0001", "c_001_0000"):
        write_nifti(tmp_path / "imagesTr" / f"{name}.nii.gz", bright(ellipsoid()))
    write_nifti(tmp_path / "labelsTr" / "c_000.NII.GZ", ellipsoid())
    found = find_cases(tmp_path)
    assert [bool(case.truth_paths) for case in found] == [True, True, False]
    assert found[0].group == found[1].group == "c_000"
    assert "1 image is without ground truth" in found.notes[0]
    given = find_cases(tmp_path / "imagesTr", truth=tmp_path / "labelsTr")
    assert given.without_truth == ("c_001_0000",) and "1 image is without a file in --truth" in given.notes[0]
    (tmp_path / "labelsTr" / "c_000.NII.GZ").rename(tmp_path / "labelsTr" / "other.nii.gz")
    assert "3 images are without ground truth" in find_cases(tmp_path).notes[0]


def test_headers_that_disagree_and_other_units(tmp_path):
    path = write_nifti(tmp_path / "v.nii.gz", bright(ellipsoid()))
    spacing = read_volume(path).spacing
    image = nib.load(path)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "micron.nii.gz")
    assert read_volume(tmp_path / "micron.nii.gz").spacing == pytest.approx([s / 1000 for s in spacing])
    with pytest.raises(CaseError, match="disagrees on the size of a voxel"):
        read_volume(write_raw(tmp_path / "sizes.nii", path, {"pixdim": (1, 1, 1)}))


def test_axes_of_a_header_that_disagree(tmp_path):
    path = write_nifti(tmp_path / "v.nii.gz", bright(ellipsoid()))
    image = nib.load(path)
    turned = image.affine @ np.diag([-1, 1, 1, 1])
    image.set_sform(image.affine, 1)
    image.set_qform(turned, 1)
    nib.save(image, tmp_path / "w.nii.gz")
    with pytest.raises(CaseError, match=r"w\.nii\.gz: its sform and qform disagree, the axes run RAS and LAS"):
        read_volume(tmp_path / "w.nii.gz")
    image.set_qform(turned, 0)  # said not to count
    nib.save(image, tmp_path / "x.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "x.nii.gz").voxels, read_volume(path).voxels)


def write_raw(target, source, changes):
    """The volume of a file with its voxel sizes changed in the header alone."""
    image = nib.load(source)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    header["pixdim"][1:4] = changes["pixdim"]
    content[:348] = header.binaryblock
    target.write_bytes(bytes(content))
    return target


def test_later_pages_and_too_large_files_are_named(tmp_path, monkeypatch):
    pages = [Image.fromarray(DISC.astype(np.uint8) * 255) for _ in range(3)]
    for name in ("a.tif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=[Image.new("L", pages[0].size), pages[2]])
        for read in (read_image, read_mask):
            with pytest.raises(CaseError, match=rf"{name} holds 3 pages"):
                read(tmp_path / name)
    pages[0].save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CaseError, match=r"large\.png is too large"):
        read_image(tmp_path / "large.png")


def test_a_truth_of_0_and_255_is_the_structure_beside_label_maps(tmp_path):
    """The labels chosen for the masks of one tool say nothing of a truth that holds one structure."""
    disc = np.zeros((24, 30), np.uint8)
    disc[6:18, 8:22] = 255
    Image.fromarray(disc).save(tmp_path / "truth.png")
    for labels in ([1], [0, 128], [127, 255], [0xFF0000]):
        assert np.array_equal(read_mask(tmp_path / "truth.png", labels), disc > 0), labels


def table(folder, text):
    for name in ("c0.png", "m0.png", "a/m.png", "b/m.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(DISC).save(folder / name)
    (folder / "t.csv").write_bytes(text.encode())
    return folder / "t.csv"


@pytest.mark.parametrize(
    "text",
    [
        "Image,Mask\r\nc0.png,a/m.png\r\n",
        "images,masks\rc0.png,a/m.png\r",
        'image;mask;"note, free"\nc0.png;a/m.png;x\n',
        "image,mask,\nc0.png,a/m.png,\n",
        "\n\nimage,mask\n\nc0.png,a/m.png\n",
        ".\\image,image,mask\n1,.\\c0.png,a\\m.png\n",
    ],
)
def test_tables_as_spreadsheets_and_windows_write_them(tmp_path, text):
    path = table(tmp_path, text)
    assert GenerateConfig(path, tmp_path / "out").given
    (case,) = find_cases(path)
    assert case.image_id == "c0" and case.mask_path == tmp_path / "a" / "m.png"


def test_rows_of_one_image_with_masks_of_one_name_are_told_apart_by_their_folders(tmp_path):
    found = find_cases(table(tmp_path, "image,mask\nc0.png,a/m.png\nc0.png,b/m.png\nc0.png,m0.png\n"))
    assert [case.image_id for case in found] == ["c0_a_m", "c0_b_m", "c0_m0"]
    with pytest.raises(ConfigError, match=r"a/m\.png is there in two rows; remove one"):
        find_cases(table(tmp_path, "image,mask\nc0.png,a/m.png\nc0.png,a/m.png\n"))


def test_masks_of_a_table_that_are_not_used_are_told(tmp_path):
    notes = find_cases(table(tmp_path, "image,mask,truth\nc0.png,m0.png,m0.png\n")).notes
    assert "1 truth is the very file that is judged, and left out" in notes[0]
    path = table(tmp_path, "image_id,image,mask\nm,c0.png,m0.png\n")
    found = find_cases(path, masks=tmp_path / "a")
    assert found[0].mask_path == tmp_path / "a" / "m.png" and "replaced by --masks" in found.notes[0]


@pytest.mark.parametrize("name", ["m.gif", "m.npy", "m.nrrd", "below/m.png"])
def test_a_folder_without_masks_says_what_is_there(tmp_path, name):
    (tmp_path / "masks" / name).parent.mkdir(parents=True)
    (tmp_path / "masks" / name).touch()
    Image.fromarray(DISC).save(tmp_path / "m.png")
    with pytest.raises(ConfigError, match=r"but m\..*: convert|but the subfolder below does"):
        find_cases(tmp_path, masks=tmp_path / "masks")


def test_a_folder_of_a_folder_a_class_names_them(tmp_path):
    for name in ("hair", "lesion"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        Image.fromarray(DISC).save(tmp_path / "masks" / name / "m.png")
    Image.fromarray(DISC).save(tmp_path / "m.png")
    with pytest.raises(ConfigError, match=r"but its subfolders do: give one of them \(hair, lesion\)"):
        find_cases(tmp_path, masks=tmp_path / "masks")
    assert find_cases(tmp_path, masks=tmp_path / "masks" / "hair")[0].mask_path


@pytest.mark.parametrize("name", ["a.jpg.png", "a.jpg_mask.png", "a_gt.png", "a-labels.png"])
def test_names_that_tools_give_masks(tmp_path, name):
    (tmp_path / "masks").mkdir()
    for file in ("a.jpg", f"masks/{name}"):
        Image.fromarray(DISC).save(tmp_path / file)
    assert find_cases(tmp_path / "a.jpg", masks=tmp_path / "masks" / name)[0].mask_path is not None
    assert find_cases(tmp_path, masks=tmp_path / "masks")[0].mask_path == tmp_path / "masks" / name


def test_volumes_that_cannot_be_used_say_what_to_do(tmp_path):
    path = write_nifti(tmp_path / "v.nii.gz", ellipsoid())
    (tmp_path / "packed.nii").write_bytes(path.read_bytes())
    nib.save(nib.load(path), tmp_path / "p.nii")
    (tmp_path / "p.nii").rename(tmp_path / "plain.nii.gz")
    soft = ellipsoid().astype(np.float32) * 0.7
    for name, array in {"soft": soft, "nan": np.where(soft > 0, 1, np.nan), "flat": soft[0]}.items():
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    for name, words in {
        "packed.nii": "packed by gzip, .*call it .nii.gz",
        "plain.nii.gz": "not packed by gzip, .*call it .nii$",
        "soft.nii.gz": "0 to 0.7.*cut these at 0.5",
        "nan.nii.gz": "NaN or infinite voxels: fill them with 0",
        "flat.nii.gz": "is 2D .*export it as a 2D image, PNG",
    }.items():
        with pytest.raises(CaseError, match=words):
            read_structure(tmp_path / name)
