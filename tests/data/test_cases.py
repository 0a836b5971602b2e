from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sqp.core.errors import ConfigError
from sqp.data import LAYOUTS, find_cases


def put(folder, *names):
    """Small valid image files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((3, 4), np.uint8)).save(folder / name)
    return folder


def ids(cases):
    return [case.image_id for case in cases]


def test_cases_are_sorted_and_their_group_is_the_image(tmp_path):
    cases = find_cases(put(tmp_path / "in", "c.png", "a.jpg", "b.tif"))
    assert ids(cases) == ["a", "b", "c"]
    assert [case.group for case in cases] == ["a", "b", "c"]
    assert cases.without_truth == ("a", "b", "c")
    assert cases[0].image_path == tmp_path / "in" / "a.jpg"


def test_a_single_file(tmp_path):
    folder = put(tmp_path, "a.png", "b.png")
    mask = put(tmp_path / "m", "drawn.png") / "drawn.png"
    (case,) = find_cases(folder / "a.png", masks=mask)
    assert (case.image_id, case.mask_path) == ("a", mask)


@pytest.mark.parametrize(
    "ending",
    [
        *("", "_segmentation", "_Segmentation", "_mask", "_lesion", "_seg", "-mask", "-seg"),
        *("_pred", "_prediction", "_lesion_mask", "-mask_pred"),
    ],
)
def test_masks_match_by_stem(tmp_path, ending):
    put(tmp_path / "i", "a.jpg", "b.jpg", "c.jpg")
    masks = put(tmp_path / "m", f"a{ending}.png", f"c{ending}.png", f"z{ending}.png")
    cases = find_cases(tmp_path / "i", masks=masks)
    assert ids(cases) == ["a", "c"]
    assert cases.unmatched == ("b",)
    assert cases.extra == (masks / f"z{ending}.png",)
    assert cases[1].mask_path == masks / f"c{ending}.png"


def test_an_ending_that_belongs_to_the_image_is_kept(tmp_path):
    put(tmp_path / "i", "a_lesion.jpg", "b.jpg")
    masks = put(tmp_path / "m", "a_lesion.png", "b_lesion.png")
    assert [case.mask_path.name for case in find_cases(tmp_path / "i", masks=masks)] == [
        "a_lesion.png",
        "b_lesion.png",
    ]


def test_the_fewest_endings_are_cut_and_a_whole_name_comes_first(tmp_path):
    images = put(tmp_path / "i", "a.jpg")
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(images / "a_lesion.png")
    masks = put(tmp_path / "m", "a_mask.png", "a_lesion_mask.png")
    assert [case.mask_path.name for case in find_cases(images, masks=masks)] == ["a_mask.png", "a_lesion_mask.png"]
    (images / "a_lesion.png").unlink()
    whole = put(tmp_path / "w", "a.png", "a_lesion.png")
    found = find_cases(images, masks=whole)
    assert (found[0].mask_path, found.extra) == (whole / "a.png", (whole / "a_lesion.png",))


@pytest.mark.parametrize(
    ("image", "mask"), [("n\u00e9", "ne\u0301"), ("ne\u0301", "n\u00e9_mask"), ("IMG_1", "img_1-MASK")]
)
def test_names_match_in_either_unicode_form_and_case(tmp_path, image, mask):
    put(tmp_path / "i", f"{image}.jpg", "b.jpg")
    masks = put(tmp_path / "m", f"{mask}.png", "b.png")
    found = find_cases(tmp_path / "i", masks=masks)
    assert (len(found), found.unmatched, found.extra) == (2, (), ())
    assert {case.image_path.stem: case.mask_path.name for case in found}[image] == f"{mask}.png"


def test_case_counts_where_it_must(tmp_path):
    put(tmp_path / "i", "a.jpg", "A.jpg", "b.jpg")
    masks = put(tmp_path / "m", "A.png", "B.png", "b.png")
    found = find_cases(tmp_path / "i", masks=masks)
    assert {case.image_id: case.mask_path.name for case in found} == {"A": "A.png", "b": "b.png"}
    assert (found.unmatched, found.extra) == (("a",), (masks / "B.png",))


def test_images_without_truth_are_kept_and_counted(tmp_path):
    put(tmp_path / "i", "a.jpg", "b.jpg")
    cases = find_cases(tmp_path / "i", truth=put(tmp_path / "t", "b.png"))
    assert ids(cases) == ["a", "b"]
    assert cases.without_truth == ("a",)


def test_probabilities_and_masks_together(tmp_path):
    put(tmp_path / "i", "a.jpg", "b.jpg")
    probs = tmp_path / "p"
    probs.mkdir()
    np.save(probs / "a.npy", np.zeros((3, 4), np.float32))
    cases = find_cases(tmp_path / "i", masks=put(tmp_path / "m", "a.png", "b.png"), probs=probs)
    assert ids(cases) == ["a"]
    assert cases.unmatched == ("b",)
    assert cases[0].probability_path == probs / "a.npy"


def test_masks_and_probabilities_of_different_images(tmp_path):
    put(tmp_path / "i", "a.jpg", "b.jpg")
    with pytest.raises(ConfigError, match="both"):
        find_cases(tmp_path / "i", masks=put(tmp_path / "m", "a.png"), probs=put(tmp_path / "p", "b.png"))


def test_truth_given_replaces_the_layouts_own(tmp_path):
    put(tmp_path / "images", "a.jpg")
    put(tmp_path / "masks", "a.png")
    other = put(tmp_path / "other", "a.png")
    assert find_cases(tmp_path)[0].truth_paths == (tmp_path / "masks" / "a.png",)
    assert find_cases(tmp_path, truth=other)[0].truth_paths == (other / "a.png",)


def test_what_is_judged_is_never_its_own_truth(tmp_path):
    put(tmp_path / "images", "a.jpg", "b.jpg")
    masks = put(tmp_path / "masks", "a.png", "b.png")
    assert len(find_cases(tmp_path).without_truth) == 0
    judged = find_cases(tmp_path, masks=masks)
    assert judged.without_truth == ("a", "b") and judged.notes == ()
    named = put(tmp_path / "gt", "a.png", "b.png")
    masks.rename(tmp_path / "mine")
    assert find_cases(tmp_path, masks=named).without_truth == ("a", "b")  # the very files, though the name says truth
    assert find_cases(tmp_path, masks=tmp_path / "mine").without_truth == ()
    (tmp_path / "link").symlink_to(named)
    with pytest.raises(ConfigError, match=r"--truth .*a\.png is the very file that is judged"):
        find_cases(tmp_path, truth=tmp_path / "link", masks=named)


def test_masks_beside_the_images_are_no_truth_of_masks_from_elsewhere(tmp_path):
    put(tmp_path / "images", "a.jpg", "b.jpg")
    put(tmp_path / "masks", "a.png", "b.png")
    judged = find_cases(tmp_path, masks=put(tmp_path / "mine", "a.png", "b.png"))
    assert judged.without_truth == ("a", "b")
    (note,) = judged.notes
    assert note.startswith("2 masks beside the images are not taken for truth without --truth, e.g. ")
    with_truth = find_cases(tmp_path, truth=tmp_path / "masks", masks=tmp_path / "mine")
    assert (with_truth.without_truth, with_truth.notes) == ((), ())


def test_a_known_data_set_keeps_its_truth_but_for_the_judged_file(tmp_path):
    for folder in ("images", "masks", "masks_2017"):
        put(tmp_path / folder, "a.png")
    (tmp_path / "labels.csv").write_text("image_id\na\n")
    elsewhere = put(tmp_path / "mine", "a.png")
    assert len(find_cases(tmp_path, masks=elsewhere)[0].truth_paths) == 2
    (case,) = find_cases(tmp_path, masks=tmp_path / "masks")
    assert case.truth_paths == (tmp_path / "masks_2017" / "a.png",)
    (tmp_path / "t.csv").write_text("image,mask,truth\nimages/a.png,mine/a.png,mine/../mine/a.png\n")
    assert find_cases(tmp_path / "t.csv")[0].truth_paths == ()


def test_one_folder_of_images_and_masks(tmp_path):
    flat = put(tmp_path / "flat", "a.jpg", "a_mask.png", "b.jpg", "b_pred.png")
    found = find_cases(flat, masks=flat)
    assert {case.image_id: case.mask_path.name for case in found} == {"a": "a_mask.png", "b": "b_pred.png"}
    assert found.without_truth == ("a", "b") and found.notes == ()
    assert find_cases(flat / "a.jpg", masks=flat)[0].mask_path == flat / "a_mask.png"
    same = put(tmp_path / "same", "a.jpg")
    with pytest.raises(ConfigError, match=r"--images and --masks are the same folder, .*same, and no mask is in it"):
        find_cases(same, masks=same)
    with pytest.raises(ConfigError, match=r"--masks .*a\.jpg is the image itself"):
        find_cases(same / "a.jpg", masks=same / "a.jpg")


def test_what_is_left_aside_is_told(tmp_path):
    images = put(tmp_path / "i", "a.jpg")
    (images / "b.heic").write_bytes(b"x")
    (images / "notes.txt").write_text("x")
    put(images / "p2", "c.jpg")
    put(images / "masks", "a.png")  # no images, by its name
    masks = put(tmp_path / "m", "a.png", "y.png", "z.png")
    assert find_cases(images, masks=masks).notes == (
        "1 file is of a type that is not read, e.g. b.heic",
        "1 subfolder with images is not read, e.g. p2",
        "2 files of --masks are of no image, e.g. y.png",
    )
    assert find_cases(images, masks=images / "masks", truth=images / "p2" / "c.jpg").notes == (
        "1 file is of a type that is not read, e.g. b.heic",
        "1 subfolder with images is not read, e.g. p2",
    )


def test_missing_folders_are_named(tmp_path):
    put(tmp_path / "i", "a.jpg")
    with pytest.raises(ConfigError, match=r"--images .*nowhere does not exist"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"--masks .*nowhere does not exist"):
        find_cases(tmp_path / "i", masks=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="one file for 2 images"):
        find_cases(put(tmp_path / "i", "b.jpg"), masks=tmp_path / "i" / "a.jpg")


def test_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ConfigError, match=r"holds no images .*\.jpg"):
        find_cases(tmp_path)
    with pytest.raises(ConfigError, match=r"is no image, no volume and no \.csv"):
        find_cases(tmp_path / "notes.txt")
    (tmp_path / "images").mkdir()
    with pytest.raises(ConfigError, match="no images in"):
        find_cases(tmp_path)


def test_no_mask_matches_names_both_sides_and_counts(tmp_path):
    put(tmp_path / "i", "a.jpg", "b.jpg")
    masks = put(tmp_path / "m", "x.png", "y.png", "z.png")
    with pytest.raises(ConfigError, match=r"none of the 3 files .* 2 images: 'x\.png' against 'a\.jpg'"):
        find_cases(tmp_path / "i", masks=masks)
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="holds no files"):
        find_cases(tmp_path / "i", masks=tmp_path / "none")


def test_duplicates_name_both_files(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.jpg and .*a\.png are both for 'a'"):
        find_cases(put(tmp_path / "i", "a.jpg", "a.png"))
    put(tmp_path / "j", "b.jpg")
    with pytest.raises(ConfigError, match=r"b_mask\.png and .*b_seg\.png"):
        find_cases(tmp_path / "j", masks=put(tmp_path / "m", "b_mask.png", "b_seg.png"))


def test_layout_by_name(tmp_path):
    folder = put(tmp_path / "i", "a.jpg")
    assert ids(find_cases(folder, layout="folders")) == ["a"]
    with pytest.raises(ConfigError, match="did you mean 'ham10000'"):
        find_cases(folder, layout="ham1000")
    for name in set(LAYOUTS) - {"folders"}:
        with pytest.raises(ConfigError, match=f"not of the layout '{name}'"):
            find_cases(folder, layout=name)


@pytest.mark.parametrize("name", ["out", "masks", "images", "gt"])
def test_what_sqp_wrote_inside_of_the_images_is_none_of_them(name, tmp_path):
    for i in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    before = find_cases(tmp_path)
    out = tmp_path / name
    for part in ("masks", "images", "."):
        (out / part).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(out / part / "0.png")
    (out / "run.yaml").write_text("config: {}\n")
    after = find_cases(tmp_path)
    assert list(after) == list(before) and len(after) == 2 and not after.notes
    assert not any(case.truth_paths for case in after)
