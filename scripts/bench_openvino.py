"""What OpenVINO gains (`--runtime openvino`): encoders and judges beside PyTorch, one thread, and how far they differ.

python scripts/bench_openvino.py benchmarks/speed_openvino.csv [--repeats 5]

CPU seconds on one thread, medians, all in one process and in turn; bfloat16 only where the CPU multiplies in it. The
input is what the networks get of synthetic lesions of 512 x 512: LiteMedSAM's encoder, the lesion network of the bundle
`fast` (an answer), and the quality models of `fast` and `default` (a batch of 16 masks, one symmetry). How far an
output is from PyTorch's in float32 is the length of the difference by that of the output, the greatest of all outputs.
Import and compiling are what a run pays once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench_predict import row
from torch import Tensor

from sqp.bundles import BUNDLES, bundle_folder
from sqp.core.types import Prompt
from sqp.data.synthetic import synthetic_lesion
from sqp.networks.runtime import TOLERANCE, Accelerated
from sqp.quality import Bundle
from sqp.quality.bundle.expected_config import NETWORK
from sqp.quality.model.inference import ByOpenVino
from sqp.quality.model.module import QualityOutput
from sqp.segmenters import build_segmenter, precision_for

SIZE, BATCH = (512, 512), 16


def kept(out: QualityOutput) -> list[Tensor]:
    """Those outputs that a prediction rests on."""
    return [x for x in out[:4] if x is not None]


def once(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turn(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each, all of them once a round, after a first call that counts for nothing."""
    rounds = [{name: once(work) for name, work in works.items()} for _ in range(repeats + 1)][1:]
    return {name: statistics.median(one[name] for one in rounds) for name in works}


def distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The greatest over the outputs."""
    return max(float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(found, wanted, strict=True))


def in_bfloat16(work: Callable[[], Any]) -> Callable[[], Any]:
    """The same under autocast."""

    def run() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return work()

    return run


def compared(what: str, works: dict[str, Callable[[], Any]], repeats: int) -> list[dict[str, object]]:
    """Rows of one network: seconds of each runtime, how far it is from PyTorch in float32, and its gain."""
    wanted = works["PyTorch float32"]()
    seconds = in_turn(works, repeats)
    rows = []
    for name, spent in seconds.items():
        rows.append(row(f"{what}, {name}", spent, "s CPU", ""))
        if name == "PyTorch float32":
            continue
        target = f"<= {TOLERANCE[name.split()[1]]:g}" if name.startswith("OpenVINO") else ""
        far = distance([x.float() for x in works[name]()], wanted)
        rows.append({**row(f"{what}, {name}: distance", far, "of the length", target), "value": float(f"{far:.2g}")})
        rows.append(row(f"{what}, {name} / PyTorch float32", spent / seconds["PyTorch float32"], "ratio", ""))
    return rows


def all_rows(repeats: int) -> list[dict[str, object]]:
    """Every network by every runtime."""
    precisions = ["float32", *(["bfloat16"] if precision_for("auto", "cpu") == "bfloat16" else [])]
    image = synthetic_lesion(np.random.default_rng(0), SIZE).image
    rows, spent = [], []

    def runtimes(run: Callable[[], Any], by: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
        first = {"PyTorch float32": run} | ({"PyTorch bfloat16": in_bfloat16(run)} if len(precisions) > 1 else {})
        for name, work in by.items():
            spent.append(once(work))
            first[f"OpenVINO {name}"] = work
        return first

    sam = build_segmenter("litemedsam")
    pixels = sam.frame(image.shape[:2]).pad(sam.normalise(sam.frame(image.shape[:2]).image_to_input(image)))
    by = {p: Accelerated(sam.sam.image_encoder, p, p) for p in precisions}
    works = runtimes(lambda: (sam.sam.image_encoder(pixels),), {p: (lambda f=f: (f(pixels),)) for p, f in by.items()})
    rows += compared("LiteMedSAM's encoder", works, repeats)
    whole = Prompt(box=(0.0, 0.0, float(SIZE[1]), float(SIZE[0])), prompter="whole_image")
    nets = [build_segmenter("fpn", bundle_folder(Path("fast")) / NETWORK, runtime=r) for r in ("torch", "openvino")]
    plain, fast = (lambda s=s: (s.decode(s.encode(image), [whole]).logits,) for s in nets)
    rows += compared("the lesion network, reading of the image included", runtimes(plain, {"float32": fast}), repeats)
    for name in BUNDLES:
        model = Bundle.load(bundle_folder(Path(name))).model
        spec, rng = model.spec, torch.Generator().manual_seed(0)
        planes = torch.rand(BATCH, len(spec.planes), spec.size, spec.size, generator=rng)
        scores = torch.randn(BATCH, 2 * len(spec.scores), generator=rng) if spec.scores else None
        openvino = ByOpenVino(model)
        works = runtimes(
            lambda m=model, p=planes, s=scores: kept(m(p, s)),
            {"float32": lambda f=openvino, p=planes, s=scores: kept(f(p, s))},
        )
        works.pop("PyTorch bfloat16", None)  # judges are calibrated in float32, and run in it
        rows += compared(f"the judge of `{name}`, {BATCH} masks", works, repeats)
    rows.append(row("import, conversion and compiling of all of these", sum(spent), "s CPU", ""))
    return rows


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = all_rows(args.repeats)
    rows.append(row("load of the machine at the end", os.getloadavg()[0], "processes", ""))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
