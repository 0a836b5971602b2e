"""Damaged record sets: a damaged table or run.yaml is refused, a damaged record is skipped and counted."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from bad_inputs import damage as d
from bad_inputs.world import Case, World, nothing

PREDICT = "predict --model {mapped} --records {bad} --split test --worst 1 --out {out}"
TRAIN = "train --records {bad} --size 32 --epochs 1 --batch_size 8 --progress false --accelerator cpu --out {out}"
EVALUATE = "evaluate --model {bundle} --records {bad} --n_resamples 20 --surface false --out {out}"
EXPLAIN = (
    "explain --model {mapped} --records {bad} --n_resamples 20 --neighbours 0 --checked 0 --cams [] --cases 0 "
    "--thumbnails 0 --permute false --out {out}"
)
ALL = {"predict": PREDICT, "train": TRAIN, "evaluate": EVALUATE, "explain": EXPLAIN}
AGAIN = "generate --images {images} --masks {masks} --segmenter none --referee none --out {bad}/set"


def records(name: str, *makes: d.Make, verb: str = "predict", status: int = 2, words: str = "records.parquet") -> Case:
    return Case(f"records-{name}-{verb}", d.copied("records", *makes), ALL[verb], status, words)


def row(name: str, content: str | bytes) -> d.Make:
    return d.write(f"rows/{name}.json", content)


def without(column: str) -> d.Make:
    return d.table_with(lambda table: table.drop(columns=[column]))


def column(name: str, value: object) -> d.Make:
    return d.table_with(lambda table: table.assign(**{name: [value] * len(table)}))


def made(*makes: d.Make) -> d.Make:
    """A record set of `generate`, then damaged, in `bad/set`."""

    def make(world: World, bad: Path) -> None:
        from shlex import split

        from sqp.cli.main import main

        assert main([part.format(**world.names(bad, bad)) for part in split(AGAIN)]) == 0
        for one in makes:
            one(world, bad / "set")

    return make


def again(name: str, *makes: d.Make, words: str = "") -> Case:
    return Case(f"again-{name}", made(*makes), AGAIN, 2, words)


def gone(path: Path) -> None:
    path.unlink()


HALF = d.npy(np.zeros((24, 32), np.float16))
NAMES = ("self__probability", "self__entropy", "self__mutual_information", "self__epkl", "self__variance")
MAPS = {
    "empty": d.content(b""),
    "garbage": d.content(d.GARBAGE),
    "cut": lambda path: path.write_bytes(d.cut(path.read_bytes())),
    "gone": gone,
    "folder": d.to_folder,
    "dangling": d.to_dangling,
    "zip-of-nothing": d.content(d.npz()),
    "zip-of-garbage": d.content(d.npz(**{f"{name}.npy": d.GARBAGE for name in NAMES})),
    "claims": d.content(d.npz(**{f"{n}.npy": d.npy_shape("(1000000000, 1000000000)", "<f2") for n in NAMES})),
    "negative": d.content(d.npz(**{f"{n}.npy": d.npy_shape("(-1, -1)", "<f2") for n in NAMES})),
    "nested": d.content(d.npz(**{f"{n}.npy": d.npy_of("(" * 9000) for n in NAMES})),
    "objects": d.content(d.npz(**{f"{n}.npy": d.npy(np.array([{}]), allow_pickle=True) for n in NAMES})),
    "text": d.content(d.npz(**{f"{n}.npy": d.npy(np.full((4, 4), "a")) for n in NAMES})),
    "a-number": d.content(d.npz(**{f"{n}.npy": d.npy(np.float16(1)) for n in NAMES})),
    "version-2": d.content(d.npz(**{f"{n}.npy": d.npy_of("{}", version=b"\x02\x00") for n in NAMES})),
    "nan": d.content(d.npz(**{f"{n}.npy": d.npy(np.full((24, 32), np.nan, np.float16)) for n in NAMES})),
}
MASKS = {
    "empty": d.content(b""),
    "garbage": d.content(d.GARBAGE),
    "bomb": d.content(d.png_of(60_000, 60_000)),
    "gone": gone,
    "folder": d.to_folder,
    "dangling": d.to_dangling,
}
NEEDED = ("record_id", "image_id", "image_path", "split", "group", "dice", "variant", "natural", "dataset", "licence")
NEEDED += ("prompter", "segmenter", "truth_path")
CASES = [
    Case("records-missing", nothing, PREDICT.replace("{bad}", "{bad}/none"), 2, "is no record set"),
    Case("records-a-file", d.write("f", "x"), PREDICT.replace("{bad}", "{bad}/f"), 2, "is no record set"),
    Case("records-empty-folder", nothing, TRAIN, 2, "is no record set"),
    *[records("table-empty", d.write("records.parquet", b""), verb=verb) for verb in ALL],
    *[records("table-folder", d.replaced_by_folder("records.parquet"), verb=verb) for verb in ALL],
    records("table-cut", d.truncated("records.parquet")),
    records("table-tail-alone", d.write("records.parquet", b"PAR1" + b"\xff" * 40 + b"PAR1"), verb="train"),
    records("table-garbage", d.write("records.parquet", b"PAR1" + d.GARBAGE + b"PAR1"), verb="explain"),
    records("table-dangling", d.gone("records.parquet"), d.link("records.parquet"), words="is no record set"),
    records("no-rows", d.table_with(lambda table: table.head(0)), words=""),
    records("no-rows", d.table_with(lambda table: table.head(0)), verb="train", words=""),
    records("no-rows", d.table_with(lambda table: table.head(0)), verb="explain", words=""),
    records("other-table", d.table_with(lambda table: pd.DataFrame({"a": [1]})), words="record_id"),
    *[records(f"without-{name}", without(name), verb=v, words=name) for name, v in product(NEEDED[:6], ALL)],
    *[records(f"without-{name}", without(name), verb="train", words=name) for name in NEEDED[6:]],
    records("dice-words", column("dice", "high"), verb="train", words="dice"),
    records("dice-words", column("dice", "high"), verb="evaluate", words="dice"),
    records("split-numbers", column("split", 3), verb="train", words=""),
    records("split-none", column("split", None), verb="train", words=""),
    records("group-numbers", column("group", 3), verb="train", words=""),
    records("ids-numbers", column("record_id", 3), words="record_id"),
    records("ids-none", column("record_id", None), words="record_id"),
    records("ids-of-paths", column("record_id", "../../x"), words=""),
    records("paths-numbers", column("image_path", 5), words="image_path"),
    records("paths-none", column("image_path", None), words="image_path"),
    records("truths-numbers", column("truth_path", 5), verb="explain", words="truth_path"),
    records("natural-words", column("natural", "yes"), verb="train", words="natural"),
    records("height-words", column("height", "tall"), verb="train", words="height"),
    Case("records-given-twice", nothing, TRAIN.replace("{bad}", "{records} {records}"), 2, "in two of the record sets"),
    records("row-garbage", row("x", d.GARBAGE), words="x.json"),
    records("row-empty", row("x", ""), words="x.json"),
    records("row-deep", row("x", d.DEEP), words="x.json"),
    records("row-list", row("x", "[1]"), words="x.json"),
    records("row-null", row("x", "null"), words="x.json"),
    records("row-huge-number", row("x", '{"record_id": ' + d.HUGE_NUMBER + "}"), words="x.json"),
    records("row-of-nothing", row("x", "{}"), words="x.json"),
    records("row-folder", d.folder("rows/x.json"), words="x.json"),
    *[records("run-missing", d.gone("run.yaml"), verb=verb, words="run.yaml") for verb in ALL],
    records("run-empty", d.write("run.yaml", ""), words="run.yaml"),
    records("run-garbage", d.write("run.yaml", d.GARBAGE), words="run.yaml"),
    records("run-no-yaml", d.write("run.yaml", "a: ["), verb="train", words="run.yaml"),
    records("run-deep", d.write("run.yaml", "[" * 1200), words="run.yaml"),
    records("run-list", d.write("run.yaml", "[1]"), words="run.yaml"),
    records("run-without-config", d.write("run.yaml", "a: 1"), verb="train", words="run.yaml"),
    records("run-config-a-word", d.write("run.yaml", "config: x"), words="run.yaml"),
    records("run-segmenter-a-word", d.write("run.yaml", "config: {segmenter: x}"), words=""),
    records("run-python", d.write("run.yaml", "!!python/object/apply:os.getpid []"), words="run.yaml"),
    records("run-folder", d.replaced_by_folder("run.yaml"), words="run.yaml"),
    *[
        records(f"maps-{name}", d.of_test_record("maps", then), status=1, words="")
        for name, then in MAPS.items()
        if name != "nan"
    ],
    *[records(f"mask-{name}", d.of_test_record("masks", then), status=1, words="") for name, then in MASKS.items()],
    records("maps-garbage", d.of_test_record("maps", MAPS["garbage"]), verb="explain", status=1, words=""),
    records("mask-garbage", d.of_test_record("masks", MASKS["garbage"]), verb="explain", status=1, words=""),
    records("mask-bomb", d.of_test_record("masks", MASKS["bomb"]), verb="evaluate", status=1, words=""),
    records("image-gone", d.of_test_record("images", gone), verb="evaluate", status=1, words=""),
    records("image-garbage", d.of_test_record("images", d.content(d.GARBAGE)), verb="explain", status=0, words=""),
    records("maps-folder-gone", d.gone("maps"), words="maps"),
    records("maps-folder-gone", d.gone("maps"), verb="train", words=""),
    records(
        "maps-all-garbage",
        *[lambda w, b: [p.write_bytes(d.GARBAGE) for p in (b / "maps").iterdir()] and None],
        verb="train",
        words="maps",
    ),
    records(
        "maps-one-garbage",
        lambda w, b: sorted((b / "maps").iterdir())[0].write_bytes(d.GARBAGE) and None,
        verb="train",
        status=1,
        words="skipped",
    ),
    records("masks-folder-gone", d.gone("masks"), verb="train", words="cannot be read"),
    again("table-garbage", d.write("records.parquet", d.GARBAGE), words="records.parquet"),
    again("table-folder", d.replaced_by_folder("records.parquet"), words="records.parquet"),
    again("table-other", d.table_with(lambda t: pd.DataFrame({"a": [1]})), words="records.parquet"),
    again("run-garbage", d.write("run.yaml", d.GARBAGE), words="run.yaml"),
    again("run-empty", d.write("run.yaml", ""), words="run.yaml"),
    again("run-list", d.write("run.yaml", "[1]"), words="run.yaml"),
    again("row-garbage", d.write("rows/x.json", d.GARBAGE), words="x.json"),
    again("row-list", d.write("rows/x.json", "[]"), words="x.json"),
    again("masks-a-file", d.both(d.gone("masks"), d.write("masks", "")), words="masks"),
]
