"""Where in a picture what is asked is seen: in the large view of the page."""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Browser, Route, expect

from mmsearch.embedding import embed
from tests.browsing import visiting
from tests.hues import BLUE_SQUARE, RED_SQUARE, HueEncoder, middle, two_squares
from tests.servers import running


@pytest.mark.soak
def test_where_it_is_seen_lies_over_the_picture(browser: Browser, tmp_path: Path) -> None:
    two_squares(tmp_path / "Photos" / "squares.png")
    embed([tmp_path / "Photos"], gallery=tmp_path / "g", encoder=HueEncoder())
    with running(tmp_path / "g", encoder=HueEncoder()) as server, visiting(browser, f"{server.url}/") as visit:
        page = visit.go("?q=a+red+square,+a+blue+square+and+a+kite&path=squares")
        page.locator(".tile-open").first.click()
        expect(page.locator("#viewer-name")).to_have_text("squares.png")
        page.keyboard.press("w")
        phrases = page.locator("#where-phrases li")
        expect(phrases).to_have_count(3)
        expect(phrases.nth(0)).to_have_text(re.compile(r"1a red square−0\.\d{3} without it"))
        expect(phrases.nth(2)).to_have_text("–a kitenothing stands out")
        expect(page.locator("#viewer-where")).to_have_attribute("aria-pressed", "true")
        boxes = page.locator(".where-box")
        expect(boxes).to_have_count(2)
        picture = page.locator("#viewer-picture").bounding_box()
        assert picture is not None
        for box, square in ((boxes.nth(0), RED_SQUARE), (boxes.nth(1), BLUE_SQUARE)):
            place = box.bounding_box()
            assert place is not None
            left = (place["x"] - picture["x"]) / picture["width"]
            top = (place["y"] - picture["y"]) / picture["height"]
            right, bottom = left + place["width"] / picture["width"], top + place["height"] / picture["height"]
            assert left < middle(square)[0] < right
            assert top < middle(square)[1] < bottom
        expect(boxes.nth(0)).to_have_class(re.compile("looked-at"))
        heat = "() => { const one = document.querySelector('#viewer-regions canvas'); return one.toDataURL() }"
        of_red = page.evaluate(heat)
        phrases.nth(1).locator("button").click()
        expect(boxes.nth(1)).to_have_class(re.compile("looked-at"))
        assert page.evaluate(heat) != of_red
        page.keyboard.press("w")
        expect(page.locator("#viewer-regions")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator("#viewer")).to_be_hidden()
        visit.go("?q=a+kite&path=squares")
        page.locator(".tile-open").first.click()
        page.click("#viewer-where")
        expect(page.locator("#where-words")).to_have_text(
            "Nothing in the picture speaks for it more than the rest does."
        )
        held: list[Route] = []

        def hold(route: Route) -> None:
            asked = route.request.post_data_json or {}
            route.continue_() if asked["quick"] else held.append(route)

        page.route("**/regions", hold)
        visit.go("?q=a+red+square+and+a+blue+square&path=squares")
        page.locator(".tile-open").first.click()
        page.click("#viewer-where")
        expect(page.locator("#where-words")).to_have_text(re.compile("A preview"))
        expect(boxes).to_have_count(2)
        page.locator("#where-phrases button").nth(1).click()
        of_preview = page.evaluate(heat)
        held.pop().continue_()
        expect(page.locator("#where-words")).to_have_text("")
        expect(boxes.nth(1)).to_have_class(re.compile("looked-at"))  # as in the preview
        assert page.evaluate(heat) != of_preview
        page.unroute("**/regions")
        page.route("**/regions", lambda route: route.fulfill(status=409, json={"error": "the model is not here"}))
        visit.go("?q=red&path=squares")
        page.locator(".tile-open").first.click()
        page.click("#viewer-where")
        expect(page.locator("#where-words")).to_have_text("the model is not here")
        visit.go()
        page.locator(".tile-open", has=page.get_by_alt_text("squares.png")).click()
        expect(page.locator("#viewer-name")).to_have_text("squares.png")
        expect(page.locator("#viewer-where")).to_be_hidden()  # nothing is asked
