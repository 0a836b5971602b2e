"""What the HTML page of 1,000 cases costs: writing it, its size, opening it from disk, filtering, opening a case.

python scripts/bench_report.py benchmarks/speed_report.csv [--keep FOLDER]
python scripts/bench_report.py benchmarks/speed_report_isic2018.csv --page runs/isic2018/evaluation/report.html

With --page a page that is there already, of real cases, is opened. Without it: 50 synthetic lesions of 512 x 512 under
1,000 masks; the page holds image, mask, truth, uncertainty and error of each case. Headless Chromium
(Debian's) without a network. Wall seconds in the browser are medians of five openings, each in a browser of its own;
writing is in CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy.ndimage import gaussian_filter

from sqp.data.synthetic import synthetic_lesion
from sqp.quality.judging.verdict import judged
from sqp.records import Record, RecordSet, RecordWriter
from sqp.report.drawing import save_picture
from sqp.report.findings import prediction_findings
from sqp.report.histogram import DISTRIBUTION, distribution
from sqp.report.html import Section
from sqp.report.page import write_page

CASES, LESIONS, SIZE, GRID = 1000, 50, (512, 512), 128
REPEATS = 5


def make_records(folder: Path) -> pd.DataFrame:
    """A record set of shifted masks, and a predictions table of it whose error has a standard deviation of 0.05."""
    rng = np.random.default_rng(0)
    writer = RecordWriter(folder)
    writer.check({"kind": "bench_report"})
    drawn = [synthetic_lesion(rng, SIZE) for _ in range(LESIONS)]
    for i in range(CASES):
        lesion = drawn[i % LESIONS]
        step = int(rng.integers(0, 150) * rng.uniform() ** 2)
        mask = np.roll(lesion.mask, step, axis=1)
        paths = folder / f"{i}.jpg", folder / f"{i}.png"
        Image.fromarray(lesion.image).save(paths[0], quality=90)
        Image.fromarray(lesion.mask.astype(np.uint8) * 255).save(paths[1])
        dice = float(2 * (mask & lesion.mask).sum() / (mask.sum() + lesion.mask.sum()))
        soft = gaussian_filter(mask.astype(np.float32), 8)[:: SIZE[0] // GRID, :: SIZE[1] // GRID].clip(1e-6, 1 - 1e-6)
        entropy = -(soft * np.log2(soft) + (1 - soft) * np.log2(1 - soft))
        name = f"case-{i:04d}"
        record = Record(
            name, f"image{i}", f"g{i}", "test", "synthetic", "CC0", "", str(paths[0]), f"masks/{name}.png",
            [str(paths[1])], *SIZE, [], "litemedsam", "", "otsu", "{}", "prompt_jitter", 8, 0, "natural", float("nan"),
            True, "", "", "", dice, dice / (2 - dice), {"area": float(mask.mean())},
        )  # fmt: skip
        writer.write(record, mask, {"self/entropy": entropy})
    writer.finish({})
    table = RecordSet(folder).table.assign(record_set=str(folder))
    predicted = (table["dice"] + rng.normal(0, 0.05, CASES)).clip(0, 1)
    return judged(
        table.assign(predicted_dice=predicted, low=(predicted - 0.1).clip(0), high=(predicted + 0.1).clip(upper=1))
    )


def error_maps(rows: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Stand-ins of the size that a model draws."""
    rng = np.random.default_rng(1)
    return {
        (row.record_set, row.record_id): gaussian_filter(rng.uniform(0, 1, (64, 64)), 4) for row in rows.itertuples()
    }


def ids_of(path: Path) -> list[str]:
    """The ids of the page's cases, in their order."""
    found = re.search(r'id="cases">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    cases = json.loads(found.group(1)) if found else []
    if not cases:
        raise SystemExit(f"{path} has no gallery of cases: give the report.html of sqp evaluate or sqp predict")
    return [case["id"] for case in cases]


def browse(path: Path, ids: list[str]) -> dict[str, float]:
    """Seconds of one opening: until the page answers with its first pictures drawn, finding the last id, opening it."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True).new_page()
        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_function(
            "document.querySelectorAll('#cards img').length && [...document.images].every((i) => i.complete)"
        )
        loaded = time.perf_counter()
        page.fill("#search", ids[-1])
        page.wait_for_function("document.querySelectorAll('#cards li').length === 1")
        filtered = time.perf_counter()
        page.click("#cards button")
        page.wait_for_function("[...document.querySelectorAll('#panels img')].every((i) => i.complete)")
        opened = time.perf_counter()
        page.keyboard.press("Escape")
        page.click("#clear")
        while page.locator("#cards li").count() < len(ids):
            page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        scrolled = time.perf_counter()
        browser.close()
    return {"load": loaded - start, "filter": filtered - loaded, "open": opened - filtered, "scroll": scrolled - opened}


def row(what: str, value: float, unit: str, target: str) -> dict[str, object]:
    """A line of the table."""
    print(f"{what}: {value:.3f} {unit} {target}", flush=True)
    return {"what": what, "value": round(value, 3), "unit": unit, "target": target}


def synthetic_page(folder: Path) -> tuple[Path, list[dict[str, object]]]:
    """The page of synthetic cases, and what writing it costs."""
    table = make_records(folder / "records")
    figure = save_picture(distribution(table), folder / "distribution.png")
    start = time.process_time()
    page = write_page(
        folder / "report.html", table, title="1,000 synthetic lesions",
        findings=prediction_findings(table, 0.8, 0.7, 0.9),
        sections=[Section("Predicted Dice", figure, DISTRIBUTION)], error_maps=error_maps,
    )  # fmt: skip
    cost = (time.process_time() - start) / CASES
    return page, [row(f"writing the page of {CASES:,} cases, a case", cost, "s CPU", "")]


def main() -> None:
    """Make the page or take the one that is given, open it, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep", type=Path, help="keep the page of synthetic cases in this folder")
    parser.add_argument("--page", type=Path, help="report.html of sqp evaluate or sqp predict, to open instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page, rows = (args.page.resolve(), []) if args.page else synthetic_page(Path(folder))
        ids = ids_of(page)
        rows.append(row(f"size of the page of {len(ids):,} cases", page.stat().st_size / 1e6, "MB", ""))
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(page, args.keep)
        runs = [browse(page, ids) for _ in range(REPEATS)]
    words = {
        "load": (f"opening {len(ids):,} cases, first pictures drawn", "< 3"),
        "filter": ("finding one by its id", ""),
        "open": ("opening a case", ""),
        "scroll": (f"scrolling through all {len(ids):,}", ""),
    }
    for name, (what, target) in words.items():
        rows.append(row(what, statistics.median(run[name] for run in runs), "s wall", target))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
