"""A record's view and its overlay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor
from skimage.measure import approximate_polygon

from sqp.core.ownership import owned
from sqp.records import RecordSet
from sqp.report.drawing import coloured
from sqp.report.overlays import NARROWEST, caption, overlay, panels, write_overlays
from sqp.report.scan import load_view
from sqp.report.view import MASK_COLOUR, TRUTH_COLOUR, View, simplified


@pytest.fixture
def rows(predictions):
    return predictions.to_dict("records")


def pixels(image: np.ndarray, colour: str) -> np.ndarray:
    return (image == ImageColor.getrgb(colour)).all(axis=-1)


def test_view_has_the_record_at_the_side_asked_for(record_set, rows):
    records = RecordSet(record_set)
    view = load_view(records, rows[3], 180)
    assert view.image.shape == (120, 180, 3)
    assert view.mask.mean() == pytest.approx(records.mask("rec-003").mean(), rel=0.03)
    assert view.measure == "entropy (bits)"
    assert view.uncertainty.max() == pytest.approx(1, abs=0.02)
    assert view.coloured().shape == view.image.shape


def test_outline_follows_the_mask_and_lies_over_the_truth(record_set, rows):
    view = load_view(RecordSet(record_set), rows[4], 180)
    drawn = view.outlined()
    line = pixels(drawn, MASK_COLOUR)
    assert line.any()
    assert not (line & ~view.mask).any()  # the line lies inside
    assert pixels(drawn, TRUTH_COLOUR).any()
    assert line.sum() < 0.4 * view.mask.sum()


def test_a_full_mask_is_drawn_along_the_border_and_an_empty_one_not_at_all():
    image = np.full((40, 60, 3), 200, np.uint8)
    full = View(image, np.ones((40, 60), bool), None, None, "no uncertainty map", 1.0)
    assert pixels(full.outlined(), MASK_COLOUR).sum() == 2 * 60 + 2 * 38
    empty = View(image, np.zeros((40, 60), bool), None, None, "no uncertainty map", 1.0)
    np.testing.assert_array_equal(empty.outlined(), image)
    assert (empty.coloured() == 128).all()


def test_a_lost_image_is_told_not_fatal(record_set, rows, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    for path in ("/nowhere/x.png", str(tmp_path / "broken.jpg"), None):
        view = load_view(RecordSet(record_set), rows[0] | {"image_path": path, "truth_path": ["/nowhere/t.png"]}, 90)
        assert view.image is None
        assert view.truth is None
        assert "image not readable" in panels(view)[0].title
        overlay(view, rows[0])


def test_caption_has_prediction_interval_verdict_and_truth(rows):
    assert caption(rows[9]).splitlines()[1] == "predicted Dice 0.350 [0.250, 0.450]  ·  reject  ·  true 0.389"
    assert caption(rows[11] | {"reason": "empty mask"}).endswith("none  ·  abstain  ·  empty mask  ·  true 0.000")


def test_overlays_of_the_worst_k(tmp_path, predictions):
    paths = write_overlays(predictions, tmp_path, k=2)
    assert [path.name for path in paths] == ["001-rec-011.png", "002-rec-009.png"]
    with Image.open(paths[1]) as image:
        assert (np.asarray(image) == ImageColor.getrgb(MASK_COLOUR)).all(axis=-1).any()
    assert write_overlays(predictions, tmp_path / "none", k=0) == []


def test_nothing_lies_outside_of_the_overlay(record_set, rows):
    long = rows[9] | {"record_id": "rec-009", "verdict": "review"}
    for side in (300, 40):  # narrower than its title, lower than its legend
        view = load_view(RecordSet(record_set), long, side)
        drawn = np.asarray(overlay(view, long | {"record_id": "x" * 190 + " Ж\udce9\n$"}))
        assert all((edge == 255).all() for edge in (drawn[:8], drawn[-8:], drawn[:, :8], drawn[:, -8:]))


def test_each_map_has_a_bar_from_its_darkest_to_its_brightest_colour(record_set, rows):
    view = load_view(RecordSet(record_set), rows[9], 400)
    plain = np.asarray(overlay(view, rows[9]))
    _, uncertain, wrong = panels(replace(view, error=view.uncertainty))
    assert uncertain.title == "entropy (bits)" and wrong.title == "mask probably wrong"
    assert uncertain.width > max(NARROWEST, 400) and (uncertain.pixels != wrong.pixels).any()
    both = np.asarray(overlay(replace(view, error=view.uncertainty), rows[9]))
    assert both.shape[1] - plain.shape[1] == wrong.width + 20
    for colour in (coloured(np.zeros(1), "cividis"), coloured(np.ones(1), "cividis")):
        assert (plain == colour[0]).all(axis=-1).sum() > 10


def test_colours_are_matplotlibs():
    values = np.array([0, 1e-9, 0.1, 0.5, 0.999, 1, -1, 2])
    for name in ("cividis", "magma"):
        np.testing.assert_array_equal(coloured(values, name), mpl.colormaps[name](values, bytes=True)[:, :3])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20))
@settings(deadline=None, max_examples=50)
def test_a_line_is_simplified_as_by_scikit_image(points):
    line = np.array(points, float) + np.linspace(0, 0.1, len(points))[:, None] ** 2  # no two distances alike
    short = simplified(line, 0.4)
    assert len(short) <= len(line) and (short[[0, -1]] == line[[0, -1]]).all()
    assert len(short) == len(approximate_polygon(line, 0.4))


def test_folder_is_made_only_when_needed(tmp_path, predictions):
    write_overlays(predictions.head(0), tmp_path / "none", k=3)
    assert not Path(tmp_path / "none").exists()


def test_overlays_of_an_earlier_run_are_removed_and_other_files_kept(tmp_path, predictions):
    out = tmp_path / "overlays"
    with owned(tmp_path, "predict"):
        write_overlays(predictions, out, k=3)
    for mine in ("mine.png", "001-mine.png"):
        (out / mine).touch()
    (out / ".018-rec-002.png.4711.tmp").touch()  # of a run that was killed
    with owned(tmp_path, "predict"):
        write_overlays(predictions.iloc[3:6], out, k=1)
        assert sorted(path.name for path in out.iterdir()) == ["001-mine.png", "001-rec-005.png", "mine.png"]
        assert write_overlays(predictions.assign(record_set="/moved"), out, k=1) == []
        assert sorted(path.name for path in out.iterdir()) == ["001-mine.png", "mine.png"]


def test_a_lost_mask_is_told_not_fatal(rows, tmp_path):
    lost = rows[2] | {"record_id": "gone"}
    view = load_view(RecordSet(lost["record_set"]), lost, 90)
    assert view.mask.shape == (90, 56) and not view.mask.any() and view.uncertainty is None
    assert panels(view)[0].title == "mask, mask not readable"
    overlay(view, lost)


def test_a_mask_too_small_for_the_picture_is_not_called_empty(record_set, rows, monkeypatch):
    mask = np.zeros((600, 900), bool)
    mask[3, 4] = True
    monkeypatch.setattr(RecordSet, "mask", lambda self, record_id: mask)
    view = load_view(RecordSet(record_set), rows[0], 90)
    assert not view.mask.any() and "empty mask" not in view.lacks()
