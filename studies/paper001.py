"""Paper 001 measured again: three segmenters, six ways to infer, two sets of slices; its figures 2, 4 and 6 as tables.

python -m studies.paper001 configs/paper001.yaml runs/paper001 [--max_images 3] [--only hippocampus]

"Biomedical Image Segmentation Based on Foundation Models Adapted Without Retraining and With Uncertainty Estimation".
Its set (LGG, brain MR) is not at hand; here are the middle slices of MR volumes of the hippocampus, and CT slices of
the pancreas. Of each set, in OUT/SET: cases.csv, and references.csv (images of train). A U-Net is fitted on its train
images, UniverSeg on the tasks that are not judged, as `fit` says; then `studies.methods` runs a segmenter's ways to
infer (options chosen on val, test once) in OUT/SET/SEGMENTER. Writes OUT/paper001.csv and OUT/paper001.md: medians and
quartiles as its box plots show them, and the paired difference from the normal pass beside what the paper found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError, lookup
from sqp.evaluation.paired import mean_cells
from sqp.metrics.stats import Resamples
from sqp.report.tables import markdown, write_csv
from studies.methods import run_methods
from studies.methods_report import METRICS, load
from studies.runner import command, option, status, study, write_page
from studies.tasks import all_tasks, draw, write_cases

MODES = {
    ("normal", "mean"): "normal",
    ("mc_dropout", "mean"): "MC dropout",
    ("tta", "mean"): "TTA",
    ("noise", "mean"): "noise",
    ("all", "inverse"): "fusion",
    ("all", "crf"): "CRF",
}
"""The paper's modes, by the set of samples and the step of `studies.methods`."""
FOUND = {
    "dice": "unchanged but for CRF, which loses a little",
    "nll": "lower by sampling and fusion; CRF higher with MedSAM and UniverSeg",
    "ece": "lower by sampling and fusion",
    "brier": "lower by sampling and fusion; CRF higher with MedSAM and UniverSeg",
    "certainty": "normal > fusion > sampling > CRF",
}
"""What the paper says of a metric beside the normal pass (its section 5)."""
FITTED = ("unet", "universeg")
COMMON = ("learned", "samplers", "pooled", "fusions", "steps")


def fitted(settings: Mapping[str, Any], name: str, cases: Path, out: Path) -> Path:
    """The checkpoint of a network; fitted on a table of cases where there is none yet."""
    file = out / f"{name}-seed0.safetensors"
    if not file.exists():
        command("fit segmenter", settings["fit"][name], {"images": str(cases), "out": str(out), "network": name})
    return file


def segmenters(settings: Mapping[str, Any], name: str, home: Path, out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A segmenter's name, and the keys of `sqp generate` that are its own; a network is fitted when its turn comes."""
    for kind, options in settings["segmenters"].items():
        own = {"segmenter": {"name": kind}} | options
        if kind in FITTED:
            where = (home / "cases.csv", home / "fit") if kind == "unet" else (out / "fit.csv", out / "fit")
            own["segmenter"] = own["segmenter"] | {"checkpoint": str(fitted(settings, kind, *where))}
        if kind == "universeg":
            own["references"] = str(home / "references.csv")
        yield kind, own


def run_set(settings: Mapping[str, Any], name: str, out: Path, workers: int, most: int) -> None:
    """All segmenters of a set, by `studies.methods`."""
    home = out / name
    for kind, own in segmenters(settings, name, home, out):
        common = {"images": str(home / "cases.csv"), "out": str(home / kind)}
        methods = {key: settings[key] for key in COMMON if key in settings}
        run_methods(
            {**methods, "fit": settings.get("learned", {}), "generate": common | own}, home / kind, workers, most
        )


def measured(rows: pd.DataFrame, n_resamples: int) -> pd.DataFrame:
    """A row a mode: n, and of each metric the median, its quartiles, and the mean difference from the normal pass.

    The difference is of images that both have, with its interval by group.
    """
    modes = [MODES.get(key, "") for key in zip(rows["of"], rows["step"], strict=True)]
    rows = rows.assign(mode=modes)
    rows = rows[rows["mode"] != ""]
    group = rows.drop_duplicates("image_id").set_index("image_id")["group"]
    out = []
    for mode in [mode for mode in MODES.values() if mode in set(rows["mode"])]:
        part = rows[rows["mode"] == mode].set_index("image_id")
        normal = rows[rows["mode"] == "normal"].set_index("image_id").loc[part.index]
        row: dict[str, Any] = {"mode": mode, "n": len(part), "groups": int(group.loc[part.index].nunique())}
        for metric in METRICS:
            low, median, high = part[metric].quantile([0.25, 0.5, 0.75])
            row |= {f"{metric}_median": median, f"{metric}_q25": low, f"{metric}_q75": high}
            difference = (part[metric] - normal[metric]).dropna()  # certainty is NaN on an empty mask
            if mode != "normal" and len(difference):
                resamples = Resamples.draw(group.loc[difference.index].astype(str).to_numpy(), n_resamples)
                row |= mean_cells(f"{metric}_gain", difference.to_numpy(float), resamples)
        out.append(row)
    return pd.DataFrame(out)


def page(table: pd.DataFrame) -> Iterator[str]:
    """Blocks of OUT/paper001.md: a table of medians a segmenter, then the differences beside the paper's findings."""
    for (name, kind), part in table.groupby(["set", "segmenter"], sort=False):
        yield f"## {kind} on {name} (n = {part['n'].iloc[0]}, groups {part['groups'].iloc[0]})"
        cells = pd.DataFrame({"mode": part["mode"]})
        for metric in METRICS:
            ends = zip(part[f"{metric}_median"], part[f"{metric}_q25"], part[f"{metric}_q75"], strict=True)
            cells[metric] = [f"{median:.3f} ({low:.3f}, {high:.3f})" for median, low, high in ends]
        yield "Median (quartiles).\n\n" + markdown(cells)
        rows = []
        for metric, claim in FOUND.items():
            row = {"metric": metric}
            for told in part[part["mode"] != "normal"].to_dict("records"):
                value, low, high = (told.get(f"{metric}_gain{end}", np.nan) for end in ("", "_low", "_high"))
                row[told["mode"]] = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" if np.isfinite(value) else "–"
            rows.append(row | {"the paper": claim})
        yield "Mean difference from the normal pass, 95 % interval by group.\n\n" + markdown(pd.DataFrame(rows))


@study(
    "config",
    "out",
    option("--workers", type=int, default=0),
    option("--max_images", type=int, default=0, help="of each split; 0 for all"),
    option("--only", nargs="+", help="only these sets; the others keep what they have"),
    required=("tasks", "most", "judged", "references", "fit", "segmenters", "samplers", "pooled", "fusions", "steps"),
    optional=("learned", "n_resamples"),
)
def main(args: argparse.Namespace) -> None:
    """Tables of cases, networks, methods, report."""
    settings, out = args.settings, args.out
    for name in args.only or ():
        lookup("set", name, dict.fromkeys(settings["judged"]))
    for name in settings["judged"]:
        lookup("task", name, settings["tasks"])
    tasks = all_tasks(settings, out)
    others = [case for name, cases in tasks.items() if name not in settings["judged"] for case in cases]
    write_cases(others, out / "fit.csv")
    for name in settings["judged"]:
        pool = [case for case in tasks[name] if case.split == "train"]
        if not pool:
            raise ConfigError(f"the set {name} has no image of train, which references are drawn from")
        write_cases(tasks[name], out / name / "cases.csv")
        write_cases(draw(pool, int(settings["references"]), 0), out / name / "references.csv", masks=True)
        if name in (args.only or settings["judged"]):
            run_set(settings, name, out, args.workers, args.max_images)
    parts = [
        measured(load(out / name / kind / "test"), int(settings.get("n_resamples", 2000))).assign(
            set=name, segmenter=kind
        )
        for name in settings["judged"]
        for kind in settings["segmenters"]
        if (out / name / kind / "test").is_dir()
    ]
    table = pd.concat(parts)
    first = ["set", "segmenter"]
    table = table[[*first, *[column for column in table if column not in first]]]
    write_csv(table, out / "paper001.csv")
    write_page(out / "paper001.md", "# Paper 001, measured again", f"`{args.config}`, split test.", *page(table))


if __name__ == "__main__":
    sys.exit(status(main))
