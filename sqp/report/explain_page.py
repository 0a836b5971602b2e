"""The report of `explain`: findings in words, figures and tables under headings for readers, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from sqp.core.files import write_text
from sqp.report.html import document, png
from sqp.report.tables import formatted, markdown

TITLES = {
    "localisation": "Does a map point at the errors?",
    "faithfulness": "Is a map true to the model?",
    "sanity": "Does a map depend on what was learned?",
    "attribution": "Which input group moves the prediction?",
    "importance": "What is lost without an input?",
    "embedding": "Can the picture of the features be trusted?",
    "neighbours": "Records that differ from their neighbours",
    "ood": "Are strange images noticed?",
}
"""Table -> its heading, in the order of the page."""

ABOUT = {
    "localisation": "Pixels of the mask that are wrong (mask xor truth) against those that are right, in the model's "
    "frame. AUROC 0.5 is chance; the chance level of AUPRC is the share of wrong pixels. Boundary: within 3 % of the "
    "frame's side from the truth's outline; omission and false positive: further away. Per record: the mean over the n "
    "records that have such errors; pooled: over all their pixels. `random` and `border of the mask` know nothing of "
    "the model; `mask against probability` is how improbable the segmenter's own samples find the mask.",
    "faithfulness": "The most marked pixels of all planes are blurred away first (deletion), or put back first "
    "(insertion); the area under the explained quantity, in Dice, and its difference to random maps on the same "
    "records. Below 0 is faithful for deletion, above 0 for insertion.",
    "sanity": "Spearman between a record's map and the map of the same network with shuffled weights.",
    "attribution": "Mean share of each input group in all absolute attribution of a record, scores left out.",
    "importance": "An input is taken from another record of the same kind (natural or corrupted), predicted from the "
    "plain orientation alone; `only` leaves this input in its place and takes all others from one other record. Paired "
    "intervals. This is what the trained model relies on, not what one trained without the input could do.",
    "embedding": "Trustworthiness: 1 where all neighbours in the picture are neighbours in the features. k-NN R2: of "
    "the mean true Dice of the k nearest records of other groups.",
    "neighbours": "True Dice furthest from the mean of the nearest records of other groups, in the features.",
    "ood": "AUROC of the distance of a strange image's features against in-distribution natural masks: features of the "
    "segmenter's encoder (image) and of the quality model. The share that `predict` abstains from, by any of the "
    "distances beyond the bundle's thresholds, or for an empty mask.",
}

HEADINGS = {
    "subset": "subset",
    "map": "map",
    "error": "error",
    "group": "input group",
    "taken_away": "taken away",
    "kind": "kind",
    "space": "space",
    "images": "images",
    "distance": "distance",
    "record_id": "record",
    "n": "n",
    "n_groups": "groups",
    "n_inside": "n inside",
    "dimensions": "dimensions",
    "neighbours": "neighbours",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "chance_auprc": "chance AUPRC",
    "pooled_auroc": "pooled AUROC",
    "pooled_auprc": "pooled AUPRC",
    "chance_pooled_auprc": "chance pooled AUPRC",
    "deletion": "deletion",
    "deletion_difference": "deletion: map - random",
    "insertion": "insertion",
    "insertion_difference": "insertion: map - random",
    "likeness": "Spearman with shuffled weights",
    "share": "share",
    "spearman": "Spearman",
    "mae": "MAE",
    "spearman_loss": "loss of Spearman",
    "mae_rise": "rise of MAE",
    "trustworthiness": "trustworthiness",
    "knn_r2": "k-NN R2",
    "dice": "true Dice",
    "predicted_dice": "predicted Dice",
    "neighbours_dice": "neighbours' Dice",
    "difference": "difference",
    "abstained": "abstained",
    "abstained_inside": "abstained inside",
    "note": "note",
}
MOST_ROWS = 20  # of the neighbours, on the page


def readable(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table of `explain` as strings under `HEADINGS`; of the neighbours the first rows, without their ids."""
    if name == "neighbours":
        table = table.head(MOST_ROWS).drop(columns="neighbours")
    return formatted(table, HEADINGS)


def findings(tables: Mapping[str, pd.DataFrame], layer: str) -> list[str]:
    """What the tables say, a sentence each: first whether the CAMs can be trusted."""
    sentences: list[str] = []
    if "localisation" in tables:
        sentences += [_pointing(row, layer) for row in tables["localisation"].to_dict("records") if _is_summed_up(row)]
    for name in ("faithfulness", "sanity"):
        test = {"faithfulness": "deletion and insertion", "sanity": "shuffled weights"}[name]
        rows = tables[name].to_dict("records") if name in tables else []
        sentences += [
            f"{row['map']}, {test}: {row['note']} (n = {row['n']})." for row in rows if row["map"] != "random"
        ]
    if "importance" in tables:
        sentences += [
            _impact(row) for row in tables["importance"].to_dict("records") if row["taken_away"] == "uncertainty"
        ]
    if "embedding" in tables and "knn_r2" in tables["embedding"]:
        rows = tables["embedding"].to_dict("records")
        r2 = ", ".join(f"{row['space']} {row['knn_r2']:.2f}" for row in rows)
        sentences.append(f"Dice by the mean of {rows[0]['neighbours']} neighbours of other groups, R2: {r2}.")
    if "ood" in tables:
        for row in tables["ood"].to_dict("records"):
            sentences.append(f"{row['images']}, {row['distance']} distance: AUROC {_span(row, 'auroc')}, "
                        f"abstained from {row['abstained']:.0%} (n = {row['n']}).")  # fmt: skip
    return sentences


def as_markdown(tables: Mapping[str, pd.DataFrame], sentences: Sequence[str], intro: str) -> str:
    """All tables with their headings and explanations, the findings first."""
    blocks = ["# What the quality model looks at", intro, "\n".join(f"- {sentence}" for sentence in sentences)]
    for name, title in TITLES.items():
        if name in tables:
            blocks += [f"## {title}", ABOUT[name], markdown(readable(name, tables[name]))]
    return "\n\n".join(blocks) + "\n"


def _is_summed_up(row: Mapping[str, object]) -> bool:
    """Errors of all kinds, the CAMs and the error map."""
    name = str(row["map"])
    return row["error"] == "all" and ("_cam" in name or name == "error_map") and "shuffled" not in name


def _pointing(row: Mapping[str, object], layer: str) -> str:
    at = f" at {layer}" if "_cam" in str(row["map"]) else ""
    values = f"AUROC {_span(row, 'auroc')}" if np.isfinite(float(row["auroc"])) else "no value"  # type: ignore[arg-type]
    return f"{row['map']}{at}, {row['subset']} masks, pointing to errors: {row['note']}; {values} (n = {row['n']})."


def _impact(row: Mapping[str, object]) -> str:
    return (
        f"Without the uncertainty inputs (maps and scores of another record), {row['subset']} masks: Spearman falls by "
        f"{_span(row, 'spearman_loss')}, MAE rises by {_span(row, 'mae_rise')} (n = {row['n']}): {row['note']}."
    )


def _span(row: Mapping[str, object], name: str) -> str:
    value, low, high = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))  # type: ignore[arg-type]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def write_explain_page(
    path: str | Path,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Sequence[tuple[str, Path]]],
    sentences: Sequence[str],
    *,
    intro: str,
    interactive: str = "",
) -> Path:
    """Write the page; returns its path.

    `figures`: table -> (caption, PNG file) that stand with it; those under `cases` come first. `interactive` is the
    address of the interactive embedding, beside this page.
    """
    title = "What the quality model looks at"
    body = [f"<h1>{title}</h1>", f"<p>{escape(intro)}</p>"]
    body += ["<ul>", *(f"<li>{escape(sentence)}</li>" for sentence in sentences), "</ul>"]
    body += [_figure(*figure) for figure in figures.get("cases", ())]
    for name, heading in TITLES.items():
        if name not in tables:
            continue
        body += [f"<h2>{escape(heading)}</h2>", f"<p>{escape(ABOUT[name])}</p>"]
        if name == "embedding" and interactive:
            body.append(f'<p><a href="{escape(interactive)}">The same points to hover over and to choose from</a></p>')
        body += [_figure(*figure) for figure in figures.get(name, ())]
        body.append(
            f'<div class="wide">{readable(name, tables[name]).to_html(index=False, escape=True, border=0)}</div>'
        )
    write_text(Path(path), document(title, "", "\n".join(body)))
    return Path(path)


def _figure(caption: str, file: Path) -> str:
    text = escape(caption)
    return f'<figure><img src="{png(file)}" alt="{text}"><figcaption>{text}</figcaption></figure>'
