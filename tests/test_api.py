"""Three lines of Python give the numbers of the command line; what a program may hand over, and what not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
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
    assert "view" not in vars(found)  # it is drawn when it is asked for, and once
    ends = f"[{found.low:.3f}, {found.high:.3f}]"
    assert repr(found) == str(found) == f"Assessment(dice {found.dice:.3f} {ends}, {found.verdict})"
    assert found.plot().mode == "RGB" and min(found.plot().size) > 200
    assert found.view is found.view and found.view.image.shape[:2] == found.view.mask.shape
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
    assert dir(sqp) == ["Assessment", "Model", "__version__", "load", "to_frame"]


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
    with pytest.raises(ConfigError, match=r"unknown model 'defualt', did you mean 'default'\?"):
        sqp.load("defualt")
    with pytest.raises(ConfigError, match="/nowhere is no bundle"):
        sqp.load("/nowhere")
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        sqp.lod  # noqa: B018


def test_importing_sqp_imports_nothing_heavy():
    code = "import sys, sqp; print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def pairs_of_files(lesions: Path, n: int = 9) -> tuple[list[Path], list[Path]]:
    masks = sorted((lesions / "masks").iterdir())[:n]
    images = {path.stem: path for path in (lesions / "images").iterdir()}
    return [images[mask.stem] for mask in masks], masks


def test_a_batch_is_what_the_command_predicts(model, bundle, lesions, tmp_path):
    """In any batches, from files, from arrays with the files' names, and from iterators."""
    images, masks = pairs_of_files(lesions)
    config = PredictConfig(bundle, tmp_path, images=lesions, masks=lesions / "masks", accept=0.5, reject=0.4, worst=0)
    names = [path.stem for path in images]
    table = predict.run(config).table.set_index("image_id").loc[names].reset_index()
    frame = sqp.to_frame(model.judge(images, masks, batch_size=4))
    arrays, drawn = np.stack([read_image(path) for path in images]), np.stack([read_mask(path) for path in masks])
    others = [
        model.judge(iter(images), iter(masks)),
        model.judge(arrays, drawn, names=names),
        model.judge((Image.fromarray(array) for array in arrays), list(drawn), names=iter(names), batch_size=2),
    ]
    with (tmp_path / "predictions.csv").open() as file:
        digest = file.readline().strip().split(",")
    assert list(frame)[: len(digest)] == digest and set(frame) == {*digest, "image_id", "ood", *score_names(table)}
    assert [frame["image"].tolist(), frame["mask"].tolist()] == [list(map(str, images)), list(map(str, masks))]
    columns = [name for name in digest if name not in ("image", "mask", "referee_dice")] + ["ood", "c_lesion", "area"]
    for one in (frame, *map(sqp.to_frame, others)):
        pd.testing.assert_frame_equal(one[columns], table[columns], rtol=0, atol=1e-6, check_dtype=False)


def test_it_is_lazy_and_in_order(model, lesions):
    images, masks = pairs_of_files(lesions)
    taken = []

    def of_masks():
        for mask in masks:
            taken.append(mask)
            yield mask

    found = model.judge(images, of_masks(), batch_size=2)
    assert taken == []
    first = next(found)
    assert len(taken) <= 3 and first.image_id == images[0].stem
    assert [one.image_id for one in found] == [path.stem for path in images[1:]]


def test_masks_of_one_image_share_its_encoding(bundle, fake_segmenter, pair):
    model = sqp.load(bundle)
    image, mask = read_image(pair[0]), read_mask(pair[1])
    masks = [mask, ~mask, np.roll(mask, 5, axis=1)]
    found = list(model.judge(image, masks))
    copies = list(model.judge([image, image.copy(), pair[0]], masks))
    assert sum(one.encoded for one in fake_segmenter) == 1 + 2
    assert [one.dice for one in copies[:2]] == pytest.approx([one.dice for one in found[:2]], abs=1e-6)
    assert same(model.assess(image, mask), found[0]) or found[0].dice == pytest.approx(model.assess(image, mask).dice)


def test_pairs_of_a_dataset_and_of_a_loader(model, lesions):
    images, masks = pairs_of_files(lesions, 4)
    arrays, drawn = np.stack([read_image(path) for path in images]), np.stack([read_mask(path) for path in masks])

    class Masks(torch.utils.data.Dataset):
        def __len__(self):
            return len(arrays)

        def __getitem__(self, index):
            return torch.from_numpy(arrays[index]).permute(2, 0, 1), torch.from_numpy(drawn[index])[None]

    expected = [one.dice for one in model.judge(arrays, drawn)]
    loader = torch.utils.data.DataLoader(Masks(), batch_size=3)
    named = [{"image": image, "mask": mask} for image, mask in zip(arrays, drawn, strict=True)]
    for source in (Masks(), loader, named, list(zip(images, masks, strict=True))):
        found = [one.dice for one in model.judge(source)]
        assert len(found) == 4 and (source is not loader or found == pytest.approx(expected, abs=1e-6))


def test_a_broken_pair_is_abstained_from_and_the_others_are_judged(model, lesions):
    images, masks = pairs_of_files(lesions, 3)
    found = list(model.judge([images[0], "/nowhere.png", images[2]], masks))
    assert [one.verdict == "abstain" for one in found][1] and "/nowhere.png does not exist" in found[1].reason
    assert found[1].image_id == "nowhere" and np.isnan(found[1].dice) and np.isfinite(found[2].dice)
    assert sqp.to_frame(found)["predicted_dice"].isna().tolist() == [False, True, False]
    with pytest.raises(CaseError, match=r"/nowhere.png does not exist"):
        list(model.judge([images[0], "/nowhere.png"], masks[:2], strict=True))


def test_pairs_that_cannot_be(model, pair):
    with pytest.raises(ConfigError, match="there are 2 images and 1 masks: give one mask for each image"):
        model.judge([pair[0]] * 2, [pair[1]])
    with pytest.raises(ConfigError, match="there are 1 masks and more images"):
        list(model.judge(iter([pair[0]] * 2), iter([pair[1]])))
    with pytest.raises(ConfigError, match="fewer names than masks"):
        list(model.judge(pair[0], [pair[1]] * 2, names=["a"]))
    with pytest.raises(ConfigError, match="there are no masks, and ndarray gives no pairs"):
        list(model.judge(np.zeros((2, 5, 5, 3), np.uint8)))
    with pytest.raises(ConfigError, match="a pair must be"):
        list(model.judge([3]))
    with pytest.raises(ConfigError, match="batch_size is 0"):
        model.judge(pair[0], [pair[1]], batch_size=0)
    assert len(sqp.to_frame([])) == 0


def test_no_file_is_written(model, monkeypatch):
    monkeypatch.setattr(Path, "open", lambda self, mode="r", *args, **more: pytest.fail(f"opened {self} {mode}"))
    image, mask = np.full((48, 64, 3), 90, np.uint8), np.ones((48, 64), bool)
    assert np.isfinite(model.assess(image, mask).dice)


def test_the_network_looks_once_at_a_batch(model, lesions):
    images, masks = pairs_of_files(lesions, 4)
    batches = []
    network = model.bundle.model
    with network.register_forward_hook(lambda _module, args, _output: batches.append(len(args[0]))):
        list(model.judge(images, masks))
        model.assess(images[0], masks[0])
    assert batches == [4] * network.spec.flips + [1] * network.spec.flips


def test_a_buffer_may_be_used_again(model, lesions):
    """An iterator may hand over one array again and again, with other pixels in it."""
    images, masks = pairs_of_files(lesions, 3)
    buffer, drawn = np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), bool)

    def pairs():
        for image, mask in zip(images, masks, strict=True):
            buffer[:], drawn[:] = read_image(image), read_mask(mask)
            yield buffer, drawn

    names = [path.stem for path in images]
    found = [one.dice for one in model.judge(pairs(), names=names)]
    assert found == pytest.approx([one.dice for one in model.judge(images, masks)], abs=1e-6)
