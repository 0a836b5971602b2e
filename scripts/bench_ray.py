"""What `--engine ray` costs beside the work, how its throughput grows with workers, and memory of the driver.

python scripts/bench_ray.py benchmarks/speed_ray.csv [--cases 10000 100000] [--images 120]

Ray is started here. Overhead and memory: one actor, which hands back names, so that all of it is overhead. Throughput:
records of synthetic lesions of 512 x 512 with masks for the bundle `fast`, by one actor and by two, of one core and one
thread each, beside the same in a plain process; wall seconds of the last two thirds of the cases, so that starts do not
count. Each measurement has a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from bench_predict import SIZE, cases, row

from sqp.data.synthetic import write_synthetic

DRAWN = 20

CODE = """
import resource, sys, tempfile, time
from pathlib import Path
from sqp.core.ray_engine import RayEngine, over_ray
from sqp.core.types import Case

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

n = int(sys.argv[1])
items = [(f"case_{i:07d}", (Case(f"case_{i:07d}", Path(f"/data/images/case_{i:07d}.png")), set())) for i in range(n)]
with tempfile.TemporaryDirectory() as folder:
    before = peak()
    found = over_ray(RayEngine(None, Path(folder), workers=1), lambda: lambda task: task[0].image_id, items, None)
    assert next(found)
    start = time.perf_counter()
    assert sum(1 for _ in found) == n - 1
    print((time.perf_counter() - start) / n, before, peak())
"""

WORK = """
import sys, tempfile, time
from functools import partial
from pathlib import Path
import torch
from sqp.bundles import bundle_folder
from sqp.config.predict import PredictConfig
from sqp.core.ray_engine import RayEngine, over_ray
from sqp.data import find_cases
from sqp.quality import Bundle
from sqp.quality.bundle.expected_config import generate_config
from sqp.records import RecordWriter
from sqp.records.workers import Making

data, workers = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
bundle = Bundle.load(bundle_folder(Path("fast")))
with tempfile.TemporaryDirectory() as folder:
    told = PredictConfig(images=data / "images", masks=data / "masks", out=Path(folder), model=Path("fast"))
    config = generate_config(told, bundle.expects, bundle.sources)
    RecordWriter(config.out).check({}, False, {})
    cases = find_cases(config.images, None, config.masks).cases
    build = partial(Making, config, cases[:1], ())
    items = [(case.image_id, (case, set())) for case in cases]
    if workers:
        found = over_ray(RayEngine(None, Path(folder), workers=workers), build, items, None)
    else:
        found = map(build(), [task for _, task in items])
    times = []
    for _, count, problems, _ in found:
        assert count == 1 and not problems
        times.append(time.perf_counter())
    first = len(times) // 3
    print((times[-1] - times[first]) / (len(times) - 1 - first))
"""


def throughput(data: Path) -> list[dict[str, object]]:
    """Wall seconds a case without Ray, with one worker and with two."""
    seconds = {}
    for workers in (0, 1, 2):
        done = subprocess.run(
            [sys.executable, "-c", WORK, str(data), str(workers)], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds[workers] = float(done.stdout.split()[-1])
    return [
        row("records for `fast`, one process without Ray, a case", seconds[0] * 1e3, "ms wall", ""),
        row("the same, one worker of Ray", seconds[1] * 1e3, "ms wall", ""),
        row("the same, two workers", seconds[2] * 1e3, "ms wall", ""),
        row("throughput, one worker / without Ray", seconds[0] / seconds[1], "ratio", ""),
        row("throughput, two workers / one", seconds[1] / seconds[2], "ratio", "two: 2"),
    ]


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--images", type=int, default=120)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        drawn = write_synthetic(Path(name) / "drawn", DRAWN, seed=0, size=SIZE)
        rows = throughput(cases(Path(name) / "data", drawn, args.images))
    for n in args.cases:
        done = subprocess.run([sys.executable, "-c", CODE, str(n)], check=True, stdout=subprocess.PIPE, text=True)
        each, before, peak = map(float, done.stdout.split())
        rows += [
            row(f"{n:,} cases: overhead of Ray and the marks, a case", each * 1e3, "ms wall", ""),
            row(f"{n:,} cases: memory of the driver before Ray", before, "MB", ""),
            row(f"{n:,} cases: at most", peak, "MB", ""),
        ]
    rows.append(row("load of the machine at the end", os.getloadavg()[0], "processes", ""))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
