"""What generating costs, as ratios within one run: encode once, decode often; measures; resuming; memory.

python scripts/bench_generate.py benchmarks/speed_generate.csv [--precision bfloat16]

LiteMedSAM on synthetic lesions of 512 x 512, one thread, medians of repeats in CPU seconds (so that a busy machine does
not disturb the ratios) and wall seconds for the rows that start a process. bfloat16 is timed only when asked for: a CPU
without it emulates it, ten times slower.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from sqp.config.generate import GenerateConfig
from sqp.core.files import stamp_of
from sqp.core.memory import keep_freed_memory
from sqp.core.seeding import torch_generator
from sqp.data.synthetic import synthetic_lesion, write_synthetic
from sqp.prompts import PROMPTERS
from sqp.records import RecordWriter
from sqp.records.fitted import with_hashes
from sqp.records.make import collect_cases
from sqp.records.plan import plan_case
from sqp.records.resume import files_of
from sqp.records.schema import Record
from sqp.segmenters import build_segmenter
from sqp.uncertainty import Moments, all_maps, mask_from_logits, mask_on_grid, sample, scores

SIZE = (512, 512)
RESUMED = 2594


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Median CPU seconds of one call, after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def passes(precision: str) -> list[dict[str, object]]:
    """One deterministic pass, eight jittered prompts, the measures and scores of their samples."""
    lesion = synthetic_lesion(np.random.default_rng(0), SIZE)
    segmenter = build_segmenter("litemedsam", precision=precision)
    prompt = PROMPTERS["otsu"](lesion.image)[0]
    embedding = segmenter.encode(lesion.image)

    def draw(n: int, sampler: str = "prompt_jitter") -> object:
        return sample(segmenter, lesion.image, prompt, n, torch_generator(0), embedding=embedding, sampler=sampler)

    samples = draw(8)

    def judge() -> object:
        moments = Moments.of(samples.logits)
        mask = mask_from_logits(samples)
        return all_maps(moments), scores(samples, mask_on_grid(mask, samples), moments=moments)

    encode = seconds(lambda: segmenter.encode(lesion.image))
    one, eight, judging = (seconds(run) for run in (lambda: draw(1), lambda: draw(8), judge))
    thirty = seconds(lambda: draw(30, "mc_dropout"))
    tag = f"LiteMedSAM, {precision}"
    return [
        row(f"encode ({tag})", encode, "s CPU", ""),
        row(f"decode one prompt ({tag})", one, "s CPU", ""),
        row(
            f"eight jittered prompts / one deterministic pass ({tag})",
            (encode + eight) / (encode + one),
            "ratio",
            "<= 1.5",
        ),
        row(
            f"thirty MC-dropout samples of the decoder / one deterministic pass ({tag})",
            (encode + thirty) / (encode + one),
            "ratio",
            "<= 3",
        ),
        row(f"measures and scores of 8 samples / encode ({tag})", judging / encode, "ratio", "<= 0.05"),
    ]


def resume() -> dict[str, object]:
    """A finished run of 2,594 images, started again as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "images", Path(folder) / "records"
        data.mkdir()
        for i in range(RESUMED):
            Image.new("L", (8, 8)).save(data / f"image_{i:04d}.png")
        config = GenerateConfig(images=data, out=out)
        finished(config)
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "sqp", "generate", "--images", data, "--out", out], check=True, capture_output=True
        )
        return row(f"resuming a finished run of {RESUMED} images", time.perf_counter() - start, "s wall", "< 5")


def finished(config: GenerateConfig) -> None:
    """Rows of a run as it would have ended; their masks and maps are not needed to see that they are done."""
    writer = RecordWriter(config.out)
    writer.check(with_hashes(config))
    blank = {name: "" for name in ("split", "dataset", "licence", "diagnosis", "mask_path", "segmenter")}
    blank |= {name: "" for name in ("weights_sha256", "prompter", "prompt", "sampler", "refined_by", "fused_by")}
    for case in collect_cases(config)[0]:
        (planned,) = plan_case(case, config)
        record = Record(
            **blank, record_id=planned.record_id, image_id=case.image_id, group=case.group,
            image_path=str(case.image_path), truth_path=[], height=8, width=8, spacing=[], n_samples=8, seed=0,
            variant="natural", severity=0.0, natural=True, parent_record_id="", dice=float("nan"), iou=float("nan"),
            files=stamp_of(files_of(case)),
        )  # fmt: skip
        path = config.out / "rows" / f"{planned.record_id}.json"
        path.write_text(pd.Series(record.as_row()).to_json())
    writer.finish({})


def memory(n: int) -> float:
    """Peak resident MB of a process that generates n images."""
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder) / "data", n, seed=0, size=SIZE)
        code = (
            "import sys, resource, torch; torch.set_num_threads(1); from sqp.cli.main import main;"
            "status = main(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        args = ["generate", "--images", f"{folder}/data", "--out", f"{folder}/out", "--sampler.n", "8"]
        out = subprocess.run([sys.executable, "-c", code, *args], check=True, capture_output=True, text=True)
        return float(out.stdout.split()[-1])


def row(what: str, value: float, unit: str, target: str) -> dict[str, object]:
    """A line of the table."""
    print(f"{what}: {value:.3f} {unit} {target}", flush=True)
    return {"what": what, "value": round(value, 4), "unit": unit, "target": target}


def page_faults() -> list[dict[str, object]]:
    """What keeping freed memory saves of the encoding."""
    lesion = synthetic_lesion(np.random.default_rng(0), SIZE)
    segmenter = build_segmenter("litemedsam")
    before = seconds(lambda: segmenter.encode(lesion.image))
    if not keep_freed_memory():
        return []
    return [
        row(
            "encode with freed memory kept / without",
            seconds(lambda: segmenter.encode(lesion.image)) / before,
            "ratio",
            "",
        )
    ]


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", default="", help="time this precision too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = page_faults()  # first: what is kept stays kept
    for precision in ["float32", *([args.precision] if args.precision else [])]:
        rows += passes(precision)
    rows.append(resume())
    few, many = memory(4), memory(24)
    rows.append(row("peak memory of generate, 24 images", many, "MB", "< 2500"))
    rows.append(row("peak memory, 24 images / 4 images", many / few, "ratio", "flat: about 1"))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
