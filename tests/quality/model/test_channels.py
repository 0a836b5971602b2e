from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recordsets import make_record_set

from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_maps
from sqp.quality.model.channels import check_channels, image_planes, parse_inputs, record_planes, resize, truth_plane
from sqp.records import RecordSet

MAPS = ("self/probability", "self/entropy", "self/mutual_information", "self/epkl", "self/variance")


def test_frameworks_of_the_paper() -> None:
    assert parse_inputs("mask+uncertainty") == ("mask", *MAPS)
    assert parse_inputs("image+mask+uncertainty") == ("image", "mask", *MAPS)


def test_any_subset_and_any_source() -> None:
    assert parse_inputs("mask + referee/probability") == ("mask", "referee/probability")
    assert parse_inputs(["image", "mask", "mask"]) == ("image", "mask")


def test_unknown_channel_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown input channel 'mosk', did you mean 'mask'\?"):
        parse_inputs("image+mosk")


def test_missing_channels_are_named(tmp_path: Path) -> None:
    records = RecordSet(make_record_set(tmp_path, {"train": 1}, maps=("probability",)))
    check_channels(records, ("image", "mask", "self/probability"))
    with pytest.raises(ConfigError, match=r"lacks the channels self/epkl, self/variance; it has self/probability"):
        check_channels(records, ("mask", "self/epkl", "self/variance"))


def test_a_missing_source_has_its_own_remedy(tmp_path: Path) -> None:
    assert parse_inputs("mask+referee")[1:] == tuple(
        f"referee/{name}" for name in ("probability", "entropy", "variance", "own_box")
    )
    records = RecordSet(make_record_set(tmp_path, {"train": 1}))
    with pytest.raises(ConfigError, match=r"generate the records with a referee, e\.g\. --referee litemedsam"):
        check_channels(records, parse_inputs("mask+referee"))
    with pytest.raises(ConfigError, match=r"lacks the channel given/entropy.* with --probs DIR"):
        check_channels(records, ("given/entropy",))


def test_the_whole_frame_is_squashed(tmp_path: Path) -> None:
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:20, :60, 0], pixels[20:, 60:, 2] = 200, 100
    Image.fromarray(pixels).save(tmp_path / "a.png")
    planes = image_planes(tmp_path / "a.png", 32)
    assert planes.shape == (3, 32, 32) and planes.dtype == np.uint8
    assert planes[:, 4, 4].tolist() == [200, 0, 0] and planes[:, 28, 28].tolist() == [0, 0, 100]
    assert planes[0].mean() == pytest.approx(50, abs=1)


def test_shrinking_averages_over_the_area() -> None:
    fine = np.indices((256, 256)).sum(0) % 2
    assert resize(fine.astype(np.float32), 32) == pytest.approx(np.full((32, 32), 0.5), abs=0.02)


def test_the_truth_is_the_share_of_raters_who_drew_the_structure(tmp_path: Path) -> None:
    for name, columns in (("a", 16), ("b", 32)):
        drawn = np.zeros((64, 64), np.uint8)
        drawn[:, :columns], drawn[:, 48:] = 2, 1  # another structure on the right
        Image.fromarray(drawn).save(tmp_path / f"{name}.png")
    plane = truth_plane([tmp_path / "a.png", tmp_path / "b.png"], 32, labels=(2,))
    assert plane.dtype == np.float32 and plane.shape == (32, 32)
    assert plane[5, [3, 12, 20, 30]].tolist() == [1, 0.5, 0, 0]


def test_planes_come_in_the_order_of_the_names(record_set: Path) -> None:
    records = RecordSet(record_set)
    name = records.table.record_id[0]
    planes = record_planes(records, name, ("self/epkl", "image", "mask"), 16)
    epkl = records.maps(name, ["self/epkl"])["self/epkl"].astype(np.float32)
    assert planes.shape == (2, 16, 16)
    assert planes[0] == pytest.approx(resize(np.log1p(epkl), 16))
    assert planes[1].mean() == pytest.approx(records.mask(name).mean(), abs=0.01)


def test_a_broken_map_file_names_the_record(tmp_path: Path) -> None:
    records = RecordSet(make_record_set(tmp_path, {"train": 1}))
    name = records.table.record_id[0]
    (tmp_path / "maps" / f"{name}.npz").write_bytes(b"PK broken")
    with pytest.raises(CaseError, match=f"record {name} .* cannot be read .*generate it again"):
        record_planes(records, name, ("self/epkl",), 16)


@pytest.mark.parametrize("shape", [(12, 32), (1, 24, 32), (0, 0)])
def test_a_map_of_another_shape_than_its_grid(tmp_path, shape):
    records = RecordSet(make_record_set(tmp_path, {"train": 1}, ("natural",)))
    name = records.table.record_id[0]
    maps = records.maps(name) | {"self/epkl": np.zeros(shape)}
    write_maps(tmp_path / "maps" / f"{name}.npz", maps)
    with pytest.raises(CaseError, match=rf"the map self/epkl of record {name} .* is not that of its grid"):
        record_planes(records, name, ("self/probability", "self/epkl"), 16)
