"""Sections of the page: every kind of body becomes HTML that needs no other file."""

from __future__ import annotations

import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from sqp.report.html import Section, anchor, folded_html, section_html

TABLE = pd.DataFrame({"method": ["a<b"], "mae": [0.12345], "note": [None], "n": [7]})


def test_a_frame_and_its_csv_give_the_same_table(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    html = section_html(Section("T", TABLE, "how & why"))
    assert html == section_html(Section("T", tmp_path / "t.csv", "how & why"))
    for cell in ("a&lt;b", "<td>0.123</td>", "<td>–</td>", "<td>7</td>", "<p>how &amp; why</p>"):
        assert cell in html


def test_markdown_becomes_tables_below_the_heading_and_html_in_it_stays_text(tmp_path):
    text = "# Big\n\n| a | b |\n| :- | -: |\n| 1 | <b>2</b> |\n\n<script>alert(1)</script>"
    (tmp_path / "t.md").write_text(text)
    for body in (text, tmp_path / "t.md"):
        html = section_html(Section("T", body))
        assert "<h4>Big</h4>" in html and '<td style="text-align:left">1</td>' in html and "&lt;b&gt;2" in html
        assert "<script" not in html and "<h1" not in html


def test_pictures_are_held_in_the_page(tmp_path):
    (tmp_path / "f.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    section = Section("F", tmp_path / "f.svg", 'a "curve"')
    assert section.is_figure and not Section("T", TABLE).is_figure
    assert '<img src="data:image/svg+xml;base64,' in section_html(section)
    assert 'alt="a &quot;curve&quot;"' in section_html(section)


def test_a_group_is_folded_under_its_name_with_what_is_inside(tmp_path):
    (tmp_path / "f.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    parts = [Section("T", TABLE, group="A & b"), Section("F", tmp_path / "f.svg", group="A & b")]
    html = folded_html("A & b", parts)
    assert html.startswith(
        '<details class="fold" id="part-a-b"><summary><h2>A &amp; b</h2> <span>1 figure, 1 table</span>'
    )
    assert html.index("<img") < html.index("<table") and " open" not in html and html.count(" id=") == 1


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"kind of file for the page '\.pdf'"):
        section_html(Section("x", tmp_path / "f.pdf"))


def test_anchors_are_ids():
    assert anchor("Äé") == "part"
    assert anchor("cases") == "part-cases"  # never an id of the page's own
