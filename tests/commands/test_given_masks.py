"""Masks whose names and sizes are not those of their images: `--mask_pattern`, `--resize_masks`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sqp.cli.main import main
from sqp.data import find_cases
from sqp.data.synthetic import write_synthetic


@pytest.fixture(scope="module")
def lesions(tmp_path_factory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "lesions", 4, seed=3, size=(96, 128))


@pytest.fixture
def data(lesions, tmp_path) -> Path:
    """Images, and masks of half their size under the names of a network's fold."""
    shutil.copytree(lesions / "images", tmp_path / "images")
    (tmp_path / "unet").mkdir()
    for path in sorted((lesions / "masks").iterdir()):
        with Image.open(path) as mask:
            small = mask.resize((64, 48), Image.Resampling.NEAREST)
        small.save(tmp_path / "unet" / f"{path.stem}_unet_fold0.png")
    return tmp_path


def judge(data: Path, *options: str) -> int:
    given = ["--images", str(data / "images"), "--masks", str(data / "unet"), "--out", str(data / "out")]
    return main(["predict", *given, "--model", "fast", *options])


def test_names_and_sizes_of_a_network_are_told_apart_and_understood(data, lesions, capsys):
    pattern = ["--mask_pattern", "{stem}_unet_fold0"]
    assert judge(data) == 2
    said = capsys.readouterr().err
    assert "none of the 4 files" in said and "--mask_pattern '{stem}_unet_fold0'" in said
    assert "a CSV with the columns image and mask" in said

    assert judge(data, *pattern) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "4 of 4 masks are of another size" in said and "64x48" in said
    assert "--resize_masks" in said and "a CSV with the columns image and mask" in said

    assert judge(data, *pattern, "--resize_masks") == 0  # the same folder: nothing was made that is another now
    assert "4 masks are of another size than the image, and resized" in capsys.readouterr().out
    table = pd.read_parquet(data / "out" / "predictions.parquet").set_index("image_id")
    assert table.predicted_dice.notna().all()
    for row in table.itertuples():
        with Image.open(row.mask) as small, Image.open(data / "out" / "records" / row.mask_path) as judged:
            assert judged.size == (128, 96)
            assert (np.asarray(judged) == np.kron(np.asarray(small), np.ones((2, 2)))).all()


def test_many_masks_of_another_size_are_one_line_and_the_others_are_judged(data, lesions, capsys):
    for path in sorted((lesions / "masks").iterdir())[:2]:
        shutil.copy(path, data / "unet" / f"{path.stem}_unet_fold0.png")
    assert judge(data, "--mask_pattern", "{stem}_unet_fold0.png") == 1
    said = [line for line in capsys.readouterr().out.splitlines() if "another size" in line]
    assert len(said) == 1 and "skipped 2 images: 2 of 4 masks" in said[0]
    assert len(pd.read_csv(data / "out" / "predictions.csv")) == 2
    assert len(pd.read_csv(data / "out" / "records" / "skipped.csv")) == 2


def test_masks_of_several_classes_are_one_line_for_all(data, capsys):
    for path in (data / "unet").iterdir():
        mask = np.asarray(Image.open(path)) // 255
        mask[:2, :2] = 2
        Image.fromarray(mask).save(path)
    given = ["--mask_pattern", "{stem}_unet_fold0", "--resize_masks"]
    assert judge(data, *given) == 2
    out, err = capsys.readouterr()
    assert out.count("skipped ") == 1 and err.count("--label 1") == 1 and "(and 3 like it)" in err
    assert judge(data, *given, "--label", "1", "--overwrite") == 0


def test_a_pattern_may_lead_into_folders(data):
    for path in list((data / "unet").iterdir()):
        folder = data / "unet" / path.name.removesuffix("_unet_fold0.png")
        folder.mkdir()
        path.rename(folder / "mask.png")
    gone = min((data / "unet").iterdir())
    (gone / "mask.png").unlink()
    found = find_cases(data / "images", masks=data / "unet", mask_pattern="{stem}/mask.png")
    assert [case.mask_path.parent.name for case in found] == [case.image_id for case in found]
    assert found.unmatched == (gone.name,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mask_pattern", "mask"], "names one file for all images: put {stem}"),
        (["--mask_pattern", "{stem}_gone"], "names no file in .*unet: of .* that would be '.*_gone'"),
        (["--resize_masks", "--masks", "null"], "--resize_masks is about masks made elsewhere"),
        (["--mask_pattern", "{stem}", "--masks", "null"], "give it with --masks DIR"),
    ],
)
def test_options_that_say_nothing_are_refused(data, options, message, capsys):
    assert judge(data, *options) == 2
    assert re.search(message, capsys.readouterr().err)
