"""What `--engine ray` costs beside the work: seconds a case, and memory of the driver as cases grow.

python scripts/bench_ray.py benchmarks/ray.csv [--cases 10000 100000]

Ray is started here with one core; an actor squares numbers, so that all of it is overhead. Each number of cases has a
process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from bench_predict import row

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


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, nargs="+", default=[10_000, 100_000])
    args = parser.parse_args()
    rows = []
    for n in args.cases:
        done = subprocess.run([sys.executable, "-c", CODE, str(n)], check=True, capture_output=True, text=True)
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
