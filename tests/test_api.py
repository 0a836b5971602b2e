"""Three lines of Python give the numbers of the command line; what a program may hand over, and what not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sqp
from sqp.commands import predict
from sqp.config.predict import PredictConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_mask
from sqp.data.images import read_image
from sqp.data.masks import read_mask
from sqp.quality.judging.columns import score_names


@pytest.fixture
def model(bundle, fake_segmenter):
    return sqp.load(bundle, accept=0.5, reject=0.4)


@pytest.fixture(scope="session")
def pair(lesions) -> tuple[Path, Path]:
    """An image and its mask."""
    mask = sorted((lesions / "masks").iterdir())[0]
    return next(path for path in (lesions / "images").iterdir() if path.stem == mask.stem), mask


def same(one: sqp.Assessment, two: sqp.Assessment) -> bool:
    return (one.dice, one.low, one.high, one.verdict) == (two.dice, two.low, two.high, two.verdict)


def test_the_numbers_are_those_of_the_command_line(model, bundle, lesions, tmp_path):
    config = PredictConfig(bundle, tmp_path, images=lesions, masks=lesions / "masks", accept=0.5, reject=0.4, worst=0)
    table = predict.run(config).table.set_index("image_id")
    for name in table.index[:4]:
        image = next(path for path in (lesions / "images").iterdir() if path.stem == name)
        found, row = model.assess(image, str(lesions / "masks" / f"{name}.png")), table.loc[name]
        assert (found.dice, found.low, found.high) == pytest.approx(
            tuple(row[["predicted_dice", "low", "high"]]), abs=1e-6
        )
        assert found.verdict == row["verdict"] and found.reason == row["reason"] and found.ood == row["ood"]
        assert set(found.scores) == set(score_names(table)) >= {"c_lesion", "area"}
        assert found.scores == pytest.approx(row[list(found.scores)].to_dict(), abs=1e-6, nan_ok=True)
    assert found.maps["self/entropy"].shape == (12, 16) and "error" not in found.maps
    assert not any(model._records.glob("*/*"))  # nothing is left behind


def test_arrays_are_as_good_as_files(model, pair, tmp_path):
    image, mask = read_image(pair[0]), read_mask(pair[1])
    write_mask(tmp_path / "image.png", mask)  # the name of the image is part of the record's seed
    Image.fromarray(image).save(tmp_path / "image.bmp")
    expected = model.assess(tmp_path / "image.bmp", tmp_path / "image.png")
    assert same(model.assess(image, mask), expected)
    assert same(model.assess(image, mask.astype(np.uint8)[..., None] * 255), expected)
    assert same(model.assess(np.dstack([image, np.full(mask.shape, 255, np.uint8)]), mask.astype(float)), expected)
    assert same(model.assess(image.astype(np.float32) / 255, mask.astype(int)), expected)
    assert same(model.assess(Image.fromarray(image), Image.fromarray(mask)), expected)
    assert same(model.assess(Image.open(tmp_path / "image.bmp"), Image.open(tmp_path / "image.png")), expected)
    grey = image[..., 0]
    assert same(model.assess(grey, mask), model.assess(np.repeat(grey[..., None], 3, axis=2), mask))


def test_tensors_are_as_good_as_arrays(model, pair):
    image, mask = torch.from_numpy(read_image(pair[0])), torch.from_numpy(read_mask(pair[1]))
    expected = model.assess(image.numpy(), mask.numpy())
    assert same(model.assess(image, mask), expected)
    assert same(model.assess(image.permute(2, 0, 1), mask[None]), expected)
    assert same(model.assess((image.permute(2, 0, 1).float() / 255).requires_grad_(), mask.to(torch.uint8)), expected)
    assert same(model.assess(image, mask.to(torch.bfloat16)), expected)


def test_an_assessment_prints_in_one_line_and_shows_its_picture(model, pair):
    found = model.assess(*pair)
    ends = f"[{found.low:.3f}, {found.high:.3f}]"
    assert repr(found) == str(found) == f"Assessment(dice {found.dice:.3f} {ends}, {found.verdict})"
    assert found.plot().mode == "RGB" and min(found.plot().size) > 200
    html = found._repr_html_()
    assert html.startswith("<p>Assessment(dice") and 'src="data:image/png;base64,' in html
    empty = model.assess(np.full((40, 50, 3), 200, np.uint8), np.zeros((40, 50), bool))
    assert repr(empty).endswith("abstain, empty mask)") and empty.plot().size[0] > 200
    bare = sqp.Assessment(float("nan"), float("nan"), float("nan"), "abstain", {}, "<no>")
    assert repr(bare) == "Assessment(dice none, abstain, <no>)"
    assert bare._repr_html_() == "<p>Assessment(dice none, abstain, &lt;no&gt;)</p>"
    with pytest.raises(ValueError, match="has no picture"):
        bare.plot()


def test_dir_shows_what_there_is():
    assert dir(sqp) == ["Assessment", "Model", "__version__", "load"]


def test_an_empty_mask(model):
    found = model.assess(np.full((40, 50, 3), 200, np.uint8), np.zeros((40, 50), bool))
    assert (found.verdict, found.reason) == ("abstain", "empty mask")


def test_at_a_chosen_risk(bundle, fake_segmenter, pair):
    careful = sqp.load(bundle, accept=0.0, reject=0.0, risk=0.05)
    assert not careful.choice.some and careful.assess(*pair).verdict == "review"
    assert sqp.load(bundle, accept=0.0, reject=0.0).assess(*pair).verdict == "accept"


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (
            np.zeros((5, 5, 2), np.uint8),
            np.zeros((5, 5)),
            r"the image array has shape \[5, 5, 2\]: give one of \[h, w\]",
        ),
        (np.zeros((3, 5, 5, 3), np.uint8), np.zeros((5, 5)), "the image array has shape"),
        (np.zeros((0, 5), np.uint8), np.zeros((0, 5)), "with at least one pixel"),
        (np.full((5, 5, 3), 300.0), np.zeros((5, 5)), "the image array is float64: give colours as uint8"),
        (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), r"the mask array has shape \[5, 5, 3\]"),
        (np.zeros((5, 5), np.uint8), np.full((5, 5), 2), "the mask array is neither 0/1 nor 0/255"),
        (
            np.zeros((5, 6), np.uint8),
            np.zeros((6, 5)),
            r"^the mask is 5x6 pixels \(width x height\) but the image is 6x5 \(the sides are swapped",
        ),
        (torch.zeros(2, 5, 5), np.zeros((5, 5)), r"the image array has shape \[2, 5, 5\]: give one of"),
        (np.zeros((5, 5), np.uint8), None, "the mask is a NoneType: give"),
        (np.zeros((5, 5), np.uint8), [[0, 1]], "the mask is a list: give"),
        (np.zeros((5, 5), np.uint8), Image.new("L", (5, 5), 100), "^the mask is neither 0/1 nor 0/255"),
        (Path("/nowhere.png"), np.zeros((5, 5)), r"/nowhere\.png does not exist"),
    ],
)
def test_one_clear_sentence(model, image, mask, message):
    with pytest.raises(CaseError, match=message):
        model.assess(image, mask)
    assert not any(model._records.glob("*/*"))


def test_seed_and_files_are_those_of_the_command_line(bundle, fake_segmenter, pair):
    first, again, other = (sqp.load(bundle, seed=seed).assess(*pair) for seed in (9, 9, 10))
    assert first.dice == again.dice != other.dice
    with pytest.raises(ConfigError, match=r"has sampler\.name prompt_jitter and 2 checkpoints"):
        sqp.load(bundle, checkpoints=["/no/a", "/no/b"])


def test_wrong_options(bundle, fake_segmenter):
    with pytest.raises(ConfigError, match=r"reject is 0\.7, accept 0\.1"):
        sqp.load(bundle, accept=0.1)
    with pytest.raises(ConfigError, match=r"risk is 2; it must lie between 0 and 1"):
        sqp.load(bundle, risk=2)
    with pytest.raises(ConfigError, match="/nowhere is no bundle"):
        sqp.load("/nowhere")
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        sqp.lod  # noqa: B018


def test_importing_sqp_imports_nothing_heavy():
    code = "import sys, sqp; print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
