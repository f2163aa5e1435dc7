"""The page before a slow server or machine: what is on its way takes nothing back of what a person does meanwhile."""

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import expect

from tests.browsing import ALL, Held, Visit, drawn, reds, until


def test_what_is_typed_before_the_page_is_there_is_asked(visit: Visit) -> None:
    page = visit.page
    held = Held(page, "**/static/main.js")
    page.goto(visit.address, wait_until="commit")
    page.fill("#words", "red")
    held.wait()
    held.release()
    visit.settled()
    reds(page)
    assert page.input_value("#words") == "red"
    assert page.url.endswith("/?q=red")


def test_what_is_typed_while_the_gallery_is_not_known_stays(visit: Visit) -> None:
    page = visit.page
    held = Held(page, "**/api/gallery")
    page.goto(f"{visit.address}?q=red")
    reds(page)
    expect(page.locator("#summary")).to_contain_text("Best first")  # of how many is not known yet
    letters = "document.querySelector('#words').value = 'blu'"  # no pause after them in which it would be asked
    page.evaluate(letters)
    held.wait()
    held.release()
    visit.settled()
    assert page.title() == "red · Photos"
    expect(page.locator("#summary")).to_contain_text(f"Best of {ALL} pictures")
    assert page.input_value("#words") == "blu"


def test_a_large_view_is_closed_once(visit: Visit) -> None:
    """A second press while the first is being done led out of the query."""
    page = visit.go("?q=blue")
    visit.ask("red")
    page.locator(".tile-open").first.click()
    expect(page.locator("#viewer")).to_be_visible()
    page.evaluate("for (const _ of [1, 2, 3]) document.querySelector('#viewer-close').click()")
    expect(page.locator("#viewer")).to_be_hidden()
    drawn(page)
    assert page.url.endswith("/?q=red")
    page.locator(".tile-open").first.click()
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.url.endswith("/?q=red")


@pytest.mark.soak
def test_a_preview_that_comes_late_does_not_replace_the_picture_itself(visit: Visit) -> None:
    page = visit.go("?q=yellow&path=large")
    expect(page.locator(".tile.loaded")).to_be_visible()
    held = Held(page, "**/thumbnail?edge=1280")
    page.locator(".tile-open").first.click()
    held.wait()
    page.keyboard.press("z")
    source = "document.querySelector('#viewer-picture').src"
    until(page, f"{source}.endsWith('/original')")
    with page.expect_response("**/thumbnail?edge=1280"):
        held.release()
    drawn(page)
    until(page, "async () => { await document.querySelector('#viewer-picture').decode(); return true }")
    assert page.evaluate(source).endswith("/original")


@pytest.mark.soak
def test_a_slide_show_goes_as_often_as_it_is_told_to_and_stops_at_once(visit: Visit) -> None:
    page = visit.go("?q=red")
    names = visit.names()
    shown = page.locator("#slides img.there")
    page.click("#slides-button")
    page.keyboard.press(" ")
    expect(shown).to_have_attribute("alt", names[0])
    held = Held(page, "**/thumbnail?edge=1280")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    held.wait()
    held.release()
    expect(shown).to_have_attribute("alt", names[3])
    for _ in range(2):
        page.keyboard.press("+")
    held = Held(page, "**/thumbnail?edge=1280")
    page.keyboard.press(" ")  # and the next one is asked for by itself
    held.wait()
    page.keyboard.press(" ")
    with page.expect_response("**/thumbnail?edge=1280"):
        held.release()
    drawn(page)
    expect(shown).to_have_attribute("alt", names[3])
    page.keyboard.press("ArrowRight")
    expect(shown).to_have_attribute("alt", names[4])
