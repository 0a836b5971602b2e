"""How a volume lies in its file changes no result; what cannot be judged is told in one sentence, and by the status."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from plain_networks import write_checkpoint
from tiny_volumes import SHAPE, bright, ellipsoid, write_data, write_nifti

from sqp.cli.main import main
from sqp.commands import generate, predict, train
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.config.predict import PredictConfig
from sqp.config.train import TrainConfig
from sqp.data.volumes import read_structure
from sqp.metrics.segmentation import segmentation_row
from sqp.records import RecordSet

MASK = ellipsoid(centre=(0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(bundle, checkpoint): a model of the image, the mask and the maps of a network of volumes."""
    work = tmp_path_factory.mktemp("made")
    checkpoint = write_checkpoint(work / "w.safetensors", "unet3d")
    told = {"label": [1, 2], "sampler": SamplerConfig("tta", n=2), "segmenter": SegmenterConfig("unet3d", checkpoint)}
    records = generate.run(GenerateConfig(images=write_data(work / "data", 24), out=work / "records", **told)).out
    told = {"backbone": "compact3d", "size": 32, "epochs": 1, "alpha": 0.4, "scores": ["c_lesion"], "progress": False}
    config = TrainConfig([records], work / "model", **told)
    return train.run(config).bundle, checkpoint


def judged(made, data, out, **more):
    bundle, checkpoint = made
    more |= {"truth": data / "labels", "label": [1, 2], "checkpoint": checkpoint, "worst": 0, "gallery": 0}
    told = PredictConfig(bundle, out, data / "images", **more)
    result = predict.run(told)
    records = RecordSet(out / "records")
    rows = []
    for row in records.table.sort_values("image_id").itertuples():
        truth = read_structure(row.truth_path[0], (1, 2))[0]
        rows.append(segmentation_row(records.mask(row.record_id), truth, spacing=list(row.spacing)))
    table = result.table.sort_values("image_id", ignore_index=True).select_dtypes("number")
    return pd.concat([table, pd.DataFrame(rows).select_dtypes("number")], axis=1).drop(
        columns=["seed"], errors="ignore"
    )


def test_orientation_and_axes_of_an_anisotropic_volume_change_nothing(made, tmp_path):
    tables = []
    for orientation in ("SPL", "RAS", "AIR"):
        data = write_data(tmp_path / orientation, 2, orientation, spacing=(3.0, 1.0, 0.75))
        tables.append(judged(made, data, tmp_path / f"out-{orientation}").to_numpy(float))
    assert np.isfinite(tables[0]).sum() > 20
    for table in tables[1:]:
        assert table == pytest.approx(tables[0], abs=1e-6, nan_ok=True)


def test_given_masks_are_judged_alike_in_any_orientation_of_their_own(made, tmp_path):
    data = write_data(tmp_path / "data", 2, "RAS")
    other = write_data(tmp_path / "other", 2, "LPS", truth="masks")
    own, turned = (
        judged(made, data, tmp_path / name, masks=folder)
        for name, folder in (("a", shutil.copytree(data / "labels", tmp_path / "copy")), ("b", other / "masks"))
    )
    assert turned.to_numpy(float) == pytest.approx(own.to_numpy(float), abs=1e-6, nan_ok=True)
    assert (own["dice"] == 1).all(axis=None)


def arguments(made, folder, out):
    bundle, checkpoint = made
    shared = ["--model", str(bundle), "--checkpoint", str(checkpoint), "--out", str(out), "--worst", "0"]
    return ["predict", "--images", str(folder / "images"), "--masks", str(folder / "masks"), *shared]


def test_bad_volumes_of_a_batch_are_skipped_with_a_sentence_each(made, tmp_path, capsys):
    good = bright(MASK)
    nan, inf = good.copy(), good.copy()
    nan[0, 0, 0], inf[1, 1, 1] = np.nan, np.inf
    images = {
        "good": good,
        "nan_voxel": nan,
        "inf_voxel": inf,
        "flat": good[:1],
        "shape": good,
        "affine": good,
        "empty": good,
    }
    masks = {name: MASK for name in images} | {"shape": MASK[:-1], "flat": MASK[:1], "empty": np.zeros(SHAPE, bool)}
    for name, array in images.items():
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", array)
        offset = (5.0, -7.0, 20.0) if name == "affine" else (5.0, -7.0, 11.0)
        write_nifti(tmp_path / "masks" / f"{name}.nii.gz", masks[name], offset=offset)
    assert main(arguments(made, tmp_path, tmp_path / "out")) == 1
    skipped = pd.read_csv(tmp_path / "out" / "records" / "skipped.csv").set_index("image_id")["reason"]
    expected = {
        "nan_voxel": "holds 1 NaN or infinite voxels",
        "inf_voxel": "holds 1 NaN or infinite voxels",
        "flat": "has one slice only",
        "shape": "has 9 x 14 x 12 voxels",
        "affine": "has another affine than its image",
    }
    assert set(skipped.index) == set(expected)
    for name, sentence in expected.items():
        assert sentence in skipped[name] and f"{name}.nii.gz" in skipped[name]
    told = pd.read_parquet(tmp_path / "out" / "predictions.parquet").set_index("image_id")
    assert told.loc["empty", "verdict"] == "abstain" and told.loc["empty", "reason"] == "empty mask"
    assert np.isfinite(told.loc["good", "predicted_dice"])
    capsys.readouterr()

    assert main([*arguments(made, tmp_path, tmp_path / "strict"), "--strict"]) == 2
    assert "affine.nii.gz has another affine than its image" in capsys.readouterr().err


def test_a_label_that_the_truth_lacks_ends_with_one_sentence_and_a_mask_that_lacks_it_is_empty(made, tmp_path, capsys):
    data = write_data(tmp_path, 1, truth="masks")
    label, truth = ["--label", "[7]"], ["--truth", str(shutil.copytree(data / "masks", tmp_path / "truth"))]
    assert main([*arguments(made, data, tmp_path / "mask"), *label]) == 0
    assert pd.read_csv(tmp_path / "mask" / "predictions.csv")["reason"].tolist() == ["empty mask"]
    capsys.readouterr()
    assert main([*arguments(made, data, tmp_path / "out"), *label, *truth]) == 2
    told = capsys.readouterr().err.strip()
    assert "label 7 is not in" in told and "Traceback" not in told and len(told.splitlines()) == 1
