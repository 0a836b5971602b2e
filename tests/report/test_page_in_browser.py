"""The page in headless Chromium, from disk, without a network: keys, filters, search, themes, nothing clipped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from browser import chromium
from volumesets import make_volume_set

from sqp.io import RecordSet
from sqp.report.findings import Findings
from sqp.report.page import write_page
from sqp.report.sections import Section


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser, tmp_path, predictions):
    """The page of twelve cases, one of them without an error map; errors of scripts fail the test."""

    def error_maps(rows: pd.DataFrame) -> dict:
        return {(r.record_set, r.record_id): np.eye(8, dtype=np.float16) for r in rows.itertuples() if r.dice < 0.9}

    path = write_page(
        tmp_path / "report.html", predictions, title="Page", findings=Findings("Six of twelve.", ("Because.",)),
        sections=[Section("Wide", pd.DataFrame({f"column {i}": [0.5] for i in range(30)}))], error_maps=error_maps,
    )  # fmt: skip
    context = browser.new_context(viewport={"width": 1200, "height": 800}, offline=True, color_scheme="light")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    yield page
    context.close()
    assert errors == []


def ids(page) -> list[str]:
    return page.locator("#cards .id").all_inner_texts()


def colour(page, element: str, name: str) -> list[int]:
    text = page.evaluate(f"getComputedStyle(document.querySelector('{element}')).{name}")
    return [int(float(part)) for part in text.split("(")[1].rstrip(")").split(",")[:3]]


def contrast(first: list[int], second: list[int]) -> float:
    """WCAG 2.1's ratio of two sRGB colours."""

    def luminance(colour: list[int]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_cards_filters_search_and_order(opened):
    assert ids(opened)[:2] == ["rec-011", "rec-009"] and len(ids(opened)) == 12
    opened.get_by_label("reject").check(force=True)
    assert opened.inner_text("#shown") == "6 of 12 cases" and "rec-011" not in ids(opened)
    opened.get_by_label("id", exact=True).fill("REC-009")
    assert ids(opened) == ["rec-009"]
    opened.click("#clear")
    opened.select_option("#order", "best predicted first")
    assert ids(opened)[0] == "rec-000" and ids(opened)[-1] == "rec-011"
    opened.select_option("#order", "largest error first")
    assert ids(opened)[0] == "rec-000"  # its error is a tenth of the greatest Dice
    assert opened.locator("#cards img").count() == 24
    assert opened.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")


def test_the_keyboard_goes_through_the_cases(opened):
    opened.keyboard.press("j")
    opened.keyboard.press("ArrowRight")
    focused = "document.activeElement.querySelector('.id').textContent"
    opened.wait_for_function(f"{focused} === 'rec-009'")
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.keyboard.press("Enter")
    shown = "document.querySelector('#viewer-id').innerText"
    opened.wait_for_function(f"{shown} === 'rec-009'")
    assert opened.locator("#panels figure").count() == 3
    for key, name in (("ArrowRight", "rec-010"), ("j", "rec-008"), ("ArrowLeft", "rec-010")):
        opened.keyboard.press(key)
        opened.wait_for_function(f"{shown} === '{name}'")
    assert opened.locator("#panels g.mask").is_visible()
    opened.keyboard.press("m")
    assert not opened.locator("#panels g.mask").is_visible() and opened.locator("#panels g.truth").is_visible()
    opened.keyboard.press("Escape")
    assert not opened.locator("#viewer").is_visible()
    opened.wait_for_function(f"{focused} === 'rec-010'")  # where the reader had got to
    opened.keyboard.press("/")
    assert opened.evaluate("document.activeElement.id") == "search"
    opened.keyboard.type("rec-000")
    opened.locator("#cards button").click()
    assert opened.locator("#panels figure").count() == 2  # no error map
    assert "predicted 0.90 (0.80 to 1.00)" in opened.inner_text("#viewer-facts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_both_modes(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    paper = colour(opened, "body", "backgroundColor")
    assert (sum(paper) > 380) == (scheme == "light")
    card = colour(opened, ".card", "backgroundColor")
    for element in ("#headline", "#counts .accept", "#counts .review", "#counts .reject", "#counts .abstain", "nav a"):
        assert contrast(colour(opened, element, "color"), paper) >= 4.5, element
    for element in (".card .id", ".card .accept", ".card .review", ".card .reject", ".card .abstain"):
        assert contrast(colour(opened, element, "color"), card) >= 4.5, element


def test_the_theme_button_overrides_the_system(opened):
    for expected in ("light", "dark", "as the system"):
        opened.click("#theme")
        assert opened.inner_text("#theme") == f"theme: {expected}"
        assert (sum(colour(opened, "body", "backgroundColor")) < 380) == (expected == "dark")


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.locator("#cards button").first.click()
    assert opened.evaluate(
        "document.getElementById('viewer').scrollWidth <= document.getElementById('viewer').clientWidth"
    )


def test_slices_of_a_volume_are_gone_through(browser, tmp_path):
    records = RecordSet(make_volume_set(tmp_path / "records", {"test": 2}))
    rows = records.table.assign(
        record_set=str(records.folder), predicted_dice=0.5, low=0.4, high=0.6, verdict="review", reason=""
    )
    path = write_page(tmp_path / "report.html", rows, title="Page", findings=Findings("Volumes.", ()))
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    page.locator(".card").first.click()
    place = page.inner_text("#slice-place")
    assert place.startswith("slice ") and place.endswith(" of 10") and page.is_visible("#slices")
    first = page.locator("#panels img").first.get_attribute("src")
    box = page.locator("#panels .picture").first.bounding_box()  # tall, and not stretched: 9 mm by 14
    assert box["width"] / box["height"] == pytest.approx(9 / 14, rel=0.01) and box["height"] < 500
    page.keyboard.press("ArrowUp")
    assert page.inner_text("#slice-place") != place and page.locator("#panels img").first.get_attribute("src") != first
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#slice-place") == place
    page.locator("#panels").hover()
    page.mouse.wheel(0, -100)
    page.wait_for_function(f"document.getElementById('slice-place').textContent !== '{place}'")
    case = page.inner_text("#viewer-id")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-id") != case
    page.locator("#slice").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")  # the slider's own key
    assert page.locator("#slice").input_value() == "1"
    page.close()
    assert errors == []
