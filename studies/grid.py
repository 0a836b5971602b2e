"""The paper's grid: Bayesian methods x uncertainty maps x frameworks, one quality model a cell, one table.

python -m studies.grid configs/grid_ham10000.yaml runs/grid_ham10000 [--methods tta ...] [--freeze]

Sikha O K et al. 2025 (arXiv 2508.01460). Of each method the record set is generated (unless `records` names one that is
there), in one pass or those of `passes` (which say of which splits, and how many images), and its spread test masks are
frozen, before any training, in the file that `frozen` of the config names ("{method}" stands for the method's name;
else OUT/METHOD/spread.json); then a model is trained a map and framework, on that map alone. Everything goes on where
it stopped; the cells of a method share one decoded cache. Writes OUT/grid.csv and OUT/grid.md (test rows, natural and
spread) and OUT/map_means.csv: each map's mean over the image, and the aggregates of these means that are fitted on
calibration rows, against the Dice. With --methods other methods keep the rows that they have; --freeze stops before any
training, when all frozen sets are there to be committed. `paper` of the config is printed beside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.commands import train
from sqp.config.evaluate import EvaluateConfig
from sqp.config.generate import UNSEEN
from sqp.core.errors import lookup
from sqp.evaluation.comparison import MODEL, compare, short
from sqp.evaluation.paired import cells as interval_cells
from sqp.evaluation.paired import measured
from sqp.evaluation.rows import load_rows
from sqp.evaluation.subsets import Subset, subsets
from sqp.metrics import agreement
from sqp.metrics.aggregation import AGGREGATES
from sqp.metrics.stats import Resamples, paired_difference
from sqp.records import RecordSet, read_record_sets
from sqp.records.frozen import frozen_rows, read_frozen
from sqp.report.tables import HEADINGS, formatted, markdown, write_csv
from studies.runner import (
    collected,
    command,
    frozen_spread,
    kept,
    option,
    predictions_key,
    status,
    study,
    write_page,
)

KEYS = ["method", "map", "framework", "subset"]
CERTAINTY = "certainty"  # the one map that is higher = surer
SHOWN = ["n", "n_groups", "sd_dice", "r2", "pearson", "spearman", "mae", "rmse", "coverage", "width"]


def record_set(settings: Mapping[str, Any], method: Mapping[str, Any], home: Path) -> Path:
    """The records of a method: those that it names, or generated with what is common and its own keys on top."""
    if "records" in method:
        return Path(method["records"])
    values = {**settings.get("generate", {}), **method, "out": str(home / "records")}
    return [command("generate", values, part) for part in settings.get("passes", [{}])][-1].out


def cells(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """map, framework and the inputs that they stand for."""
    for name in settings["maps"]:
        for framework in settings["frameworks"]:
            yield name, framework, framework.replace("uncertainty", f"self/{name}")


def trained(settings: Mapping[str, Any], inputs: str, records: Path, home: Path, out: Path) -> train.TrainResult:
    """A cell's model; answered from its files where it is there."""
    held = ["image", "mask", *(f"self/{name}" for name in settings["maps"])]
    shared = {"cache": str(home / "cache"), "cache_inputs": "+".join(held)}
    own = {"records": [str(records)], "out": str(out), "inputs": inputs}
    return command("train", settings["train"], shared, own)


def tested(bundle: Path, records: Path, frozen: Path, n_resamples: int) -> pd.DataFrame:
    """A row a subset of the test split: the model's statistics with their intervals by group."""

    def judged() -> pd.DataFrame:
        config = EvaluateConfig(out=bundle.parent, records=[records], model=bundle, frozen=[frozen])
        rows = load_rows(config)
        parts = []
        for part in subsets(rows.test, rows.calibration, config.unseen):
            table = short(compare(part.test, part.calibration, [], n_resamples, details=False))
            parts.append(table[table["method"] == MODEL].assign(subset=part.name).drop(columns="method"))
        return pd.concat(parts)

    key = predictions_key(bundle, [records], [frozen])
    return kept(bundle.parent / f"test-{n_resamples}-{key}.csv", judged)


def map_means(records: Path, frozen: Path, maps: list[str], n_resamples: int) -> pd.DataFrame:
    """Each map's mean over the image, and their aggregates, against the Dice: test rows, intervals by group.

    A measure is higher = more uncertain (certainty is the exception), so good ones are below 0; aggregates are above.
    These are fitted on calibration rows; `spearman_gain` is what one has over the map that is the best there.
    """
    table = read_record_sets([records])
    table = table[table["dice"].notna()]
    rows, calibration = table[table["split"] == "test"], table[table["split"] == "calibration"]
    rows = rows[frozen_rows(read_frozen(frozen), rows)]
    names, source = [f"self/{name}" for name in maps], RecordSet(records)

    def with_means(part: pd.DataFrame) -> pd.DataFrame:
        read = [{k: float(v.mean(dtype=np.float64)) for k, v in source.maps(r, names).items()} for r in part.record_id]
        return part.join(pd.DataFrame(read, part.index, names))

    parts = subsets(with_means(rows), with_means(calibration), list(UNSEEN))
    return pd.DataFrame([row for part in parts for row in mean_rows(part, names, n_resamples)])


def mean_rows(part: Subset, names: list[str], n_resamples: int) -> Iterator[dict[str, Any]]:
    """A row a map, then a row an aggregate."""
    sign = np.array([1 if name == f"self/{CERTAINTY}" else -1 for name in names])
    fitted_on, truth = part.calibration["dice"], part.test["dice"].to_numpy(float)
    means, known = part.test[names].to_numpy(float), part.calibration[names].to_numpy(float)
    columns = {name.removeprefix("self/"): means[:, i] for i, name in enumerate(names)}
    columns |= {name: fit(sign * known, fitted_on)(sign * means) for name, fit in AGGREGATES.items()}
    there = [agreement.spearman(sign[i] * known[:, i], fitted_on) for i in range(len(names))]
    best = int(np.argmax(np.nan_to_num(there, nan=-1.0)))  # NaN: a map that is constant there
    resamples = Resamples.draw(part.test["group"].astype(str).to_numpy(), n_resamples)
    for name, x in columns.items():
        row: dict[str, Any] = {"map": name, "subset": part.name, "n": len(x), "sd_dice": agreement.sd(x, truth)}
        for key, statistic in (("pearson", agreement.pearson), ("spearman", agreement.spearman)):
            row |= measured(key, statistic, x, truth, resamples)
        row["over"] = names[best].removeprefix("self/") if name in AGGREGATES else ""
        if row["over"]:
            gain = paired_difference(agreement.spearman, truth, x, sign[best] * means[:, best], resamples=resamples)
            row |= interval_cells("spearman_gain", *gain)
        yield row


def frozen_records(settings: Mapping[str, Any], name: str, home: Path) -> tuple[Path, Path]:
    """The record set of a method and its frozen spread masks."""
    home.mkdir(parents=True, exist_ok=True)
    records = record_set(settings, settings["methods"][name], home)
    return records, frozen_spread(records, Path(settings.get("frozen", str(home / "spread.json")).format(method=name)))


def run_method(settings: Mapping[str, Any], name: str, out: Path) -> None:
    """All cells of a method; OUT/NAME/grid.csv and OUT/NAME/map_means.csv."""
    home, n_resamples = out / name, int(settings.get("n_resamples", 2000))
    records, frozen = frozen_records(settings, name, home)
    means = map_means(records, frozen, settings["maps"], n_resamples)
    means.insert(0, "method", name)
    write_csv(means, home / "map_means.csv")
    parts = []
    for map_name, framework, inputs in cells(settings):
        folder = home / map_name / framework
        result = trained(settings, inputs, records, home, folder)
        table = tested(result.bundle, records, frozen, n_resamples)
        keys = {"method": name, "map": map_name, "framework": framework}
        parts.append(table.assign(**keys, epochs=result.epochs, seconds=result.seconds))
        print(f"{name}, {map_name}, {framework}: {result.summary()}", flush=True)
    rest = [column for column in parts[0].columns if column not in KEYS]
    write_csv(pd.concat(parts)[[*KEYS, *rest]], home / "grid.csv")


@study(
    "config",
    "out",
    option("--methods", nargs="+", help="only these; the others keep what they have"),
    option("--freeze", action="store_true", help="make and freeze the record sets, train nothing"),
    required=("methods", "maps", "frameworks", "train"),
    optional=("generate", "passes", "frozen", "n_resamples", "paper"),
)
def main(args: argparse.Namespace) -> None:
    """Run the grid, or some of its methods, and write the tables."""
    settings, methods = args.settings, list(args.settings["methods"])
    for name in args.methods or methods:
        lookup("method of the grid", name, settings["methods"])
        if args.freeze:
            records, frozen = frozen_records(settings, name, args.out / name)
            print(f"{name}: {records}, frozen in {frozen}", flush=True)
        else:
            run_method(settings, name, args.out)
    if args.freeze:
        return
    folders = [args.out / name for name in methods]
    grid, means = (collected(folders, f"{name}.csv", args.out) for name in ("grid", "map_means"))
    blocks = [f"# Grid of {args.config.name}", "Intervals: 95 %, bootstrap of whole groups. Test split."]
    blocks += [settings["paper"]] if "paper" in settings else []
    gain = {"spearman_gain": "Spearman: over the best map", "over": "best map on calibration"}
    for title, table, keys, more in (
        ("Quality model", grid, KEYS, {}),
        ("Mean of a map over the image against Dice", means, ["method", "map", "subset"], gain),
    ):
        headings = {name: HEADINGS[name] for name in HEADINGS if name in SHOWN} | more
        blocks += [f"## {title}", markdown(table[keys].join(formatted(table, headings)))]
    write_page(args.out / "grid.md", *blocks)


if __name__ == "__main__":
    sys.exit(status(main))
