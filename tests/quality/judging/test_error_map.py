"""Error maps of the records that somebody looks at: by record, in 0-1; none without the second head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sqp.commands.train import run
from sqp.config.train import TrainConfig
from sqp.quality import Bundle, error_maps, predict_records
from sqp.quality.judging import error_map as judged
from sqp.quality.judging.error_map import ErrorMapStore
from sqp.quality.model.channels import image_planes, record_planes
from sqp.records import RecordSet


@pytest.fixture(scope="module")
def bundle(record_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("with_maps")
    options = {"size": 32, "epochs": 1, "batch_size": 16, "error_map": True, "members": 2, "flips": 2}
    run(TrainConfig([record_set], out, progress=False, **options))
    return Bundle.load(out / "bundle")


def test_each_record_has_the_mean_map_over_the_models_flips(bundle, record_set):
    records = RecordSet(record_set)
    rows = records.table.assign(record_set=str(record_set)).iloc[[5, 0, 9]]
    maps = error_maps(bundle, rows, batch_size=2)
    assert list(maps) == [(str(record_set), name) for name in rows["record_id"]]
    for row in rows.itertuples():
        others = record_planes(records, row.record_id, bundle.channels, 32).astype(np.float16)
        assert bundle.channels[0] == "image"
        planes = np.concatenate([image_planes(row.image_path, 32) / 255, others]).astype(np.float32)
        with torch.inference_mode():
            both = [torch.from_numpy(x.copy())[None] for x in (planes, planes[..., ::-1])]
            plain, mirrored = (bundle.model.eval()(x).error_map[0].numpy() for x in both)
        expected = (plain + mirrored[:, ::-1]) / 2
        found = maps[str(record_set), row.record_id]
        assert found.shape == expected.shape and 0 <= found.min() <= found.max() <= 1
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_pass_that_predicts_draws_them_and_none_is_drawn_twice(bundle, record_set, monkeypatch):
    rows = RecordSet(record_set).table.assign(record_set=str(record_set))
    alone = error_maps(bundle, rows)
    maps, few = ErrorMapStore(bundle), ErrorMapStore(bundle, most=1)
    for kept in (maps, few):
        predict_records(bundle, [record_set], batch_size=3, progress=False, keep_maps=kept.keep)
    assert few(rows).keys() == alone.keys()  # what was too much to keep is drawn when it is asked for
    monkeypatch.setattr(judged, "read_batch", None)
    for kept in (maps, few):
        found = kept(rows)
        assert list(found) == list(alone)
        for key, values in found.items():
            np.testing.assert_allclose(values, alone[key], atol=1e-3)
    lost = rows.head(1).assign(record_id="lost")
    maps.keep(lost, np.zeros((1, 8, 8), np.float32), np.array([True]))
    assert maps(lost) == {}


def test_a_record_that_cannot_be_read_has_none(bundle, record_set):
    rows = RecordSet(record_set).table.assign(record_set=str(record_set)).head(2)
    rows["image_path"] = [rows["image_path"].iloc[0], "/nowhere.png"]
    assert [name for _, name in error_maps(bundle, rows)] == [rows["record_id"].iloc[0]]


def test_without_the_second_head_there_are_none(trained, record_set):
    rows = RecordSet(record_set).table.assign(record_set=str(record_set)).head(2)
    assert error_maps(Bundle.load(trained / "bundle"), rows) == {}
