"""The bundles that come with sqp: found by name, small, and fitted on rows that anyone may use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sqp
from sqp import bundles
from sqp.bundles import BUNDLES, DEFAULT, LARGEST, bundle_folder
from sqp.cli.main import main
from sqp.commands.export import NOT_EXPORTED
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.quality import Bundle
from sqp.quality.bundle.expected_config import LOCALIZER
from sqp.quality.bundle.licences import check_licences, restriction
from sqp.quality.model.rows import USED
from sqp.report.model_card import RESERVATIONS, model_card


def test_names_and_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "HERE", tmp_path)
    (tmp_path / DEFAULT).mkdir()
    (tmp_path / DEFAULT / "bundle.json").write_text("{}")
    assert bundle_folder(None) == bundle_folder(Path(DEFAULT)) == tmp_path / DEFAULT
    assert bundle_folder(Path("runs/model")) == Path("runs/model")
    assert bundle_folder(tmp_path / DEFAULT) == tmp_path / DEFAULT


def test_without_it_there_is_one_clear_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bundles, "HERE", tmp_path)
    assert main(["predict", "--images", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "sqp: this sqp comes without the bundle 'default': train one on your own" in capsys.readouterr().err


def test_what_may_not_be_shipped_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SQP_CACHE", str(tmp_path / "cache"))
    assert main(["predict", "--model", "research", "--images", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    home = tmp_path / "cache" / "bundles" / "research"
    assert "may not be used commercially" in said and "configs/research_bundle.yaml" in said and str(home) in said
    home.mkdir(parents=True)
    (home / "bundle.json").write_text("{}")
    assert bundle_folder(Path("research")) == home


def test_a_licence_without_commercial_use_is_told(free):
    bundle = Bundle.load(free)
    assert restriction(bundle.info) == "" and "commercial" not in model_card(bundle)
    bundle.info["behind"] = [{"what": "the network unet", "licences": ["CC-BY-NC-4.0"]}]
    assert "CC-BY-NC-4.0: it is not for commercial use" in restriction(bundle.info)
    assert restriction(bundle.info) in model_card(bundle)


def check_shipped(folder: Path, licences: tuple[str, ...]) -> None:
    """Small enough, and what it says of its data and of all networks behind it is nothing but these licences."""
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < LARGEST
    bundle = Bundle.load(folder)
    check_licences(bundle.info, licences, folder.name)
    assert len(bundle.info["data"]["sha256"]) == 64 and set(bundle.info["data"]["counts"]) == {*USED}
    assert bundle.risk is not None
    if any(one.get("referee", {}).get("localizer_sha256") for one in bundle.expects) and "referee" in bundle.sources:
        assert {one["referee"]["localizer_sha256"] for one in bundle.expects} == {sha256_of(folder / LOCALIZER)}


@pytest.mark.parametrize("name", BUNDLES)
def test_what_is_shipped_is_small_and_free(name):
    check_shipped(bundle_folder(Path(name)), BUNDLES[name])


@pytest.mark.parametrize("name", BUNDLES)
def test_the_shipped_card_says_what_the_bundle_does(name):
    """Also what was found out since: on which split it was trained."""
    folder = bundle_folder(Path(name))
    bundle = Bundle.load(folder)
    card = model_card(bundle, exported=NOT_EXPORTED)
    assert (folder / "card.md").read_text() == card
    assert all(f"- {sentence}" in card for sentence in bundle.info.get(RESERVATIONS, []))


@pytest.fixture
def free(trained, tmp_path):
    """A tiny bundle whose every part says CC0."""
    bundle = Bundle.load(trained / "bundle")
    bundle.info["behind"] = [{"what": "the network unet", "licences": ["CC0"]}]
    return bundle.save(tmp_path / "free")


def test_a_tiny_bundle_is_free_until_a_part_of_it_is_not(free):
    check_shipped(free, ("CC0",))
    for part in ("data", "behind"):
        told = json.loads((free / "bundle.json").read_text())
        (told["data"] if part == "data" else told["behind"][0])["licences"].append("CC-BY-NC")
        (free / "bundle.json").write_text(json.dumps(told))
        with pytest.raises(ConfigError, match="was fitted on rows of licence CC-BY-NC, only CC0 is allowed"):
            check_shipped(free, ("CC0",))


def test_a_bundle_that_is_too_large_or_lacks_its_localizer_is_noticed(free):
    told = json.loads((free / "bundle.json").read_text())
    told["expects"][0]["referee"] = {"localizer_sha256": "00"}
    told["model"]["channels"][-1] = "referee/probability"
    (free / "bundle.json").write_text(json.dumps(told))
    with pytest.raises(FileNotFoundError, match="localizer"):
        check_shipped(free, ("CC0",))
    with (free / "more").open("wb") as file:
        file.truncate(int(LARGEST))
    with pytest.raises(AssertionError):
        check_shipped(free, ("CC0",))


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """A lesion out of formulas alone: image uint8 `[96, 128, 3]` and its mask."""
    y, x = np.mgrid[:96, :128]
    inside = ((y - 50) / 26) ** 2 + ((x - 60) / 34) ** 2
    image = np.full((96, 128, 3), (205, 160, 140), float)
    image -= np.clip(1.6 - inside, 0, 1)[..., None] * (95, 90, 70)
    image += 6 * np.sin(y * 0.9)[..., None] + 5 * np.cos(x * 1.3)[..., None]
    return image.clip(0, 255).astype(np.uint8), inside < 1.2


def test_any_judges_a_mask_without_references_and_says_less():
    image, mask = drawn()
    judged = sqp.load("any").assess(image, mask)
    assert 0 <= judged.low <= judged.dice <= judged.high <= 1
    assert judged.scores["references"] == 0 and np.isnan(judged.scores["rca_mean"])


@pytest.mark.slow
def test_any_is_corrected_by_references_of_a_task_that_it_has_never_seen(tmp_path):
    """White rings on black, as no image that it learned from."""
    y, x = np.mgrid[:96, :128]
    pairs = []
    for number in range(5):
        mask = np.hypot(y - 40 - 3 * number, x - 50 - 5 * number) < 16 + 2 * number
        pixels = np.where(mask, 215, 30 + 10 * np.sin(x * 0.3 + number))
        pairs.append((np.repeat(pixels[..., None], 3, 2).astype(np.uint8), mask))
    for number, (image, mask) in enumerate(pairs[1:]):
        for kind, values in (("images", image), ("masks", mask * np.uint8(255))):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / kind / f"{number}.png")
    model = sqp.load(references=tmp_path)
    image, mask = pairs[0]
    good, bad = (model.assess(image, np.roll(mask, shift, axis=1)) for shift in (0, 20))
    assert good.scores["references"] == 4 and good.scores["references_dice"] > 0.9
    assert good.dice > 0.75 and good.dice > bad.dice + 0.3 and good.high - good.low < 0.5


@pytest.mark.parametrize(
    ("name", "shift", "expected"),
    [
        ("fast", 0, (0.920390, 0.828554, 1.0)),
        ("fast", 18, (0.712277, 0.635610, 0.788944)),
        ("default", 0, (0.930013, 0.842754, 1.0)),
        ("default", 18, (0.716540, 0.626979, 0.806101)),
    ],
)
def test_a_shipped_bundle_predicts_what_it_did_when_it_was_shipped(name, shift, expected):
    """Dice, low and high as sqp computed them when it was made; other CPUs round otherwise."""
    image, mask = drawn()
    judged = sqp.load(name).assess(image, np.roll(mask, shift, axis=1))
    assert (judged.dice, judged.low, judged.high) == pytest.approx(expected, abs=2e-3)
    (frame,) = sqp.to_frame([judged]).to_dict("records")
    assert frame["referee_dice"] == frame["supervised_dice"]  # as in predictions.csv
