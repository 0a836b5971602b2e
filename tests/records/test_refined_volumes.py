"""Volumes refined slice by slice: each slice of the prompt as the image alone, the others as they were."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeSegmenter
from plain_networks import write_checkpoint
from tiny_volumes import SPACING, bright, ellipsoid, write_nifti

from sqp.commands import generate
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.core.errors import ConfigError
from sqp.core.frame import VolumeFrame
from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt
from sqp.core.volume import Geometry, Volume
from sqp.data.volumes import read_volume, windowed
from sqp.records import RecordSet
from sqp.records.plan import PlannedRecord
from sqp.records.refine import refined_mask
from sqp.segmenters.slice_by_slice import SliceSegmenter, as_image
from sqp.uncertainty import sample
from sqp.uncertainty.refine import Ensemble, refine

SHAPE = (9, 40, 48)
OPTIONS = {
    "ur_sam_midpoint": {},
    "ur_sam_printed": {"alpha_h": 1.5},
    "unc_fpc": {"threshold": 0.8},
    "unc_fnc": {"threshold": 0.8},
    "unc_fpnc": {"threshold": 0.8},
    "crf": {"iterations": 2},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two volumes, dark inside, as the fake likes it."""
    folder = tmp_path_factory.mktemp("volumes")
    for k, radius in enumerate((0.25, 0.3)):
        mask = ellipsoid(SHAPE, radius=radius)
        write_nifti(folder / "images" / f"v{k}.nii.gz", -bright(mask, k))
        write_nifti(folder / "labels" / f"v{k}.nii.gz", mask)
    return folder


@pytest.fixture
def told(data, tmp_path, fake_segmenter):
    return GenerateConfig(
        images=data,
        out=tmp_path / "records",
        label=[1],
        prompter="truth_box",
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig("prompt_jitter", n=3, ratio=0.2),
        refine=["ur_sam_midpoint", "unc_fnc"],
        refine_options={"unc_fnc": OPTIONS["unc_fnc"]},
    )


def samples_of(segmenter, image, prompt):
    return sample(segmenter, image, prompt, 4, torch_generator(0, "refined"), sampler="prompt_jitter", ratio=0.2)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("fused_by", ["", "power_law"])
def test_a_volume_of_one_slice_gives_what_the_image_gives(told, name, fused_by):
    if name == "crf":
        pytest.importorskip("pydensecrf.densecrf")
    volume = Volume(-bright(ellipsoid((1, *SHAPE[1:]), (0.5, 0.5, 0.4), 0.3)), Geometry.plain((1, *SHAPE[1:]), SPACING))
    image, flat = as_image(windowed(volume.voxels)[0]), Prompt(box=(3, 5, 37, 33))
    config = replace(told, refine=[name], refine_options={name: OPTIONS[name]})
    planned = PlannedRecord("id", "natural", "truth_box", parent="parent", refined_by=name, fused_by=fused_by)
    plane = samples_of(FakeSegmenter(), image, flat)
    in_volume = replace(flat, depth=(0, 1))
    slices = samples_of(SliceSegmenter(FakeSegmenter()), volume, in_volume)
    mask, behind = refined_mask(config, planned, image, plane, flat)
    found, found_behind = refined_mask(config, planned, volume, slices, in_volume)
    assert np.array_equal(found, mask[None]) and 0 < mask.sum() < mask.size
    assert (behind is None) == (found_behind is None) == (name != "crf" and not fused_by)
    assert behind is None or torch.equal(found_behind, behind[None])


def test_the_prompts_slices_are_refined_one_by_one_and_the_others_stay(told):
    result = generate.run(told)
    assert result.skipped == {} and result.records == 2 * 3
    records = RecordSet(told.out)
    table = records.table.set_index("record_id")
    changed = dict.fromkeys(told.refine, 0)
    for name, row in table[table.refined_by != ""].iterrows():
        parent, mask = row.parent_record_id, records.mask(name)
        before, prompt = records.mask(parent), json.loads(row.prompt)
        low, high = map(int, prompt["depth"])
        assert 0 <= low < high < SHAPE[0] and row.prompt == table.prompt[parent] and not row.fused_by
        outside = np.r_[:low, high : SHAPE[0]]
        assert np.array_equal(mask[outside], before[outside])
        changed[row.refined_by] += int((mask != before).sum())
        assert row.refined_by != "unc_fnc" or (mask >= before).all()
    assert all(changed.values()), changed
    assert generate.run(told).written == 0


@pytest.mark.parametrize("window", [(), (-90.0, -30.0)])
def test_each_slice_is_seen_as_the_segmenter_saw_it(told, monkeypatch, window):
    seen = []

    def spy(ensemble: Ensemble, name, **options):
        seen.append(ensemble)
        return refine(ensemble, name, **options)

    monkeypatch.setattr("sqp.records.refine.refine", spy)
    segmenter = SegmenterConfig("fake", window=window)
    generate.run(replace(told, segmenter=segmenter, refine=["ur_sam_midpoint"], refine_options={}, max_images=1))
    records = RecordSet(told.out)
    row = records.table[records.table.refined_by == ""].iloc[0]
    prompt, before = json.loads(row.prompt), records.mask(row.record_id)
    pixels = windowed(read_volume(row.image_path).voxels, window)
    low, high = map(int, prompt["depth"])
    mine = seen[: high - low]
    for z, ensemble in zip(range(low, high), mine, strict=True):
        assert np.array_equal(ensemble.image, as_image(pixels[z]))
        assert np.array_equal(ensemble.mask.numpy(), before[z])
        assert list(ensemble.prompt.box) == prompt["box"] and ensemble.prompt.depth is None


def test_a_network_without_prompts_has_no_box_to_rectify_by_but_is_compared(told, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "w.safetensors", "unet3d")
    plain = replace(told, segmenter=SegmenterConfig("unet3d", checkpoint), sampler=SamplerConfig("mc_dropout", n=2))
    with pytest.raises(ConfigError, match=r"ur_sam_midpoint takes .* unet3d was prompted by none: refine by unc_fpc"):
        generate.run(plain)
    assert not plain.out.exists()
    unc = {"refine": ["unc_fpnc"], "refine_options": {"unc_fpnc": {"threshold": 0}}}
    generate.run(replace(plain, prompter="whole_image", fusion="power_law", **unc))
    records = RecordSet(plain.out)
    for _, made in records.table.groupby("image_id"):
        names = made.set_index(["fused_by", "refined_by"]).record_id
        fused, turned = names["power_law", ""], names["power_law", "unc_fpnc"]
        # everything is uncertain, so foreground and background change places
        assert len(names) == 3 and np.array_equal(records.mask(turned), ~records.mask(fused))
        frame = VolumeFrame(SHAPE, *[records.maps(fused)["refined/probability"].shape] * 2)
        p = torch.from_numpy(records.maps(fused)["refined/probability"].astype(np.float32))
        assert ((frame.grid_to_image(p) >= 0.5).numpy() == records.mask(fused)).mean() > 0.99
