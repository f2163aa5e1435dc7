"""Teaching the page by example: thumbs, by pointer, key and finger, that move the answer and are taken back."""

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browsing import Visit, visiting

FOCUSED = "document.activeElement.querySelector('img')?.alt"


def marked(visit: Visit, *weights: int) -> None:
    """The answer that is shown is to a query with these marks."""
    classes = [re.compile("right" if weight > 0 else "wrong") for weight in weights]
    expect(visit.page.locator(".taught-mark")).to_have_class(classes)
    visit.settled()


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tile", has=page.get_by_alt_text(name, exact=True))


def test_marks_move_the_answer_and_back_takes_them_away(visit: Visit) -> None:
    page = visit.go("?q=red")
    first = visit.names()
    tile(page, first[0]).hover()
    tile(page, first[0]).locator(".tile-mark.wrong").click()
    marked(visit, -1)
    assert first[0] not in visit.names()
    expect(page.locator("#taught-words")).to_have_text("1 wrong. With 2 marks of each side it says how sure it is.")
    expect(page.locator("#live")).to_have_text(re.compile("^Marked as wrong. 1 wrong"))
    assert re.search(r"\?q=red&no=\d+$", page.url)
    for count, key in ((2, "n"), (3, "y"), (4, "y")):
        page.focus(".tile:not(.right) .tile-open")
        page.keyboard.press(key)
        expect(page.locator("#taught-marks li")).to_have_count(count)
        visit.settled()
        if key == "y":
            expect(tile(page, page.evaluate(FOCUSED)).locator(".right[aria-pressed=true]")).to_have_count(1)
    marked(visit, -1, -1, 1, 1)
    weights = [part["weight"] for part in visit.bodies()[-1]["parts"] if "mark" in part]
    assert weights == [-1, -1, 1, 1]
    expect(page.locator("#taught-words")).to_have_text(
        re.compile(r"^2 right, 2 wrong\. Taught by 4 marks: each left out in turn, \d falls? on (their|its) side\.$")
    )
    assert not page.is_visible("#warnings")
    assert page.title() == "red + 2 right − 2 wrong · Photos"
    page.reload()
    marked(visit, -1, -1, 1, 1)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("u")
    marked(visit, -1, -1, 1)
    page.locator("#taught-marks button").first.click()
    marked(visit, -1, 1)
    page.click("#taught-forget")
    expect(page.locator("#taught")).to_be_hidden()
    visit.settled()
    assert visit.names()[:3] == first[:3]
    page.go_back()
    marked_now = page.locator("#taught-marks li")
    expect(marked_now).to_have_count(2)


@pytest.mark.soak
def test_marks_in_the_large_view_leave_it_open(visit: Visit) -> None:
    page = visit.go("?q=red")
    names = visit.names()
    page.locator(".tile-open").nth(1).click()
    expect(page.locator("#viewer-name")).to_have_text(names[1])
    page.keyboard.press("y")
    expect(page.locator("#viewer-right")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#toast")).to_contain_text("Marked as right. 1 right.")
    expect(page.locator("#viewer-name")).to_have_text(names[1])
    page.click("#viewer-wrong")  # it is left out: the next one takes its place
    expect(page.locator("#viewer-name")).not_to_have_text(names[1])
    expect(page.locator("#viewer-wrong")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    marked(visit, -1)
    page.go_back()
    marked(visit, 1)
    page.go_back()
    expect(page.locator("#taught")).to_be_hidden()
    assert page.url.endswith("?q=red")


@pytest.mark.soak
def test_what_teaches_nothing_is_said(visit: Visit) -> None:
    page = visit.go()
    expect(page.locator(".tile.loaded").first).to_be_visible()
    page.focus(".tile-open")
    page.keyboard.press("n")
    expect(page.locator("#toast")).to_have_text(re.compile("^Say first what you look for"))
    page.keyboard.press("y")
    marked(visit, 1)
    assert re.search(r"\?yes=\d+$", page.url)
    visit.go("?q=red&in=both")
    expect(page.locator(".tile.loaded").first).to_be_visible()
    assert page.locator(".tile-mark").count() == 0
    expect(page.locator("#teach")).to_be_hidden()
    visit.go("?no=3")  # nothing is looked for
    expect(page.locator("#start")).to_be_visible()


@pytest.mark.soak
def test_a_taught_query_is_kept_and_asked_by_its_name(visit: Visit) -> None:
    page = visit.go("?q=red")
    page.focus(".tile-open")
    page.keyboard.press("n")
    marked(visit, -1)
    taught = visit.names()
    page.fill("#keep-name", "not that one")
    page.press("#keep-name", "Enter")
    expect(page.locator("#keep-error")).to_contain_text("letters, digits")
    page.fill("#keep-name", "not-that-one")
    page.press("#keep-name", "Enter")
    expect(page.locator("#toast")).to_have_text("Kept: search for @not-that-one to ask it again")
    visit.go()
    page.click("#kept button")
    expect(page.locator("#taught-words")).to_have_text("Asked as @not-that-one.")
    visit.settled()
    assert page.url.endswith("?q=%40not-that-one")
    assert visit.bodies()[-1]["parts"] == [{"kept": "not-that-one", "weight": 1}]
    assert visit.names()[:20] == taught[:20]
    page.focus(".tile-open")
    page.keyboard.press("y")
    expect(page.locator("#taught-words")).to_have_text("Asked as @not-that-one, and 1 right.")
    page.click("#keep-submit")
    expect(page.locator("#toast")).to_have_text("Kept: search for @not-that-one to ask it again")
    visit.go("?q=blue")
    page.focus(".tile-open")
    page.keyboard.press("y")
    marked(visit, 1)
    page.fill("#keep-name", "not-that-one")
    page.press("#keep-name", "Enter")
    expect(page.locator("#keep-error")).to_contain_text("it would be replaced")
    expect(page.locator("#keep-submit")).to_have_text("Replace")


@pytest.mark.soak
def test_what_is_kept_is_offered_at_once_and_deleted_by_a_second_press(visit: Visit) -> None:
    page = visit.go()
    visit.enter("green")
    expect(page.locator("#asked")).to_be_visible()
    visit.settled()
    page.focus(".tile-open")
    page.keyboard.press("y")
    marked(visit, 1)
    expect(page.locator("#keep-delete")).to_be_hidden()
    page.fill("#keep-name", "passing")
    page.press("#keep-name", "Enter")
    expect(page.locator("#toast")).to_contain_text("@passing")
    offered = page.locator("#kept button", has_text="@passing")
    page.go_back()
    page.go_back()
    offered.click()
    delete = page.locator("#keep-delete")
    expect(delete).to_have_text("Delete")
    delete.click()
    expect(delete).to_have_text("Delete @passing")
    page.focus("#keep-name")  # the second press did not come
    expect(delete).to_have_text("Delete")
    delete.click()
    delete.click()
    expect(page.locator("#toast")).to_have_text("@passing is deleted")
    expect(page.locator("#start")).to_be_visible()
    expect(offered).to_have_count(0)
    visit.go("?q=%40passing")
    expect(page.locator("body")).to_contain_text("no query is kept as passing")


@pytest.mark.soak
def test_thumbs_are_there_for_fingers(browser: Browser, site: str) -> None:
    with visiting(browser, site, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as visit:
        page = visit.go("?q=red")
        expect(page.locator(".tile.loaded").first).to_be_visible()
        expect(page.locator(".tile-mark:visible")).to_have_count(0)
        page.tap("#teach")
        first = page.locator(".tile").first
        box = first.locator(".tile-mark.wrong").bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 40
        first.locator(".tile-mark.right").tap()
        marked(visit, 1)
        expect(first.locator(".tile-mark.right")).to_have_attribute("aria-pressed", "true")
        first.locator(".tile-mark.right").tap()
        expect(page.locator("#taught")).to_be_hidden()
