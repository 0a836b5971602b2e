"""Pages of results: links lead somewhere, every picture is shown by one, and they stay small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks"
PAGES = [
    *sorted(RESULTS.rglob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *ROOT.glob("*.md"),
    *ROOT.glob("*/README.md"),
]


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor of every link of a page to another file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            yield ((page.parent / name).resolve() if name else page), anchor


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in links(page):
        assert target.exists(), f"{target} is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{target.name} has no heading #{anchor}"


def test_the_index_names_every_page():
    pages = {page for page in RESULTS.glob("*.md") if page.name not in ("README.md", "paper000_isic2018.md")}
    pages |= set(RESULTS.glob("*/README.md"))
    assert pages == {target for target, _ in links(RESULTS / "README.md") if target.suffix == ".md"}


def test_every_picture_is_shown_and_all_are_small():
    shown = {target for page in PAGES for target, _ in links(page)}
    pictures = set(RESULTS.rglob("*.png"))
    assert pictures <= shown, sorted(path.name for path in pictures - shown)
    assert sum(path.stat().st_size for path in pictures) <= 3e6
