"""Many images through `sqp predict` in shards whose processes are killed again and again.

python scripts/bench_load.py benchmarks/load.csv [--model fast] [--images 5000] [--shards 4] [--kills 4] [--keep FOLDER]

`--model fast` is the bundle that comes with sqp; `tiny` one that reads image and mask alone, trained here in seconds
and good for nothing else: it takes milliseconds a case, so that 100,000 show what the way of a case costs.

Small synthetic lesions with a mask each: 100 are drawn, and linked under as many names as are asked for. The shards run
as processes of their own, one after the other, each on one thread; so many times one of them is killed (SIGKILL) at a
random moment, and started again. Then `sqp status`, `sqp merge`, and it is checked, not only measured, that nothing is
lost, nothing is there twice, and nothing that was finished is made again; a miss ends the script with an error. Memory
is that of the largest process, beside a run of a tenth of a shard. The page is opened in Chromium, where there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
from bench_predict import cases, command, row

from sqp.cli.main import main as main_of_sqp
from sqp.core.shards import Shard
from sqp.data.synthetic import write_synthetic

SIZE, DRAWN = (64, 64), 100
LOOK_S = 0.5
"""Between two looks at how far a process is."""
TINY = "tiny"
TRAINED, EPOCHS = 80, 4  # lesions that it is trained on


@dataclass
class Spent:
    """What processes took: CPU seconds, MB of the largest, and wall seconds."""

    cpu: float = 0.0
    largest: float = 0.0
    wall: float = 0.0
    finished: dict[Path, int] = field(default_factory=dict)  # masks that were there at a kill, with their times
    kills: int = 0


def tiny_bundle(folder: Path) -> Path:
    """A bundle without any network but its own, of image and mask at 32 x 32."""
    data = write_synthetic(folder / "lesions", TRAINED, seed=1, size=SIZE)
    shutil.copytree(data / "masks", folder / "given")  # a file that is judged is never its own truth
    records, out = folder / "records", folder / "model"
    told = {"images": data, "masks": folder / "given", "truth": data / "masks", "out": records}
    told |= {"segmenter.name": "none", "referee.name": "none", "measures": "[]", "variants": "{'*': {corruptions: 6}}"}
    small = ["--size", "32", "--epochs", str(EPOCHS)]
    for args in (
        ["generate", *(str(x) for key, v in told.items() for x in (f"--{key}", v))],
        ["train", "--records", f"[{records}]", "--out", str(out), "--inputs", "image+mask", *small],
    ):
        if main_of_sqp(args) != 0:
            raise SystemExit(f"bench_load: sqp {args[0]} failed")
    return out / "bundle"


def run(args: list[str], spent: Spent, rows: Path | None = None, kill_at: int | None = None) -> bool:
    """Run to the end, or kill when so many records are there; whether it came to its end. Adds what it took."""
    started = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    process = subprocess.Popen(args, start_new_session=True, **quiet)  # type: ignore[call-overload]
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if kill_at is not None and rows is not None and rows.is_dir() and len(os.listdir(rows)) >= kill_at:  # noqa: PTH208
            os.killpg(process.pid, signal.SIGKILL)
            pid, status, usage = os.wait4(process.pid, 0)
            break
        time.sleep(LOOK_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    spent.cpu += usage.ru_utime + usage.ru_stime
    spent.largest = max(spent.largest, usage.ru_maxrss / 1024)
    spent.wall += time.perf_counter() - started
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"bench_load: {' '.join(args)} ended with status {process.returncode}")
    return process.returncode == 0


def shard_run(data: Path, out: Path, model: str, part: Shard, n: int, moments: list[float], spent: Spent) -> None:
    """One shard, killed at these shares of it, then to its end."""
    args = [*command(data, out, model, 0), "--shard", str(part)]
    records = part.folder(out) / "records"
    for moment in sorted(moments):
        if run(args, spent, records / "rows", max(1, int(moment * n))):
            break  # it was faster than the look
        spent.kills += 1
        rows = [path.stem for path in (records / "rows").glob("*.json")]
        masks = [records / "masks" / f"{name}.png" for name in rows]
        spent.finished |= {mask: mask.stat().st_mtime_ns for mask in masks}
    run(args, spent)


def checked(what: str, found: object, wanted: object) -> dict[str, object]:
    """A row of what must be so; the script ends where it is not."""
    if found != wanted:
        raise SystemExit(f"bench_load: {what}: {found}, not {wanted}")
    return row(what, float(found), "", f"{wanted}")  # type: ignore[arg-type]


def verified(data: Path, out: Path, n: int, spent: Spent) -> list[dict[str, object]]:
    """Each image once, in the parts as in the whole; what was finished when a process was killed was not made again."""
    names = sorted(path.stem for path in (data / "images").iterdir())
    parts = ds.dataset(sorted(str(path) for path in (out / "shards").glob("*/predictions.parquet")))
    of_parts = sorted(parts.to_table(columns=["image_id"])["image_id"].to_pylist())
    whole = pd.read_parquet(out / "predictions.parquet")
    again = sum(mask.stat().st_mtime_ns != then for mask, then in spent.finished.items())
    files = len(os.listdir(out / "records" / "masks"))  # noqa: PTH208
    return [
        checked("images in the parts' tables, read as one", len(of_parts), n),
        checked(
            "of these lost, or there twice", len(names) - sum(a == b for a, b in zip(names, of_parts, strict=True)), 0
        ),
        checked("predictions in the joined table", len(whole), n),
        checked("images in it", whole["image_id"].nunique(), n),
        checked("predictions without a number", int(whole["predicted_dice"].isna().sum()), 0),
        checked("masks in the joined record set", files, n),
        row("records finished when a process was killed", len(spent.finished), "", ""),
        checked("of these made again", again, 0),
    ]


def opened(page: Path) -> list[dict[str, object]]:
    """Seconds until the page answers with its first pictures, where there is a browser."""
    size = row("size of the page", page.stat().st_size / 1e6, "MB", "")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        print("no Chromium here: the page was not opened", flush=True)
        return [size]
    from bench_report import browse, ids_of

    return [size, row("opening the page, first pictures drawn", browse(page, ids_of(page))["load"], "s wall", "< 3")]


def loaded(folder: Path, args: argparse.Namespace) -> list[dict[str, object]]:
    """All of it in a folder."""
    rng, n = random.Random(args.seed), args.images
    model = str(tiny_bundle(folder / TINY)) if args.model == TINY else args.model
    write_synthetic(folder / "drawn", DRAWN, seed=0, size=SIZE)
    data, out = cases(folder / "data", folder / "drawn", n), folder / "out"
    few = max(20, n // args.shards // 10)
    small, killed, joined = Spent(), Spent(), Spent()
    run([*command(cases(folder / "few", folder / "drawn", few), folder / "out_few", model, 0), "--shard", "1/1"], small)
    of_shard: dict[int, list[float]] = {index: [] for index in range(args.shards)}
    for number in range(args.kills):
        of_shard[number % args.shards].append(rng.uniform(0.05, 0.95))
    for index, moments in of_shard.items():
        part = Shard(args.shards, index + 1)
        shard_run(data, out, model, part, n // args.shards, moments, killed)
        print(f"part {part}: {killed.kills} kills so far, {killed.wall:.0f} s", flush=True)
    sqp = [sys.executable, "-m", "sqp"]
    run([*sqp, "status", str(out)], Spent())
    run([*sqp, "merge", "--out", str(out)], joined)
    each = (killed.cpu - small.cpu * (args.shards + killed.kills)) / (n - few * (args.shards + killed.kills))
    disk = sum(path.stat().st_size for path in (out / "shards").rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in (out / "shards").glob("*/predictions.parquet")]
    return [
        row(f"images of {SIZE[1]} x {SIZE[0]} px, judged by `{args.model}`", n, "", ""),
        row("shards, each with a predictions.parquet of its own", len(sizes), "", ""),
        row("processes killed (SIGKILL) and started again", killed.kills, "", ""),
        *verified(data, out, n, killed),
        row(f"memory of a run of {few} images", small.largest, "MB", ""),
        row("memory of the largest process of the shards", killed.largest, "MB", ""),
        row(f"the same / that of {few} images", killed.largest / small.largest, "ratio", "flat: about 1"),
        row(f"a run of {few} images, its start included", small.cpu, "s CPU", ""),
        row("an image more", max(each, 0.0), "s CPU", ""),
        row("all shards, kills included", killed.cpu, "s CPU", ""),
        row("joining them, page included", joined.cpu, "s CPU", ""),
        row("memory of joining", joined.largest, "MB", ""),
        row("what is written, an image", disk / n / 1e3, "kB", ""),
        *opened(out / "report.html"),
    ]


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=(TINY, "fast"), default=TINY)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="make it in this folder, which is new, and keep it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = loaded(args.keep or Path(name), args)
    rows.append(row("load of the machine at the end", os.getloadavg()[0], "processes", ""))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)
    print(json.dumps({"images": args.images, "misses": 0}))


if __name__ == "__main__":
    main()
