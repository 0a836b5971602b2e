"""The headline result: quality model, peers, every free score on the same rows, natural and spread, and its transfer.

python scripts/headline.py configs/headline.yaml runs/headline benchmarks/headline

Writes OUT.csv and OUT.md: a row per test set, subset and method, with 95 % bootstrap intervals by group, and the
targets of the protocol with what was reached. Predictions are kept in the second folder and made anew where a bundle is
newer. Lines from score to Dice are fitted on the calibration split of `home`, for the transfer too. Nothing is trained
or chosen here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from sqp.config.evaluate import EvaluateConfig
from sqp.config.generate import UNSEEN
from sqp.errors import ConfigError, script_status
from sqp.io import read_record_sets
from sqp.io.atomic import write_text
from sqp.io.frozen import read_frozen
from sqp.metrics import agreement, selective
from sqp.metrics.stats import Resamples, bootstrap, paired_difference
from sqp.quality import Bundle, QualityModel, predict_records
from sqp.quality.columns import score_names
from sqp.report.predictions import write_predictions
from sqp.report.tables import HEADINGS, formatted, markdown, write_csv
from sqp.stages.aggregates import with_aggregates
from sqp.stages.comparison import MEDIAN, MODEL, compare, short
from sqp.stages.evaluate_rows import check_groups, load_rows
from sqp.stages.subsets import subsets

HOME = "home"
PREDICTED = ["predicted_dice", "low", "high"]
KEYS = ["set", "subset", "method"]
MORE = {"aurc": "AURC", "aurc_difference": "AURC: model - method", "bias": "bias"}


def load_bundle(path: Path, backbone: str | None, anywhere: bool) -> Bundle:
    """A bundle; with another `backbone` of the same weights (siamese_slip), or for records made `anywhere`."""
    bundle = Bundle.load(path)
    if backbone is not None:
        model = QualityModel(replace(bundle.model.spec, backbone=backbone))
        model.load_state_dict(bundle.model.state_dict())
        bundle = replace(bundle, model=model.eval())
    return bundle.anywhere() if anywhere else bundle


def predicted(told: Mapping[str, Any], where: Mapping[str, Any], anywhere: bool, work: Path) -> pd.DataFrame:
    """Test rows of a set with the predictions of one model; its bundle must have seen none of their groups."""
    path = Path(told["model"])
    table = read_record_sets(where["records"])
    test = table[table["split"] == "test"]
    members = {name for file in where["frozen"] for name in read_frozen(file)["masks"]}
    asked = test[(test["variant"] == "natural") | test["record_id"].isin(members)]
    done = work / "predictions.parquet"
    if not done.exists() or done.stat().st_mtime < (path / "bundle.json").stat().st_mtime:
        bundle = load_bundle(path, told.get("backbone"), anywhere)
        check_groups(asked, bundle.info.get("groups_sha256", []), path)
        folders = [str(folder) for folder in where["records"]]
        write_predictions(work, predict_records(bundle, folders, splits=["test"], record_ids=set(asked["record_id"])))
    records, frozen = ([Path(file) for file in where[key]] for key in ("records", "frozen"))
    return load_rows(EvaluateConfig(out=work, records=records, predictions=work, frozen=frozen)).test


def borrowed(told: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series:
    """A score of the natural records of another record set, by image; NaN for images that it lacks."""
    table = read_record_sets([told["records"]])
    natural = table[table["variant"] == "natural"].drop_duplicates("image_id").set_index("image_id")
    if told["score"] not in natural:
        raise ConfigError(f"{told['records']} has no score '{told['score']}'; it has {', '.join(score_names(table))}")
    return rows["image_id"].map(natural[told["score"]])


def set_rows(told: Mapping[str, Any], name: str, work: Path) -> pd.DataFrame:
    """Test rows of a set with the model's predictions, those of the others as `NAME/predicted_dice`, borrowed scores.

    Images of a transfer set on which the models of `home` were trained or calibrated are left out.
    """
    where = told[HOME] if name == HOME else told["transfer"][name]
    rows = predicted({"model": told["model"]}, where, name != HOME, work / name / MODEL)
    for other, one in told.get("others", {}).items():
        theirs = predicted(one, where, name != HOME, work / name / other.replace(" ", "_")).set_index("record_id")
        rows = rows.join(theirs[PREDICTED].add_prefix(f"{other}/"), on="record_id")
    for score, one in told.get("borrowed", {}).items():
        rows[score] = borrowed(one, rows)
    home = read_record_sets(told[HOME]["records"])
    known = set(home.loc[home["split"] != "test", "image_id"])
    return rows[~rows["image_id"].isin(known)].reset_index(drop=True)


def compared(
    test: pd.DataFrame, calibration: pd.DataFrame, others: Sequence[str], scores: Sequence[str], n_resamples: int
) -> pd.DataFrame:
    """A row a method: as in `evaluate`, with the other predictors, AURC of all and the bias of the predictors."""
    test, calibration, scores = with_aggregates(test, calibration, scores)
    table = short(compare(test, calibration, scores, n_resamples)).set_index("method", drop=False)
    truth, group = test["dice"].to_numpy(float), test["group"].astype(str).to_numpy()
    resamples = Resamples.draw(group, n_resamples)
    model = test["predicted_dice"].to_numpy(float)
    columns = {MODEL: model} | {name: test[name].to_numpy(float) for name in scores}
    rows = {name: table.loc[name].to_dict() for name in table.index}
    for name in others:
        columns[name] = test[f"{name}/predicted_dice"].to_numpy(float)
        own = test.assign(**{key: test[f"{name}/{key}"] for key in PREDICTED})
        rows[name] = short(compare(own, calibration, [], n_resamples)).iloc[0].to_dict() | {"method": name}
        for key, statistic in (("spearman", agreement.spearman), ("mae", agreement.mae)):
            found = paired_difference(statistic, truth, model, columns[name], resamples=resamples)
            rows[name] |= _cells(f"{key}_difference", *found)
    for name, values in columns.items():
        risk = 1 - truth
        rows[name] |= _measured("aurc", selective.aurc, values, risk, resamples)
        if name != MODEL:
            found = paired_difference(selective.aurc, risk, model, values, resamples=resamples)
            rows[name] |= _cells("aurc_difference", *found)
        if name in (MODEL, *others):
            rows[name] |= _measured("bias", agreement.bias, values, truth, resamples)
    order = [MODEL, *others, *(name for name in rows if name not in (MODEL, *others))]
    return pd.DataFrame([rows[name] for name in order])


def _measured(
    name: str, statistic: Callable[..., float], x: np.ndarray, y: np.ndarray, resamples: Resamples
) -> dict[str, float]:
    return _cells(name, statistic(x, y), *bootstrap(statistic, x, y, resamples=resamples))


def _cells(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def targets(table: pd.DataFrame, pairwise: str) -> pd.DataFrame:
    """The protocol's targets: what was asked, what was reached, whether it is met."""
    at = table.set_index(KEYS)
    rows = []

    def row(what: str, value: float, least: float = -np.inf, most: float = np.inf) -> None:
        bounds = ((">=", least), ("<=", most))
        asked = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if np.isfinite(bound))
        met = "yes" if least <= value <= most else "no"
        rows.append({"target": what, "asked": asked, "reached": f"{value:.3f}", "met": met})

    for subset, found in at.xs(HOME).xs(MODEL, level="method").iterrows():
        if subset == "spread":
            row("spread: R2", found["r2"], least=0.95)
            row("spread: Pearson", found["pearson"], least=0.975)
            row("spread: RMSE", found["rmse"], most=0.060)
        if subset == "natural":
            row("natural: MAE", found["mae"], most=0.035)
            row("natural: MAE / predict-the-median's", found["mae"] / at.loc[(HOME, subset, MEDIAN), "mae"], most=0.75)
            rival = at.loc[(HOME, subset, pairwise)]
            row(f"natural: Spearman above {pairwise}'s, low end", rival["spearman_difference_low"], least=0)
            row(f"natural: AURC below {pairwise}'s, high end", rival["aurc_difference_high"], most=0)
        if subset in ("natural", "spread"):
            row(f"{subset}: coverage of 90 % intervals", found["coverage"], 0.88, 0.92)
            row(f"{subset}: mean width", found["width"], most=0.20)
    for name in table["set"].unique():
        here, home = (name, "spread", MODEL), (HOME, "spread", MODEL)
        if name != HOME and here in at.index:
            spreads = f"SD(Dice) {at.loc[here, 'sd_dice']:.3f} against {at.loc[home, 'sd_dice']:.3f}"
            fall = at.loc[home, "pearson"] - at.loc[here, "pearson"]
            row(f"{name}, spread ({spreads}): Pearson falls by", fall, most=0.05)
    return pd.DataFrame(rows)


def main(argv: list[str] | None = None) -> None:
    """Predict what is missing, compare, write the table and the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("work", type=Path, help="folder of the predictions")
    parser.add_argument("out", type=Path, help="OUT.csv and OUT.md are written")
    args = parser.parse_args(argv)
    told = yaml.safe_load(args.config.read_text())
    n_resamples, extra = int(told.get("n_resamples", 2000)), list(told.get("borrowed", {}))
    home = read_record_sets(told[HOME]["records"])
    calibration = home[home["split"] == "calibration"].reset_index(drop=True)
    for score, one in told.get("borrowed", {}).items():
        calibration[score] = borrowed(one, calibration)
    headings = {key: name for key, name in HEADINGS.items() if key != "note"} | MORE | {"note": HEADINGS["note"]}
    parts, blocks = [], []
    for name in (HOME, *told.get("transfer", {})):
        rows = set_rows(told, name, args.work)
        scores = [*score_names(home), *extra]
        rows[[score for score in scores if score not in rows]] = np.nan
        for part in subsets(rows, calibration, list(UNSEEN)):
            if part.dataset != "all":
                continue
            table = compared(part.test, part.calibration, list(told.get("others", {})), scores, n_resamples)
            parts.append(table.assign(set=name, subset=part.name))
            shown = markdown(formatted(table, headings))
            blocks += [f"## {name}, {part.name}", f"Lines fitted on {part.fit} of home.", shown]
    table = pd.concat(parts)
    table = table[[*KEYS, *(column for column in table if column not in KEYS)]]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table, args.out.with_suffix(".csv"))
    reached = targets(table, next(iter(extra), "pairwise_dice"))
    head = [
        "# Headline",
        f"`python scripts/headline.py {args.config} {args.work} {args.out}`. Test split, 95 % intervals from "
        f"{n_resamples:,} bootstrap resamples of whole groups. Differences are model - method: Spearman above 0, MAE "
        "and AURC below 0 are in the model's favour. A score's R2, MAE and RMSE are those of its least-squares line.",
        "## Targets",
        markdown(reached),
    ]
    write_text(args.out.with_suffix(".md"), "\n\n".join([*head, *blocks]) + "\n")
    print("\n\n".join(head))


if __name__ == "__main__":
    sys.exit(script_status("headline", main))
