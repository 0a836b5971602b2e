"""What each part of the quality model earns: rows with and without it, the same seeds, means and differences.

python -m studies.ablate configs/ablations.yaml runs/ablations [--rows NAME ...] [--split test --frozen FILE ...]

Row `full` is the training of the config; every other row changes some of its keys. Each is trained once a seed in
OUT/ROW/SEED and goes on where it stopped. Nothing is trained for a row that changes only how `full` predicts (`flips`;
`predictor: second_head`, the soft Dice of the mask with the truth that the second head draws), nor for one that is a
mean of the predictions of others (`mean_of: [ROW ...]`, with `over_seeds: true` over all seeds, too). Statistics are
means over the seeds; the interval (95 %, bootstrap of whole groups, the same resamples for all) is that of the mean, of
a row and of its difference to `full` on the same records. Writes OUT/ablations_SPLIT.csv, .md and .png. Choose on val
(the default); test is for the report, when all is chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from sqp.cli.parser import from_mapping
from sqp.commands import train
from sqp.config.generate import UNSEEN
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError, lookup
from sqp.evaluation.rows import check_groups, frozen_members
from sqp.metrics.agreement import mae, pearson, rmse, spearman
from sqp.metrics.stats import Resamples, percentiles
from sqp.prompts import SIMULATED_MANUAL
from sqp.quality import Bundle, QualityModel, predict_records
from sqp.quality.model.channels import MASK
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityOutput
from sqp.quality.model.truth_map import compare
from sqp.records import read_record_sets
from sqp.report.evaluation_figures import forest
from sqp.report.figures import save
from sqp.report.tables import HEADINGS, formatted, markdown, write_csv
from studies.runner import kept, option, predictions_key, status, study, write_page

FULL = "full"
FORMS = {"mae": mae.over, "rmse": rmse.over, "pearson": pearson.over, "spearman": spearman.over}
KEYS = ["row", "subset"]
COLUMNS = ["record_id", "group", "variant", "dice", "predicted_dice"]


class SecondHead(nn.Module):
    """A model whose prediction is the soft Dice of the mask with the truth that its second head draws."""

    def __init__(self, model: QualityModel | Ensemble) -> None:
        super().__init__()
        self.model, self.spec, self.features_width = model, model.spec, model.features_width

    def forward(self, planes: Tensor, scores: Tensor | None = None) -> QualityOutput:
        """The model's output with another Dice."""
        out: QualityOutput = self.model(planes, scores)
        if out.truth_logits is None:
            raise ConfigError("predictor is second_head, but the model has none: train it with error_map")
        return out._replace(dice=compare(out.truth_logits, planes[:, self.spec.planes.index(MASK)]).soft_dice)


PREDICTORS = {"second_head": SecondHead}
PREDICTING = ("flips", "predictor")  # keys of how a trained model predicts
MEAN_OF, OVER_SEEDS = "mean_of", "over_seeds"


@dataclass(frozen=True)
class Ablation:
    """The config, where its runs are, and what is judged."""

    settings: Mapping[str, Any]
    out: Path
    split: str
    frozen: Sequence[Path]

    def runs(self, row: str) -> list[pd.DataFrame]:
        """The rows of the split with the predictions of a row, a table a seed; trained first where it is not yet."""
        changes = self.settings["rows"].get(row, {})
        if MEAN_OF not in changes:
            return [self.predictions(row, seed) for seed in self.settings["seeds"]]
        parts = list(zip(*(self.runs(other) for other in changes[MEAN_OF]), strict=True))  # by seed
        return [averaged(part) for part in ([sum(parts, ())] if changes.get(OVER_SEEDS) else parts)]

    def predictions(self, row: str, seed: int) -> pd.DataFrame:
        """Those of one model."""
        changes = self.settings["rows"].get(row, {})
        later = {key: changes[key] for key in PREDICTING if changes.keys() <= set(PREDICTING) and key in changes}
        config = train_config(self.settings, FULL if later else row, seed, self.out)
        bundle = train.run(config).bundle
        name = "predictions_val"
        if self.split != "val" or later:
            key = [predictions_key(bundle, config.records, self.frozen), *map(str, later.values())]
            name = f"predictions_{self.split}_{'-'.join(key)}"
        file = self.out / row.replace(" ", "_") / str(seed) / f"{name}.csv"
        rows = kept(file, lambda: self.judged(bundle, config.records, later)[COLUMNS])
        rows = rows[COLUMNS].dropna().sort_values("record_id", ignore_index=True)
        prompters = read_record_sets(config.records).set_index("record_id")["prompter"]
        return rows.assign(prompter=prompters.loc[rows["record_id"]].to_numpy())

    def judged(self, path: Path, records: Sequence[Path], later: Mapping[str, Any]) -> pd.DataFrame:
        """The split's rows as a bundle predicts them, in the way that `later` says."""
        table = read_record_sets(records)
        asked = table[table["split"] == self.split]
        bundle = Bundle.load(path)
        if self.frozen:
            asked = frozen_members(asked, list(self.frozen))
            check_groups(asked, bundle.info.get("groups_sha256", []), path)
        first = bundle.model.first if isinstance(bundle.model, Ensemble) else bundle.model
        first.spec = replace(first.spec, flips=later.get("flips", first.spec.flips))
        if "predictor" in later:
            bundle = replace(bundle, model=lookup("predictor", later["predictor"], PREDICTORS)(bundle.model))
        ids = set(asked["record_id"])
        return predict_records(bundle, list(map(str, records)), splits=[self.split], record_ids=ids, progress=False)


def train_config(settings: Mapping[str, Any], row: str, seed: int, out: Path) -> TrainConfig:
    """The training of a row: the common keys with its own on top."""
    changes = settings["rows"].get(row, {})
    own = {"cache": str(out / "cache"), "seed": seed, "out": str(out / row.replace(" ", "_") / str(seed))}
    return from_mapping("train", {**settings["train"], **changes, **own})


def check_rows(rows: Mapping[str, Mapping[str, Any]], asked: Sequence[str]) -> None:
    """ConfigError for a row that is asked for and not there, and for one that could not be judged as it says."""
    for name in asked:
        lookup("row of the ablation", name, rows)
    for name, changes in rows.items():
        if MEAN_OF in changes:
            for key in changes:
                lookup(f"key of row '{name}'", key, dict.fromkeys((MEAN_OF, OVER_SEEDS)))
            for other in changes[MEAN_OF]:
                lookup("row of the ablation", other, {FULL: {}, **rows})
                if MEAN_OF in rows.get(other, {}):
                    raise ConfigError(f"row '{name}' is a mean of '{other}', which is a mean itself: name its parts")
        if changes.get("flips", 1) not in (1, 2, 4, 8):
            raise ConfigError(f"flips of row '{name}' is {changes['flips']}; it must be 1, 2, 4 or 8")


def averaged(runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows with the mean of the predictions of several runs, which must be of the same records."""
    if any(not run["record_id"].equals(runs[0]["record_id"]) for run in runs):
        raise ConfigError("rows that are averaged were judged on other records: delete their folders")
    return runs[0].assign(predicted_dice=np.mean([run["predicted_dice"] for run in runs], axis=0))


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


def drawn(table: pd.DataFrame) -> Figure:
    """How far each row's Pearson lies from that of `full`, a panel a subset."""
    rows = table[table["row"] != FULL]
    wide = rows.pivot(
        index="row", columns="subset", values=[f"pearson_difference{end}" for end in ("", "_low", "_high")]
    )
    wide.columns = [name.replace("pearson_difference", subset) for name, subset in wide.columns]
    n = rows.groupby("subset", sort=False)["n"].max()
    shown = {str(subset): f"Pearson: row - {FULL}, {subset} (n = {count:,})" for subset, count in n.items()}
    wide = wide.rename_axis("method").reset_index()
    return forest(wide, shown)


@study(
    "config",
    "out",
    option("--rows", nargs="+", help=f"only these, beside {FULL}"),
    option("--split", default="val", choices=["val", "test"]),
    option("--frozen", nargs="+", type=Path, default=[], help="frozen spread sets, for --split test"),
    required=("seeds", "train", "rows"),
    optional=("n_resamples",),
)
def main(args: argparse.Namespace) -> None:
    """Train what is missing and write the table of all rows asked for."""
    if args.split == "test" and not args.frozen:
        raise ConfigError("test masks are judged on a frozen spread set: name it with --frozen, as in configs/spread")
    settings, name = args.settings, f"ablations_{args.split}"
    check_rows(settings["rows"], args.rows or [])
    ablation = Ablation(settings, args.out, args.split, args.frozen)
    runs = {}
    for row in (FULL, *(args.rows or settings["rows"])):
        runs[row] = ablation.runs(row)
        print(f"{row}: {', '.join(f'{np.abs(r.predicted_dice - r.dice).mean():.4f}' for r in runs[row])}", flush=True)
    table = table_of(runs, int(settings.get("n_resamples", 2000)))
    write_csv(table, args.out / f"{name}.csv")
    save(drawn(table), args.out / f"{name}.png")
    differences = {f"{key}_difference": f"{HEADINGS[key]}: row - {FULL}" for key in FORMS}
    differences |= {"mae_seed_sd": "MAE: seed SD"}
    about = (
        f"Differences are row - {FULL}: where MAE or RMSE is above 0, or a correlation below, the row is worse than "
        f"{FULL}. Intervals are of the masks that were judged, by group; `seed SD` is that of the seeds."
    )
    text = markdown(table[["row", "subset", "seeds"]].join(formatted(table, HEADINGS | differences)))
    write_page(args.out / f"{name}.md", f"# Ablations of {args.config.name} on {args.split}", about, text)


if __name__ == "__main__":
    sys.exit(status(main))
