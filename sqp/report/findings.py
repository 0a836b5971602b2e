"""The verdict on a whole run in words that the head of a clinic can read: a headline and a few sentences.

The images of a run that nothing is said of: how many, and why, all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from sqp.quality.judging.risk import Choice

OPEN = 6  # more lines than so many are folded


def skipped_sentence(table: pd.DataFrame, skipped: Mapping[str, str]) -> str:
    """How many of the images were skipped, where some were; `skipped` maps an image id to why.

    Examples:
        >>> skipped_sentence(pd.DataFrame({"image_id": ["a", "b"]}), {"c": "truncated"})
        '1 of 3 images was skipped.'
    """
    if not skipped:
        return ""
    images = {*table["image_id"].astype(str), *skipped}
    return f"{len(skipped):,} of {len(images):,} images {'was' if len(skipped) == 1 else 'were'} skipped."


def skipped_html(skipped: Mapping[str, str]) -> str:
    """A list of the skipped images and the reasons, folded if it is long; nothing where there are none."""
    if not skipped:
        return ""
    lines = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in skipped.items())
    folded = "" if len(skipped) > OPEN else " open"
    return (
        f'<section id="part-skipped"><h3>Skipped images</h3><details{folded}><summary>{len(skipped):,} without a '
        f"prediction, and why</summary><ul>{lines}</ul></details></section>"
    )


MODEL, GUESSES = "quality_model", "predict_the_"  # methods of a comparison: the model, and what guesses one number
FEW = 100  # groups; below it a share is off by 10 % points for no reason
DICE = "Dice says how well a mask covers the true region: 1 is perfect, 0 is nothing in common."


@dataclass(frozen=True)
class Findings:
    """`headline`: the answer; `points`: a sentence or two each."""

    headline: str
    points: tuple[str, ...]


def prediction_findings(
    table: pd.DataFrame,
    accept: float,
    reject: float,
    level: float | None = None,
    choice: Choice | None = None,
    skipped: Mapping[str, str] | None = None,
) -> Findings:
    """What `sqp predict` found: how many masks can be used, why others got no answer, how the typical mask is.

    `level` is the nominal level of the intervals (0.9), where it is known; `choice` the threshold at a chosen risk,
    which stands in place of `accept`; `skipped` maps the images that nothing is said of to why.
    """
    n = len(table)
    if not n:
        return Findings("There are no masks to judge.", ())
    counts = table["verdict"].value_counts()
    taken, redrawn, silent = (int(counts.get(name, 0)) for name in ("accept", "reject", "abstain"))
    usable = f"{_share(taken, n)} masks can be taken as they are"
    if choice is not None and not choice.some:
        usable = "At the chosen risk no mask can be taken as it is"
    headline = f"{usable}, {redrawn:,} should be drawn again, {n - taken - redrawn:,} need a person's eye."
    if skipped:
        headline += f" {skipped_sentence(table, skipped)}"
    end = f"the low end of the mask's {f'{level:.0%} interval' if level else 'interval'}"
    rule = f"{end} reaches {accept:g}." if choice is None else risk_sentence(choice)
    points = [f"{DICE} Accept: {rule} Reject: the high end stays below {reject:g}. Everything else is for review."]
    predicted = table["predicted_dice"].dropna()
    if len(predicted):
        low, middle, high = predicted.quantile([0.25, 0.5, 0.75])
        points.append(
            f"The middle mask is expected at a Dice of {middle:.2f}; half lie between {low:.2f} and {high:.2f}."
        )
    if silent:
        reasons = table.loc[table["verdict"] == "abstain", "reason"] if "reason" in table else pd.Series(dtype=str)
        named = ", ".join(
            f"{count:,} {shortened(reason)}" for reason, count in reasons.value_counts().items() if reason
        )
        points.append(f"No answer for {silent:,}{f' ({named})' if named else ''}: look at them yourself.")
    errors = (table["dice"] - table["predicted_dice"]).abs().dropna() if "dice" in table else pd.Series(dtype=float)
    if len(errors):
        error = f"the prediction is off by {errors.mean():.3f} on average"
        points.append(f"Where the truth is known ({len(errors):,} masks) {error}.")
    return Findings(headline, tuple(points))


def thresholds_sentence(table: pd.DataFrame, accept: float, reject: float) -> str:
    """How many masks other thresholds of `accept` would take; `table` has low, high and verdict.

    Examples:
        >>> table = pd.DataFrame({"low": [0.72, 0.81], "high": [0.9, 0.95], "verdict": ["review", "accept"]})
        >>> thresholds_sentence(table, 0.8, 0.7)
        'Accepted with --accept 0.70: 2, 0.75: 1, 0.85: 0, 0.90: 0.'
    """
    open_to = table[table["verdict"].ne("abstain") & table["high"].ge(reject)]
    others = [round(accept + step / 20, 2) for step in (-2, -1, 1, 2)]
    taken = [f"{at:.2f}: {int(open_to['low'].ge(at).sum()):,}" for at in others if reject <= at < 1]
    return f"Accepted with --accept {', '.join(taken)}." if taken else ""


def risk_sentence(choice: Choice) -> str:
    """How the masks to accept were chosen, or why none was."""
    rule, tested = choice.rule, f"tested on {choice.groups:,} calibration groups"
    if not choice.some:
        least = (
            "no risk below 1 works" if choice.smallest is None else f"the smallest that works is {choice.smallest:g}"
        )
        return (
            f"nothing is accepted, since no threshold is safe: {tested}, none lets one say {rule.sentence()}. Of the "
            f"greater risks {least}."
        )
    return (
        f"the low end of the mask's interval reaches {choice.threshold:.3f}, chosen so that {rule.sentence()} "
        f"({tested}: {choice.accepted:,} reached it, {choice.failures:,} of these failed)."
    )


def evaluation_findings(
    comparison: pd.DataFrame, test: pd.DataFrame, accept: float, reject: float, level: float | None = None
) -> Findings:
    """What `sqp evaluate` found: is the model worth it against what is free, how far off is it, can one rely on it.

    `comparison` is the table of a subset (a row per method, as `evaluation.comparison` makes it), `test` its rows with
    their verdicts; `level` the nominal level of the intervals, where it is known.
    """
    test = test[test["dice"].notna()]
    rows = comparison.set_index("method")
    name = str(comparison["subset"].iloc[0]) if "subset" in comparison else "tested"
    points = [f"All of this is about the {len(test):,} {name} masks. {DICE}", _how_far(rows), _ranking(rows)]
    points += [*_verdicts(test, accept, reject), _intervals(rows.loc[MODEL], level)]
    groups = test["group"].nunique() if "group" in test else len(test)
    if groups < FEW:
        of = f" of {groups:,} groups" if groups < len(test) else ""
        points.append(f"Only {len(test):,} masks{of} were tested: every figure here is rough.")
    headline = _worth(rows)
    if _too_narrow(rows.loc[MODEL], level):
        headline += " But its intervals are too narrow here: do not act on its verdicts unseen."
    return Findings(headline, tuple(point for point in points if point))


def _worth(rows: pd.DataFrame) -> str:
    """Is the model better than each free score, by rank and by error, the interval of the difference clear of 0."""
    ranks = rows["spearman_difference_low"].dropna()
    errors = rows["mae_difference_high"].dropna()
    n = f"{int(rows.loc[MODEL, 'n']):,} masks"
    if ranks.empty and errors.empty:
        return f"Whether the quality model is worth it cannot be told from these {n}."
    held = rows.index[rows.index.isin([*ranks.index[ranks <= 0], *errors.index[errors >= 0]])]
    if held.empty:
        return f"The quality model is worth it: on these {n} it is clearly better than every free score."
    worse = held[rows.loc[held, "mae_difference_low"] > 0]
    if len(worse):
        return f"Do not rely on the quality model here: on these {n} it is less exact than {_named(worse)}."
    return f"The quality model has no clear advantage over {_named(held)} on these {n}."


def _named(methods: pd.Index) -> str:
    """Methods in words.

    Examples:
        >>> _named(pd.Index(["area", "predict_the_median"]))
        'area, guessing the median'
    """
    return ", ".join(str(name).replace(GUESSES, "guessing the ") for name in methods)


def _how_far(rows: pd.DataFrame) -> str:
    model, guesses = rows.loc[MODEL], rows[rows.index.str.startswith(GUESSES)]
    shared = model["mae"] - guesses.get("mae_difference", pd.Series(np.nan, guesses.index))  # where both have a value
    guesses = shared.fillna(guesses["mae"]).dropna()
    if np.isnan(model["mae"]):
        return "How far the prediction is off cannot be told."
    text = f"The predicted Dice is off by {model['mae']:.3f} on average{_range(model, 'mae')}"
    if len(guesses):
        text += f"; {_named(guesses.index[[guesses.argmin()]])} for every mask would be off by {guesses.min():.3f}"
    return text + "."


def _ranking(rows: pd.DataFrame) -> str:
    model = rows.loc[MODEL]
    if np.isnan(model["spearman"]):
        return ""
    text = (
        f"Sorted by it, the masks follow their true order with a rank correlation (Spearman) of {model['spearman']:.2f}"
        f"{_range(model, 'spearman', 2)}, where 1 is perfect"
    )
    name = best_free_score(rows)
    if name is None:
        return f"{text}."
    text += f"; the best free score by Spearman (those fitted on calibration masks count), {name}, has "
    text += f"{rows.loc[name, 'spearman']:.2f}"
    n = rows.loc[name].get("n_paired", np.nan)
    if n < model["n"]:
        text += f" on the {int(n):,} masks that it says something of"
    return f"{text}."


def best_free_score(rows: pd.DataFrame, criterion: str = "spearman") -> str | None:
    """The analytic or fitted score that falls least short of the model; None where no score has the statistic.

    `rows` is a table of methods, indexed by method. Scores that are defined for other masks than the model, or than
    each other, do not compare as they are: each is held against the model on the masks that both have
    (`CRITERION_difference`, model - score), and where the table has no differences, as it is. Higher must be better.
    """
    free = rows[(rows.index != MODEL) & ~rows.index.str.startswith(GUESSES)]
    short = free.get(f"{criterion}_difference", pd.Series(np.nan, free.index))
    short = short if short.notna().any() else -free[criterion]
    return None if short.isna().all() else str(short.idxmin())


def _verdicts(test: pd.DataFrame, accept: float, reject: float) -> list[str]:
    """How many verdicts were right."""
    points = []
    taken, redrawn = (test.loc[test["verdict"] == name, "dice"] for name in ("accept", "reject"))
    if len(taken):
        good, bad = int((taken >= accept).sum()), int((taken < reject).sum())
        points.append(
            f"Accepted: {_share(len(taken), len(test))}. Of these {_share(good, len(taken))} truly reach {accept:g}; "
            f"{bad:,} {'is' if bad == 1 else 'are'} truly below {reject:g} and would slip through."
        )
    else:
        points.append("Not one mask was accepted.")
    if len(redrawn):
        right = int((redrawn < reject).sum())
        points.append(
            f"Rejected: {_share(len(redrawn), len(test))}. Of these {_share(right, len(redrawn))} are truly below "
            f"{reject:g}."
        )
    return points


def _intervals(model: pd.Series, level: float | None) -> str:
    """Do the intervals keep what they promise."""
    covered = model.get("coverage", np.nan)
    if not np.isfinite(covered):
        return ""
    text = f"intervals hold the truth for {covered:.0%} of the masks"
    if level is None:
        return f"The {text}."
    text = f"The {level:.0%} {text}"
    if _too_narrow(model, level):
        return f"{text}: they are too narrow. Calibrate the model on images like these before you trust its verdicts."
    return f"{text}{': wider than they need to be' if model.get('coverage_low', covered) > level else ', as promised'}."


def _too_narrow(model: pd.Series, level: float | None) -> bool:
    """Is the coverage below the level, its own interval too."""
    covered = model.get("coverage", np.nan)
    return level is not None and bool(model.get("coverage_high", covered) < level)


def _share(count: int, n: int) -> str:
    """A count with its share.

    Examples:
        >>> _share(3, 4)
        '3 of 4 (75%)'
    """
    return f"{count:,} of {n:,} ({count / n:.0%})"


def _range(row: pd.Series, name: str, digits: int = 3) -> str:
    low, high = row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
    return f" ({low:.{digits}f} to {high:.{digits}f})" if np.isfinite(low) and np.isfinite(high) else ""


def shortened(reason: str, most: int = 60) -> str:
    """A text of at most so many signs."""
    return reason if len(reason) <= most else reason[: most - 1] + "…"
