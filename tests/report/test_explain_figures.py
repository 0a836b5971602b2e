"""The figures of `explain`: what is drawn, nothing clipped; the interactive page: what it carries."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from sqp.records import RecordSet
from sqp.report import explain_figures
from sqp.report.embedding import embedding_figure, fields, short_names, write_embedding_page
from sqp.report.explain_figures import case_figure, contact_sheet, heated
from sqp.report.explain_page import TITLES, as_markdown, findings, readable, write_explain_page
from sqp.report.scan import load_view

MAPS = ["grad_cam", "error_map", "random"]


def with_ends(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    return table.assign(**{f"{n}_{end}": table[n] + by for n in names for end, by in (("low", -0.1), ("high", 0.1))})


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    rows = [
        {
            "subset": subset,
            "map": name,
            "error": error,
            "n": 9,
            "n_groups": 8,
            "auroc": 0.6,
            "note": "no better than random",
        }
        for subset in ("natural", "all")
        for name in MAPS
        for error in explain_figures.ERRORS
    ]
    lost = [
        {
            "subset": "natural",
            "taken_away": name,
            "kind": kind,
            "n": 9,
            "spearman_loss": 0.2,
            "mae_rise": 0.1,
            "note": "needed",
        }
        for name, kind in (("nothing", ""), ("mask", "channel"), ("uncertainty", "set"))
    ]
    checked = [{"map": name, "n": 5, "deletion": 0.4, "insertion": 0.5, "note": f"{name} told"} for name in MAPS[::2]]
    strange = [
        {"images": "blank image", "distance": d, "n": 4, "n_inside": 9, "auroc": 0.9, "abstained": 0.5} for d in "ab"
    ]
    near = pd.DataFrame({"space": ["features", "pca"], "n": 30, "neighbours": 5, "knn_r2": [0.5, 0.4]})
    return {
        "localisation": with_ends(pd.DataFrame(rows), "auroc"),
        "faithfulness": with_ends(pd.DataFrame(checked), "deletion", "insertion"),
        "importance": with_ends(pd.DataFrame(lost), "spearman_loss", "mae_rise"),
        "embedding": near,
        "ood": with_ends(pd.DataFrame(strange), "auroc"),
    }


def inside(figure) -> bool:
    """Is all that is drawn, texts too, within the figure."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01


@pytest.mark.parametrize("name", ["localisation", "importance", "ood"])
def test_tables_are_drawn_with_every_name_and_nothing_is_clipped(tables, name):
    figure = getattr(explain_figures, name)(tables[name])
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == {"localisation": MAPS, "importance": ["mask", "uncertainty"], "ood": ["blank image"]}[name]
    assert inside(figure)


def test_curves_are_means_over_the_records():
    pair = (np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 0.5]]))
    figure = explain_figures.faithfulness({"grad_cam": pair, "random": pair}, "lowers")
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.5, 0.0]
    assert figure.axes[1].lines[1].get_ydata().tolist() == [0.0, 0.75]
    assert "1 - predicted Dice" in figure.axes[0].get_ylabel() and inside(figure)


@pytest.fixture
def points(record_set) -> pd.DataFrame:
    table = RecordSet(record_set).table.assign(record_set=str(record_set), diagnosis="Benign / Nevus")
    table.loc[0, "diagnosis"] = "mel"
    rng = np.random.default_rng(0)
    table = table.assign(
        predicted_dice=0.5, error=0.5 - table["dice"], area=0.1, pca_x=rng.random(12), pca_y=rng.random(12)
    )
    table.loc[1, ["dice", "error"]] = np.nan
    return table


def test_a_panel_for_what_is_known_and_differs(points):
    figure = embedding_figure(points, "pca_x", "pca_y", "PCA")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["true Dice", "predicted Dice", "predicted - true Dice", "area of the mask", "diagnosis"]
    assert inside(figure)


def test_rare_and_long_names():
    names = short_names(pd.Series([f"name {i}" for i in range(9)] * 2 + ["x" * 40]))
    assert (names == "other").sum() == 7 and set(names[names != "other"]) <= {f"name {i}" for i in range(9)}


def test_the_interactive_page_carries_everything_and_escapes_it(points, tmp_path):
    points.loc[0, "record_id"] = "</script><b>"
    spaces = {"pca": ("PCA", "pca_x", "pca_y")}
    path = write_embedding_page(tmp_path / "e.html", points, spaces, title="A & B", notes="<i>", pictures=3)
    text = path.read_text()
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])
    assert data["ids"][0] == "</script><b>" and "</script><b>" not in text and "A &amp; B" in text
    assert len(data["spaces"]["pca"]["points"]) == 12 and len(data["pictures"]) == 3
    assert all(p.startswith("data:image/jpeg;base64,") for p in data["pictures"].values())
    assert not re.search(r'(src|href)="?https?:', text)
    dice = data["fields"][0]
    assert dice["title"] == "true Dice" and dice["values"][1] is None and (dice["low"], dice["high"]) == (0, 1)


def test_fields_of_names_have_a_colour_each(points):
    found = {field["title"]: field for field in fields(points)}
    diagnosis = found["diagnosis"]
    assert diagnosis["names"] == ["mel", "Nevus"] and len(diagnosis["colours"]) == 2
    assert diagnosis["values"][:2] == [0, 1]
    assert found["predicted - true Dice"]["low"] == -found["predicted - true Dice"]["high"]


@pytest.fixture
def view(record_set):
    return load_view(RecordSet(record_set), RecordSet(record_set).table.iloc[2].to_dict(), 90)


def test_a_map_is_laid_over_the_image_only_where_it_is_high(view):
    nothing = heated(view, np.zeros((16, 16)))
    assert (nothing == view.outlined()).all()
    values = np.zeros((16, 16))
    values[:, :4] = 1
    changed = (heated(view, values) != nothing).any(axis=2)
    w = changed.shape[1]
    assert changed[:, : w // 8].mean() > 0.9 and not changed[:, w // 2 :].any()


def test_cases_are_drawn_and_nothing_is_clipped(view):
    row = {"record_id": "a" * 60, "predicted_dice": 0.5, "dice": 0.25}
    rng = np.random.default_rng(0)
    sheet = contact_sheet(
        {"best": [(view, rng.random((16, 16)), row)] * 3, "worst": [(view, np.zeros((16, 16)), row)]}, "cam"
    )
    assert inside(sheet) and sum(bool(a.images) for a in sheet.findobj(lambda a: hasattr(a, "images"))) >= 4
    kinds = rng.integers(0, 4, (16, 16)).astype(np.uint8)
    groups = {name: rng.normal(size=(16, 16)) for name in ("image", "mask", "self/entropy")}
    figure = case_figure(
        view,
        row,
        {"grad_cam": rng.random((16, 16))},
        groups,
        kinds,
        {name: float(np.abs(v).sum()) for name, v in groups.items()},
    )
    assert inside(figure)
    titles = " ".join(axes.get_title() for axes in figure.axes)
    assert "mask and truth grad_cam the true errors" in titles and "self/entropy" in titles and "% of all" in titles


def test_findings_name_what_is_no_better_than_random(tables):
    told = findings(tables, "stages.2")
    assert told[0].startswith(
        "grad_cam at stages.2, natural masks, pointing to errors: no better than random; AUROC 0.600"
    )
    assert not any(sentence.startswith("random") for sentence in told)
    text = " ".join(told)
    assert "error_map, all masks" in text and "Spearman falls by 0.200" in text
    assert "grad_cam, deletion and insertion: grad_cam told (n = 5)" in text
    assert "R2: features 0.50, pca 0.40" in text and "blank image, a distance: AUROC 0.900" in text


def test_markdown_and_page_hold_every_table(tables, tmp_path):
    text = as_markdown(tables, ["one <finding>"], "intro")
    assert all(TITLES[name] in text for name in tables) and "0.600 [0.500, 0.700]" in text
    figure = explain_figures.ood(tables["ood"])
    figure.savefig(tmp_path / "ood.png")
    path = write_explain_page(
        tmp_path / "r.html", tables, {"ood": [("a < b", tmp_path / "ood.png")]}, ["one <finding>"],
        intro="intro", interactive="embedding.html",
    )  # fmt: skip
    page = path.read_text()
    assert "one &lt;finding&gt;" in page and "a &lt; b" in page and 'href="embedding.html"' in page
    assert page.count("<h2>") == len(tables) and "data:image/png" in page


def test_long_tables_are_cut_and_ids_left_out():
    table = pd.DataFrame({"record_id": [f"r{i}" for i in range(30)], "dice": 0.5, "neighbours": "a b"})
    shown = readable("neighbours", table)
    assert list(shown.columns) == ["record", "true Dice"] and len(shown) == 20
