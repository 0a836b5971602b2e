"""`sqp explain`: what the quality model looks at, whether that is where the errors are, what it cannot do without."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from torch import Tensor

from sqp.bundles import bundle_folder
from sqp.commands.explain_strangeness import study_ood
from sqp.config.checks import check_ranges
from sqp.config.explain import ExplainConfig
from sqp.core.errors import ConfigError, lookup
from sqp.core.files import write_text
from sqp.core.ownership import check_owner, owned
from sqp.explain import embedding as embeddings
from sqp.explain.attribution import ATTRIBUTIONS
from sqp.explain.cams import CAMS, Layer, choose_layer, spatial_layers
from sqp.explain.cases import draw_cases
from sqp.explain.data import Material, load_material
from sqp.explain.faithfulness import Curves
from sqp.explain.maps import study_maps
from sqp.explain.permutation import donors, importance_table, inputs_of, no_gradient_predict, permuted_predictions
from sqp.explain.target import EFFECTS
from sqp.quality.bundle.provenance import of_known_groups
from sqp.quality.bundle.storage import Bundle
from sqp.records.run_info import stored_config, versions
from sqp.records.schema import NATURAL
from sqp.report import explain_figures as figures
from sqp.report.embedding import embedding_figure, write_embedding_page
from sqp.report.explain_page import TITLES, as_markdown, findings, write_explain_page
from sqp.report.figures import save
from sqp.report.tables import write_csv
from sqp.segmenters import check_device

POINTS = (
    *("record_id", "image_id", "group", "variant", "diagnosis", "segmenter", "prompter", "dice", "predicted_dice"),
    "area",
)
SHOWN = {  # table -> the figure's caption
    "localisation": "Where maps point: mean AUROC per record, 95 % intervals, chance dashed",
    "faithfulness": "Deletion and insertion, mean over the checked records",
    "importance": "What is lost when an input is taken from another record, 95 % paired intervals",
    "ood": "Strange images told from in-distribution by the distance of their features",
}


@dataclass
class ExplainResult:
    """`tables` by name, `told` the findings in words, `files` what was written, `left_out` why a record is missing."""

    out: Path
    tables: dict[str, pd.DataFrame]
    told: list[str]
    files: dict[str, Path]
    seconds: float
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """1 where records could not be read and were left out."""
        return 1 if self.left_out else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lost = [f"{len(self.left_out)} records left out: {next(iter(self.left_out.values()))}"] if self.left_out else []
        return "\n".join([*self.told, *lost, f"tables: {self.files['text']}", f"report: {self.files['report']}"])


def run(config: ExplainConfig) -> ExplainResult:
    """Explain and write tables, figures, explain.md, report.html, embedding.html and run.yaml into OUT."""
    check(config)
    with owned(config.out, "explain"):
        return _run(config)


def _run(config: ExplainConfig) -> ExplainResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    bundle = Bundle.load(bundle_folder(config.model))
    layers = spatial_layers(bundle.model) if config.cams else {}
    layer = choose_layer(layers, config.layer) if layers else None
    material = load_material(config, bundle)
    if config.neighbours:
        embeddings.check_enough(len(material), config.neighbours)
    config.out.mkdir(parents=True, exist_ok=True)
    maps = study_maps(config, material, layers, layer)
    tables = dict(maps.tables)
    points, explained = None, 0.0
    if config.neighbours:
        points, explained, made = study_embedding(config, material)
        tables |= made
    if config.permute and material.known.any():
        tables["importance"] = study_importance(config, material)
    if config.ood_images:
        tables["ood"] = study_ood(config, material)
    tables = {name: tables[name] for name in TITLES if name in tables}
    told = [*_seen(material), *findings(tables, layer.name if layer else "")]
    pictures = _figures(config, tables, maps.curves, points, explained)
    sheets = draw_cases(config, material, layers, layer)
    if sheets:
        pictures["cases"] = sheets
    files = {path.stem: path for _, path in sheets} | _write(config, material, tables, told, pictures, points, layer)
    seconds = round(time.monotonic() - started, 2)
    info = {
        "config": stored_config(config),
        "layer": layer.name if layer else None,
        "versions": versions(),
        "counts": {
            "records": len(material),
            "with_truth": int(material.known.sum()),
            "left_out": len(material.left_out),
        },
        "seconds": seconds,
    }
    write_text(config.out / "run.yaml", yaml.safe_dump(info, sort_keys=False))
    return ExplainResult(config.out, tables, told, files, seconds, material.left_out)


def check(config: ExplainConfig) -> None:
    """Refuse unknown names and numbers out of range before anything is read."""
    if not config.records:
        raise ConfigError("explain needs --records DIR: the record sets that hold the records to explain")
    for name in config.cams:
        lookup("CAM", name, CAMS)
    lookup("effect", config.effect, EFFECTS)
    lookup("attribution", config.attribution, ATTRIBUTIONS)
    check_device(config.device)
    check_ranges(config)
    if config.neighbours == 1:
        raise ConfigError("neighbours is 1; UMAP needs at least 2 (0: no embedding)")
    check_owner(config.out, "explain")
    if (config.out / "run.yaml").exists() and not config.overwrite:
        raise ConfigError(f"{config.out} holds a finished run already; choose another --out, or --overwrite")


def study_embedding(config: ExplainConfig, material: Material) -> tuple[pd.DataFrame, float, dict[str, pd.DataFrame]]:
    """The points (columns of the rows, pca_x ... umap_y), PCA's share of variance, and the tables."""
    features = embeddings.standardised(material.features)
    made, explained = embeddings.projections(features, config.neighbours, config.seed)
    spaces = {embeddings.FEATURES: features, **made}
    k = config.neighbours
    table = embeddings.embedding_table(spaces, material.dice, material.group, k, material.resamples)
    rows = material.rows
    points = rows[[name for name in POINTS if name in rows]].copy()
    points["error"] = rows["predicted_dice"] - rows["dice"]
    for name, flat in made.items():
        points[f"{name}_x"], points[f"{name}_y"] = flat.T
    tables = {"embedding": table}
    if material.known.sum() > 2 * k:
        tables["neighbours"] = embeddings.disagreeing(rows, features, k)
    return points, explained, tables


def study_importance(config: ExplainConfig, material: Material) -> pd.DataFrame:
    """Permutation importance over the records with truth, by subset."""
    model = material.bundle.model.to(config.device).eval()
    inputs = inputs_of(material.bundle.channels, model.spec.scores, material.dims)

    def dice_of(planes: Tensor, scores: Tensor | None) -> np.ndarray:
        scores = None if scores is None else scores.to(config.device)
        return model(planes.to(config.device), scores).dice.float().cpu().numpy()

    predict = no_gradient_predict(dice_of, len(material), config.batch_size)
    donor = donors(material.rows["natural"].to_numpy(bool), config.seed)
    found = permuted_predictions(predict, material.planes, material.scores, inputs, donor)
    parts = []
    for name, keep in material.subsets().items():
        table = importance_table(found, inputs, material.dice, keep & material.known, material.resamples)
        table.insert(0, "subset", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _seen(material: Material) -> list[str]:
    """A warning where the model was made from the groups that are explained."""
    if not of_known_groups(material.rows, material.bundle.info.get("groups_sha256", [])).any():
        return []
    return ["The model was trained, tuned or calibrated on some of these groups: agreement is flattered."]


def _figures(
    config: ExplainConfig,
    tables: dict[str, pd.DataFrame],
    curves: dict[str, Curves],
    points: pd.DataFrame | None,
    explained: float,
) -> dict[str, list[tuple[str, Path]]]:
    """Table -> (caption, file) of its figures."""
    made = {
        "localisation": lambda table: figures.localisation(table),
        "faithfulness": lambda table: figures.faithfulness(curves, config.effect),
        "importance": lambda table: figures.importance(table),
        "ood": lambda table: figures.ood(table),
    }
    found = {
        name: [(SHOWN[name], save(draw(tables[name]), config.out / f"{name}.png"))]
        for name, draw in made.items()
        if name in tables and not tables[name].empty
    }
    if points is not None:
        found["embedding"] = []
        for row in tables["embedding"].to_dict("records")[1:]:
            space, trust = row["space"], row["trustworthiness"]
            title = (
                f"{'UMAP' if space == 'umap' else 'PCA'} of the features, n = {row['n']:,}: trustworthiness {trust:.2f}"
            )
            title += f", {explained:.0%} of the variance" if space == "pca" else ""
            title += f", k-NN R2 of Dice {row['knn_r2']:.2f}" if np.isfinite(row.get("knn_r2", np.nan)) else ""
            drawn = embedding_figure(points, f"{space}_x", f"{space}_y", title)
            found["embedding"].append((title, save(drawn, config.out / f"embedding_{space}.png", dpi=90)))
    return found


def _write(
    config: ExplainConfig,
    material: Material,
    tables: dict[str, pd.DataFrame],
    told: list[str],
    pictures: dict[str, list[tuple[str, Path]]],
    points: pd.DataFrame | None,
    layer: Layer | None,
) -> dict[str, Path]:
    out = config.out
    cells = " x ".join([str(layer.side)] * material.dims) if layer else ""
    natural = int(material.subsets().get(NATURAL, np.zeros(0)).sum())
    intro = (
        f"Split `{config.split}`: {len(material):,} records ({natural:,} natural) of "
        f"{material.rows['group'].nunique():,} groups. Backbone {material.bundle.model.spec.backbone}"
        f"{f', CAMs at {layer.name} ({cells} cells)' if layer else ''}; maps show what "
        f"{config.effect} the predicted Dice. 95 % intervals from {config.n_resamples:,} resamples of whole groups."
    )
    files = {name: write_csv(table, out / f"{name}.csv") for name, table in tables.items()}
    files["text"] = out / "explain.md"
    write_text(files["text"], as_markdown(tables, told, intro))
    interactive = ""
    if points is not None:
        files["points"] = write_csv(points, out / "points.csv")
        interactive = "embedding.html"
        files["interactive"] = write_embedding_page(
            out / interactive,
            points.assign(**{name: material.rows[name] for name in ("record_set", "image_path", "truth_path")}),
            {"umap": ("UMAP", "umap_x", "umap_y"), "pca": ("PCA", "pca_x", "pca_y")},
            title="Features of the quality model",
            notes=intro,
            pictures=config.thumbnails,
        )
    files["report"] = write_explain_page(
        out / "report.html", tables, pictures, told, intro=intro, interactive=interactive
    )
    return files
