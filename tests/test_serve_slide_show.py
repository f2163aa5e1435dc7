"""The slide show of the page, by keys and by itself; and what stands on pictures."""

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Page, expect

from tests.browsing import ALL, Visit

SHOWN = "#slides img.there"


def shown(page: Page, name: str) -> None:
    """This picture is the one of the slide show, and it has come."""
    expect(page.locator(SHOWN)).to_have_attribute("alt", name)
    assert page.locator(SHOWN).evaluate("(image) => image.complete && image.naturalWidth") > 0


@pytest.mark.soak
def test_pictures_follow_each_other_and_stop(visit: Visit) -> None:
    page = visit.go("?q=red")
    names = visit.names()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    page.keyboard.press(" ")  # so that it waits for this test
    shown(page, names[1])
    page.keyboard.press("+")
    page.keyboard.press("+")
    expect(page.locator("#toast")).to_have_text("2 seconds a picture")
    page.keyboard.press(" ")
    expect(page.locator(SHOWN)).not_to_have_attribute("alt", names[1])  # by itself
    page.keyboard.press(" ")
    assert page.get_attribute("#slides-play", "aria-label") == "Play"
    stopped = page.get_attribute(SHOWN, "alt")
    assert stopped in names[2:]
    page.wait_for_timeout(2_300)
    assert page.get_attribute(SHOWN, "alt") == stopped
    page.keyboard.press("ArrowRight")
    shown(page, names[names.index(stopped or "") + 1])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    shown(page, names[names.index(stopped or "") - 1])
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.click("#slides-close")
    expect(page.locator("#slides")).to_be_hidden()
    assert page.evaluate("document.activeElement.querySelector('img')?.alt") == names[names.index(stopped or "") - 1]


@pytest.mark.soak
def test_the_timeline_is_shown_to_its_end_and_begins_again(visit: Visit) -> None:
    page = visit.go("?timeline=1")
    expect(page.locator(".months .tile.loaded").first).to_be_visible()
    page.click("#slides-button")
    page.keyboard.press(" ")  # so that it waits for this test
    shown(page, "2024-12-31.jpg")
    expect(page.locator("#slide-words")).to_have_text(f"31 Dec 2024 · 1 of {ALL}")
    page.keyboard.press("ArrowLeft")  # its files come though nobody scrolled there
    expect(page.locator("#slide-words")).to_have_text(f"{ALL} of {ALL}")
    page.keyboard.press("ArrowRight")
    shown(page, "2024-12-31.jpg")


def test_dates_stand_on_pictures_and_scores_where_they_are_asked_for(visit: Visit) -> None:
    page = visit.go("?q=yellow&kind=JPEG")
    first = page.locator(".tile").first
    expect(first.locator(".tile-date")).to_have_text("1 Jun 2023")
    page.mouse.move(5, 5)
    expect(first.locator(".tile-score")).to_be_hidden()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("d")
    expect(first.locator(".tile-score")).to_be_visible()
    page.reload()
    visit.settled()
    expect(first.locator(".tile-score")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("d")
    expect(first.locator(".tile-score")).to_be_hidden()
