"""Volumes -> record set: slice by slice, by a network of volumes, the same whatever the orientation of the files."""

from __future__ import annotations

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import yaml
from plain_networks import write_checkpoint
from tiny_volumes import SHAPE, SPACING, write_data, write_nifti

from sqp.commands import generate
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.config.referee import RefereeConfig
from sqp.core.errors import ConfigError
from sqp.data import CORRUPTIONS
from sqp.data.volumes import read_structure
from sqp.metrics.overlap import dice
from sqp.records import RecordSet

PLAN = {"*": VariantPlan(corruptions=len(CORRUPTIONS), families=list(CORRUPTIONS))}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("volumes"), 3)


def config(data, out, **more):
    told = {"label": [1, 2], "sampler": SamplerConfig("mc_dropout", n=2), "variants": PLAN} | more
    return GenerateConfig(images=data, out=out, **told)


def test_a_promptable_segmenter_slice_by_slice(data, tmp_path, fake_segmenter):
    sampler = SamplerConfig(n=3)
    told = config(data, tmp_path, prompter="truth_box", segmenter=SegmenterConfig("fake"), sampler=sampler)
    result = generate.run(told)
    assert result.skipped == {} and result.records == 3 * (1 + len(CORRUPTIONS))
    records = RecordSet(tmp_path)
    assert records.volumes
    for row in records.table.itertuples():
        mask, geometry = records.volume_mask(row.record_id)
        truth, there = read_structure(row.truth_path[0], (1, 2))
        assert mask.shape == SHAPE and (row.height, row.width) == SHAPE[1:]
        assert row.dice == pytest.approx(dice(mask, truth), abs=1e-12)
        assert list(row.spacing) == pytest.approx(SPACING) and geometry.difference(there) < 1e-5
        assert nib.aff2axcodes(geometry.affine) == ("R", "A", "S")
    maps = records.maps(records.table.record_id[0])
    assert maps["self/entropy"].shape == (10, 16, 14)  # each slice on the fake's grid
    assert maps["features/embedding"].shape == (1,) and maps["features/mask_token"].shape == (5,)
    of_image = [
        records.maps(one)["features/embedding"] for one in records.table[records.table.image_id == "v01"].record_id
    ]
    assert all(np.array_equal(one, of_image[0]) for one in of_image)  # whatever slices their prompts went through
    corrupted = records.table[~records.table.natural]
    assert corrupted.dice.std() > 0.15 and set(corrupted.variant) == set(CORRUPTIONS)
    assert '"depth"' in records.table.prompt[0]
    assert generate.run(told).written == 0


@pytest.mark.parametrize("name", ["unet3d", "unet25d"])
def test_orientation_of_the_files_changes_nothing(tmp_path, name):
    checkpoint = write_checkpoint(tmp_path / "w.safetensors", name)
    tables, kept = [], []
    for orientation in ("RAS", "LPS", "AIR"):
        data = write_data(tmp_path / orientation, 1, orientation)
        out = tmp_path / f"records-{orientation}"
        generate.run(config(data, out, segmenter=SegmenterConfig(name, checkpoint)))
        records = RecordSet(out)
        tables.append(records.table.sort_values("record_id", ignore_index=True))
        kept.append({one: (records.mask(one), records.maps(one)) for one in tables[-1].record_id})
        assert "features/embedding" not in records.map_names()  # a plain network keeps its input, which is none
        assert nib.aff2axcodes(records.volume_mask(tables[-1].record_id[0])[1].affine) == tuple(orientation)
    numbers = tables[0].select_dtypes("number").columns
    for table, files in zip(tables[1:], kept[1:], strict=True):
        assert table[numbers].to_numpy(float) == pytest.approx(
            tables[0][numbers].to_numpy(float), abs=1e-6, nan_ok=True
        )
        for one, (mask, maps) in files.items():
            assert np.array_equal(mask, kept[0][one][0])
            for map_name, values in maps.items():
                assert values == pytest.approx(kept[0][one][1][map_name], abs=1e-6)


def test_given_masks_are_judged_without_a_segmenter(data, tmp_path):
    none = {"segmenter": SegmenterConfig("none"), "referee": RefereeConfig("none"), "variants": {}}
    masks = shutil.copytree(data / "labels", tmp_path / "masks")
    told = config(data / "images", tmp_path / "out", masks=masks, truth=data / "labels", **none)
    assert generate.run(told).skipped == {}
    assert RecordSet(tmp_path / "out").table.dice.eq(1).all()


def test_sqps_own_masks_are_judged_under_the_label_that_made_them(data, tmp_path, fake_segmenter):
    fake = {"label": [2], "prompter": "truth_box", "segmenter": SegmenterConfig("fake"), "variants": {}}
    own = config(data, tmp_path / "own", sampler=SamplerConfig("deterministic"), **fake)
    generate.run(own)
    first = RecordSet(own.out).table
    for row in first.itertuples():
        (own.out / row.mask_path).rename(own.out / "masks" / f"{row.image_id}.nii.gz")
    none = {"segmenter": SegmenterConfig("none"), "referee": RefereeConfig("none"), "prompter": "mask_box"}
    again = replace(own, images=data / "images", out=tmp_path / "again", masks=own.out / "masks", **none)
    assert generate.run(replace(again, truth=data / "labels")).skipped == {}
    second = RecordSet(again.out).table.set_index("image_id").dice
    assert second.loc[first.image_id].tolist() == first.dice.tolist()


def test_broken_cases_are_skipped_with_a_sentence(tmp_path, fake_segmenter):
    data = write_data(tmp_path / "data", 3)
    write_nifti(data / "labels" / "v00.nii.gz", np.zeros(SHAPE, bool))
    write_nifti(data / "labels" / "v01.nii.gz", np.ones(SHAPE, bool), offset=(0, 0, 0))
    told = config(data, tmp_path / "out", prompter="whole_image", segmenter=SegmenterConfig("fake"), variants={})
    result = generate.run(replace(told, label=[]))
    assert "v00.nii.gz is empty" in result.skipped["v00"]
    assert "another affine" in result.skipped["v01"] and "v01.nii.gz" in result.skipped["v01"]
    assert "holds the labels 1, 2: choose with --label" in result.skipped["v02"]


def test_a_window_belongs_to_the_records_and_older_ones_had_none(data, tmp_path, fake_segmenter):
    fake = {"prompter": "truth_box", "sampler": SamplerConfig("deterministic"), "variants": {}}
    told = config(data, tmp_path, segmenter=SegmenterConfig("fake"), **fake)
    generate.run(told)
    path = tmp_path / "run.yaml"
    stored = yaml.safe_load(path.read_text())
    assert stored["config"]["segmenter"].pop("window") == []
    path.write_text(yaml.safe_dump(stored))
    assert generate.run(told).written == 0
    with pytest.raises(ConfigError, match=r"segmenter\.window=\[\], this run has segmenter\.window=\[20, 60\]"):
        generate.run(replace(told, segmenter=SegmenterConfig("fake", window=(20, 60))))
    for window in ((240, -160), (40,), (0.0, float("inf"))):
        with pytest.raises(ConfigError, match="give two numbers, the lower first"):
            generate.run(replace(told, segmenter=SegmenterConfig("fake", window=window)))


def test_what_works_on_images_only_is_refused_before_anything_is_written(data, tmp_path, fake_segmenter):
    told = config(data, tmp_path / "out", segmenter=SegmenterConfig("fake"), prompter="whole_image", variants={})
    (tmp_path / "probs").mkdir()
    for k in range(3):
        np.save(tmp_path / "probs" / f"v{k:02d}.npy", np.zeros(SHAPE, np.float32))
    masks = {"images": data / "images", "masks": data / "labels"}
    plain = SegmenterConfig("unet25d", write_checkpoint(tmp_path / "w.safetensors", "unet25d"))
    localizer = {"prompter": "localizer", "prompter_options": {"checkpoint": plain.checkpoint, "flips": 1}}
    refused = {
        "not on volumes: cascade is set": {"cascade": "litemedsam"},
        "not on volumes: probs are given": {"probs": tmp_path / "probs"},
        "not on volumes: the referee is fake": masks | {"referee": RefereeConfig("fake")},
        "ur_sam_printed takes": {
            "segmenter": plain,
            "refine": ["ur_sam_printed"],
            "refine_options": {"ur_sam_printed": {"alpha_h": 1}},
        },
        "unknown option of the prompter localizer of volumes 'flips'": localizer,
    }
    for sentence, changes in refused.items():
        with pytest.raises(ConfigError, match=sentence):
            generate.run(replace(told, **changes))
    assert not told.out.exists()


def test_what_volumes_do_not_have(data, tmp_path, fake_segmenter, lesions):
    told = config(data, tmp_path / "out", segmenter=SegmenterConfig("fake"))
    with pytest.raises(ConfigError, match="unknown prompter of volumes 'otsu'"):
        generate.run(told)
    for more in ({"propagate": True}, {"window": (0, 100)}):
        with pytest.raises(ConfigError, match=r"segmenter\.propagate and segmenter\.window belong to volumes"):
            segmenter = SegmenterConfig("fake", **more)
            generate.run(replace(told, images=lesions, segmenter=segmenter, label=[]))
    (tmp_path / "tables").mkdir()
    mixed = f"image\n{data}/images/v00.nii.gz\n{next((lesions / 'images').iterdir())}\n"
    (tmp_path / "tables" / "mixed.csv").write_text(mixed)
    with pytest.raises(ConfigError, match=r"v00.nii.gz is a volume and .* is an image"):
        generate.run(replace(told, images=tmp_path / "tables" / "mixed.csv", prompter="whole_image"))
    checkpoint = write_checkpoint(tmp_path / "tables" / "w.safetensors", "unet3d")
    for more in ({"propagate": True}, {"window": (0, 100)}):
        sentence = (
            rf"segmenter\.{next(iter(more))} is for segmenters of images, .* and unet3d segments the volume itself"
        )
        with pytest.raises(ConfigError, match=sentence):
            generate.run(replace(told, segmenter=SegmenterConfig("unet3d", checkpoint, **more)))
    with pytest.raises(ConfigError, match="unet3d segments volumes and these cases are images"):
        generate.run(replace(told, images=lesions, label=[], segmenter=SegmenterConfig("unet3d", checkpoint)))
