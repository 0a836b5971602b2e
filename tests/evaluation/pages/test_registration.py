"""Maps of a network of stride 4 lie exactly over the image, wherever they are laid over one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import put_fake
from PIL import Image

from sqp.commands import generate
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.core.errors import CaseError
from sqp.core.frame import Frame
from sqp.data.synthetic import write_synthetic
from sqp.evaluation.pixels import STEP, UNFRAMED, measured, read_pixels
from sqp.quality.model.channels import record_planes, resize
from sqp.records import RecordSet, read_record_sets
from sqp.report.scan import load_view

SIZE = (34, 65)  # 33 x 64 in the input: the image takes 8.25 of the 9 rows of the grid
FRAME = Frame(SIZE, 64, 4)
MAP = "self/probability"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Records of the fake segmenter of stride 4 on images whose height is no multiple of it."""
    with pytest.MonkeyPatch.context() as patch:
        put_fake(patch)
        out = tmp_path_factory.mktemp("stride4") / "records"
        images = write_synthetic(out.with_name("data"), 6, seed=3, size=SIZE)
        fake, sampler = SegmenterConfig("fake"), SamplerConfig(n=2)
        generate.run(GenerateConfig(images=images, out=out, segmenter=fake, prompter="whole_image", sampler=sampler))
    return out


@pytest.fixture
def older(folder, tmp_path) -> Path:
    """The same records as older ones: no column of frames."""
    out = tmp_path / "older"
    out.mkdir()
    for name in ("masks", "maps", "run.yaml"):
        (out / name).symlink_to(folder / name)
    pd.read_parquet(folder / "records.parquet").drop(columns="frames").to_parquet(out / "records.parquet")
    return out


def grid_of(records: RecordSet, name: str) -> np.ndarray:
    return records.maps(name, [MAP])[MAP].astype(np.float32)


def test_the_frame_is_kept_by_source(folder):
    table = RecordSet(folder).table
    assert FRAME.grid == (9, 16) and FRAME.covered == (8.25, 16)
    assert [json.loads(text) for text in table.frames] == [{"self": [64, 4]}] * len(table)


def test_the_pixel_page_brings_the_map_to_where_the_mask_was_made(folder):
    records = RecordSet(folder)
    for row in records.table.to_dict("records"):
        pixels = read_pixels(records, row)
        p = FRAME.grid_to_image(torch.from_numpy(grid_of(records, row["record_id"]))).clamp(STEP, 1 - STEP)
        assert np.array_equal(pixels.probability, p.numpy())
        sure = np.abs(pixels.probability - 0.5) > 1e-3  # float16
        assert np.array_equal(pixels.probability[sure] >= 0.5, pixels.mask[sure]) and pixels.note == ""


def test_an_older_record_is_read_as_before_and_says_so(folder, older, tmp_path):
    records = RecordSet(older)
    row = records.table.iloc[0].to_dict()
    pixels = read_pixels(records, row)
    p = Frame(SIZE, 16).grid_to_image(torch.from_numpy(grid_of(records, row["record_id"])))
    assert np.array_equal(pixels.probability, p.clamp(STEP, 1 - STEP).numpy()) and pixels.note == UNFRAMED
    assert records.covered(row["record_id"], MAP, (9, 16)) == (9, 16)
    old, new = (measured(read_record_sets([one]), tmp_path / one.name) for one in (older, folder))
    assert old.note.str.contains(UNFRAMED).all() and not new.note.str.contains(UNFRAMED).any()
    assert (old.dice == new.dice).all() and (old.brier != new.brier).any()


def test_what_was_measured_without_the_frame_is_measured_again(folder, older, tmp_path):
    out = tmp_path / "out"
    rows = read_record_sets([older])
    measured(rows, out)
    (older / "records.parquet").unlink()
    (older / "records.parquet").symlink_to(folder / "records.parquet")
    again = measured(rows, out)
    pd.testing.assert_frame_equal(again, measured(read_record_sets([folder]), tmp_path / "fresh"))


def test_a_map_of_another_frame_is_one_sentence(folder, older):
    table = pd.read_parquet(folder / "records.parquet").assign(frames='{"self": [64, 8]}')
    table.to_parquet(older / "records.parquet")
    records = RecordSet(older)
    with pytest.raises(CaseError, match=r"a map has \(9, 16\) cells where its frame has \(5, 8\); generate it again"):
        read_pixels(records, records.table.iloc[0].to_dict())
    with pytest.raises(CaseError, match="the map self/probability has"):
        record_planes(records, records.table.record_id[0], [MAP], 8)
    assert load_view(records, records.table.iloc[0].to_dict(), 65).uncertainty is None


def test_planes_and_pictures_show_the_part_that_the_image_takes(folder):
    """A ramp down the rows of the grid ends where the image does, whatever the stride."""
    records = RecordSet(folder)
    row = records.table.iloc[0].to_dict()
    grid = grid_of(records, row["record_id"])
    expected = Image.fromarray(grid).resize((8, 8), Image.Resampling.BILINEAR, box=(0, 0, 16, 8.25))
    (plane,) = record_planes(records, row["record_id"], [MAP], 8)
    assert np.array_equal(plane, np.asarray(expected)) and not np.array_equal(plane, resize(grid, 8))
    entropy = records.maps(row["record_id"], ["self/entropy"])["self/entropy"].astype(np.float32)
    shown = Image.fromarray(entropy).resize((65, 34), Image.Resampling.BILINEAR, box=(0, 0, 16, 8.25))
    np.testing.assert_array_equal(load_view(records, row, 65).uncertainty, np.clip(np.asarray(shown), 0, 1))


def test_slices_of_a_volume_are_cut_alike():
    grid = np.random.default_rng(0).random((4, 9, 16)).astype(np.float32)
    planes = resize(grid, 4, (8.25, 16))
    np.testing.assert_array_equal(planes[2], resize(grid[2], 4, (8.25, 16)))
    np.testing.assert_array_equal(resize(grid, 4, (9, 16)), resize(grid, 4))
