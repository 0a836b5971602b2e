"""The HTML page: parsed, complete, escaped, self-contained."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sqp.report import figures
from sqp.report.findings import Findings
from sqp.report.html import Section
from sqp.report.page import chosen, write_page
from sqp.report.tables import formatted

VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """Elements with their attributes, text, and a check that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(tmp_path, predictions):
    picture = figures.save(figures.calibration({"natural": predictions}), tmp_path / "c.png")
    table = pd.DataFrame({"method": ["<quality>"], "n": [11], "mae": [0.1], "mae_low": [0.05], "mae_high": [0.2]})
    path = write_page(
        tmp_path / "r.html",
        predictions,
        title="A & <B>",
        findings=Findings("5 < 6 masks", ("one & only",)),
        sections=[Section("natural <i>", formatted(table)), Section("Calibration", picture, "bars & lines")],
        notes="1 < 2",
    )
    return path.read_text(encoding="utf-8")


def cases(text: str) -> list[dict]:
    """The gallery's data, as the browser reads it."""
    (data,) = re.findall(r'<script type="application/json" id="cases">(.*?)</script>', text, re.S)
    return json.loads(data)


def test_every_element_is_closed_and_every_link_has_its_part(page):
    parsed = Page(page)
    assert parsed.open == []
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"].removeprefix("#") for tag, attrs in parsed.elements if tag == "a"]
    assert links == ["part-natural-i", "part-calibration", "gallery"] and set(links) < set(ids)
    wanted = set(re.findall(r'getElementById\("([\w-]+)"\)', page))
    assert wanted <= set(ids)


def test_one_link_a_group_however_much_is_in_it(tmp_path, predictions):
    table = pd.DataFrame({"a": [1]})
    groups = ("", "Tiers", "Tiers", "Tiers", "Risk")
    sections = [Section(f"s{number}", table, group=group) for number, group in enumerate(groups)]
    findings = Findings("", ())
    path = write_page(tmp_path / "r.html", predictions, title="t", findings=findings, sections=sections, gallery=2)
    parsed = Page(path.read_text(encoding="utf-8"))
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    links = [attrs["href"].removeprefix("#") for tag, attrs in parsed.elements if tag == "a"]
    assert links == ["part-s0", "part-tiers", "part-risk", "gallery"] and set(links) < set(ids)
    assert len(ids) == len(set(ids)) and [tag for tag, _ in parsed.elements].count("table") == 5


def test_every_case_is_there_worst_first(page, predictions):
    data = cases(page)
    assert {one["id"] for one in data} == set(predictions["record_id"])
    assert [one["id"] for one in data][:2] == ["rec-011", "rec-009"]
    assert data[0]["predicted_dice"] is None and data[0]["verdict"] == "abstain"
    assert "empty mask" in data[0]["remarks"] and data[0]["mask"] == ""
    assert (data[1]["predicted_dice"], data[1]["low"], data[1]["dice"]) == (0.3501, 0.2501, 0.3891)
    assert data[1]["mask"].startswith("M") and data[1]["truth"].endswith("Z")
    assert data[1]["kind"] == "natural" and data[1]["facts"] == ["toy", "litemedsam", "otsu"]


def test_ids_and_titles_are_escaped(page):
    assert "a\\u003cb>" in page and 'a<b>"' not in page
    assert any(one["image_id"] == "a<b>\"&'$x" for one in cases(page))
    assert "<title>A &amp; &lt;B&gt;</title>" in page
    assert "&lt;quality&gt;" in page
    assert "natural &lt;i&gt;" in page
    assert "5 &lt; 6 masks" in page and "<li>one &amp; only</li>" in page


def test_nothing_comes_from_a_network(page):
    parsed = Page(page)
    outside = page.replace("http://www.w3.org/2000/svg", "")  # the name of a language, nothing is fetched
    assert not re.search(r"https?://|url\(|@import|fetch\(|import\(", outside)
    for tag, attrs in parsed.elements:
        assert tag not in {"link", "iframe", "object"}
        assert attrs.get("src", "data:").startswith("data:")
    assert all("src" not in attrs for tag, attrs in parsed.elements if tag == "script")


def test_pictures_decode_and_none_is_loaded_before_it_is_shown(page):
    images = [attrs["src"] for tag, attrs in Page(page).elements if tag == "img"]
    assert len(images) == 1  # the figure; the gallery's are made by the script
    for source, size in [(images[0], None)] + [
        (one[name], (one["width"], one["height"])) for one in cases(page) for name in ("image", "uncertainty")
    ]:
        kind, data = re.fullmatch(r"data:image/(\w+);base64,(.+)", source).groups()
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.format.lower() == kind
            if size is not None:
                assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.02)


def test_counts_words_and_numbers_are_said(page):
    text = " ".join(Page(page).text)
    assert re.search(r"6\s+✗ reject \(50.0%\)", text)
    assert "0.100 [0.050, 0.200]" in text
    assert "All 12 cases" in text and "no medical advice" in text
    assert text.index("5 < 6 masks") < text.index("one & only") < text.index("natural <i>")


def test_the_expected_error_is_drawn_where_the_model_has_one(tmp_path, predictions):
    asked = []

    def error_maps(rows: pd.DataFrame) -> dict:
        asked.append(len(rows))
        maps = {(row.record_set, row.record_id): np.full((8, 8), 0.5, np.float16) for row in rows.itertuples()}
        maps.pop((predictions["record_set"][0], "rec-009"))
        return maps

    findings = Findings("", ())
    path = write_page(tmp_path / "r.html", predictions, title="t", findings=findings, gallery=4, error_maps=error_maps)
    shown = cases(path.read_text(encoding="utf-8"))
    assert asked == [4]
    assert [one["id"] for one in shown if one["error"] is None] == ["rec-009"] and len(shown) == 4


def test_a_large_table_shows_the_worst_and_a_spread():
    table = pd.DataFrame(
        {"record_id": [f"r{i:04d}" for i in range(1000)], "predicted_dice": [i / 999 for i in range(1000)]}
    )
    rows = chosen(table.sample(frac=1, random_state=0), 20)
    assert list(rows["record_id"][:10]) == [f"r{i:04d}" for i in range(10)]
    assert rows["record_id"].iloc[-1] == "r0999"
    assert rows["record_id"].is_unique
    assert len(rows) == 20


def test_without_record_sets_or_rows_there_is_no_gallery(tmp_path, predictions):
    for table in (predictions.drop(columns="record_set"), predictions.head(0)):
        path = write_page(tmp_path / "r.html", table, title="t", findings=Findings("", ()))
        text = path.read_text(encoding="utf-8")
        assert cases(text) == []
        assert Page(text).open == []
