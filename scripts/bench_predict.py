"""What judging foreign masks costs with the bundles that come with sqp: images a second, memory, beside an encoding.

python scripts/bench_predict.py benchmarks/speed_predict.csv [--images 10000] [--only case] [--models default fast]

Synthetic lesions of 512 x 512 with a mask each: 100 are drawn, and linked under as many names as are asked for.
`sqp predict --images --masks` runs as a process of its own, on all cores for images a second (wall, start and page
included) and memory, beside `Model.judge` on the same files; a tenth of it is killed once and started again. A case
is timed on one thread in CPU seconds, as a ratio to LiteMedSAM's encoding in float32 of the same images in the
same run: the difference of a run of many and one of few images, without pictures, so that the start and the page do not
count.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch

from sqp.bundles import BUNDLES
from sqp.cli.main import main as main_of_sqp
from sqp.data import read_image
from sqp.data.synthetic import write_synthetic
from sqp.segmenters import build_segmenter

SIZE, DRAWN = (512, 512), 100
WARM, FEW, MANY, ENCODED = 2, 4, 28, 6
SHOWN = 8  # references of `any`; what they cost once falls out of the difference
FROM_PYTHON = """
import sys, pathlib, sqp
images, masks = (sorted(pathlib.Path(sys.argv[1], kind).iterdir()) for kind in ("images", "masks"))
assert sqp.to_frame(sqp.load("fast").judge(images, masks))["predicted_dice"].notna().all()
"""
BARE = ["--gallery", "0", "--worst", "0"]


def cases(folder: Path, drawn: Path, n: int) -> Path:
    """A folder with `images` and `masks` of n cases, linked to the drawn ones."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        files = sorted((drawn / kind).iterdir())
        for i in range(n):
            file = files[i % len(files)]
            os.link(file, folder / kind / f"case_{i:05d}{file.suffix}")
    return folder


def command(data: Path, out: Path, model: str, workers: int) -> list[str]:
    """`sqp predict` of a folder's masks."""
    told = {"images": data / "images", "masks": data / "masks", "out": out, "model": model, "workers": workers}
    return [sys.executable, "-m", "sqp", "predict", *(str(x) for key, v in told.items() for x in (f"--{key}", v))]


def measured(args: list[str], **environment: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds, and MB of the largest process of a run."""
    code = (
        "import resource, subprocess, sys, time; start = time.perf_counter();"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(time.perf_counter() - start, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], check=True, capture_output=True, text=True, env=os.environ | environment
    )
    wall, cpu, largest = map(float, done.stdout.split())
    return wall, cpu, largest


def streamed(folder: Path, drawn: Path, n: int) -> list[dict[str, object]]:
    """Images a second with `fast`, memory of a tenth and of all, and what is made again after a kill."""
    cores = os.cpu_count() or 1
    few, many = cases(folder / "few", drawn, n // 10), cases(folder / "many", drawn, n)
    _, _, small = measured(command(few, folder / "out_few", "fast", cores))
    torch_alone = ["--runtime", "torch"]  # as `sqp.load` has it
    wall, _, large = measured([*command(many, folder / "out_many", "fast", cores), *torch_alone])
    fewer = measured([sys.executable, "-c", FROM_PYTHON, str(folder / "few")])
    told = measured([sys.executable, "-c", FROM_PYTHON, str(folder / "many")])
    return [
        row(f"`fast`, {n} images on {cores} cores", n / wall, "images/s", ">= 25"),
        row(f"`fast`, {n} images by `Model.judge`, its imports included", n / told[0], "images/s", ""),
        row("`Model.judge` / the command", wall / told[0], "ratio", ">= 0.95"),
        row(f"memory of `Model.judge`, {n} images", told[2], "MB", ""),
        row(f"memory of `Model.judge`, {n} images / {n // 10}", told[2] / fewer[2], "ratio", "flat: about 1"),
        row(f"largest process, {n} images", large, "MB", ""),
        row(f"largest process, {n} images / {n // 10}", large / small, "ratio", "flat: about 1"),
        *killed(command(few, folder / "out_killed", "fast", cores), folder / "out_killed", n // 30),
    ]


def killed(args: list[str], out: Path, after: int) -> list[dict[str, object]]:
    """SIGKILL when `after` records are there; the same command again."""
    rows = out / "records" / "rows"
    process = subprocess.Popen(args, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not rows.is_dir() or len(list(rows.iterdir())) < after):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    masks = [out / "records" / "masks" / f"{path.stem}.png" for path in rows.glob("*.json")]
    finished = {path: path.stat().st_mtime_ns for path in masks}
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    again = sum(path.stat().st_mtime_ns != then for path, then in finished.items())
    judged = len(pd.read_parquet(out / "predictions.parquet"))
    return [
        row("records finished when it was killed", len(finished), "", ""),
        row("of these made again by the next run", again, "", "0"),
        row("predictions after it", judged, "", ""),
    ]


def cost_of_a_case(folder: Path, drawn: Path, models: Sequence[str]) -> list[dict[str, object]]:
    """A case of each of these bundles, to the end of its prediction, beside LiteMedSAM's encoding of such images."""
    torch.set_num_threads(1)
    segmenter = build_segmenter("litemedsam")
    images = [read_image(file) for file in sorted((drawn / "images").iterdir())[:ENCODED]]
    segmenter.encode(images[0])
    start = time.process_time()
    for image in images:
        segmenter.encode(image)
    encoding = (time.process_time() - start) / len(images)
    rows = [row("LiteMedSAM's encoding in float32, one thread", encoding, "s CPU", "")]
    references = cases(folder / "references", drawn, SHOWN)
    for model in models:
        shown = ["--references", str(references), "--precision", "float32"] if model == "any" else []
        data = {n: cases(folder / f"{model}_{n}", drawn, n) for n in (WARM, FEW, MANY)}
        case, _ = a_case(data, folder, model, "torch", shown)
        rows += [
            row(f"`{model}`, a case, one thread", case, "s CPU", ""),
            row(f"`{model}`, a case / an encoding", case / encoding, "ratio", "<= 1.5" if shown else "<= 0.6"),
        ]
        if find_spec("openvino") is not None and not shown:  # what references teach takes minutes
            faster, once = a_case(data, folder, model, "openvino", shown)
            rows += [
                row(f"`{model}`, a case, one thread, `--runtime openvino`", faster, "s CPU", ""),
                row(f"`{model}`, a case by OpenVINO / by PyTorch", faster / case, "ratio", ""),
                row(f"`{model}`, a run of {FEW} by OpenVINO, imports apart", once, "s CPU", ""),
            ]
    return rows


def a_case(data: dict[int, Path], folder: Path, model: str, runtime: str, more: Sequence[str]) -> tuple[float, float]:
    """CPU seconds of a case, and of the shorter run; `more` options of it."""
    cpu = {}
    for n, images in data.items():  # the first run alone pays for imports and first calls
        told = command(images, folder / f"out_{model}_{runtime}_{n}", model, 0)[3:]
        start = time.process_time()
        if main_of_sqp([*told, *BARE, "--runtime", runtime, *more]) != 0:
            raise SystemExit(f"bench_predict: `sqp predict --model {model}` failed")
        cpu[n] = time.process_time() - start
    return (cpu[MANY] - cpu[FEW]) / (MANY - FEW), cpu[FEW]


def row(what: str, value: float, unit: str, target: str) -> dict[str, object]:
    """A line of the table."""
    print(f"{what}: {value:.3f} {unit} {target}", flush=True)
    return {"what": what, "value": round(value, 4), "unit": unit, "target": target}


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--only", choices=("case", "stream"), help="a part; the rows of the other are not written")
    parser.add_argument("--models", nargs="+", choices=list(BUNDLES), default=list(BUNDLES), help="of the part case")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "drawn", DRAWN, seed=0, size=SIZE)
        rows = cost_of_a_case(folder, folder / "drawn", args.models) if args.only != "stream" else []
        rows += streamed(folder, folder / "drawn", args.images) if args.only != "case" else []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
