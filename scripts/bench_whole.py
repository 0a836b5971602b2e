"""The whole of `sqp predict` on a few images, beside a script that imports torch and timm and runs the same network.

python scripts/bench_whole.py benchmarks/speed_whole.csv [--models fast default] [--repeats 3]

Synthetic lesions of 512 x 512 with a mask each. Both are processes of their own on one thread, one after the other in
every round: start, imports, files, network, and of sqp verdicts, 20 overlays and the page. CPU seconds (user and
system), the median over the rounds; the load of the machine is written beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import pandas as pd
from bench_predict import command, measured, row

from sqp.bundles import bundle_folder
from sqp.data.synthetic import write_synthetic

IMAGES, SIZE = 20, (512, 512)
BARE = """
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

folder, name, size, flips = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = timm.create_model(name, in_chans=4, num_classes=0).eval().to(memory_format=torch.channels_last)
planes = []
for path in sorted((folder / "images").iterdir()):
    image = Image.open(path).convert("RGB").resize((size, size))
    mask = Image.open(folder / "masks" / f"{path.stem}.png").convert("L").resize((size, size))
    planes.append(np.concatenate([np.asarray(image), np.asarray(mask)[..., None]], axis=2))
batch = torch.from_numpy(np.stack(planes)).permute(0, 3, 1, 2).float() / 255
batch = batch.contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    for turn in range(flips):
        model.forward_intermediates(torch.rot90(batch, turn, dims=(2, 3)))
"""


def bare(data: Path, model: str) -> list[str]:
    """The script with the network of a bundle."""
    spec = json.loads((bundle_folder(Path(model)) / "bundle.json").read_text())["model"]
    told = [str(data), spec["backbone"].removeprefix("timm:"), str(spec["size"]), str(spec.get("flips", 1))]
    return [sys.executable, "-c", BARE, *told]


def compared(folder: Path, data: Path, model: str, repeats: int) -> list[dict[str, object]]:
    """CPU seconds of both, in turn, and their ratio."""
    seconds: dict[str, list[float]] = {"bare": [], "sqp": []}
    for number in range(repeats):
        seconds["bare"].append(measured(bare(data, model), OMP_NUM_THREADS="1")[1])
        out = folder / f"{model}_{number}"
        seconds["sqp"].append(measured(command(data, out, model, 0), OMP_NUM_THREADS="1")[1])
    plain, whole = (statistics.median(seconds[name]) for name in ("bare", "sqp"))
    ratios = [a / b for a, b in zip(seconds["sqp"], seconds["bare"], strict=True)]
    target = {"fast": "<= 3", "default": "<= 6"}.get(model, "")
    return [
        row(f"torch, timm and the network of `{model}`, {IMAGES} images", plain, "s CPU", ""),
        row(f"`sqp predict --model {model}`, {IMAGES} images", whole, "s CPU", ""),
        row(f"`{model}`: the whole / the bare script", whole / plain, "ratio", target),
        row(f"`{model}`: the lowest ratio of {repeats} rounds", min(ratios), "ratio", ""),
        row(f"`{model}`: the highest", max(ratios), "ratio", ""),
    ]


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=["fast"])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "drawn", IMAGES, seed=0, size=SIZE)
        rows = [part for model in args.models for part in compared(folder, folder / "drawn", model, args.repeats)]
    cores = os.cpu_count() or 1
    rows.append(row(f"load of the machine ({cores} cores) before", before, "processes", ""))
    rows.append(row(f"load of the machine ({cores} cores) after", os.getloadavg()[0], "processes", ""))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
