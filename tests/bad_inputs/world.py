"""What a user has on disk: images, masks, tables, a record set, bundles, a network; made once, never to be changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from recordsets import disc, make_record_set

from sqp.commands import predict, train
from sqp.config.predict import PredictConfig
from sqp.config.train import TrainConfig
from sqp.networks.checkpoint import save_checkpoint
from sqp.records import RecordSet
from sqp.records.frozen import mask_hash
from sqp.segmenters.plain import NetworkSpec, build_network

SIZE = (48, 64)
GOOD = ("a", "b")


@dataclass(frozen=True)
class World:
    """Names that stand in the command lines of the cases, in braces."""

    root: Path

    def names(self, bad: Path, out: Path) -> dict[str, str]:
        """name -> path."""
        own = ("images", "masks", "probs", "volumes", "labels", "records", "bundle", "mapped", "predictions", "data")
        files = {"csv": "cases.csv", "splits": "splits.json", "checkpoint": "unet.safetensors", "frozen": "frozen.json"}
        paths = {name: self.root / name for name in own} | {name: self.root / file for name, file in files.items()}
        return {name: str(path) for name, path in {**paths, "bad": bad, "out": out}.items()}


Make = Callable[[World, Path], None]


class Case(NamedTuple):
    """A bad input: what makes it in the folder `{bad}`, the command line, the status, and words of the sentence."""

    name: str
    make: Make
    command: str
    status: int
    words: str


def nothing(world: World, bad: Path) -> None:
    """The command line alone is bad."""


def build_world(root: Path) -> World:
    """Write all of it."""
    for name in ("images", "masks", "probs"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in GOOD:
        true = disc(SIZE, *rng.uniform(0.4, 0.6, 2), 0.2)
        pixels = np.where(true[..., None], (90, 60, 50), (220, 180, 160)) + rng.normal(0, 8, (*SIZE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{name}.png")
        Image.fromarray(true.astype(np.uint8) * 255).save(root / "masks" / f"{name}.png")
        np.save(root / "probs" / f"{name}.npy", true.astype(np.float32))
    write_volumes(root)
    write_data(root)
    records = make_record_set(root / "records", {"train": 4, "val": 2, "calibration": 9, "test": 3}, seed=1)
    for name, inputs in (("bundle", "image+mask"), ("mapped", "mask+uncertainty")):
        config = TrainConfig([records], root / f"train-{name}", inputs=inputs, size=32, epochs=1, batch_size=8)
        config.progress = False
        shutil.copytree(train.run(config).bundle, root / name)
    predict.run(PredictConfig(root / "bundle", root / "predictions", records=[records], split=["test"], worst=0))
    spec = NetworkSpec("unet", width=4)
    save_checkpoint(root / "unet.safetensors", build_network(spec).state_dict(), spec, {"data": {"fitted_images": []}})
    test = RecordSet(records)
    ids = test.table.loc[test.table["split"] == "test", "record_id"]
    masks = {name: mask_hash(test.mask(name)) for name in ids}
    (root / "frozen.json").write_text(json.dumps({"sha256": "0", "masks": masks}))
    return World(root)


def write_volumes(root: Path) -> None:
    """Two volumes of 8 slices with their label maps."""
    import nibabel

    for name in ("volumes", "labels"):
        (root / name).mkdir()
    for index, name in enumerate(GOOD):
        voxels = np.random.default_rng(index).normal(0, 50, (10, 9, 8)).astype(np.float32)
        mask = np.zeros((10, 9, 8), np.uint8)
        mask[3:7, 3:6, 2:6] = 1
        for folder, array in (("volumes", voxels), ("labels", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), root / folder / f"{name}.nii.gz")


def write_data(root: Path) -> None:
    """A CSV of cases, splits, and a prepared data set with enough images to be fitted on."""
    (root / "cases.csv").write_text("".join(["image,mask\n", *(f"images/{n}.png,masks/{n}.png\n" for n in GOOD)]))
    (root / "splits.json").write_text(json.dumps({"splits": {"train": {"a": ["a"]}, "test": {"b": ["b"]}}}))
    rows = ["image_id,group,split,diagnosis"]
    for index, split in enumerate(["segmenter"] * 3 + ["train"] * 2 + ["val"] * 2 + ["calibration", "test"]):
        name = f"i{index}"
        for folder, source in (("images", "images"), ("masks", "masks")):
            (root / "data" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(root / source / f"{GOOD[index % 2]}.png", root / "data" / folder / f"{name}.png")
        rows.append(f"{name},{name},{split},{('mel', 'nv')[index % 2]}")
    (root / "data" / "labels.csv").write_text("\n".join(rows) + "\n")
