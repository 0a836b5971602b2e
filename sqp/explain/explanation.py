"""An explanation: what the quality model looks at, whether that is where the errors are, what it cannot do without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from sqp.config.explain import ExplainConfig
from sqp.core.files import write_text
from sqp.explain.cams import Layer, choose_layer, spatial_layers
from sqp.explain.cases import draw_cases
from sqp.explain.data import Material, load_material
from sqp.explain.embedding import check_enough, study_embedding
from sqp.explain.faithfulness import Curves
from sqp.explain.maps import study_maps
from sqp.explain.permutation import study_importance
from sqp.explain.strangeness import MakeRecords, study_strangeness
from sqp.quality.bundle.provenance import of_known_groups
from sqp.quality.bundle.storage import Bundle
from sqp.records.schema import NATURAL
from sqp.report import explain_figures as figures
from sqp.report.embedding import embedding_figure, write_embedding_page
from sqp.report.explain_page import TITLES, as_markdown, findings, write_explain_page
from sqp.report.figures import save
from sqp.report.tables import write_csv

CAPTIONS = {  # of the figure of a table
    "localisation": "Where maps point: mean AUROC per record, 95 % intervals, chance dashed",
    "faithfulness": "Deletion and insertion, mean over the checked records",
    "importance": "What is lost when an input is taken from another record, 95 % paired intervals",
    "ood": "Strange images told from in-distribution by the distance of their features",
}
SPACES = {"umap": ("UMAP", "umap_x", "umap_y"), "pca": ("PCA", "pca_x", "pca_y")}
Pictures = dict[str, list[tuple[str, Path]]]
"""Table -> (caption, file) of its figures."""


@dataclass
class Explanation:
    """`tables` by name and what they say in words (`sentences`); of what, and the layer of the CAMs.

    `curves` lie behind the table faithfulness; `points` are the embedding, of which PCA has the share `variance`.
    """

    config: ExplainConfig
    material: Material
    layers: dict[str, Layer]
    layer: Layer | None
    tables: dict[str, pd.DataFrame]
    sentences: list[str]
    curves: Mapping[str, Curves] = field(default_factory=dict)
    points: pd.DataFrame | None = None
    variance: float = 0.0

    @property
    def intro(self) -> str:
        """Which records and which model, in a few sentences."""
        config, material = self.config, self.material
        natural = int(material.subsets().get(NATURAL, np.zeros(0)).sum())
        cells = " x ".join([str(self.layer.side)] * material.dims) if self.layer else ""
        return (
            f"Split `{config.split}`: {len(material):,} records ({natural:,} natural) of "
            f"{material.rows['group'].nunique():,} groups. Backbone {material.bundle.model.spec.backbone}"
            f"{f', CAMs at {self.layer.name} ({cells} cells)' if self.layer else ''}; maps show what "
            f"{config.effect} the predicted Dice. 95 % intervals from {config.n_resamples:,} resamples of whole groups."
        )

    def write(self) -> dict[str, Path]:
        """Write tables, figures, cases, explain.md, embedding.html and report.html into the config's OUT; by name."""
        config, out = self.config, self.config.out
        out.mkdir(parents=True, exist_ok=True)
        pictures = self._figures()
        sheets = draw_cases(config, self.material, self.layers, self.layer)
        if sheets:
            pictures["cases"] = sheets
        files = {path.stem: path for _, path in sheets}
        files |= {name: write_csv(table, out / f"{name}.csv") for name, table in self.tables.items()}
        files["text"] = out / "explain.md"
        write_text(files["text"], as_markdown(self.tables, self.sentences, self.intro))
        interactive = ""
        if self.points is not None:
            files["points"] = write_csv(self.points, out / "points.csv")
            interactive, rows = "embedding.html", self.material.rows
            files["interactive"] = write_embedding_page(
                out / interactive,
                self.points.assign(**{name: rows[name] for name in ("record_set", "image_path", "truth_path")}),
                SPACES,
                title="Features of the quality model",
                notes=self.intro,
                pictures=config.thumbnails,
            )
        files["report"] = write_explain_page(
            out / "report.html", self.tables, pictures, self.sentences, intro=self.intro, interactive=interactive
        )
        return files

    def _figures(self) -> Pictures:
        """Draw the figure of each table that has one, and the embedding's."""
        config, tables = self.config, self.tables
        draw = {
            "localisation": figures.localisation,
            "faithfulness": lambda table: figures.faithfulness(self.curves, config.effect),
            "importance": figures.importance,
            "ood": figures.ood,
        }
        pictures: Pictures = {
            name: [(CAPTIONS[name], save(make(tables[name]), config.out / f"{name}.png"))]
            for name, make in draw.items()
            if name in tables and not tables[name].empty
        }
        if self.points is not None:
            pictures["embedding"] = []
            for row in tables["embedding"].to_dict("records")[1:]:
                _, x, y = SPACES[row["space"]]
                title = self._embedding_title(row)
                drawn = embedding_figure(self.points, x, y, title)
                path = save(drawn, config.out / f"embedding_{row['space']}.png", dpi=90)
                pictures["embedding"].append((title, path))
        return pictures

    def _embedding_title(self, row: Mapping[str, object]) -> str:
        name, r2 = SPACES[str(row["space"])][0], float(row.get("knn_r2", np.nan))  # type: ignore[arg-type]
        title = f"{name} of the features, n = {row['n']:,}: trustworthiness {row['trustworthiness']:.2f}"
        title += f", {self.variance:.0%} of the variance" if row["space"] == "pca" else ""
        return title + (f", k-NN R2 of Dice {r2:.2f}" if np.isfinite(r2) else "")


def explain_records(config: ExplainConfig, bundle: Bundle, make_records: MakeRecords | None = None) -> Explanation:
    """Explain a quality model on the records of the config.

    Args:
        config: Records, maps and what is measured. Pictures of strange images are written into its OUT (`ood/`);
            nothing else is written before `Explanation.write`.
        bundle: The model.
        make_records: Segments strange images and samples their uncertainty, as it is done for the user's own; needed
            with `ood_images`.

    Raises:
        ConfigError: records that do not fit the bundle, are too few, or cannot be read.
        ValueError: `ood_images` without `make_records`.
    """
    if config.ood_images and make_records is None:
        raise ValueError("ood_images needs make_records: what makes records of a folder of images")
    layers = spatial_layers(bundle.model) if config.cams else {}
    layer = choose_layer(layers, config.layer) if layers else None
    material = load_material(config, bundle)
    if config.neighbours:
        check_enough(len(material), config.neighbours)
    maps = study_maps(config, material, layers, layer)
    tables, points, variance = dict(maps.tables), None, 0.0
    if config.neighbours:
        points, variance, made = study_embedding(material, config.neighbours, config.seed)
        tables |= made
    if config.permute and material.known.any():
        tables["importance"] = study_importance(material, config.seed, config.batch_size, config.device)
    if config.ood_images and make_records is not None:
        tables["ood"] = study_strangeness(config, material, make_records)
    tables = {name: tables[name] for name in TITLES if name in tables}
    sentences = [*_seen(material), *findings(tables, layer.name if layer else "")]
    return Explanation(config, material, layers, layer, tables, sentences, maps.curves, points, variance)


def _seen(material: Material) -> list[str]:
    """A warning where the model was made from the groups that are explained."""
    if not of_known_groups(material.rows, material.bundle.info.get("groups_sha256", [])).any():
        return []
    return ["The model was trained, tuned or calibrated on some of these groups: agreement is flattered."]
