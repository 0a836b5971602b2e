"""What each part of the quality model earns: rows with and without it, the same seeds, means and differences.

python scripts/ablate.py configs/ablations.yaml runs/ablations [--rows NAME ...] [--split test --frozen FILE ...]

Row `full` is the training of the config; every other row changes some of its keys. Each is trained once a seed in
OUT/ROW/SEED and goes on where it stopped. Statistics are means over the seeds; the interval (95 %, bootstrap of whole
groups, the same resamples for all) is that of the mean, of a row and of its difference to `full` on the same records.
Writes OUT/ablations_SPLIT.csv and .md. Choose on val (the default); test is for the report, when all is chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.cli import from_mapping
from sqp.config.evaluate import EvaluateConfig
from sqp.config.generate import UNSEEN
from sqp.config.train import TrainConfig
from sqp.errors import ConfigError, lookup, script_status
from sqp.io import read_record_sets
from sqp.io.atomic import write_text
from sqp.io.hashing import judged_key
from sqp.metrics import weighted
from sqp.metrics.stats import Resamples, percentiles
from sqp.prompts import SIMULATED_MANUAL
from sqp.report.tables import HEADINGS, formatted, markdown, write_csv
from sqp.stages import train
from sqp.stages.evaluate_rows import load_rows
from sqp.yaml_files import script_config

FULL = "full"
FORMS = {"mae": weighted.mae, "rmse": weighted.rmse, "pearson": weighted.pearson, "spearman": weighted.spearman}
KEYS = ["row", "subset"]
COLUMNS = ["record_id", "group", "variant", "dice", "predicted_dice"]


def train_config(told: Mapping[str, Any], row: str, seed: int, out: Path) -> TrainConfig:
    """The training of a row: the common keys with its own on top."""
    changes = told["rows"].get(row, {})
    own = {"cache": str(out / "cache"), "seed": seed, "out": str(out / row.replace(" ", "_") / str(seed))}
    return from_mapping("train", {**told["train"], **changes, **own})


def predictions(config: TrainConfig, split: str, frozen: Sequence[Path]) -> pd.DataFrame:
    """Rows of a split with the predictions of a row's model, trained first where it is not there yet."""
    result = train.run(config)
    stored = Path(config.out) / "predictions_val.csv"
    if split != "val":
        stored = Path(config.out) / f"predictions_{split}_{judged_key(result.bundle, config.records, frozen)}.csv"
        if not stored.exists():
            asked = EvaluateConfig(
                out=Path(config.out), records=config.records, model=result.bundle, split=split, frozen=list(frozen)
            )
            write_csv(load_rows(asked).test[COLUMNS], stored)
    rows = pd.read_csv(stored)[COLUMNS].dropna().sort_values("record_id", ignore_index=True)
    prompters = read_record_sets(config.records).set_index("record_id")["prompter"]
    return rows.assign(prompter=prompters.loc[rows["record_id"]].to_numpy())


def subsets(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """bool per row: natural masks of prompters that know no truth, and corrupted ones of families of the training."""
    natural = (rows["variant"] == "natural").to_numpy()
    own = natural & ~rows["prompter"].isin(SIMULATED_MANUAL).to_numpy()
    return {"natural": own, "spread": ~natural & ~rows["variant"].isin(UNSEEN).to_numpy()}


def statistics(
    seeds: Sequence[pd.DataFrame], keep: np.ndarray, resamples: Resamples
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: the statistic of each seed `[k]`, and its mean over the seeds on each resample `[b]`."""
    truth = seeds[0]["dice"].to_numpy()[keep]
    columns = [rows["predicted_dice"].to_numpy()[keep] for rows in seeds]
    once = np.ones((1, len(truth)))
    out = {}
    for name, form in FORMS.items():
        blocks = [np.mean([form(w, x, truth) for x in columns], axis=0) for w in resamples.weights(keep)]
        out[name] = (np.array([form(once, x, truth)[0] for x in columns]), np.concatenate(blocks))
    return out


def table_of(runs: Mapping[str, Sequence[pd.DataFrame]], n_resamples: int) -> pd.DataFrame:
    """A row per row of the ablation and subset."""
    first = runs[FULL][0]
    for name, seeds in runs.items():
        if any(not rows["record_id"].equals(first["record_id"]) for rows in seeds):
            raise ConfigError(f"row '{name}' was not judged on the records of '{FULL}': delete its folder")
    resamples = Resamples.draw(first["group"].astype(str).to_numpy(), n_resamples)
    out = []
    for subset, keep in subsets(first).items():
        if not keep.any():
            continue
        base = statistics(runs[FULL], keep, resamples)
        for name, seeds in runs.items():
            found = statistics(seeds, keep, resamples)
            row: dict[str, Any] = {"row": name, "subset": subset, "seeds": len(seeds), "n": int(keep.sum())}
            row["sd_dice"] = float(first["dice"][keep].std(ddof=0))
            for key, (values, spread) in found.items():
                row[key] = values.mean()
                row[f"{key}_low"], row[f"{key}_high"] = percentiles(spread)
                row[f"{key}_seed_sd"] = values.std(ddof=1) if len(values) > 1 else np.nan
                if name != FULL:
                    row[f"{key}_difference"] = values.mean() - base[key][0].mean()
                    ends = percentiles(spread - base[key][1])
                    row[f"{key}_difference_low"], row[f"{key}_difference_high"] = ends
            out.append(row)
    return pd.DataFrame(out)


def main(argv: list[str] | None = None) -> None:
    """Train what is missing and write the table of all rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", nargs="+", help=f"only these, beside {FULL}")
    parser.add_argument("--split", default="val", choices=["val", "test"])
    parser.add_argument("--frozen", nargs="+", type=Path, default=[], help="frozen spread sets, for --split test")
    args = parser.parse_args(argv)
    if args.split == "test" and not args.frozen:
        raise ConfigError("test masks are judged on a frozen spread set: name it with --frozen, as in configs/spread")
    told = script_config(args.config, ("seeds", "train", "rows"), ("n_resamples",))
    for name in args.rows or []:
        lookup("row of the ablation", name, told["rows"])
    runs = {}
    for name in (FULL, *(args.rows or told["rows"])):
        configs = [train_config(told, name, seed, args.out) for seed in told["seeds"]]
        runs[name] = [predictions(config, args.split, args.frozen) for config in configs]
        print(f"{name}: {', '.join(f'{np.abs(r.predicted_dice - r.dice).mean():.4f}' for r in runs[name])}", flush=True)
    table = table_of(runs, int(told.get("n_resamples", 2000)))
    write_csv(table, args.out / f"ablations_{args.split}.csv")
    differences = {f"{name}_difference": f"{HEADINGS[name]}: row - {FULL}" for name in FORMS}
    differences |= {"mae_seed_sd": "MAE: seed SD"}
    shown = table[["row", "subset", "seeds"]].join(formatted(table, HEADINGS | differences))
    title = f"# Ablations of {args.config.name} on {args.split}"
    about = (
        f"Differences are row - {FULL}: where MAE or RMSE is above 0, or a correlation below, the row is worse than "
        f"{FULL}. Intervals are of the masks that were judged, by group; `seed SD` is that of the seeds."
    )
    text = "\n\n".join([title, about, markdown(shown)])
    write_text(args.out / f"ablations_{args.split}.md", text + "\n")
    print(text)


if __name__ == "__main__":
    sys.exit(script_status("ablate", main))
