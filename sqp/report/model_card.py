"""A model card in Markdown, made from a bundle (Mitchell et al., Model Cards for Model Reporting, FAT* 2019).

Its facts are read off the bundle and, where one is given, an evaluation; limits and uses are those of every bundle.

What goes into an exported ONNX file and what comes out, for the model card; read off the graph itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sqp.bundles import HERE, MEASURED
from sqp.config.predict import PredictConfig
from sqp.config.referee import NONE
from sqp.quality.bundle.expected_config import network_names
from sqp.quality.bundle.licences import licences_behind, restriction
from sqp.quality.bundle.onnx_graph import SCORES, Graph, Input
from sqp.quality.bundle.sources import REFEREE, SELF, SUPERVISED
from sqp.quality.bundle.storage import CORRECTION, Bundle
from sqp.quality.judging.risk import RiskRule
from sqp.quality.model.backbones import dims_of
from sqp.quality.model.channels import IMAGE, MASK
from sqp.quality.model.ensemble import Ensemble
from sqp.report.findings import MODEL, risk_sentence
from sqp.report.tables import markdown

MEANING = {
    IMAGE: "RGB, upright, 0 to 255, of any size",
    MASK: "true where the mask is, at the size of the image",
    SCORES: "in the order below, NaN where there is none",
}
MAP = "as a record set stores it, on its own grid and in its own units"


def onnx_section(bundle: Bundle, file: str) -> str:
    """Inputs and outputs of the file of that name, in Markdown: names, types, shapes, the order of the scores."""
    graph = Graph(bundle)
    inputs = pd.DataFrame([{"input": one.name, **_described(one)} for one in graph.inputs()])
    level = f"{1 - bundle.conformal.alpha:.0%}"
    meanings = {
        "dice": "the predicted Dice",
        "low": f"the low end of its {level} interval",
        "high": "the high end",
        "scale": "the model's own measure of its error, in Dice",
        "error": "`[h, h]` over the whole frame, squashed: the probability that a pixel of the mask is wrong",
    }
    parts = [
        f"`{file}` takes what a record set holds, resizes and normalises it inside, and averages over the flips:",
        markdown(inputs),
        *([_scores(graph.scored)] if graph.scored else []),
        "It gives, in float32:\n\n" + "\n".join(f"- `{name}`: {meanings[name]}" for name in graph.outputs),
    ]
    return "\n\n".join(parts)


def _described(one: Input) -> dict[str, str]:
    sides = [side or str(length) for side, length in zip(one.sides, one.example.shape, strict=True)]
    kind = str(one.example.dtype).removeprefix("torch.")
    return {"type": kind, "shape": f"[{', '.join(sides)}]", "note": MEANING.get(one.name, MAP)}


def _scores(names: tuple[str, ...]) -> str:
    return f"`{SCORES}`, in order (the file's metadata say it too): {', '.join(f'`{name}`' for name in names)}."


BUNDLE = "bundle"
HEADING = ", predicted quality of a segmentation"  # by it a file is known to be such a card
RESERVATIONS = "reservations"
"""Key of bundle.json: sentences on what must be known of it: of `sqp train` on val, or by hand what was found since."""
REJECT = PredictConfig.reject
RISKS = (0.02, 0.05, 0.1)
FIGURES = ("n", "sd", "sd_dice", "pearson", "spearman", "r2", "mae", "rmse", "coverage", "width")
LIMITS = (
    "Its intervals hold on average over masks of images like those it was calibrated on, not for each kind of them, "
    "and not for images, devices or makers of masks of another kind.",
    "A mask is called out of distribution by how far its features lie from those of training: what is strange in "
    "another way is not noticed.",
    "R2 and Pearson grow with the spread of Dice among the tested masks: read them beside n, SD(Dice), MAE and RMSE.",
)
NOT_FOR = (
    "Diagnosis, treatment, or any decision about a patient: it is a research tool, and its verdicts are no medical "
    "advice.",
    "Saying whether a lesion is benign or malignant: it looks at the outline alone.",
    "Replacing a person's look at masks that it abstains from or sends to review.",
)
OTHER_MODALITIES = "Images of a modality that is not among its data"
BY_REFERENCES = (
    "Four or more references of the task (`--references`) correct its predictions, whatever the modality. The interval "
    "is then {quantile:.3g} scales wide, by {records:,} masks of {groups} groups of tasks that the model had not "
    "learned from: with so few tasks no promise for the next one."
)


def model_card(
    bundle: Bundle, evaluation: pd.DataFrame | None = None, exported: str = "", onnx: str | None = None
) -> str:
    """The card. `evaluation`: the table of `sqp evaluate`; `exported`: what an exported file lacks, in a sentence;
    `onnx`: the name of the ONNX file whose inputs and outputs are told, where one was written.
    """
    reservations, corrected = bundle.info.get(RESERVATIONS, []), bundle.info.get(CORRECTION)
    parts = {
        **({"Reservations": _list(reservations)} if reservations else {}),
        "What it does": _what(bundle),
        "Data": _data(bundle),
        "Licences": _licences(bundle),
        "Protocol": _protocol(bundle),
        "Figures": _figures(bundle, evaluation),
        "Accepting at a risk": _risks(bundle),
        **({"References": BY_REFERENCES.format(**corrected)} if corrected else {}),
        **({} if onnx is None else {"The ONNX file": onnx_section(bundle, onnx)}),
        "Limits": _list([*LIMITS, *([exported] if exported else [])]),
        "What it is not for": _list([*NOT_FOR, OTHER_MODALITIES + (", without references." if corrected else ".")]),
        "Made with": ", ".join(f"{name} {number}" for name, number in bundle.info.get("versions", {}).items()),
    }
    sections = [f"## {title}\n\n{text or 'The bundle does not say.'}" for title, text in parts.items()]
    return "\n\n".join([f"# Model card: {_title(bundle)}{HEADING}", *sections]) + "\n"


def _title(bundle: Bundle) -> str:
    """The bundle's folder, with the one above where it is called what `sqp train` calls it."""
    folder = Path(bundle.name).resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name == BUNDLE else folder.name


def _what(bundle: Bundle) -> str:
    spec, members = bundle.model.spec, len(bundle.model.members) if isinstance(bundle.model, Ensemble) else 1
    dims = dims_of(spec.backbone)
    sides = f"{' x '.join([str(spec.size)] * dims)} {'pixels' if dims == 2 else 'voxels'}"
    parameters = sum(value.numel() for value in bundle.model.parameters())
    scores = f" and the score{'s' * (len(spec.scores) != 1)} {_code(spec.scores)}" if spec.scores else ""
    return (
        f"It predicts the Dice of a mask, with a {1 - bundle.conformal.alpha:.0%} interval, from "
        f"{_code(bundle.channels)}{scores}, at {sides}. {_makers(bundle)} Backbone `{spec.backbone}`"
        f"{f', {members} members' if members > 1 else ''}, {parameters:,} parameters"
        f"{', with a map of expected errors' if spec.error_map else ''}."
    )


def _makers(bundle: Bundle) -> str:
    """Whose masks it learned from, and who must be at hand where it judges."""
    names = {key: _names(bundle, key) for key in ("segmenter", "referee")}
    text = f"It learned from masks of {names['segmenter'] or 'a segmenter'}, and of what was made from them."
    if SELF in bundle.sources:
        text += f" What it reads of samples (`self/*`) is that of {names['segmenter'] or 'the segmenter'}."
    if REFEREE in bundle.sources:
        text += f" Its referee is {names['referee'] or 'not told'}, which segments the image beside the mask."
    if SUPERVISED in bundle.sources:
        files = [f"`{name}`" for name in network_names(bundle.expects)]
        what = "a network that was" if len(files) == 1 else f"the mean of {len(files)} networks that were"
        text += f" It compares with {what} fitted on true masks ({', '.join(files)})."
    return text


def _names(bundle: Bundle, key: str) -> str:
    """Of all record sets, in words; masks that came with the images are `none`'s."""
    names = {str(one[key]["name"]) for one in bundle.expects if "name" in one.get(key, {})}
    others = ["others that were given"] if key == "segmenter" and NONE in names else []
    return " and ".join([*sorted(names - {NONE}), *others])


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _data(bundle: Bundle) -> str:
    data = bundle.info.get("data", {})
    if not data:
        return ""
    names = ", ".join(data.get("datasets", [])) or "data without a name"
    table = pd.DataFrame([{"split": split, **counts} for split, counts in data.get("counts", {}).items()])
    origin = f"By name (a plain folder's is its own): {names}"
    return f"{origin}; fingerprint (sha256 of image, group and split) `{data['sha256']}`.\n\n{markdown(table)}"


def _licences(bundle: Bundle) -> str:
    behind = licences_behind(bundle.info)
    rows = pd.DataFrame([{"part": part, "rows of": ", ".join(names) or "none"} for part, names in behind.items()])
    held = restriction(bundle.info)
    return f"Of the rows that each fitted part rests on{f': {held}' if held else ''}.\n\n{markdown(rows)}"


def _protocol(bundle: Bundle) -> str:
    training = bundle.info.get("training", {})
    keys = ("train_on", "calibrate_on", "epochs", "patience", "loss", "balance", "flips", "members", "views", "seed")
    shown = ", ".join(f"{key} {training[key]}" for key in keys if key in training)
    splits = [f"`{name}`" for name in training.get("calibrate_splits", ["calibration"])]
    widest = "; the interval is as wide as the harder of them asks" if len(splits) > 1 else ""
    counts = f"{bundle.conformal.groups:,} groups ({bundle.conformal.records:,} records)"
    if corrected := bundle.info.get(CORRECTION):
        how = (
            f"by the error on val. Its interval is as wide as masks of `calibration` and `val` ask that were judged by "
            f"models trained without their task, each task counted alike: {counts} without references or with few, "
            f"{corrected['groups']:,} ({corrected['records']:,}) that references had corrected."
        )
    else:
        how = (
            f"by the error on val, and was calibrated on {counts} of {' and '.join(splits)}, each group counted "
            f"once{widest}."
        )
    calibration = (
        f"Images are split by group (the lesion, else the image): it learned from the split train, stopped {how} It "
        "has seen no other split."
    )
    return f"{calibration}\n\nTraining: {shown}." if shown else calibration


def _figures(bundle: Bundle, evaluation: pd.DataFrame | None) -> str:
    val = {name: value for name, value in bundle.info.get("val", {}).items() if name in FIGURES and value is not None}
    parts = []
    if val:
        calibrated = "val" in bundle.info.get("training", {}).get("calibrate_splits", [])
        where = "On val, which chose the epoch" + (" and is part of what the interval was calibrated on" * calibrated)
        if CORRECTION in bundle.info:  # its interval was made later
            val = {name: value for name, value in val.items() if name not in ("coverage", "width")}
            where += ", masks of the tasks that it has learned, not corrected by references"
        parts.append(f"{where}:\n\n{markdown(_shown(pd.DataFrame([val])))}")
    folder = Path(bundle.name).resolve()
    if folder.parent == HERE:
        page = MEASURED[folder.name]
        parts.append(f"On images that no part of it has seen, and where it falls short: `{page}` of sqp's repository.")
    if evaluation is not None:
        own = evaluation[evaluation["method"] == MODEL].drop(columns="method")
        shown = own[[name for name in ("subset", "dataset", *FIGURES) if name in own.columns]]
        parts.append(f"As tested by `sqp evaluate`:\n\n{markdown(_shown(shown))}")
    return "\n\n".join(parts)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text, three decimals, counts whole."""
    return table.map(lambda value: value if isinstance(value, str) else _number(float(value)))


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) and abs(value) > 1 else f"{value:.3f}"


def _risks(bundle: Bundle) -> str:
    if bundle.risk is None:
        return ""
    return _list([f"`--risk {risk:g}`: {risk_sentence(bundle.choose(RiskRule(risk), REJECT))}" for risk in RISKS])


def _list(lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)
