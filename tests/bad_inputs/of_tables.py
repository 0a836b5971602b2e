"""Bad tables, splits, configs, frozen sets and predictions: one sentence that names the file."""

from __future__ import annotations

import json
from pathlib import Path

from bad_inputs import damage as d
from bad_inputs.world import Case, World, nothing

CSV = "generate --images {bad}/cases.csv --segmenter fake --n 2 --out {out}"
DATA = "generate --images {bad} --segmenter fake --n 2 --out {out}"
SPLITS = "generate --images {images} --segmenter fake --n 2 --splits {bad}/splits.json --out {out}"
FIT = "fit segmenter --images {data} --splits {bad}/splits.json --out {out}"
CONFIG = "train --records {records} --out {out} --config {bad}/c.yaml"
FROZEN = "evaluate --model {bundle} --records {records} --frozen {bad}/f.json --out {out}"
PREDICTIONS = "evaluate --predictions {bad}/p.csv --records {records} --out {out}"
PARQUET = "evaluate --predictions {bad}/p.parquet --records {records} --out {out}"
COMPARE = "compare {bad}/one {bad}/two --out {out}"
CARD = "export --model {bundle} --card {out}/card.md --evaluation {bad}"


def ham(metadata: bytes | str) -> d.Make:
    """HAM10000 as downloaded, with these metadata."""

    def make(world: World, bad: Path) -> None:
        d.copied("images")(world, bad / "HAM10000_images")
        d.write("HAM10000_metadata.csv", metadata)(world, bad)

    return make


def csv_of(text: str | bytes) -> d.Make:
    """A CSV whose paths are relative to the world's images."""

    def make(world: World, bad: Path) -> None:
        d.copied("images")(world, bad / "images")
        d.copied("masks")(world, bad / "masks")
        d.write("cases.csv", text)(world, bad)

    return make


def runs(**files: bytes | str) -> d.Make:
    """Two folders that say that they are evaluations; the second with these files in place of sound ones."""
    sound = {"run.yaml": "config: {split: test}\n", "evaluation.csv": "dataset,subset,method,n\nall,natural,model,3\n"}
    sound["predictions.csv"] = "record_id,predicted_dice,dice,variant,group\nr,0.5,0.6,natural,g\nq,0.7,0.8,natural,h\n"

    def make(world: World, bad: Path) -> None:
        for name, own in (("one", sound), ("two", sound | {k.replace("__", "."): v for k, v in files.items()})):
            for file, content in own.items():
                d.write(f"{name}/{file}", content)(world, bad)

    return make


def splits(content: object) -> d.Make:
    return d.write("splits.json", content if isinstance(content, str | bytes) else json.dumps(content))


CASES = [
    Case("csv-empty", csv_of(""), CSV, 2, "cases.csv"),
    Case("csv-header-alone", csv_of("image,mask\n"), CSV, 2, "no images"),
    Case("csv-no-column", csv_of("a,b\n1,2\n"), CSV, 2, "no column 'image'"),
    Case("csv-binary", csv_of(d.GARBAGE), CSV, 2, "cases.csv"),
    Case("csv-nulls", csv_of(b"image,mask\n\0\0\0,\0\n"), CSV, 2, "cases.csv"),
    Case(
        "csv-null-in-a-path",
        csv_of(b"image,mask\nimages/a.png,masks/a.png\nimages/\0b.png,masks/b.png\n"),
        CSV,
        2,
        "bytes of 0",
    ),
    Case("csv-latin1", csv_of("image,mask\ncafé.png,é.png\n".encode("latin1")), CSV, 2, "cases.csv"),
    Case(
        "csv-long-name",
        csv_of(f"image,mask\nimages/a.png,masks/a.png\n{'x' * 5000}.png,masks/b.png\n"),
        CSV,
        2,
        "too long",
    ),
    Case("csv-rows-of-other-lengths", csv_of("image,mask\na.png\na,b,c,d\n"), CSV, 2, "cases.csv"),
    Case("csv-quote-open", csv_of('image,mask\n"images/a.png,masks/a.png\n'), CSV, 2, "cases.csv"),
    Case("csv-two-columns-of-a-name", csv_of("image,image,mask\nimages/a.png,b,masks/a.png\n"), CSV, 2, "two columns"),
    Case("csv-same-image-twice", csv_of("image,mask\nimages/a.png,masks/a.png\n" * 2), CSV, 2, "images"),
    Case("csv-image-twice", csv_of("image,mask\n" + "images/a.png,masks/a.png\n" * 2), CSV, 2, "two images"),
    Case("csv-image-gone", csv_of("image,mask\nimages/a.png,masks/a.png\nimages/z.png,masks/b.png\n"), CSV, 1, "z.png"),
    Case("csv-mask-gone", csv_of("image,mask\nimages/a.png,masks/a.png\nimages/b.png,masks/z.png\n"), CSV, 1, "z.png"),
    Case(
        "csv-image-is-a-folder",
        csv_of("image,mask\nimages/a.png,masks/a.png\nmasks,masks/b.png\n"),
        CSV,
        2,
        "give each kind",
    ),
    Case("csv-all-gone", csv_of("image\nx.png\ny.png\n"), CSV, 2, "none of the 2 images"),
    Case("csv-cell-empty", csv_of("image,mask\nimages/a.png,masks/a.png\n,masks/b.png\n"), CSV, 2, "row 3"),
    Case(
        "csv-split-unknown", csv_of("image,mask,split\nimages/a.png,masks/a.png,tset\n"), CSV, 2, "did you mean 'test'"
    ),
    Case("csv-folder", d.folder("cases.csv"), CSV, 2, "cases.csv"),
    Case("csv-dangling", d.link("cases.csv"), CSV, 2, "does not exist"),
    Case("labels-empty", d.copied("data", d.write("labels.csv", "")), DATA, 0, ""),
    Case("labels-binary", d.copied("data", d.write("labels.csv", d.GARBAGE)), DATA, 0, ""),
    Case(
        "labels-then-binary",
        d.copied("data", d.write("labels.csv", b"image_id,group\n" + d.GARBAGE)),
        DATA,
        2,
        "labels.csv",
    ),
    Case(
        "labels-long-field", d.copied("data", d.write("labels.csv", "image_id," + "x" * 200_000)), DATA, 2, "labels.csv"
    ),
    Case("labels-null", d.copied("data", d.write("labels.csv", b"image_id\0,group\ni0,i0\n")), DATA, 0, ""),
    Case("labels-twice", d.copied("data", d.write("labels.csv", "image_id\ni0\ni0\n")), DATA, 2, "have no row"),
    Case("labels-row-gone", d.copied("data", d.write("labels.csv", "image_id\ni0\nz\n")), DATA, 2, "have no image"),
    Case("labels-folder", d.copied("data", d.replaced_by_folder("labels.csv")), DATA, 0, ""),
    Case("ham-empty", ham(""), DATA, 2, "HAM10000_metadata"),
    Case("ham-binary", ham(d.GARBAGE), DATA, 2, "HAM10000_metadata"),
    Case("ham-columns", ham("a,b\n1,2\n"), DATA, 2, "no column"),
    Case("ham-other-rows", ham("image_id,lesion_id,dx\nz,z,nv\n"), DATA, 2, "not listed"),
    Case("splits-missing", nothing, SPLITS, 2, "does not exist"),
    Case("splits-empty", splits(""), SPLITS, 2, "splits.json"),
    Case("splits-garbage", splits(d.GARBAGE), SPLITS, 2, "splits.json"),
    Case("splits-deep", splits(d.DEEP), SPLITS, 2, "splits.json"),
    Case("splits-huge-number", splits('{"seed": ' + d.HUGE_NUMBER + ', "splits": {}}'), SPLITS, 2, "splits.json"),
    Case("splits-a-list", splits([1]), SPLITS, 2, "splits.json"),
    Case("splits-null", splits(None), SPLITS, 2, "splits.json"),
    Case("splits-groups-a-list", splits({"splits": {"train": ["a"]}}), SPLITS, 2, "splits.json"),
    Case("splits-ids-a-number", splits({"splits": {"train": {"a": 3}}}), SPLITS, 2, "splits.json"),
    Case("splits-ids-of-lists", splits({"splits": {"train": {"a": [["a"]]}}}), SPLITS, 2, "splits.json"),
    Case("splits-ids-text", splits({"splits": {"train": {"a": "a", "b": "b"}}}), SPLITS, 2, "splits.json"),
    Case("splits-unknown", splits({"splits": {"tset": {"a": ["a"]}}}), SPLITS, 2, "tset"),
    Case("splits-leak", splits({"splits": {"train": {"a": ["a"]}, "test": {"a": ["a"]}}}), SPLITS, 2, "leakage"),
    Case("splits-folder", d.folder("splits.json"), SPLITS, 2, "splits.json"),
    Case("splits-bom", splits(b"\xff\xfe{\0}\0"), FIT, 2, "splits.json"),
    Case("splits-dangling-fit", d.link("splits.json"), FIT, 2, "splits.json"),
    Case("config-missing", nothing, CONFIG, 2, "c.yaml"),
    Case("config-empty", d.write("c.yaml", ""), CONFIG, 2, "c.yaml"),
    Case("config-garbage", d.write("c.yaml", d.GARBAGE), CONFIG, 2, "c.yaml"),
    Case("config-no-yaml", d.write("c.yaml", "a: [1, 2\nb: }"), CONFIG, 2, "c.yaml"),
    Case("config-a-list", d.write("c.yaml", "- 1\n- 2\n"), CONFIG, 2, "c.yaml"),
    Case("config-a-word", d.write("c.yaml", "hello\n"), CONFIG, 2, "c.yaml"),
    Case("config-a-number", d.write("c.yaml", "3\n"), CONFIG, 2, "c.yaml"),
    Case("config-deep", d.write("c.yaml", "[" * 1500), CONFIG, 2, "c.yaml"),
    Case("config-deep-and-closed", d.write("c.yaml", "size: " + "[" * 1200 + "]" * 1200), CONFIG, 2, "c.yaml"),
    Case("config-huge-number", d.write("c.yaml", f"size: {d.HUGE_NUMBER}\n"), CONFIG, 2, ""),
    Case("config-unknown-key", d.write("c.yaml", "epoch: 3\n"), CONFIG, 2, "did you mean 'epochs'"),
    Case("config-keys-of-numbers", d.write("c.yaml", "1: 2\n"), CONFIG, 2, ""),
    Case("config-wrong-type", d.write("c.yaml", "epochs: many\n"), CONFIG, 2, "epochs"),
    Case("config-list-for-a-number", d.write("c.yaml", "epochs: [1, 2]\n"), CONFIG, 2, "epochs"),
    Case("config-mapping-for-a-path", d.write("c.yaml", "cache: {a: 1}\n"), CONFIG, 2, "cache"),
    Case("config-null", d.write("c.yaml", "epochs:\n"), CONFIG, 2, "epochs"),
    Case("config-python-tag", d.write("c.yaml", "epochs: !!python/object/apply:os.getpid []\n"), CONFIG, 2, "c.yaml"),
    Case("config-latin1", d.write("c.yaml", "backbone: é\n".encode("latin1")), CONFIG, 2, "c.yaml"),
    Case("config-control-characters", d.write("c.yaml", b"epochs: \x01\x02\n"), CONFIG, 2, "c.yaml"),
    Case("config-bad-date", d.write("c.yaml", "backbone: 2020-99-99\n"), CONFIG, 2, "c.yaml"),
    Case("config-folder", d.folder("c.yaml"), CONFIG, 2, "c.yaml"),
    Case("config-dangling", d.link("c.yaml"), CONFIG, 2, "c.yaml"),
    Case("config-sections-wrong", d.write("c.yaml", "train: 3\npredict: {}\n"), CONFIG, 2, ""),
    Case("frozen-missing", nothing, FROZEN, 2, "f.json"),
    Case("frozen-garbage", d.write("f.json", d.GARBAGE), FROZEN, 2, "f.json"),
    Case("frozen-deep", d.write("f.json", d.DEEP), FROZEN, 2, "f.json"),
    Case("frozen-a-list", d.write("f.json", "[]"), FROZEN, 2, "f.json"),
    Case("frozen-null", d.write("f.json", "null"), FROZEN, 2, "f.json"),
    Case("frozen-masks-a-list", d.write("f.json", '{"sha256": "0", "masks": ["a"]}'), FROZEN, 2, "f.json"),
    Case("frozen-edited", d.write("f.json", '{"sha256": "0", "masks": {"a": "b"}}'), FROZEN, 2, "edited"),
    Case("frozen-folder", d.folder("f.json"), FROZEN, 2, "f.json"),
    Case("predictions-empty", d.write("p.csv", ""), PREDICTIONS, 2, "p.csv"),
    Case("predictions-binary", d.write("p.csv", d.GARBAGE), PREDICTIONS, 2, "p.csv"),
    Case("predictions-columns", d.write("p.csv", "a,b\n1,2\n"), PREDICTIONS, 2, "no column record_id"),
    Case("predictions-words", d.write("p.csv", "record_id,predicted_dice\nr,high\n"), PREDICTIONS, 2, "predicted_dice"),
    Case("predictions-nulls", d.write("p.csv", b"record_id,predicted_dice\nr\0,\0\n"), PREDICTIONS, 2, "p.csv"),
    Case("predictions-header", d.write("p.csv", "record_id,predicted_dice\n"), PREDICTIONS, 2, "p.csv"),
    Case("predictions-folder", d.folder("p.csv"), PREDICTIONS, 2, "p.csv"),
    Case("predictions-parquet", d.write("p.parquet", b"PAR1" + d.GARBAGE), PARQUET, 2, "p.parquet"),
    Case("predictions-parquet-empty", d.write("p.parquet", b""), PARQUET, 2, "p.parquet"),
    Case("predictions-dangling", d.link("p.parquet"), PARQUET, 2, "p.parquet"),
    Case("compare-one", nothing, "compare {records} --out {out}", 2, "at least two"),
    Case("compare-none", nothing, "compare --out {out}", 2, "runs"),
    Case("compare-no-runs", nothing, "compare {images} {masks} --out {out}", 2, "is no run"),
    Case("compare-files", nothing, "compare {csv} {splits} --out {out}", 2, "cases.csv"),
    Case("compare-run-garbage", runs(run__yaml=d.GARBAGE), COMPARE, 2, "run.yaml"),
    Case("compare-run-a-list", runs(run__yaml="[]"), COMPARE, 2, "run.yaml"),
    Case("compare-config-a-word", runs(run__yaml="config: x"), COMPARE, 2, "run.yaml"),
    Case("compare-table-empty", runs(evaluation__csv=""), COMPARE, 2, "evaluation.csv"),
    Case("compare-table-binary", runs(evaluation__csv=d.GARBAGE), COMPARE, 2, "evaluation.csv"),
    Case("compare-table-columns", runs(evaluation__csv="a,b\n1,2\n"), COMPARE, 2, "evaluation.csv"),
    Case(
        "compare-table-words",
        runs(evaluation__csv="dataset,subset,method,n\nall,natural,model,many\n"),
        COMPARE,
        2,
        "evaluation.csv",
    ),
    Case("compare-predictions-empty", runs(predictions__csv=""), COMPARE, 2, "predictions.csv"),
    Case(
        "compare-predictions-columns",
        runs(predictions__csv="record_id,predicted_dice\nr,1\n"),
        COMPARE,
        2,
        "predictions.csv",
    ),
    Case("card-table-empty", d.write("evaluation.csv", ""), CARD, 2, "evaluation.csv"),
    Case("card-table-binary", d.write("evaluation.csv", d.GARBAGE), CARD, 2, "evaluation.csv"),
    Case("card-table-columns", d.write("evaluation.csv", "a,b\n1,2\n"), CARD, 2, "evaluation.csv"),
    Case("card-no-table", nothing, CARD, 2, "no evaluation.csv"),
    Case("card-table-folder", d.folder("evaluation.csv"), CARD, 2, "no evaluation.csv"),
]
