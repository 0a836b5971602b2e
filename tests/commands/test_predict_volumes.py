"""Masks of volumes judged beside references that are volumes: slices are judged, and joined by their masks' area."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from beside_references import referenced_bundle
from fakes import Seeing
from few_lesions import copy_lesions, names_of
from tiny_volumes import ellipsoid, write_data, write_nifti

from sqp import segmenters
from sqp.cli.main import main
from sqp.commands import predict
from sqp.config.generate import VariantPlan
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.quality.bundle.storage import CORRECTION
from sqp.quality.judging import correction
from sqp.records import RecordSet
from sqp.records.referees.references import MOST

JUDGED = ("v00", "v01")


@pytest.fixture(scope="module")
def seeing(fake_for_module):
    """`--segmenter fake` tells dark from bright."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segmenters.SEGMENTERS, "fake", lambda checkpoint=None, **options: Seeing(size=64, stride=4))
        yield


@pytest.fixture(scope="module")
def bundle(lesions, seeing, tmp_path_factory) -> Path:
    """Of images, whose referee is shown references."""
    home = tmp_path_factory.mktemp("bundle")
    copy_lesions(lesions, home / "refs", names_of(lesions)[-3:])
    return referenced_bundle(lesions, home / "refs", home)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """`judged` (images, masks, truth) and `refs`, six volumes in all."""
    home = tmp_path_factory.mktemp("volumes")
    write_data(home / "refs", 6)
    for folder, to in (("images", "images"), ("labels", "masks"), ("labels", "truth")):
        (home / "judged" / to).mkdir(parents=True)
        for name in JUDGED:
            shutil.copy(home / "refs" / folder / f"{name}.nii.gz", home / "judged" / to)
    for folder in ("images", "labels"):
        for name in JUDGED:
            (home / "refs" / folder / f"{name}.nii.gz").unlink()
    return home


@pytest.fixture
def asked(bundle, volumes, tmp_path) -> PredictConfig:
    data = volumes / "judged"
    return PredictConfig(
        bundle, tmp_path / "out", images=data / "images", masks=data / "masks", truth=data / "truth",
        references=volumes / "refs", label=[1, 2], worst=1,
    )  # fmt: skip


def test_a_volume_is_the_mean_of_its_slices_by_the_area_of_their_masks(asked):
    result = predict.run(asked)
    table = result.table.set_index("image_id")
    assert result.exit_status == 0 and sorted(table.index) == sorted(JUDGED) and (table.dice == 1).all()
    slices = pd.read_parquet(asked.out / "slices" / "predictions.parquet")
    own = slices[slices.image_id.str.startswith("v00_z")]
    mask = nib.load(asked.masks / "v00.nii.gz").get_fdata()
    assert len(own) == table.slices["v00"] == (mask > 0).any((0, 1)).sum() < mask.shape[2]
    for name in ("predicted_dice", "low", "high", "referee_dice", "rca_mean"):
        assert table[name]["v00"] == pytest.approx(np.average(own[name], weights=own.area), abs=1e-6)
    assert f"v00_z{table.worst_slice['v00']:03d}" == own.image_id[own.predicted_dice.idxmin()]
    assert set(slices.dice) == {1.0} and slices.referee_dice.median() > 0.5  # what references show is what is there
    digest = pd.read_csv(asked.out / "predictions.csv")
    assert digest.image.str.endswith(".nii.gz").all() and digest.verdict.notna().all()
    assert (asked.out / "slices" / "report.html").is_file() and str(asked.out / "slices") in result.summary()
    again = predict.run(asked)
    pd.testing.assert_frame_equal(again.table, result.table)


def test_references_are_slices_with_the_structure_and_at_most_so_many(asked):
    result = predict.run(asked)
    shown = pd.read_csv(asked.out / "cut" / "references.csv")
    assert len(shown) <= MOST and shown.group.nunique() == 4
    assert RecordSet(asked.out / "slices" / "records").table.references.eq(len(shown)).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sqp.records.volume_slices.MOST", 5)
        result = predict.run(replace(asked, out=asked.out.parent / "fewer"))
    assert [note for note in result.notes if "slices of references the 5 most different ones are shown" in note]


def test_one_of_the_references_and_a_broken_volume_are_skipped_and_told(asked, volumes, tmp_path):
    refs = Path(shutil.copytree(volumes / "refs", tmp_path / "refs"))
    for folder, to in (("images", "images"), ("masks", "labels")):
        shutil.copy(volumes / "judged" / folder / "v00.nii.gz", refs / to)
    (refs / "labels" / "v05.nii.gz").write_bytes(b"no mask")
    result = predict.run(replace(asked, references=refs))
    assert result.exit_status == 1 and result.table.image_id.tolist() == ["v01"]
    assert "v00.nii.gz is one of the references" in result.skipped["v00"]
    assert "v05.nii.gz" in result.skipped["reference v05"]


def test_a_volume_in_slices_along_another_axis_is_skipped_and_told(asked, volumes, tmp_path):
    judged = Path(shutil.copytree(volumes / "judged", tmp_path / "judged"))
    across = write_data(tmp_path / "across", 1, spacing=(1.0, 3.0, 0.75))
    for folder, to in (("images", "images"), ("labels", "masks")):
        shutil.copy(next((across / folder).iterdir()), judged / to / "v09.nii.gz")
    result = predict.run(replace(asked, images=judged / "images", masks=judged / "masks", truth=None))
    assert result.exit_status == 1 and sorted(result.table.image_id) == sorted(JUDGED)
    assert "v09.nii.gz was acquired in slices from front to back, and --references" in result.skipped["v09"]


def test_an_empty_mask_is_abstained_from_and_takes_no_slice(asked, volumes, tmp_path):
    masks = Path(shutil.copytree(volumes / "judged" / "masks", tmp_path / "masks"))
    write_nifti(masks / "v00.nii.gz", ellipsoid() & False)
    table = predict.run(replace(asked, masks=masks)).table.set_index("image_id")
    assert (table.verdict["v00"], table.reason["v00"], table.slices["v00"]) == ("abstain", "empty mask", 0)
    assert table.predicted_dice.notna()["v01"] and table.dice["v00"] == 0


def test_slices_of_a_volume_teach_nothing_of_each_other(asked, bundle, tmp_path, monkeypatch):
    """A correction is learned from reference slices, each judged beside those of other volumes."""
    own = Path(shutil.copytree(bundle, tmp_path / "any"))
    stored = json.loads((own / "bundle.json").read_text()) | {CORRECTION: {"quantile": 2.0, "groups": 9, "records": 90}}
    (own / "bundle.json").write_text(json.dumps(stored))
    monkeypatch.setattr(correction, "PLAN", VariantPlan(corruptions=2))
    result = predict.run(replace(asked, model=own))
    table = RecordSet(asked.out / "slices" / "references" / "records").table
    shown = pd.read_csv(asked.out / "cut" / "references.csv")
    of_volume = shown.groupby("group").size()
    for group, n in table.groupby("group").references.unique().items():
        assert n.tolist() == [len(shown) - of_volume[group]]
    assert [note for note in result.notes if note.startswith("the model was corrected by")]


def test_what_does_not_fit_is_one_sentence(asked, volumes, lesions, tmp_path, capsys):
    empty = Path(shutil.copytree(volumes / "refs", tmp_path / "empty"))
    for file in (empty / "labels").iterdir():
        write_nifti(file, ellipsoid() & False)
    with pytest.raises(ConfigError, match=r"no reference can be used: label map .*v02.nii.gz is empty"):
        predict.run(replace(asked, references=empty))
    across = write_data(tmp_path / "across", 1, spacing=(1.0, 3.0, 0.75))
    with pytest.raises(ConfigError, match=r"in slices from foot to head, and --references .* from front to back"):
        predict.run(replace(asked, references=across))
    mixed = Path(shutil.copytree(volumes / "refs", tmp_path / "mixed"))
    name = names_of(lesions)[0]
    shutil.copy(next((lesions / "images").glob(f"{name}.*")), mixed / "images")
    shutil.copy(next((lesions / "masks").glob(f"{name}*")), mixed / "labels" / f"{name}.png")
    with pytest.raises(ConfigError, match=r"is a volume and .* is an image: give each kind a run of its own"):
        predict.run(replace(asked, references=mixed))
    with pytest.raises(ConfigError, match=r"is a volume, and .* an image: give references of the kind that is judged"):
        predict.run(replace(asked, images=lesions / "images", masks=lesions / "masks", truth=None))
    with pytest.raises(ConfigError, match="references of images are given"):
        predict.run(replace(asked, references=lesions))
    with pytest.raises(ConfigError, match="judge masks made elsewhere: give --masks"):
        predict.run(replace(asked, masks=None))
    with pytest.raises(ConfigError, match="--write does not go with references that are volumes"):
        predict.run(replace(asked, write=["coco"]))
    words = ["predict", "--images", str(asked.images), "--masks", str(asked.masks), "--references", str(empty)]
    assert main([*words, "--label", "1", "2", "--model", str(asked.model), "--out", str(tmp_path / "cli")]) == 2
    assert "no reference can be used" in capsys.readouterr().err
