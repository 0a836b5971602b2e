"""The picture of the README: the page that `sqp predict` writes of synthetic lesions, as a browser shows it.

python scripts/page_picture.py docs/page.png [--phone FILE.png] [--keep FOLDER]

Twelve lesions; the masks of every second one are worsened to a Dice between 0.4 and 0.9, the others are as they were
drawn. The bundle is `default`. Headless Chromium (Debian's) without a network, the page at 1,250 pixels, the picture at
four fifths of it; --phone takes the page at 390 pixels too, to be looked at. No patient is in the picture.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from sqp.cli.main import main as sqp
from sqp.core.files import write_atomic, write_mask
from sqp.core.seeding import numpy_generator
from sqp.data.corruptions import corrupt_to_dice
from sqp.data.synthetic import write_synthetic

LESIONS, SEED, SIZE = 12, 1, (384, 512)
WORSE = {"shift": 0.85, "erosion": 0.78, "blob_add": 0.7, "elastic": 0.62, "dilation": 0.55, "blob_cut": 0.45}
"""Corruption -> the Dice that it aims at; every second lesion takes the next one."""
WIDE, PHONE = (1250, 1120, 0.8), (390, 844, 1.0)
"""Width and height of the window, and pixels of the picture for one of the page."""
COLOURS = 256


def worsen(folder: Path) -> None:
    """Change every second mask in FOLDER/masks."""
    worse = sorted((folder / "masks").iterdir())[::2]
    for number, (path, (name, target)) in enumerate(zip(worse, WORSE.items(), strict=True)):
        truth = np.asarray(Image.open(path)) > 0
        mask, _ = corrupt_to_dice(name, truth, truth, target, numpy_generator(SEED, "page", number))
        write_mask(path, mask)


def pictures(page: Path, program: str, windows: dict[Path, tuple[int, int, float]]) -> None:
    """The top of an HTML file in each window, in a palette, which such a page needs no more than."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for file, (width, height, scale) in windows.items():
            window = {"width": width, "height": height}
            shown = browser.new_context(
                viewport=window, device_scale_factor=scale, offline=True, color_scheme="light"
            ).new_page()
            shown.goto(page.as_uri(), wait_until="load")
            taken = (
                Image.open(io.BytesIO(shown.screenshot())).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
            )
            write_atomic(file, lambda to, taken=taken: taken.save(to, format="PNG", optimize=True))
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--phone", type=Path)
    parser.add_argument("--keep", type=Path, help="where lesions and predictions stay")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    args = parser.parse_args()
    if args.chromium is None:
        parser.error("no chromium on the path: apt-get install chromium, or --chromium FILE")
    windows = {args.picture.absolute(): WIDE} | ({args.phone.absolute(): PHONE} if args.phone else {})
    folder = args.keep or Path(tempfile.mkdtemp())
    try:
        write_synthetic(folder, LESIONS, SEED, SIZE)
        worsen(folder)
        with contextlib.chdir(folder):  # the page tells the paths as they are given
            if sqp(["predict", "--images", "images", "--masks", "masks", "--out", "judged", "--overwrite"]):
                raise SystemExit("sqp predict failed")
        pictures((folder / "judged" / "report.html").absolute(), args.chromium, windows)
    finally:
        if args.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
