"""Each layout, in small, as it is downloaded or written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sqp.core.errors import ConfigError
from sqp.data import LAYOUTS, find_cases
from sqp.data.layouts.isic import RELEASES


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((3, 4), np.uint8)).save(folder / name)


def isic(root):
    put(root / "ISIC2018_Task1-2_Training_Input", "ISIC_1.jpg", "ISIC_2.jpg")
    (root / "ISIC2018_Task1-2_Training_Input" / "ATTRIBUTION.txt").write_text("CC-0")
    put(root / "ISIC2018_Task1_Training_GroundTruth", "ISIC_1_segmentation.png", "ISIC_2_segmentation.png")


def ham10000(root, metadata="HAM10000_metadata", separator=","):
    put(root / "HAM10000_images_part_1", "ISIC_1.jpg", "ISIC_2.jpg")
    put(root / "HAM10000_images_part_2", "ISIC_3.jpg")
    put(root / "HAM10000_segmentations_lesion_tschandl", *(f"ISIC_{k}_segmentation.png" for k in (1, 2, 3)))
    rows = [["lesion_id", "image_id", "dx", "age"], ["L1", "ISIC_1", "nv", "3"], ["L2", "ISIC_2", "mel", ""]]
    rows.append(["L1", "ISIC_3", "nv", ""])
    (root / metadata).write_text("\n".join(separator.join(row) for row in rows))


def prepared(root, labels="image_id,group,split,dx,licence,second_mask\nb,g1,train,mel,CC-0,1\na,g1,test,nv,,\n"):
    put(root / "images", "a.jpg", "b.jpg")
    put(root / "masks", "a.png", "b.png")
    put(root / "masks_2017", "a.png", "b.png")
    (root / "labels.csv").write_text(labels)


def table(root):
    put(root / "pictures", "a.png", "b.png")
    (root / "cases.csv").write_text("image\npictures/a.png\npictures/b.png\n")


def folders(root):
    put(root / "images", "a.jpg", "b.jpg")
    put(root / "masks", "a_mask.png")


def dicom(root):
    for name in "ab":  # what series look like; test_dicom reads whole ones
        (root / name).mkdir()
        (root / name / "1").write_bytes(b"\0" * 128 + b"DICM")


BUILDERS = {"isic": isic, "ham10000": ham10000, "prepared": prepared, "table": table, "dicom": dicom}
BUILDERS |= {"folders": folders}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_recognised_by_itself(tmp_path, name):
    BUILDERS[name](tmp_path)
    path = tmp_path / "cases.csv" if name == "table" else tmp_path
    first = next(known for known, layout in LAYOUTS.items() if layout.recognise(path))
    assert first == name
    cases = find_cases(path)
    assert len(cases) >= 2
    assert all(case.image_path.exists() for case in cases)
    assert all(truth.is_file() for case in cases for truth in case.truth_paths)


@pytest.mark.parametrize(("dataset", "split", "images", "masks"), RELEASES)
def test_isic_releases(tmp_path, dataset, split, images, masks):
    ending = "Segmentation" if dataset == "isic2016" else "segmentation"
    put(tmp_path / images, "ISIC_0000001.jpg", "ISIC_0000002.jpg", "ISIC_0000001_superpixels.png")
    put(tmp_path / masks, f"ISIC_0000001_{ending}.png")
    one, two = find_cases(tmp_path)
    assert (one.image_id, one.dataset, one.split) == ("ISIC_0000001", dataset, split)
    assert one.truth_paths == (tmp_path / masks / f"ISIC_0000001_{ending}.png",)
    assert two.truth_paths == ()


def test_isic_unpacked_into_itself(tmp_path):
    name = "ISIC2018_Task1-2_Training_Input"
    put(tmp_path / name / name, "ISIC_1.jpg")
    assert find_cases(tmp_path)[0].image_path == tmp_path / name / name / "ISIC_1.jpg"


def test_isic_by_its_two_folders(tmp_path):
    isic(tmp_path)
    images = tmp_path / "ISIC2018_Task1-2_Training_Input"
    cases = find_cases(images, truth=tmp_path / "ISIC2018_Task1_Training_GroundTruth")
    assert [case.image_id for case in cases] == ["ISIC_1", "ISIC_2"]
    assert cases.without_truth == ()


def test_two_isic_releases_in_one_folder_are_refused(tmp_path):
    isic(tmp_path)
    put(tmp_path / "ISIC-2017_Training_Data", "ISIC_1.jpg")
    with pytest.raises(ConfigError, match="own folder"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "separator"),
    [
        ("HAM10000_metadata", ","),
        ("HAM10000_metadata.csv", ","),
        ("HAM10000_metadata.tab", "\t"),
        ("HAM10000_metadata", " ; "),
    ],
)
def test_ham10000(tmp_path, metadata, separator):
    ham10000(tmp_path, metadata, separator)
    cases = find_cases(tmp_path)
    assert [(c.image_id, c.group, c.diagnosis) for c in cases] == [
        ("ISIC_1", "L1", "nv"),
        ("ISIC_2", "L2", "mel"),
        ("ISIC_3", "L1", "nv"),
    ]
    assert {c.licence for c in cases} == {"CC-BY-NC-4.0"}
    assert cases.without_truth == ()


def test_ham10000_needs_its_metadata(tmp_path):
    ham10000(tmp_path)
    put(tmp_path / "HAM10000_images_part_2", "ISIC_9.jpg")
    with pytest.raises(ConfigError, match=r"ISIC_9\.jpg is not listed"):
        find_cases(tmp_path)
    (tmp_path / "HAM10000_metadata").unlink()
    with pytest.raises(ConfigError, match="no HAM10000_metadata"):
        find_cases(tmp_path)


def test_prepared(tmp_path):
    prepared(tmp_path / "mine")
    a, b = find_cases(tmp_path / "mine")
    assert (a.image_id, a.group, a.split, a.diagnosis, a.dataset) == ("a", "g1", "test", "nv", "mine")
    assert a.truth_paths == (tmp_path / "mine" / "masks" / "a.png",)
    assert b.truth_paths == tuple(tmp_path / "mine" / name / "b.png" for name in ("masks", "masks_2017"))
    assert b.licence == "CC-0"


def test_prepared_ham10000_has_lesions_and_its_licence(tmp_path):
    prepared(tmp_path / "ham10000", "image_id,lesion_id,split\na,HAM_1,val\nb,HAM_1,val\n")
    case = find_cases(tmp_path / "ham10000")[0]
    assert (case.group, case.licence, case.dataset) == ("HAM_1", "CC-BY-NC-4.0", "ham10000")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("image_id,split\na,train\nq,train\n", r"1 of the 2 rows .*e\.g\. q"),
        ("image_id,split\na,train\n", r"1 of the 2 images in .* have no row in .*labels\.csv, e\.g\. b\.jpg"),
        ("image_id,split\na,trian\nb,\n", r"row 2: unknown split 'trian', did you mean 'train'"),
        ("image_id,split\na,train\na,test\nb,\n", "two images have the id 'a'"),
    ],
)
def test_prepared_with_bad_labels(tmp_path, labels, message):
    prepared(tmp_path, labels)
    with pytest.raises(ConfigError, match=message):
        find_cases(tmp_path)


def test_prepared_with_a_quoted_header(tmp_path):
    prepared(tmp_path, '"group", "image_id","split"\n"g","a","val"\n"g","b","val"\n')
    assert [(case.group, case.split) for case in find_cases(tmp_path, layout="prepared")] == [("g", "val")] * 2


def test_table_with_all_columns(tmp_path):
    put(tmp_path / "p", "a.png", "b.png")
    (tmp_path / "c.csv").write_text(
        "image_path,truth,mask,image_id,lesion_id,patient_id,split,dx,licence,dataset,noise\n"
        "p/a.png,t/1.png; t/2.png,m/a.png,one,L1,P1,val,nv,CC-0,mine,7\n"
        "p/b.png,,m/b.png,,,,,,,,\n"
    )
    two, one = find_cases(tmp_path / "c.csv")
    assert one.truth_paths == (tmp_path / "t" / "1.png", tmp_path / "t" / "2.png")
    assert one.mask_path == tmp_path / "m" / "a.png"
    assert (one.image_id, one.group, one.split, one.diagnosis) == ("one", "P1", "val", "nv")
    assert (one.licence, one.dataset) == ("CC-0", "mine")
    assert (two.image_id, two.group, two.truth_paths) == ("b", "b", ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,split\na.png,train\n", "no column 'image'"),
        ("image,split\na.png,foo\n", "row 2: unknown split 'foo'"),
        ("image,split\na.png,\n,train\n", "row 3: the cell of the image is empty"),
        ("image\nq.png\nr.png\n", "none of the 2 images .* exists"),
        ("", "is empty: save it as"),
        ("image,mask\na,b,c\n", "row 2: 3 cells for 2 columns"),
        ("image,mask,mask\n", "two columns 'mask'"),
        ("image\na\0\n", "bytes of 0"),
        ("image,mask\na.png,m.png\nb.png,\n", r"row 3: the cell of the mask of b\.png is empty"),
        (
            "image,probs\na.png,p.npy\nb.png,\n",
            r"row 3: the cell of the probability of b\.png is empty.*column 'probs'",
        ),
    ],
)
def test_bad_tables(tmp_path, text, message):
    put(tmp_path, "a.png")
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_cases(tmp_path / "c.csv")


def test_two_masks_beside_one_image_are_refused(tmp_path):
    put(tmp_path, "a.png", "a_mask.png", "a-seg.png")
    with pytest.raises(ConfigError, match=r"a-seg\.png and .*a_mask\.png are both for 'a'"):
        find_cases(tmp_path)


def test_masks_beside_images_in_one_folder(tmp_path):
    put(tmp_path, "a.png", "a_mask.png", "b.png", "c_mask.png")
    cases = find_cases(tmp_path)
    assert [case.image_id for case in cases] == ["a", "b", "c_mask"]
    assert cases[0].truth_paths == (tmp_path / "a_mask.png",)


def test_a_close_up_beside_its_overview_is_an_image_of_its_own(tmp_path):
    put(tmp_path, "p1.jpg", "p2.png", "p2_mask.png")
    levels = np.linspace(40, 220, 64 * 64).reshape(64, 64).astype(np.uint8)
    Image.fromarray(np.stack([levels, levels // 2, levels.T], axis=2)).save(tmp_path / "p1_lesion.jpg")
    cases = find_cases(tmp_path)
    assert [case.image_id for case in cases] == ["p1", "p1_lesion", "p2"]
    assert [len(case.truth_paths) for case in cases] == [0, 0, 1]


def test_a_prediction_beside_its_image_is_no_truth(tmp_path):
    put(tmp_path, "a.png", "a_pred.png", "a_mask.png", "b.png", "b_prediction.png")
    assert {case.image_id: [p.name for p in case.truth_paths] for case in find_cases(tmp_path)} == {
        "a": ["a_mask.png"],
        "b": [],
    }


def test_a_table_with_probabilities(tmp_path):
    put(tmp_path, "a.png")
    (tmp_path / "c.csv").write_text("image,probs\na.png,p/a.npy\n")
    assert find_cases(tmp_path / "c.csv")[0].probability_path == tmp_path / "p" / "a.npy"
