"""The headline result: quality model, peers, every free score on the same rows, natural and spread, and its transfer.

python -m studies.headline configs/headline.yaml runs/headline benchmarks/headline/headline

Writes OUT.csv, OUT.md, OUT.png: a row per test set, subset and method, with 95 % bootstrap intervals by group, and the
targets of the protocol with what was reached. Predictions are kept in the second folder and made anew where what they
were made from has changed. Lines from score to Dice are fitted on the calibration split of `home`, for the transfer
too. Others are judged on their `sets`, or all; those whose bundle is not there yet are left out, and named. How far
Pearson falls in a transfer is asked of spread masks matched in Dice (`studies/comparisons.py`).
Nothing is trained or chosen here.
"""

from __future__ import annotations

import argparse
import operator
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sqp.config.evaluate import EvaluateConfig
from sqp.config.generate import UNSEEN
from sqp.core.errors import ConfigError
from sqp.core.files import write_text
from sqp.evaluation.comparison import MEAN, MEDIAN, MODEL, UNSIGNED, compare, short, with_aggregates
from sqp.evaluation.paired import cells, measured
from sqp.evaluation.rows import check_groups, load_rows
from sqp.evaluation.subsets import subsets
from sqp.metrics import agreement, selective
from sqp.metrics.aggregation import AGGREGATES
from sqp.metrics.stats import Resamples, paired_difference
from sqp.quality import Bundle, QualityModel
from sqp.quality.judging.columns import score_names
from sqp.records import RecordSet, read_record_sets
from sqp.records.frozen import read_frozen
from sqp.report.evaluation_figures import forest
from sqp.report.figures import save
from sqp.report.tables import HEADINGS, markdown, write_csv
from studies.comparisons import shared_errors, transferred, which_aggregate
from studies.runner import option, predictions, predictions_key, shown, status, study

HOLDS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
ALONE = "predicting quality, without reading"
HOME = "home"
TRUTH = "truth"  # who made a corrupted mask that was not made from a segmenter's
PREDICTED = ["predicted_dice", "low", "high"]
KEYS = ["set", "subset", "method"]
FALLS = {
    **{"method": "method", "n_home": "n, home", "n_away": "n, there", "sd_home": "SD(Dice), home"},
    **{"sd_away": "SD(Dice), there", "pearson_home": "Pearson, home", "pearson_away": "Pearson, there"},
    **{"fall": "Pearson falls by", "mae_home": "MAE, home", "mae_away": "MAE, there", "bias_away": "bias, there"},
}
WHICH = {"set": "set", "subset": "subset", "n": "n"} | {name: f"Spearman of {name}" for name in AGGREGATES}
WHICH |= {"difference": "second - first"}
ERRORS = {"method": "method", "n": "n", "worst": "worst 1 % of images: share of squared error"}
ERRORS |= {"with_model": "correlation of its errors with the model's"}
MORE = {"aurc": "AURC", "aurc_difference": "AURC: model - method", "bias": "bias"}


def load_bundle(path: Path, backbone: str | None, anywhere: bool) -> Bundle:
    """A bundle; with another `backbone` of the same weights (siamese_slip), or for records made `anywhere`."""
    bundle = Bundle.load(path)
    if backbone is not None:
        model = QualityModel(replace(bundle.model.spec, backbone=backbone))
        model.load_state_dict(bundle.model.state_dict())
        bundle = replace(bundle, model=model.eval())
    return bundle.anywhere() if anywhere else bundle


def predicted(model: Mapping[str, Any], where: Mapping[str, Any], anywhere: bool, work: Path) -> pd.DataFrame:
    """Test rows of a set with the predictions of one model; its bundle must have seen none of their groups."""
    path = Path(model["model"])
    table = read_record_sets(where["records"])
    test = table[table["split"] == "test"]
    members = {name for file in where["frozen"] for name in read_frozen(file)["masks"]}
    asked = test[(test["variant"] == "natural") | test["record_id"].isin(members)]

    def bundle() -> Bundle:
        made = load_bundle(path, model.get("backbone"), anywhere)
        check_groups(asked, made.info.get("groups_sha256", []), path)
        return made

    key = predictions_key(path, where["records"], where["frozen"])
    work = work / "-".join([key, *([model["backbone"]] if "backbone" in model else [])])
    predictions(work, bundle, where["records"], splits=["test"], record_ids=set(asked["record_id"]))
    records, frozen = ([Path(file) for file in where[key]] for key in ("records", "frozen"))
    return load_rows(EvaluateConfig(out=work, records=records, predictions=work, frozen=frozen)).test


def set_rows(settings: Mapping[str, Any], name: str, work: Path) -> pd.DataFrame:
    """Test rows of a set with the model's predictions, those of the others as `NAME/predicted_dice`.

    Images of a transfer set on which the models of `home` were trained or calibrated are left out.
    """
    where = settings[HOME] if name == HOME else settings["transfer"][name]
    rows = predicted({"model": settings["model"]}, where, name != HOME, work / name / MODEL)
    for other in others_of(settings, name):
        one = settings["others"][other]
        theirs = predicted(one, where, name != HOME, work / name / other.replace(" ", "_")).set_index("record_id")
        rows = rows.join(theirs[PREDICTED].add_prefix(f"{other}/"), on="record_id")
    home = read_record_sets(settings[HOME]["records"])
    known = set(home.loc[home["split"] != "test", "image_id"])
    return rows[~rows["image_id"].isin(known)].reset_index(drop=True)


def others_of(settings: Mapping[str, Any], name: str) -> list[str]:
    """The other predictors that are judged on a set: all, but those whose `sets` leave it out."""
    return [other for other, one in settings["others"].items() if name in one.get("sets", [name])]


def made_by(where: Mapping[str, Any]) -> str:
    """Who made the masks of a set, and how their samples were drawn."""
    makers = []
    for folder in where["records"]:
        rows = RecordSet(folder).table.drop_duplicates(["segmenter", "sampler", "n_samples"])
        rows = rows[rows["segmenter"] != TRUTH]
        makers += [f"{row.segmenter}, {row.n_samples} samples by {row.sampler}" for row in rows.itertuples()]
    return "; ".join(dict.fromkeys(makers))


def compared(
    test: pd.DataFrame, calibration: pd.DataFrame, others: Sequence[str], scores: Sequence[str], n_resamples: int
) -> pd.DataFrame:
    """A row a method: as in `evaluate`, with the other predictors, AURC of all and the bias of the predictors."""
    test, calibration, scores = with_aggregates(test, calibration, scores)

    def in_short(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        whole = compare(rows, calibration, names, n_resamples, details=False)
        return short(whole).assign(n_within=whole["n_within"])

    table = in_short(test, scores).set_index("method", drop=False)
    truth, group = test["dice"].to_numpy(float), test["group"].astype(str).to_numpy()
    resamples = Resamples.draw(group, n_resamples)
    model = test["predicted_dice"].to_numpy(float)
    columns = {MODEL: model} | {name: test[name].to_numpy(float) for name in scores}
    columns |= dict.fromkeys((MEDIAN, MEAN), np.zeros(len(test)))  # a constant tells nothing: the mean risk
    rows = {name: table.loc[name].to_dict() for name in table.index}
    for name in others:
        columns[name] = test[f"{name}/predicted_dice"].to_numpy(float)
        own = test.assign(**{key: test[f"{name}/{key}"] for key in PREDICTED})
        rows[name] = in_short(own, []).iloc[0].to_dict() | {"method": name}
        for key, statistic in (("spearman", agreement.spearman), ("mae", agreement.mae)):
            found = paired_difference(statistic, truth, model, columns[name], resamples=resamples)
            rows[name] |= cells(f"{key}_difference", *found)
    for name, values in columns.items():
        risk = 1 - truth
        rows[name] |= measured("aurc", selective.aurc, values, risk, resamples)
        if name != MODEL:
            found = paired_difference(selective.aurc, risk, model, values, resamples=resamples)
            rows[name] |= cells("aurc_difference", *found)
        if name in (MODEL, *others):
            rows[name] |= measured("bias", agreement.bias, values, truth, resamples)
    order = [MODEL, *others, *(name for name in rows if name not in (MODEL, *others))]
    return pd.DataFrame([rows[name] for name in order])


def targets(
    table: pd.DataFrame, falls: Mapping[str, pd.DataFrame], rival: str, seen: Sequence[str], cost: Path | None
) -> pd.DataFrame:
    """The protocol's targets: what was asked, what was reached, whether it is met. `falls`: `transferred` of each set.

    `rival`: the free score that natural masks must be ranked better than by; `seen`: the sets of the maker whose masks
    calibrated the intervals; `cost`: the table of scripts/bench_quality.py.
    """
    at = table.set_index(KEYS)
    rows = []

    def row(what: str, value: float, sign: str, *bounds: float) -> None:
        signs = {"in": (">=", "<=")}.get(sign, (sign,))
        asked = " and ".join(f"{one} {bound:g}" for one, bound in zip(signs, bounds, strict=True))
        met = all(HOLDS[one](value, bound) for one, bound in zip(signs, bounds, strict=True))
        rows.append({"target": what, "asked": asked, "reached": f"{value:.4f}", "met": "yes" if met else "no"})

    natural, spread = (at.loc[(HOME, subset, MODEL)] for subset in ("natural", "spread"))
    row("spread: R2", spread["r2"], ">=", 0.95)
    row("spread: Pearson", spread["pearson"], ">=", 0.975)
    row("spread: RMSE", spread["rmse"], "<=", 0.060)
    row("natural: MAE", natural["mae"], "<=", 0.035)
    row("natural: MAE / predict-the-median's", natural["mae"] / at.loc[(HOME, "natural", MEDIAN), "mae"], "<=", 0.75)
    theirs = at.loc[(HOME, "natural", rival)]
    row(f"natural: Spearman above {rival}'s, low end", theirs["spearman_difference_low"], ">", 0)
    row(f"natural: AURC below {rival}'s, high end", theirs["aurc_difference_high"], "<", 0)
    for name in seen:
        for subset in ("natural", "spread"):
            found = at.loc[(name, subset, MODEL)]
            row(f"{name}, {subset}: coverage of 90 % intervals", found["coverage"], "in", 0.88, 0.92)
            row(f"{name}, {subset}: mean width", found["width"], "<=", 0.20)
    for name, rows_of in falls.items():
        fall = rows_of.set_index("method")["fall"][MODEL]
        row(f"{name}, spread masks matched in Dice: Pearson falls by", fall, "<=", 0.05)
    if cost:
        spent = pd.read_csv(cost).set_index("what")["value"]
        row("cost without reading, CPU s a record (or the next)", spent[f"{ALONE}, a record"], "<=", 0.005)
        row("cost without reading / the segmenter's", spent[f"{ALONE} / segmenting"], "<=", 0.10)
    return pd.DataFrame(rows)


def drawn(table: pd.DataFrame) -> Figure:
    """Pearson of all that have one at home: on spread masks, and on natural ones."""
    at = table[table["set"] == HOME].set_index(["subset", "method"])
    wide, shown = None, {}
    for subset in ("spread", "natural"):
        rows = at.loc[subset].dropna(subset="pearson")
        shown[subset] = f"Pearson, {subset} masks (n = {rows['n'].max():,.0f})"
        own = rows.filter(like="pearson")
        own = own.set_axis(own.columns.str.replace("pearson", subset), axis=1)
        wide = own if wide is None else wide.join(own)
    return forest(wide.reset_index(), shown)


@study(
    "config",
    option("work", type=Path, help="folder of the predictions"),
    option("out", type=Path, help="OUT.csv, OUT.md, OUT.png are written"),
    required=("home", "model"),
    optional=("others", "transfer", "rival", "cost", "n_resamples", "paper"),
)
def main(args: argparse.Namespace) -> None:
    """Predict what is missing, compare, write the table and the targets."""
    settings = args.settings
    if not settings[HOME].get("frozen"):
        raise ConfigError(f"{args.config}: '{HOME}' names no frozen spread set, which the targets are asked of")
    missing = [name for name, one in settings.get("others", {}).items() if not Path(one["model"]).is_dir()]
    settings["others"] = {name: one for name, one in settings.get("others", {}).items() if name not in missing}
    n_resamples = int(settings.get("n_resamples", 2000))
    home = read_record_sets(settings[HOME]["records"])
    calibration = home[home["split"] == "calibration"].reset_index(drop=True)
    headings = {key: name for key, name in HEADINGS.items() if key != "note"} | MORE | {"note": HEADINGS["note"]}
    columns = {MODEL: "predicted_dice"} | {name: f"{name}/predicted_dice" for name in settings["others"]}
    parts, blocks, spread, which, seen = [], [], {}, [], []
    for name in (HOME, *settings.get("transfer", {})):
        rows = set_rows(settings, name, args.work)
        scores = score_names(home)
        rows[[score for score in scores if score not in rows]] = np.nan
        makers = made_by(settings[HOME] if name == HOME else settings["transfer"][name])
        seen += [name] if makers == made_by(settings[HOME]) else []
        for part in subsets(rows, calibration, list(UNSEEN)):
            if part.dataset != "all":
                continue
            if part.name == "spread":
                spread[name] = part.test
                if name == HOME:
                    columns = {name: column for name, column in columns.items() if column in rows}
                    errors = shared_errors(part.test, part.calibration, columns, scores)
            found = which_aggregate(part.test, part.calibration, scores, n_resamples)
            which.append({"set": name, "subset": part.name} | found)
            table = compared(part.test, part.calibration, others_of(settings, name), scores, n_resamples)
            parts.append(table.assign(set=name, subset=part.name))
            lines = f"{makers}. Lines fitted on {part.fit} of home."
            blocks += [f"## {name}, {part.name}", lines, shown(table, headings)]
    table = pd.concat(parts)
    table = table[[*KEYS, *(column for column in table if column not in KEYS)]]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table, args.out.with_suffix(".csv"))
    save(drawn(table), args.out.with_suffix(".png"))
    scores = [name for name in score_names(home) if name not in UNSIGNED]
    falls = {
        name: transferred(spread[HOME], rows, {k: v for k, v in columns.items() if v in rows}, scores, n_resamples)
        for name, rows in spread.items()
        if name != HOME
    }
    cost = Path(settings["cost"]) if "cost" in settings else None
    reached = targets(table, falls, settings.get("rival", "pairwise_dice"), seen, cost)
    head = [
        "# Headline",
        f"`python -m studies.headline {args.config} {args.work} {args.out}`. Test split, 95 % intervals from "
        f"{n_resamples:,} bootstrap resamples of whole groups. Differences are model - method: Spearman above 0, MAE "
        "and AURC below 0 are in the model's favour. A score's R2, MAE and RMSE are those of its least-squares line.",
        *([settings["paper"]] if "paper" in settings else []),
        *([f"Not trained yet, so not judged: {', '.join(missing)}."] if missing else []),
        "## Targets",
        markdown(reached),
        *(["## Transfer, spread masks matched in Dice"] if falls else []),
        *(text for name, rows in falls.items() for text in (f"{name}:", shown(rows, FALLS))),
        "## Where the error lies: home, spread",
        shown(errors, ERRORS),
        "## Which aggregate of all scores",
        shown(pd.DataFrame(which), WHICH),
    ]
    write_text(args.out.with_suffix(".md"), "\n\n".join([*head, *blocks]) + "\n")
    print("\n\n".join(head))


if __name__ == "__main__":
    sys.exit(status(main))
