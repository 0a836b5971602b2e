"""What explaining costs: 100 records with all of `sqp explain`'s defaults, and what of that is UMAP's compile time.

python scripts/bench_explain.py BUNDLE RECORDS benchmarks/speed_explain.csv

One thread, CPU seconds, so that other processes disturb them little: what one free core takes. UMAP compiles
on its first call in a process, so the first call is timed on a handful of points before.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sqp.commands import explain
from sqp.config.explain import ExplainConfig
from sqp.explain.cams import cam_maps, choose_layer, spatial_layers
from sqp.explain.data import load_material
from sqp.explain.embedding import projections, standardised
from sqp.quality.bundle.storage import Bundle

RECORDS = 100


def main(bundle_path: str, records_path: str, out: str) -> None:
    """Time it and write the table."""
    torch.set_num_threads(1)
    features = standardised(np.random.default_rng(0).normal(size=(40, 8)))
    compiling = seconds(lambda: projections(features, 5))
    with tempfile.TemporaryDirectory() as folder:
        config = ExplainConfig(Path(bundle_path), Path(folder), [Path(records_path)], max_records=RECORDS)
        whole = seconds(lambda: explain.run(config))
        bundle = Bundle.load(config.model)
        reading = seconds(lambda: load_material(config, bundle))
        material = load_material(config, bundle)
        planes, scores = material.batch(np.arange(len(material)), "cpu")
        layer = choose_layer(spatial_layers(bundle.model))
        cam = seconds(lambda: cam_maps(bundle.model, planes, scores, layer))
    rows = [
        (f"explaining {RECORDS} records, UMAP compiled before", whole, "s CPU", "< 120"),
        ("compiling UMAP, once a process", compiling, "s CPU", "apart"),
        (f"reading and predicting {RECORDS} records", reading, "s CPU", ""),
        ("one Grad-CAM, a record, over the model's symmetries", cam / RECORDS, "s CPU", ""),
    ]
    frame = pd.DataFrame(rows, columns=["what", "value", "unit", "target"])
    frame.to_csv(out, index=False, float_format="%.4f")
    print(frame.to_string(index=False))


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
