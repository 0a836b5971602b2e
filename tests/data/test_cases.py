from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sqp.data import LAYOUTS, find_cases
from sqp.errors import ConfigError


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


@pytest.mark.parametrize("ending", ["", "_segmentation", "_Segmentation", "_mask", "_lesion", "_seg", "-mask", "-seg"])
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
