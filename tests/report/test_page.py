"""The HTML page: parsed, complete, escaped, self-contained."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from PIL import Image

from sqp.report import figures
from sqp.report.page import chosen, write_page

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
        predictions.assign(record_id=predictions["record_id"]),
        title="A & <B>",
        metrics={"natural <i>": table},
        figures={"Calibration": picture},
        notes="1 < 2",
    )
    return path.read_text(encoding="utf-8")


def test_every_element_is_closed_and_every_id_is_there(page, predictions):
    parsed = Page(page)
    assert parsed.open == []
    cards = [attrs for tag, attrs in parsed.elements if tag == "article"]
    ids = {f"{row.record_id} {row.image_id}" for row in predictions.itertuples()}
    assert {card["data-id"] for card in cards} == ids  # the parser has unescaped them
    assert [card["data-id"].split()[0] for card in cards][:2] == ["rec-011", "rec-009"]


def test_ids_and_titles_are_escaped(page):
    assert "a&lt;b&gt;&quot;&amp;&#x27;$x" in page
    assert 'a<b>"' not in page
    assert "<title>A &amp; &lt;B&gt;</title>" in page
    assert "&lt;quality&gt;" in page
    assert "natural &lt;i&gt;" in page


def test_nothing_comes_from_a_network(page):
    parsed = Page(page)
    assert not re.search(r"https?://|url\(|@import", page)
    for tag, attrs in parsed.elements:
        assert tag not in {"link", "iframe", "object"}
        assert attrs.get("src", "data:").startswith("data:")
    assert all("src" not in attrs for tag, attrs in parsed.elements if tag == "script")


def test_pictures_decode_and_thumbnails_load_lazily(page):
    images = [attrs for tag, attrs in Page(page).elements if tag == "img"]
    assert len(images) == 13
    for attrs in images:
        kind, data = re.fullmatch(r"data:image/(\w+);base64,(.+)", attrs["src"]).groups()
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.format.lower() == kind
            if kind == "jpeg":
                assert attrs["loading"] == "lazy"
                assert image.size == (int(attrs["width"]), int(attrs["height"]))


def test_counts_numbers_and_truth_are_said(page):
    text = " ".join(Page(page).text)
    assert re.search(r"6\s+✗ reject \(50%\)", text)
    assert "0.350 [0.250, 0.450]" in text
    assert "true 0.389" in text
    assert "empty mask" in text
    assert "0.100 [0.050, 0.200]" in text
    assert "All 12 records" in text


def test_controls_and_dark_colours_are_there(page):
    parsed = Page(page)
    options = [attrs["value"] for tag, attrs in parsed.elements if tag == "option"]
    assert options == ["", "accept", "review", "reject", "abstain"]
    assert any(attrs.get("type") == "search" for _, attrs in parsed.elements)
    assert "prefers-color-scheme: dark" in page


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
        text = write_page(tmp_path / "r.html", table, title="t").read_text(encoding="utf-8")
        assert "<article" not in text
        assert Page(text).open == []
