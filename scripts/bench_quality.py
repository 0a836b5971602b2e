"""What the quality model costs, as ratios within one run: against the segmenter, and reading against the training step.

python scripts/bench_quality.py BUNDLE RECORDS benchmarks/speed_quality.csv

One thread, CPU seconds a record. Predicting is timed with everything it reads (image, mask, maps), and without: the
network alone over batches that are there. The segmenter is timed on the same images with the sampler that made the
records.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import pandas as pd
import torch

from sqp.config.generate import GenerateConfig, SegmenterConfig
from sqp.core.seeding import torch_generator
from sqp.data import read_image
from sqp.prompts import PROMPTERS
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.predict import predict_records
from sqp.quality.model.augment import Augmentation
from sqp.quality.model.batches import BatchPlan, CachedRecords, loader
from sqp.quality.model.cache import build_cache
from sqp.quality.model.channels import plane_names
from sqp.quality.model.inference import infer
from sqp.quality.model.tabular import with_features
from sqp.records import RecordSet
from sqp.records.workers import make_segmenter
from sqp.uncertainty import sample, sampler_options

RECORDS, IMAGES, BATCH = 192, 6, 32


def main(bundle_path: str, records_path: str, out: str) -> None:
    """Time each part and write the table."""
    torch.set_num_threads(1)
    bundle, records = Bundle.load(bundle_path), RecordSet(records_path)
    split = records.table["split"] == "test"
    table = records.table[split].head(RECORDS).reset_index(drop=True)
    asked = set(records.table.loc[records.table["split"] == "val", "record_id"].head(2 * RECORDS))
    start = time.process_time()
    predict_records(bundle, [records_path], BATCH, splits=["val"], record_ids=asked, progress=False, threads=1)
    predicting = (time.process_time() - start) / len(asked)
    segmenting = segment(records, table)
    alone, reading, stepping = network(bundle, table.assign(record_set=records_path))
    rows = [
        ("segmenting, with its samples, an image", segmenting, "s CPU", ""),
        ("predicting quality, with reading, a record", predicting, "s CPU", ""),
        ("predicting quality / segmenting", predicting / segmenting, "ratio", "<= 0.10"),
        ("predicting quality, without reading, a record", alone, "s CPU", "<= 0.005, or the next"),
        ("predicting quality, without reading / segmenting", alone / segmenting, "ratio", "<= 0.10"),
        ("reading cached records, a record", reading, "s CPU", ""),
        ("training step, a record", stepping, "s CPU", ""),
        ("reading / training step", reading / stepping, "ratio", "< 1"),
    ]
    frame = pd.DataFrame(rows, columns=["what", "value", "unit", "target"])
    frame.to_csv(out, index=False, float_format="%.5f")
    print(frame.to_string(index=False))


def segment(records: RecordSet, table: pd.DataFrame) -> float:
    """CPU seconds to encode an image and draw the samples of its natural mask."""
    told, known = records.config, [field.name for field in fields(SegmenterConfig)]
    sampler = told["sampler"]
    options = {name: sampler[name] for name in sampler_options(sampler["name"]) if name in sampler}
    own = SegmenterConfig(**{key: value for key, value in told["segmenter"].items() if key in known})
    segmenter = make_segmenter(GenerateConfig(Path(), Path(), segmenter=own))
    images = [read_image(path) for path in table["image_path"].drop_duplicates().head(IMAGES)]
    for number, image in enumerate([images[0], *images]):
        if number == 1:  # the first one pays for what is set up once
            start = time.process_time()
        prompt = PROMPTERS[told["prompter"]](image)[0]
        sample(segmenter, image, prompt, sampler["n"], torch_generator(0), sampler=sampler["name"], **options)
    return (time.process_time() - start) / len(images)


def network(bundle: Bundle, table: pd.DataFrame) -> tuple[float, float, float]:
    """CPU seconds a record to predict from batches, to read one from the cache, and to augment, go forward and back."""
    with tempfile.TemporaryDirectory() as folder:
        cache = build_cache(table, bundle.channels, bundle.size, Path(folder), 0, False)
        dice = torch.tensor(table["dice"].to_numpy("float32"))
        tabular = with_features(table, bundle.features)
        scores = torch.from_numpy(bundle.standardizer(tabular)) if bundle.standardizer.names else None
        data = CachedRecords(cache, table.index.to_numpy(), dice, torch.ones(len(table)), scores)
        start = time.process_time()
        batches = list(loader(data, BatchPlan(len(data), BATCH, seed=0)))
        reading = (time.process_time() - start) / len(table)
        infer(bundle.model, batches[:1])
        start = time.process_time()
        infer(bundle.model, batches)
        alone = (time.process_time() - start) / len(table)
        names = plane_names(bundle.channels)
        first = names.index("image/red") if "image/red" in names else None
        augment = Augmentation(image=() if first is None else range(first, first + 3))
        model = bundle.model.train()
        start = time.process_time()
        for batch in batches:
            output = model(augment(batch["planes"], torch_generator(0)), batch.get("scores"))
            ((output.dice - batch["dice"]) ** 2).mean().backward()
        return alone, reading, (time.process_time() - start) / len(table)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
