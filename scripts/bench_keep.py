"""What the special paths are still worth: each measured with and without, in pairs, on one thread, in CPU seconds.

python scripts/bench_keep.py benchmarks/speed_keep.csv

- `sqp/segmenters/onednn.py`: encoding and decoding by LiteMedSAM with its linear layers and 1x1
  convolutions by oneDNN, and as PyTorch has them, in turn in one process.
- `sqp/core/memory.py`: processes that generate a few images of 512 x 512 with freed memory kept, and without, in turn;
  the CPU seconds of the command, the network's loading included.
- the resizing of `sqp/quality/bundle/onnx_graph.py`: by how much the predicted Dice of the bundle `fast` moves where
  torch's own antialiased interpolation takes its place.

A ratio is of each pair; the table holds their median, quartiles and number. Below 1 the special path is quicker.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from sqp.bundles import bundle_folder
from sqp.core.memory import keep_freed_memory
from sqp.data.synthetic import synthetic_lesion, write_synthetic
from sqp.prompts import PROMPTERS
from sqp.quality import Bundle
from sqp.quality.bundle import onnx_graph
from sqp.segmenters import build_segmenter

SIZE = (512, 512)
IMAGES = 3
GENERATE = """
import sys, time, torch
torch.set_num_threads(1)
from sqp.cli import main as cli
if sys.argv[1] == "without":
    cli.keep_freed_memory = lambda: False
start = time.process_time()
assert cli.main(sys.argv[2:]) == 0
print(time.process_time() - start)
"""


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def pairs(one: Callable[[], float], other: Callable[[], float], repeats: int) -> list[float]:
    """`one() / other()` of each pair; which comes first alternates."""
    ratios = []
    for repeat in range(repeats):
        first, second = (one, other) if repeat % 2 else (other, one)
        a, b = first(), second()
        ratios.append(a / b if repeat % 2 else b / a)
    return ratios


def row(what: str, ratios: list[float]) -> dict[str, object]:
    """A line of the table."""
    low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75)).round(3)
    print(f"{what}: {median} ({low} to {high}, n = {len(ratios)})", flush=True)
    return {"what": what, "median": median, "low": low, "high": high, "n": len(ratios)}


def onednn(repeats: int) -> list[dict[str, object]]:
    """Encoding and decoding with and without the layers by oneDNN."""
    from sqp.segmenters.onednn import OneDnnLinear, OneDnnPointwise

    lesion = synthetic_lesion(np.random.default_rng(0), SIZE)
    segmenter = build_segmenter("litemedsam")
    prompt = PROMPTERS["otsu"](lesion.image)[0]
    kinds: dict[nn.Module, type[nn.Module]] = {
        module: nn.Linear if isinstance(module, OneDnnLinear) else nn.Conv2d
        for module in segmenter.sam.modules()  # type: ignore[attr-defined]
        if isinstance(module, OneDnnLinear | OneDnnPointwise)
    }
    special = {module: type(module) for module in kinds}

    def timed(classes: dict[nn.Module, type[nn.Module]], run: Callable[[], object]) -> Callable[[], float]:
        def call() -> float:
            for module, kind in classes.items():
                module.__class__ = kind
            return cpu_seconds(run)

        return call

    embedding = segmenter.encode(lesion.image)
    rows = []
    for what, run in {
        "encode": lambda: segmenter.encode(lesion.image),
        "decode one prompt": lambda: segmenter.decode(embedding, [prompt]),
    }.items():
        for classes in (special, kinds):
            timed(classes, run)()
        ratios = pairs(timed(special, run), timed(kinds, run), repeats)
        rows.append(row(f"LiteMedSAM, {what}: linear layers by oneDNN / by PyTorch", ratios))
    return rows


def memory(repeats: int) -> list[dict[str, object]]:
    """Generating with freed memory kept and given back."""
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder) / "data", IMAGES, seed=0, size=SIZE)
        count = 0

        def timed(which: str) -> Callable[[], float]:
            def call() -> float:
                nonlocal count
                count += 1
                args = ["generate", "--images", f"{folder}/data", "--out", f"{folder}/{count}", "--sampler.n", "8"]
                command = [sys.executable, "-c", GENERATE, which, *args, "--workers", "0"]
                out = subprocess.run(command, check=True, capture_output=True, text=True)
                return float(out.stdout.split()[-1])

            return call

        what = f"generate of {IMAGES} images by LiteMedSAM: freed memory kept / given back"
        return [row(what, pairs(timed("with"), timed("without"), repeats))]


def resizing() -> list[dict[str, object]]:
    """Dice by torch's own resizing against that of the graph, which is Pillow's."""
    bundle = Bundle.load(bundle_folder(Path("fast")))
    graph = onnx_graph.Graph(bundle).eval()

    def colours(image: torch.Tensor, size: int) -> torch.Tensor:
        planes = image.permute(2, 0, 1)[None].float()
        return F.interpolate(planes, (size, size), mode="bilinear", antialias=True)[0].round().double()

    def plane(values: torch.Tensor, size: int) -> torch.Tensor:
        planes = values[None, None].float()
        return F.interpolate(planes, (size, size), mode="bilinear", antialias=True)[0, 0]

    own = {"colours": onnx_graph.colours, "plane": onnx_graph.plane}
    moved = []
    for seed, size in enumerate([(512, 512), (767, 1022), (1500, 2000), (2848, 4288)] * 3):
        lesion = synthetic_lesion(np.random.default_rng(seed), size)
        mask = np.roll(lesion.mask, 40, 1)
        scores = torch.full((len(graph.scored),), float(mask.mean()), dtype=torch.float64)  # the area
        inputs = torch.from_numpy(lesion.image), torch.from_numpy(mask), scores
        dice = []
        for functions in (own, {"colours": colours, "plane": plane}):
            vars(onnx_graph).update(functions)
            with torch.inference_mode():
                dice.append(float(graph(*inputs)[0]))
        vars(onnx_graph).update(own)
        moved.append(abs(dice[0] - dice[1]))
    low, median, high = np.quantile(moved, (0.0, 0.5, 1.0))
    what = "ONNX graph: |Dice by torch's interpolation - Dice by Pillow's| (low, high: least and greatest)"
    print(what, low, median, high, flush=True)
    return [{"what": what, "median": median, "low": low, "high": high, "n": len(moved)}]


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=15, help="pairs in one process")
    parser.add_argument("--processes", type=int, default=7, help="pairs of processes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*memory(args.processes), *resizing()]
    keep_freed_memory()  # as every command does
    rows += onednn(args.repeats)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
