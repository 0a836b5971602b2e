"""What judging beside references costs with `any`: what they teach once, and a case, beside an encoding.

python scripts/bench_references.py benchmarks/speed_references.csv

CPU seconds of one thread, in one process, on synthetic lesions of 512 x 512: `sqp.load` with 8 references, then
`Model.judge` of 12 images with a mask each, after two that do not count; and LiteMedSAM's encoding in float32 of six.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

import sqp
from sqp.data import read_image
from sqp.data.synthetic import write_synthetic
from sqp.segmenters import build_segmenter

SIZE, SHOWN, WARM, JUDGED, ENCODED = (512, 512), 8, 2, 12, 6


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        references, data = Path(name) / "references", Path(name) / "data"
        write_synthetic(references, SHOWN, seed=0, size=SIZE)
        write_synthetic(data, WARM + JUDGED, seed=1, size=SIZE)
        images, masks = (sorted((data / kind).iterdir()) for kind in ("images", "masks"))
        start = time.process_time()
        model = sqp.load(references=references)
        taught = time.process_time() - start
        segmenter = build_segmenter("litemedsam")
        pixels = [read_image(file) for file in images[:ENCODED]]
        segmenter.encode(pixels[0])
        start = time.process_time()
        for image in pixels:
            segmenter.encode(image)
        encoding = (time.process_time() - start) / ENCODED
        list(model.judge(images[:WARM], masks[:WARM]))
        start = time.process_time()
        list(model.judge(images[WARM:], masks[WARM:], threads=1))
        case = (time.process_time() - start) / JUDGED
    rows = [
        {"what": f"`any`, what {SHOWN} references teach, once", "value": taught, "unit": "s CPU"},
        {"what": "LiteMedSAM's encoding in float32", "value": encoding, "unit": "s CPU"},
        {"what": "`any`, a case", "value": case, "unit": "s CPU"},
        {"what": "`any`, a case / an encoding", "value": case / encoding, "unit": "ratio"},
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(4).to_csv(out, index=False)


if __name__ == "__main__":
    main()
