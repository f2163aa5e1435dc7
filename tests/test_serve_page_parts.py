"""The page and parts of pictures: a tile is shown in its picture, and a box that is drawn asks."""

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from PIL import Image
from playwright.sync_api import Browser, expect

from mmsearch.embedding import Selection, embed
from mmsearch.images import CutOptions
from tests.browsing import Visit, serving, until, visiting
from tests.fakes import COLOURS, FakeEncoder, write_picture

BOX = "0.428571,0.428571,1,1"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A large white picture with a blue thing in its lower right, with tiles; and small ones."""
    photos = tmp_path_factory.mktemp("scenes")
    large = Image.new("RGB", (1200, 900), COLOURS["white"])
    large.paste(COLOURS["blue"], (700, 500, 1200, 900))
    large.paste(COLOURS["red"], (0, 0, 300, 225))
    large.save(photos / "large.png")
    for colour in ("green", "red", "yellow"):
        write_picture(photos / f"{colour}.png", colour)
    cut = Selection(cuts=CutOptions(tiles="2"))
    embed([photos], gallery=photos / ".mmsearch", encoder=FakeEncoder(), selection=cut)
    with serving(photos / ".mmsearch") as address:
        yield address


@pytest.fixture
def visit(browser: Browser, scenes: str) -> Iterator[Visit]:
    with visiting(browser, scenes) as visit:
        yield visit


@pytest.mark.soak
def test_a_tile_is_shown_as_a_box_in_its_picture_and_zoomed_into(visit: Visit) -> None:
    page = visit.go("?q=blue")
    assert visit.names()[0] == "large.png part"
    expect(page.locator(".tile-where")).to_have_text(["part"])  # whole pictures say nothing
    page.click(".tile-open >> nth=0")
    expect(page.locator("#viewer-tile")).to_be_visible()
    expect(page.locator("#viewer-name")).to_have_text("large.png")
    picture, box = (page.locator(each).bounding_box() for each in ("#viewer-picture", ".tile-box"))
    assert picture is not None
    assert box is not None
    assert picture["width"] / picture["height"] == pytest.approx(4 / 3, rel=0.01)
    assert (box["x"] - picture["x"]) / picture["width"] == pytest.approx(0.4286, abs=0.01)
    assert (box["y"] + box["height"] - picture["y"]) / picture["height"] == pytest.approx(1, abs=0.01)
    page.keyboard.press("z")
    expect(page.locator("#stage")).to_have_class("stage zoomed")
    until(page, "document.getElementById('viewer-picture').src.endsWith('/original')")
    until(
        page,
        """() => { const box = document.querySelector('.tile-box').getBoundingClientRect();
        const stage = document.getElementById('stage');
        const seen = stage.getBoundingClientRect();
        return box.left < seen.right && box.right > seen.left && box.top < seen.bottom && box.bottom > seen.top
          && stage.scrollLeft + stage.scrollTop > 0; }""",
    )
    page.keyboard.press("z")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()


@pytest.mark.soak
def test_a_box_that_is_drawn_asks_with_what_is_in_it(visit: Visit) -> None:
    page = visit.go("?q=blue")
    page.click(".tile-open >> nth=0")
    expect(page.locator("#viewer-tile")).to_be_visible()
    picture = page.locator("#viewer-picture").bounding_box()
    assert picture is not None
    page.keyboard.press("b")
    expect(page.locator("#viewer-part")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")  # which ends the drawing, and closes nothing
    expect(page.locator("#viewer-part")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#viewer")).to_be_visible()
    page.click("#viewer-part")
    page.mouse.move(picture["x"] + 2, picture["y"] + 2)
    page.mouse.down()
    page.mouse.move(picture["x"] + picture["width"] / 8, picture["y"] + picture["height"] / 8, steps=3)
    expect(page.locator(".part-box")).to_be_visible()
    page.mouse.move(picture["x"] + picture["width"] / 4, picture["y"] + picture["height"] / 4, steps=3)
    with page.expect_response("**/api/query"):
        page.mouse.up()
    visit.settled()
    expect(page.locator("#viewer")).to_be_hidden()
    assert visit.names()[0] == "red.png"
    (part,) = visit.bodies()[-1]["parts"]
    assert part["box"] == pytest.approx([0, 0, 0.25, 0.25], abs=0.02)
    expect(page.locator(".chip-words")).to_have_text("a part of large.png")
    shown = page.locator(".chip img")
    until(page, "document.querySelector('.chip img').naturalWidth > 0")
    assert shown.evaluate("image => image.naturalWidth / image.naturalHeight") == pytest.approx(4 / 3, rel=0.1)
    page.reload()
    visit.settled()
    assert visit.names()[0] == "red.png"  # the address says it all


@pytest.mark.soak
def test_a_press_without_a_box_asks_nothing(visit: Visit) -> None:
    page = visit.go("?q=green")
    page.click(".tile-open >> nth=0")
    expect(page.locator("#viewer-picture")).to_be_visible()
    asked = len(visit.bodies())
    page.click("#viewer-part")
    page.click("#viewer-picture")
    expect(page.locator("#stage")).to_have_class("stage drawing")  # neither zoomed nor asked
    page.click("#viewer-part")
    expect(page.locator("#stage")).to_have_class("stage")
    assert len(visit.bodies()) == asked
