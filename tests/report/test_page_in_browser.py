"""The page in headless Chromium, from disk, without a network: keys, filters, search, themes, nothing clipped."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from browser import chromium
from PIL import Image
from volumesets import make_volume_set

from sqp.core.files import write_maps
from sqp.records import RecordSet
from sqp.report.embedding import write_embedding_page
from sqp.report.explain_page import write_explain_page
from sqp.report.findings import Findings
from sqp.report.html import Section, document
from sqp.report.page import write_page


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
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    yield page
    context.close()
    assert errors == []


def test_a_script_in_the_body_does_not_run(browser, tmp_path) -> None:
    body = "<script>document.title = 'ran'</script><img src='data:,' onerror=\"document.title = 'ran'\"><p>shown</p>"
    for script in ("", "document.querySelector('p').textContent = 'own';"):
        (tmp_path / "p.html").write_text(document("Page", "", body, script), encoding="utf-8")
        page = browser.new_page()
        page.goto((tmp_path / "p.html").as_uri())
        page.wait_for_timeout(100)
        assert page.title() == "Page" and page.locator("p").inner_text() == ("own" if script else "shown")
        page.close()


@pytest.mark.parametrize("width", [390, 1200])
def test_an_evaluation_is_folded_and_its_contents_are_one_line(browser, tmp_path, predictions, width) -> None:
    table = pd.DataFrame({f"column {i}": [0.5] * 40 for i in range(12)})
    groups = (
        "",
        *(name for name in ("Agreement", "Segmentation", "Selective use", "Tiers", "Raters") for _ in range(4)),
    )
    sections = [Section(f"Table {number}", table, group=group) for number, group in enumerate(groups)]
    path = write_page(
        tmp_path / "r.html", predictions, title="t", findings=Findings("One.", ()), sections=sections, gallery=12
    )
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.querySelector('nav').offsetHeight") < 60
    assert page.evaluate("document.documentElement.scrollHeight") < 8000  # unfolded it is three times as much
    assert page.evaluate("document.documentElement.scrollWidth") == width
    inside = page.locator("#part-tiers table").first
    assert not inside.is_visible()
    for _ in range(2):
        page.get_by_role("link", name="Tiers").click()
        inside.wait_for(state="visible")
        page.locator("#part-tiers summary").click()
        inside.wait_for(state="hidden")
    page.close()


def ids(page) -> list[str]:
    """Cards are known by the file of their image."""
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
    assert ids(opened)[:2] == ["image11.png", "image9.png"] and len(ids(opened)) == 12
    opened.get_by_label("reject").check(force=True)
    assert opened.inner_text("#shown") == "6 of 12 cases" and "image11.png" not in ids(opened)
    opened.get_by_label("name", exact=True).fill("REC-009")
    assert ids(opened) == ["image9.png"]
    opened.click("#clear")
    opened.select_option("#order", "best predicted first")
    assert ids(opened)[0] == "image0.png" and ids(opened)[-1] == "image11.png"
    opened.select_option("#order", "largest error first")
    assert ids(opened)[0] == "image0.png"  # its error is a tenth of the greatest Dice
    assert opened.locator("#cards img").count() == 24
    assert opened.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")


def test_the_keyboard_goes_through_the_cases(opened):
    opened.keyboard.press("j")
    opened.keyboard.press("ArrowRight")
    focused = "document.activeElement.querySelector('.id').textContent"
    opened.wait_for_function(f"{focused} === 'image9.png'")
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.keyboard.press("Enter")
    shown = "document.querySelector('#viewer-id').innerText"
    opened.wait_for_function(f"{shown} === 'image9.png'")
    assert opened.locator("#panels figure").count() == 3
    for key, name in (("ArrowRight", "image10.png"), ("j", "image8.png"), ("ArrowLeft", "image10.png")):
        opened.keyboard.press(key)
        opened.wait_for_function(f"{shown} === '{name}'")
    assert opened.locator("#panels g.mask").is_visible()
    opened.keyboard.press("m")
    assert not opened.locator("#panels g.mask").is_visible() and opened.locator("#panels g.truth").is_visible()
    opened.keyboard.press("Escape")
    assert not opened.locator("#viewer").is_visible()
    opened.wait_for_function(f"{focused} === 'image10.png'")  # where the reader had got to
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


def test_the_pages_of_explain_fit_a_phone(browser, tmp_path):
    figure = tmp_path / "wide.png"
    Image.new("RGB", (3000, 40)).save(figure)
    table = pd.DataFrame({"map": ["grad_cam"], "n": [3], "deletion": [0.5], "note": ["no better than random"]})
    points = pd.DataFrame({"record_id": list("ab"), "dice": [0.1, 0.9], "x": [0.0, 1.0], "y": [1.0, 0.0]})
    pages = [
        write_explain_page(
            tmp_path / "r.html", {"faithfulness": table}, {"faithfulness": [("wide", figure)]}, [], intro=""
        ),
        write_embedding_page(tmp_path / "e.html", points, {"pca": ("PCA", "x", "y")}, title="Points"),
    ]
    page = browser.new_page(viewport={"width": 390, "height": 800})
    for path in pages:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path.name
    page.close()


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


def open_page(browser, path, **options):
    """The page of the predictions, ready; the browser's own errors fail elsewhere."""
    page = browser.new_page()
    page.goto(write_page(path, title="Page", findings=Findings("", ()), **options).as_uri())
    return page


@pytest.fixture
def without_maps(record_set, predictions, tmp_path) -> pd.DataFrame:
    """The predictions of a model of image and mask alone: its records have no maps."""
    folder = shutil.copytree(record_set, tmp_path / "plain")
    for path in (folder / "maps").iterdir():
        write_maps(path, {})
    return predictions.assign(record_set=str(folder))


def test_a_card_shows_the_expected_error_where_there_is_no_uncertainty(browser, tmp_path, without_maps):
    wrong = {(str(r.record_set), r.record_id): np.eye(8, dtype=np.float16) for r in without_maps.itertuples()}
    page = open_page(browser, tmp_path / "r.html", table=without_maps, error_maps=lambda rows: wrong)
    assert page.locator("#cards .card").first.locator("img").count() == 2
    assert page.locator("#cards img[alt='mask probably wrong in image3.png']").count() == 1
    assert page.is_visible("#key-error") and not page.is_visible("#key-uncertainty")
    page.locator(".card").first.click()
    assert page.locator("#panels figcaption").all_inner_texts() == [
        "image, mask and truth", "mask probably wrong: unlikelylikely"
    ]  # fmt: skip


def test_a_card_without_any_map_is_one_picture(browser, tmp_path, without_maps):
    page = open_page(browser, tmp_path / "r.html", table=without_maps)
    assert "no uncertainty map" not in page.inner_text("main")
    first = page.locator("#cards .card").first
    assert first.locator(".picture").count() == 1
    assert first.locator(".picture").bounding_box()["width"] > 0.9 * first.bounding_box()["width"] - 25
    assert not page.is_visible("#key-error") and not page.is_visible("#key-uncertainty")


def test_cases_of_one_file_are_told_apart(browser, tmp_path, predictions):
    page = open_page(browser, tmp_path / "r.html", table=predictions.assign(image_path="/there/one.png"))
    assert ids(page)[:2] == ["one.png · rec-011", "one.png · rec-009"]


@pytest.mark.parametrize(("n", "folded"), [(2, False), (30, True)])
def test_what_was_skipped_is_listed_and_folded_where_it_is_much(browser, tmp_path, predictions, n, folded):
    skipped = {f"<lost>{i}": f"truncated & {i}" for i in range(n)}
    page = open_page(browser, tmp_path / "r.html", table=predictions, skipped=skipped)
    last = page.get_by_text(f"<lost>{n - 1}: truncated & {n - 1}")
    assert last.is_visible() != folded
    page.get_by_role("link", name="Skipped images").click()
    if folded:
        page.locator("#part-skipped summary").click()
    assert last.is_visible() and page.locator("#part-skipped li").count() == n
