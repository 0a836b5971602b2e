"""Peak memory of `sqp predict` on one large volume: segmented, sampled, judged, drawn.

python scripts/bench_volume.py benchmarks/speed_volume.csv [--shape 300 512 512] [--segmenters unet25d litemedsam]
    [--samples 8]

Everything is made here: a few small volumes, a network with random weights, a quality model of one epoch; then the
large volume is judged by a process of its own, whose peak resident memory is read. A plain network draws the mask that
is judged; a promptable one answers, slice by slice, to the box of a mask that is given. The full size takes about 10
minutes of one core a segmenter and 1 GB of disk under the temporary folder. Target: under 6 GB; above it the exit
status is 2.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import torch

from sqp.commands import generate, train
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import SqpError
from sqp.networks.checkpoint import save_checkpoint
from sqp.report.tables import write_csv
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.volume_plain import VOLUME_NETWORKS, build_volume_network

LIMIT_GB = 6.0
SMALL, FEW = (4, 24, 24), 30
PROMPTABLE = "litemedsam"


def write_volume(folder: Path, name: str, shape: tuple[int, ...], seed: int) -> None:
    """`images/NAME.nii` in int16, slice by slice, and `labels/NAME.nii`: a bright tube in noise."""
    rng = np.random.default_rng(seed)
    d, h, w = shape
    y, x = np.mgrid[:h, :w]
    radius = rng.uniform(0.2, 0.35) * min(h, w)
    disc = np.hypot(y - h * rng.uniform(0.45, 0.55), x - w * rng.uniform(0.45, 0.55)) < radius
    voxels = np.empty((w, h, d), np.int16)
    for z in range(d):
        voxels[..., z] = (rng.normal(0, 100, (h, w)) + 500 * disc).T
    truth = np.repeat(disc.T[..., None].astype(np.uint8), d, axis=2)
    for kind, array in (("images", voxels), ("labels", truth)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([0.8, 0.8, 1.0, 1.0])), folder / kind / f"{name}.nii")


def write_network(path: Path, name: str) -> Path:
    """A small network with random weights and dropout, whose samples differ."""
    flat = VOLUME_NETWORKS[name].flat
    working, patch = ((0.0, 0.8, 0.8), (1, 256, 256)) if flat else ((1.0, 0.8, 0.8), (64, 64, 64))
    spec = NetworkSpec(name, dropout=0.1, width=8, spacing=working, patch=patch, neighbours=2 if flat else 0)
    torch.manual_seed(0)
    return save_checkpoint(path, build_volume_network(spec).state_dict(), spec, {"data": {"fitted_images": []}})


def made_bundle(work: Path, segmenter: SegmenterConfig, sampler: SamplerConfig, masks: bool) -> Path:
    """A quality model of records of small volumes, of masks that are given or drawn by the segmenter."""
    told = GenerateConfig(work / "small", work / "records", segmenter=segmenter, sampler=sampler)
    told = replace(told, prompter="truth_box") if masks else told
    records = generate.run(told).out
    more = {"inputs": "image+mask+uncertainty", "backbone": "compact3d", "size": 32, "epochs": 1, "alpha": 0.3}
    return train.run(TrainConfig([records], work / "model", progress=False, **more)).bundle


def measured(name: str, shape: tuple[int, ...], samples: int, work: Path) -> dict[str, object]:
    """One large volume judged by `sqp predict` in a process of its own: peak memory and seconds."""
    for k in range(FEW):
        write_volume(work / "small", f"v{k:02d}", SMALL, k)
    write_volume(work / "large", "large", shape, 0)
    command = [sys.executable, "-m", "sqp", "predict", "--images", str(work / "large" / "images")]
    if name == PROMPTABLE:
        bundle = made_bundle(work, SegmenterConfig(name), SamplerConfig("prompt_jitter", n=samples), masks=True)
        command += ["--masks", str(work / "large" / "labels")]
    else:
        checkpoint = write_network(work / "network.safetensors", name)
        sampler = SamplerConfig("mc_dropout", n=samples)
        bundle = made_bundle(work, SegmenterConfig(name, checkpoint), sampler, masks=False)
        command += ["--checkpoint", str(checkpoint)]
    command += ["--model", str(bundle), "--out", str(work / "predicted")]
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SqpError(f"sqp predict ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # its memory is the most of any child so far
    return {
        "volume": " x ".join(map(str, shape)),
        "segmenter": name,
        "mask": "given" if name == PROMPTABLE else "its own",
        "samples": samples,
        "peak_gb": used.ru_maxrss / 1e6,
        "limit_gb": LIMIT_GB,
        "seconds": time.monotonic() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "verdict": pd.read_parquet(work / "predicted" / "predictions.parquet")["verdict"].iloc[0],
    }


def main(argv: list[str] | None = None) -> None:
    """Make, judge, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512), metavar=("D", "H", "W"))
    parser.add_argument(
        "--segmenters", nargs="+", default=["unet25d", PROMPTABLE], choices=[*VOLUME_NETWORKS, PROMPTABLE]
    )
    parser.add_argument("--samples", type=int, default=8)
    args = parser.parse_args(argv)
    rows = []
    for name in args.segmenters:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(name, tuple(args.shape), args.samples, Path(folder)))
        write_csv(pd.DataFrame(rows), args.out)
        print(pd.DataFrame(rows[-1:]).to_string(index=False), flush=True)
    above = [row for row in rows if float(str(row["peak_gb"])) > LIMIT_GB]
    if above:
        raise SqpError(f"{above[0]['segmenter']} took {above[0]['peak_gb']:.2f} GB, and {LIMIT_GB:g} is the limit")


if __name__ == "__main__":
    try:
        main()
    except SqpError as error:
        print(f"bench_volume: {error}", file=sys.stderr)
        sys.exit(2)
