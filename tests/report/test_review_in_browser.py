"""The review in headless Chromium, from disk: keys, undo, reload, files of decisions, thresholds, the address."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from browser import chromium
from playwright.sync_api import expect

from sqp.quality.judging.decisions import SCHEMA, read_decisions
from sqp.records import RecordSet
from sqp.records.frozen import mask_hash
from sqp.report.findings import Findings
from sqp.report.page import plot_beside, write_page
from sqp.report.review import Review

REVIEW = Review(0.7, 0.7, 0.8)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def written(tmp_path, predictions):
    """The page of twelve cases with a review; three of them are an audit's, one has no prediction."""

    def write(table: pd.DataFrame = predictions, review: Review = REVIEW):
        options = {"title": "Page", "findings": Findings("Some.", ()), "beside": plot_beside(table)}
        return write_page(tmp_path / "report.html", table, review=review, **options)

    return write


@pytest.fixture
def opened(browser, written):
    """A page of a context of its own, errors of scripts and requests fail the test."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, offline=True, accept_downloads=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.goto(written().as_uri())
    yield page
    context.close()
    assert errors == []


def marks(page) -> list[str]:
    return [text for text in page.locator("#cards .mine").all_inner_texts() if text]


def test_keys_decide_undo_and_survive_a_reload(opened):
    opened.keyboard.press("j")
    opened.keyboard.press("r")  # image11.png, and on to the next card
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#viewer[open]")
    assert opened.inner_text("#viewer-id") == "image9.png"
    opened.keyboard.press("f")
    opened.keyboard.press("a")
    assert opened.inner_text("#viewer-place") == "4 of 12"
    opened.keyboard.press("n")
    opened.keyboard.type("a fair rim")  # letters are no keys here
    opened.keyboard.press("Enter")
    opened.keyboard.press("Escape")
    assert marks(opened) == ["you: ✗ reject", "you: ✎ fix", "you: ✓ accept", "note: a fair rim"]
    assert opened.inner_text("#decided") == "3 of 12 decided (1 accept, 1 fix, 1 reject)"
    opened.reload()
    assert marks(opened) == ["you: ✗ reject", "you: ✎ fix", "you: ✓ accept", "note: a fair rim"]
    opened.keyboard.press("u")
    opened.keyboard.press("u")
    assert marks(opened) == ["you: ✗ reject", "you: ✎ fix"]
    assert opened.evaluate("document.getElementById('progress').value") == 2
    opened.select_option("#mine", "not decided")
    assert opened.inner_text("#shown") == "10 of 12 cases"
    keys = opened.evaluate("Object.keys(localStorage)")
    assert len([key for key in keys if key.startswith("sqp-review-")]) == 1


def test_buttons_decide_as_keys_do(opened):
    opened.locator("#cards button").first.click()
    opened.locator("[data-decision=fix]").click()
    opened.click("#previous")
    assert opened.locator("[data-decision=fix]").get_attribute("aria-pressed") == "true"
    opened.fill("#note", "closed while typed")
    opened.click("#close")
    assert marks(opened) == ["you: ✎ fix · note: closed while typed"]
    opened.click("#undo")
    assert marks(opened) == ["you: ✎ fix"]


def test_decisions_go_into_a_file_and_come_back(opened, predictions, tmp_path):
    opened.keyboard.press("j")
    for key in "raf":
        opened.keyboard.press(key)
    with opened.expect_download() as download:
        opened.click("#save")
    file = tmp_path / "decisions.json"
    download.value.save_as(file)
    assert download.value.suggested_filename == "decisions.json"
    decisions = read_decisions(file)
    records = RecordSet(predictions["record_set"][0])
    assert decisions.threshold == 0.8 and decisions.table["decision"].tolist() == ["reject", "accept", "fix"]
    assert decisions.table["mask_hash"].tolist() == [mask_hash(records.mask(i)) for i in decisions.table["record_id"]]
    assert len(decisions.of(predictions, {str(records.folder): records})) == 3

    stored = json.loads(file.read_text())
    stored["decisions"][0]["mask_hash"] = "0" * 16
    file.write_text(json.dumps(stored))
    opened.evaluate("localStorage.clear()")
    opened.reload()
    assert marks(opened) == []
    opened.set_input_files("#decisions-file", file)
    expect(opened.locator("#review-said")).not_to_be_empty()
    assert opened.inner_text("#review-said") == "Opened 2 decisions of decisions.json; 1 of other masks were left out."
    assert marks(opened) == ["you: ✓ accept", "you: ✎ fix"]
    for text in ("{", '{"schema": "sqp-decisions/9", "decisions": []}'):
        file.write_text(text)
        opened.set_input_files("#decisions-file", file)
        expect(opened.locator("#review-said")).to_contain_text("nothing was opened")
    assert SCHEMA in opened.inner_text("#review-said") and len(marks(opened)) == 2


def test_decisions_on_a_mask_that_was_made_anew_are_forgotten(opened, written, predictions):
    opened.keyboard.press("j")
    opened.keyboard.press("r")
    key = opened.evaluate("Object.keys(localStorage).find((k) => k.startsWith('sqp-review'))")
    kept = json.loads(opened.evaluate(f"localStorage.getItem('{key}')"))
    for was in kept["decisions"].values():
        was["mask_hash"] = "0" * 16
    opened.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, json.dumps(kept)])
    opened.reload()
    assert marks(opened) == []
    opened.evaluate(f"localStorage.setItem('{key}', '{{')")  # damaged: as if there were none
    opened.reload()
    assert marks(opened) == []


def test_the_sample_of_an_audit_is_found(opened, written, predictions):
    table = predictions.assign(audit=predictions.index.isin([0, 1, 2]))
    written(table, Review(float("inf"), 0.7, 0.7))
    opened.reload()
    opened.evaluate("location.hash = '#mine=audit'")
    opened.wait_for_function("document.getElementById('shown').textContent.startsWith('3')")
    assert opened.inner_text("#shown") == "3 of 12 cases" and opened.inner_text("#accept-value") == "none"
    opened.keyboard.press("j")
    opened.keyboard.press("a")
    assert opened.inner_text("#decided") == "1 of 12 decided (1 accept) · audit: 1 of 3"
    assert opened.inner_text("#accept-means") == "0.70"


def slide(page, slider: str, value: int) -> None:
    page.evaluate(
        f"(value) => {{ const one = document.getElementById('{slider}'); one.value = value; "
        "one.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def test_moved_thresholds_judge_and_count_anew(opened, predictions):
    judged = predictions[predictions["verdict"] != "abstain"]
    counts = predictions["verdict"].value_counts()
    said = opened.inner_text("#thresholds-said")
    assert (
        f"accept {counts['accept']} (" in said and said.startswith("Of 12 masks") and "On this page alone" not in said
    )
    for accept, reject in ((50, 40), (75, 60), (90, 90)):
        slide(opened, "reject-at", reject)
        slide(opened, "accept-at", accept)
        low, high = judged["low"].round(4), judged["high"].round(4)
        refused = high < reject / 100
        taken = int(((low >= accept / 100) & ~refused).sum())
        said = opened.inner_text("#thresholds-said")
        assert f"accept {taken} (" in said and f"reject {int(refused.sum())} (" in said and "abstain 1 (" in said
        assert opened.inner_text("#verdicts label.accept").endswith(f"accept ({taken})")
    slide(opened, "accept-at", 30)  # reject gives way
    assert opened.inner_text("#reject-value") == "0.30"
    opened.click("#reset")
    assert "On this page alone" not in opened.inner_text("#thresholds-said")


def test_filter_order_and_thresholds_live_in_the_address(opened):
    opened.get_by_label("reject").check(force=True)
    opened.select_option("#order", "best predicted first")
    opened.fill("#search", "image")
    slide(opened, "accept-at", 85)
    address = opened.evaluate("location.hash")
    assert address == "#verdict=reject&order=best+predicted+first&name=image&accept=0.85&reject=0.70"
    shown = opened.locator("#cards .id").all_inner_texts()
    opened.reload()
    assert opened.locator("#cards .id").all_inner_texts() == shown and opened.inner_text("#accept-value") == "0.85"
    opened.evaluate("location.hash = '#verdict=nonsense&order=nonsense&accept=7&kind=x'")
    opened.wait_for_function("document.getElementById('shown').textContent === '12 of 12 cases'")
    opened.evaluate("location.hash = '#gallery'")  # a link to a part of the page
    assert opened.evaluate("location.hash") == "#gallery" and opened.inner_text("#shown") == "12 of 12 cases"


def test_an_empty_search_says_so(opened):
    opened.fill("#search", "no such name")
    assert opened.inner_text("#nothing").startswith("No case is like this.")
    opened.click("#show-all")
    assert opened.inner_text("#shown") == "12 of 12 cases" and not opened.is_visible("#nothing")


def test_random_order_is_the_same_every_time_and_no_order_of_before(opened):
    opened.select_option("#order", "random")
    first = opened.locator("#cards .id").all_inner_texts()
    opened.reload()
    assert opened.locator("#cards .id").all_inner_texts() == first
    assert first not in (sorted(first), sorted(first, reverse=True))


@pytest.mark.parametrize("truth", [True, False])
def test_there_is_no_box_for_a_truth_that_is_not_there(opened, written, predictions, truth):
    table = predictions if truth else predictions.assign(dice=float("nan"), truth_path=[[]] * len(predictions))
    opened.goto(written(table).as_uri())
    opened.reload()
    assert opened.is_visible("#legend .line.truth") == truth
    opened.locator("#cards button").first.click()
    assert opened.is_visible("#show-truth") == truth and opened.is_visible("#show-mask")


def test_the_plot_stands_beside_the_verdict_and_takes_the_pages_colours(opened):
    words, plot = (opened.locator(name).bounding_box() for name in ("#in-words", "#plot"))
    assert plot["x"] >= words["x"] + words["width"] and plot["y"] < words["y"] + words["height"]
    assert opened.locator("#cards li").first.bounding_box()["y"] < 1500
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        ink = opened.evaluate("getComputedStyle(document.querySelector('#plot svg text')).fill")
        assert ink == opened.evaluate("getComputedStyle(document.body).color")
    assert opened.locator("#plot svg").get_attribute("aria-label")
    opened.set_viewport_size({"width": 390, "height": 844})
    words, plot = (opened.locator(name).bounding_box() for name in ("#in-words", "#plot"))
    assert plot["y"] >= words["y"] + words["height"]
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_help_on_keys_where_there_are_none(browser, written):
    for touch in (True, False):
        context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=touch, is_mobile=touch)
        page = context.new_page()
        page.goto(written().as_uri())
        assert page.is_visible("#keys") != touch
        page.locator("#cards button").first.click()
        assert page.is_visible("#deciding") and page.locator("#deciding kbd").first.is_visible() != touch
        context.close()


def test_a_page_without_review_keeps_none(browser, tmp_path, predictions):
    page = browser.new_page()
    page.goto(write_page(tmp_path / "r.html", predictions, title="Page", findings=Findings("", ())).as_uri())
    for part in ("#review", "#thresholds", "#mine"):
        assert not page.is_visible(part)
    page.keyboard.press("j")
    page.keyboard.press("a")
    page.locator("#cards button").first.click()
    page.keyboard.press("f")
    assert not page.is_visible("#deciding") and page.inner_text("#viewer-place") == "1 of 12"
    page.close()
