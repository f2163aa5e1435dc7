"""The timeline, the folders and the facets of the page, used as a person would."""

import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Browser, Page, expect

from mmsearch.embedding import embed
from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from tests.browsing import ALL, Held, Visit, drawn, photo, serving, until, visiting
from tests.fakes import FakeEncoder

UNDATED = ALL - 3


def months_of(page: Page, *expected: str) -> None:
    """The timeline begins with these."""
    for number, text in enumerate(expected):
        words = r"\s*".join(map(re.escape, text.split()))
        expect(page.locator(".month").nth(number)).to_have_text(re.compile(rf"^\s*{words}\s*$"))


def test_all_pictures_by_month(visit: Visit) -> None:
    page = visit.go()
    page.click("#timeline-button")
    months_of(page, "December 2024 1", "May 2024 1", "June 2023 1", f"No date {UNDATED}")
    assert page.url.endswith("/?timeline=1")
    assert page.title() == "Timeline · Photos"
    expect(page.locator("#grid-title")).to_have_text(f"{ALL} pictures by month, newest first")
    assert not page.is_visible("#start")
    assert page.get_attribute("#timeline-button", "aria-pressed") == "true"
    expect(page.locator(".months .tile.loaded").first).to_be_visible()
    assert visit.names()[:3] == ["2024-12-31.jpg", "2024-05-01.jpg", "2023-06-01.jpg"]
    page.locator(".months .tile-open").nth(1).click()
    expect(page.locator("#viewer-name")).to_have_text("2024-05-01.jpg")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-name")).to_have_text("2023-06-01.jpg")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-name")).not_to_have_text("2023-06-01.jpg")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate("document.activeElement.querySelector('img')?.alt") == "2023-06-01.jpg"
    visit.ask("red")
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "red-000.png")
    assert not page.is_visible("#timeline")
    page.go_back()
    months_of(page, "December 2024 1")
    page.reload()
    months_of(page, "December 2024 1")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("t")
    expect(page.locator("#start")).to_be_visible()


@pytest.mark.soak
def test_the_timeline_goes_by_keys(visit: Visit) -> None:
    page = visit.go("?timeline=1")
    name = "document.activeElement.querySelector('img')?.alt"
    expect(page.locator(".months .tile.loaded").first).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(name) == "2024-12-31.jpg"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(name) == "2024-05-01.jpg"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(name) == "2023-06-01.jpg"
    page.keyboard.press("End")
    until(page, "() => document.activeElement.querySelector('img')?.complete")
    box = page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= 800
    page.keyboard.press("Home")
    assert page.evaluate(name) == "2024-12-31.jpg"
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "words"
    page.focus("#rail")
    assert page.get_attribute("#rail", "aria-valuetext") == "December 2024, 1 picture"
    page.keyboard.press("ArrowDown")
    expect(page.locator("#rail")).to_have_attribute("aria-valuetext", "May 2024, 1 picture")
    page.keyboard.press("PageDown")
    expect(page.locator("#rail")).to_have_attribute("aria-valuetext", "June 2023, 1 picture")
    page.keyboard.press("End")
    expect(page.locator("#rail")).to_have_attribute("aria-valuetext", f"No date, {UNDATED} pictures")


@pytest.mark.soak
def test_facets_count_what_each_would_leave_and_go_together(visit: Visit) -> None:
    page = visit.go()
    page.click("#filters-button")
    expect(page.locator("#facets legend:visible")).to_have_text(["Year", "Kind"])  # of others there are no values
    facets = page.locator("#facets")
    values = facets.locator(".facet-value")
    expect(values).to_have_text(["2024 2", "2023 1", f"PNG {ALL - 4}", "JPEG 3", "TIFF 1"])
    facets.get_by_label("JPEG").check()
    visit.settled()
    assert page.url.endswith("/?kind=JPEG")
    assert sorted(visit.names()) == ["2023-06-01.jpg", "2024-05-01.jpg", "2024-12-31.jpg"]
    facets.get_by_label("2024").check()
    expect(values).to_have_text(["2024 2", "2023 1", "JPEG 2"])
    visit.settled()
    assert sorted(visit.names()) == ["2024-05-01.jpg", "2024-12-31.jpg"]
    facets.get_by_label("2023").check()
    visit.settled()
    assert len(visit.names()) == 3
    assert page.inner_text("#filters-count") == "2"
    chips = page.locator(".chips-list .chip-words")
    expect(chips).to_have_text(["2024 or 2023", "JPEG"])
    visit.ask("yellow")
    either = "(year(taken_at) = 2024 or year(taken_at) = 2023) and (regexp_matches("
    assert visit.bodies()[-1]["where"].startswith(either)
    assert page.locator(".tile").count() == 3
    page.keyboard.press("Escape")
    page.click("#timeline-button")
    months_of(page, "December 2024 1", "May 2024 1", "June 2023 1")
    page.click("[aria-label='Remove 2024 or 2023']")
    page.click("[aria-label='Remove JPEG']")
    months_of(page, "December 2024 1", "May 2024 1", "June 2023 1", f"No date {UNDATED}")


def test_facets_are_pressed_before_they_are_counted_anew(visit: Visit) -> None:
    """A press adds to what is asked, not to what was asked when the facets were drawn."""
    page = visit.go()
    page.click("#filters-button")
    facets = page.locator("#facets")
    expect(facets.get_by_label("JPEG")).to_be_visible()
    visit.ask("yellow")
    held = Held(page, "**/api/facets/**")
    facets.get_by_label("JPEG").check()
    held.wait()
    facets.get_by_label("2024").check()
    held.release()
    visit.settled()
    assert page.url.endswith("/?q=yellow&year=2024&kind=JPEG")
    assert sorted(visit.names()) == ["2024-05-01.jpg", "2024-12-31.jpg"]


@pytest.mark.soak
def test_folders_lead_down_and_up(browser: Browser, tmp_path: Path) -> None:
    photos = tmp_path / "Photos"
    for number, name in enumerate(("2024/it's%/a.png", "2024/it's%/b.png", "2024/c.png", "2023/d.png", "e.png")):
        photo(photos / name, (30 * number, 90, 90), (40, 30))
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    with serving(tmp_path / "g") as address, visiting(browser, address) as visit:
        page = visit.go()
        page.click("#filters-button")
        expect(page.locator("#folders .folder")).to_have_text(["2023 1", "2024 3"])
        page.locator("#folders .folder", has_text="2024").click()
        expect(page.locator("#folders .folder")).to_have_text(["it's% 2"])
        visit.settled()
        assert sorted(visit.names()) == ["a.png", "b.png", "c.png"]
        page.locator("#folders .folder").click()
        expect(page.locator(".way button")).to_have_text(["All", "2024", "it's%"])
        visit.settled()
        assert sorted(visit.names()) == ["a.png", "b.png"]
        expect(page.locator(".chips-list .chip-words")).to_have_text("In 2024/it's%")
        page.reload()
        visit.settled()
        assert sorted(visit.names()) == ["a.png", "b.png"]
        page.click("#filters-button")
        page.click(".way button >> text=2024")
        expect(page.locator("#folders .folder")).to_have_text(["it's% 2"])
        page.click(".way button >> text=All")
        visit.settled()
        assert page.url == address
        assert len(visit.names()) == 5


@pytest.mark.soak
def test_a_hundred_thousand_pictures_are_scrolled_through(browser: Browser, tmp_path: Path) -> None:
    """What is on the page, what it holds and how long it takes stay what they are with a few."""
    rng = np.random.default_rng(0)
    photos = tmp_path / "Photos"
    pool = [photo(photos / f".{n}.jpg", tuple(rng.integers(0, 255, 3).tolist()), (64, 48)) for n in range(40)]
    dates = [datetime(2000, 1, 1) + timedelta(minutes=int(each)) for each in rng.integers(0, 13_000_000, 100_000)]
    with open_writer(tmp_path / "g", command="test") as writer:
        writer.set_encoder(EncoderIdentity("fake", "declared:fake-4", 4))
        root = writer.add_root(photos)
        rows = []
        for n, taken_at in enumerate(dates):
            (photos / f"{n:06}.jpg").symlink_to(pool[n % 40])
            rows.append(ImageRow(root.id, f"{n:06}.jpg", None, None, None, None, None, 64, 48, taken_at))
        writer.append("images", rows, np.eye(4, dtype=np.float32)[np.arange(len(rows)) % 4])
        writer.commit()
    order = sorted(range(len(dates)), key=lambda n: (-dates[n].timestamp(), n))
    with serving(tmp_path / "g") as address, visiting(browser, address) as visit:
        page = visit.go("?timeline=1")
        expect(page.locator(".months .tile.loaded").first).to_be_visible()
        devtools = visit.context.new_cdp_session(page)
        most = 0
        for step in range(300):
            page.mouse.wheel(0, 4_000 if step < 200 else 60_000)
            drawn(page)
            most = max(most, page.locator(".months li").count())
        assert most < 250
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        last = page.locator(f".months li[data-place='{len(dates) - 1}'] img")
        expect(last).to_have_attribute("alt", f"{order[-1]:06}.jpg")
        box = page.locator("#rail").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(page.locator("#rail")).to_have_attribute("aria-valuetext", re.compile("20(1[0-9]), "))
        expect(page.locator(".months .tile.loaded").first).to_be_visible()
        place = int(page.locator(".months .tile.loaded").first.get_attribute("data-place") or "")
        expect(page.locator(f".months li[data-place='{place}'] img")).to_have_attribute("alt", f"{order[place]:06}.jpg")
        devtools.send("HeapProfiler.collectGarbage")
        heap = page.evaluate("performance.memory.usedJSHeapSize")
        assert heap < 30e6, heap
        asked = [each.url for each in visit.requests if "/api/timeline" in each.url]
        assert sum(each.endswith("/api/timeline") for each in asked) == 1
