"""Choosing several pictures on the page, and what can be done with them."""

import io
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Page, expect

from tests.browsing import ALL, Visit


def chosen(page: Page) -> list[str]:
    """The names of the pictures on the page that are chosen."""
    return list(page.eval_on_selector_all(".tile.chosen img", "all => all.map((one) => one.alt)"))


@pytest.mark.soak
def test_pictures_are_chosen_one_by_one_in_rows_all_and_none(visit: Visit) -> None:
    page = visit.go("?q=red&path=red-00")  # ten, and none comes to them
    names = visit.names()
    page.hover(".tile >> nth=1")
    page.click(".tile >> nth=1 >> .tile-choose")
    expect(page.locator("#selection-count")).to_have_text("1 picture chosen")
    assert chosen(page) == [names[1]]
    page.click(".tile >> nth=4 >> .tile-open", modifiers=["Shift"])
    expect(page.locator("#selection-count")).to_have_text("4 pictures chosen")
    assert chosen(page) == names[1:5]
    page.click(".tile >> nth=2 >> .tile-open")  # while some are chosen a press chooses
    assert chosen(page) == [names[1], names[3], names[4]]
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.locator(".tile-choose[aria-checked=true]").count() == 3
    page.keyboard.press("Control+a")
    expect(page.locator("#selection-count")).to_have_text("10 pictures chosen")
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()
    assert chosen(page) == []
    page.focus(".tile-open")
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    assert chosen(page) == names[:2]
    page.click("#choose-several")
    assert chosen(page) == []
    page.click("#choose-several")
    page.click(".tile >> nth=3 >> .tile-open")
    assert chosen(page) == names[3:4]
    visit.ask("blue")
    expect(page.locator("#selection")).to_be_hidden()


@pytest.mark.soak
def test_a_rectangle_chooses_what_it_touches(visit: Visit) -> None:
    page = visit.go("?q=red")
    first, other = (page.locator(".tile").nth(place).bounding_box() for place in (0, 1))
    assert first is not None
    assert other is not None
    names = visit.names()
    page.mouse.move(first["x"] + 60, first["y"] + 60)
    page.mouse.down()
    page.mouse.move(other["x"] + 30, other["y"] + 90, steps=5)
    expect(page.locator(".rectangle")).to_be_visible()
    page.mouse.up()
    expect(page.locator(".rectangle")).to_be_hidden()
    assert chosen(page) == names[:2]
    expect(page.locator("#viewer")).to_be_hidden()


def test_the_chosen_are_downloaded_as_a_zip_and_their_paths_copied(visit: Visit) -> None:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.go("?q=red")
    names = visit.names()[:3]
    page.focus(".tile-open")
    page.keyboard.press("x")
    page.click(".tile >> nth=2 >> .tile-open", modifiers=["Shift"])
    with page.expect_download() as download:
        page.click("#selection-zip")
    assert download.value.suggested_filename == "pictures.zip"
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert archive.namelist() == names
    page.click("#selection-paths")
    expect(page.locator("#toast")).to_have_text("3 paths copied")
    paths = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert [Path(path).name for path in paths] == names
    assert all(Path(path).is_file() for path in paths)


@pytest.mark.soak
def test_all_of_the_timeline_is_chosen_though_little_of_it_is_on_the_page(visit: Visit) -> None:
    page = visit.go("?timeline=1")
    expect(page.locator(".months .tile.loaded").first).to_be_visible()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Control+a")
    expect(page.locator("#selection-count")).to_have_text(f"{ALL} pictures chosen")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator(f".months li[data-place='{ALL - 1}']")).to_have_class("tile chosen loaded")
    page.keyboard.press("Escape")
    box = page.locator(".months .tile").nth(2).bounding_box()
    assert box is not None
