"""Where pictures were taken: places that are counted by the server, and the map of the page."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Browser, expect

from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from tests.browsing import BLUE, GREEN, RED, Held, photo, until, visiting
from tests.servers import Running, running

LISBON, PORTO, SYDNEY = (38.72, -9.14), (41.15, -8.61), (-33.87, 151.21)
TAKEN = [("a", LISBON, RED), ("b", (38.70, -9.20), RED), ("c", PORTO, GREEN), ("d", SYDNEY, BLUE), ("e", None, BLUE)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("map")
    photos = folder / "Photos"
    with open_writer(folder / "g", command="test") as writer:
        writer.set_encoder(EncoderIdentity("fake", "declared:fake-4", 4))
        root = writer.add_root(photos)
        rows = []
        for name, place, colour in TAKEN:
            photo(photos / f"{name}.png", colour, (40, 30))
            row = ImageRow(root.id, f"{name}.png", None, None, None, None, None, 40, 30, None)
            rows.append(replace(row, lat=place[0], lon=place[1], city="Lisboa") if place else row)
        writer.append("images", rows, np.eye(4, dtype=np.float32)[np.arange(len(rows)) % 4])
        writer.commit()
    with running(folder / "g") as found:
        yield found


def test_near_pictures_are_one_place(server: Running) -> None:
    def places(**asked: object) -> list[tuple[int, int]]:
        answer = server.get("/api/places", params=asked).json()
        return [(each["row_id"], each["count"]) for each in answer["places"]]

    assert places(across=1, down=1) == [(0, 4)]
    assert places(across=16, down=8) == [(0, 3), (3, 1)]
    iberia = {"south": 36, "north": 44, "west": -10, "east": 4}
    assert places(**iberia, across=1, down=8) == [(0, 2), (2, 1)]
    assert places(**iberia, across=64, down=64, where="path <> 'a.png'") == [(1, 1), (2, 1)]
    assert places(south=0, north=1, west=0, east=1) == []
    (place, *_) = server.get("/api/places", params={**iberia, "across": 1, "down": 8}).json()["places"]
    assert (place["lat"], place["lon"]) == pytest.approx((38.71, -9.17))
    assert [place[side] for side in ("south", "west", "north", "east")] == [38.70, -9.20, 38.72, -9.14]
    for asked in ({"south": -91}, {"across": 65}, {"across": 0}, {"east": "x"}):
        assert server.get("/api/places", params=asked).status_code == 422


@pytest.mark.soak
def test_a_place_of_the_map_filters(browser: Browser, server: Running) -> None:
    with visiting(browser, f"{server.url}/") as visit:
        page = visit.go()
        page.click("#filters-button")
        expect(page.locator("#map-button")).to_have_text("Map 4")
        expect(page.locator("#facets legend:visible").first).to_have_text("City")
        page.click("#map-button")
        expect(page.locator(".place")).to_have_count(2)  # Portugal and Australia
        page.focus(".place >> nth=0")
        for _ in range(2):
            page.keyboard.press("+")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator("#map")).to_be_hidden()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("p")
        expect(page.locator("#map")).to_be_visible()
        expect(page.locator(".place")).to_have_count(2)
        for _ in range(4):
            page.keyboard.press("-")  # however far away, no place hides another
        expect(page.locator(".place")).to_have_text(["3", "1"])
        page.locator(".place", has_text="3").click()
        expect(page.locator("#map")).to_be_hidden()
        visit.settled()
        assert sorted(visit.names()) == ["a.png", "b.png", "c.png"]
        assert "box=38.6995" in page.url
        page.click("#timeline-button")
        expect(page.locator("#grid-title")).to_have_text("3 pictures by month, newest first")
        page.click("#map-button")
        expect(page.locator("#map")).to_be_visible()  # its places of before stand there at once
        expect(page.locator(".place")).to_have_count(2)  # of all, so that another part may be chosen
        page.keyboard.press("Escape")
        page.click("[aria-label='Remove A part of the map']")
        expect(page.locator("#grid-title")).to_have_text("5 pictures by month, newest first")


@pytest.mark.soak
def test_the_map_waits_for_a_slow_server_and_keys_go_on(browser: Browser, server: Running) -> None:
    """It moves to where the pictures are, however late that is known; and the focus stays when places become one."""
    with visiting(browser, f"{server.url}/") as visit:
        page = visit.go("?path=d")  # the one of Sydney
        page.click("#filters-button")
        expect(page.locator("#map-button")).to_have_text("Map 1")
        counted = Held(page, "**/api/places*")
        page.click("#map-button")
        counted.wait()
        counted.release()  # there are some, so that it opens
        to_move_to = Held(page, "**/api/places*")
        expect(page.locator("#map")).to_be_visible()
        to_move_to.wait()
        page.wait_for_timeout(300)  # longer than the map waits before it asks for the places of what is seen
        to_move_to.release()
        place = page.locator(".place")
        expect(place).to_have_count(1)
        until(page, "Math.abs(document.querySelector('.place').getBoundingClientRect().x - innerWidth / 2) < 100")
        page.keyboard.press("Escape")
        page.click("[aria-label='Remove Path: d']")
        page.click("#map-button")
        expect(place).to_have_count(2)
        page.focus(".place >> nth=1")
        for _ in range(8):
            page.keyboard.press("-")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.closest('dialog')?.id") == "map"
