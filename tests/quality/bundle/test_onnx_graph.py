"""A bundle as one module: what it takes and gives, in torch; the file itself is in tests/commands/test_export.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sqp.data.images import read_image
from sqp.quality import Bundle, predict_records
from sqp.quality.bundle.onnx_graph import Graph
from sqp.records import RecordSet


@pytest.fixture(scope="module")
def bundle(trained: Path) -> Bundle:
    return Bundle.load(trained / "bundle")


def test_each_input_is_a_file_of_a_record_and_its_example_one_that_the_graph_takes(bundle: Bundle) -> None:
    graph = Graph(bundle)
    inputs = graph.inputs()
    assert [item.name for item in inputs] == list(bundle.channels) and graph.outputs == ["dice", "low", "high", "scale"]
    by_name = {item.name: item for item in inputs}
    image, mask = by_name["image"], by_name["mask"]
    assert image.example.dtype == torch.uint8 and image.example.shape[2] == 3 and image.sides[2] == ""
    assert mask.example.dtype == torch.bool and mask.example.ndim == 2
    assert image.example.shape[:2] != mask.example.shape  # they may differ
    maps = [item for item in inputs if item.name.startswith("self/")]
    assert len({(item.example.shape, item.sides) for item in maps}) == 1  # of one source: of one size
    with torch.no_grad():
        dice, low, high, scale = graph(*(item.example for item in inputs))
    assert 0 <= low <= dice <= high <= 1 and scale > 0


def test_it_says_what_predict_says(bundle: Bundle, record_set: Path) -> None:
    records, graph = RecordSet(record_set), Graph(bundle)
    names = records.table.record_id[[1, 20]].tolist()
    for row in predict_records(bundle, [record_set], record_ids=names, progress=False).to_dict("records"):
        read = {name: torch.from_numpy(values).float() for name, values in records.maps(row["record_id"]).items()}
        read |= {"image": torch.from_numpy(read_image(row["image_path"])).clone()}
        read |= {"mask": torch.from_numpy(records.mask(row["record_id"]))}
        with torch.no_grad():
            given = [float(value) for value in graph(*(read[name] for name in bundle.channels))]
        assert given == pytest.approx([row[name] for name in ("predicted_dice", "low", "high", "scale")], abs=1e-4)
