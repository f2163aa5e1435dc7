"""Films of a served gallery: the file in ranges, and the page that plays it from the moment that was found."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from tests.browsing import serving, until, visiting
from tests.fakes import FakeEncoder, write_picture
from tests.rendered_films import render_scenes
from tests.servers import Running, running

SCENES = ("blue", "red", "green", "red", "blue")


def write_film(file: Path, scenes: tuple[str, ...] = SCENES) -> Path:
    """A film of scenes of one colour each, three seconds long, in a codec that every browser has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return render_scenes(file, [(scene, 3) for scene in scenes], codec="libvpx")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of one film and a photo."""
    folder = tmp_path_factory.mktemp("site") / "Films"
    write_film(folder / "trip.webm")
    write_picture(folder / "photo.png", "green", seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        embed([folder], gallery=folder / ".mmsearch", encoder=FakeEncoder())
    return folder


@pytest.fixture
def server(films: Path) -> Iterator[Running]:
    with running(films / ".mmsearch") as one:
        yield one


def test_a_film_is_given_as_it_is_and_in_ranges(server: Running, films: Path) -> None:
    whole = (films / "trip.webm").read_bytes()
    (hit,) = [each for each in server.ask("red")["hits"] if "start_s" in each]
    assert (hit["from_s"], hit["to_s"]) == (3.0, 6.0)
    address = f"/api/images/{hit['row_id']}/film"
    given = server.get(address)
    assert (given.status_code, given.headers["content-type"], given.content) == (200, "video/webm", whole)
    part = server.get(address, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert server.get(address, headers={"range": f"bytes={len(whole)}-"}).status_code == 416


def test_only_films_that_lie_in_the_gallerys_folder_are_given(server: Running, films: Path, tmp_path: Path) -> None:
    hits = {hit["path"].partition("!/")[0]: hit["row_id"] for hit in server.ask("green", k=5)["hits"]}
    assert server.get(f"/api/images/{hits['photo.png']}/film").status_code == 404
    assert server.get("/api/images/999999/film").status_code == 404
    address = f"/api/images/{hits['trip.webm']}/film"
    film, elsewhere = films / "trip.webm", tmp_path / "elsewhere.webm"
    film.rename(elsewhere)
    try:
        assert server.get(address).status_code == 410
        film.symlink_to(elsewhere)
        assert "outside" in server.get(address).json()["error"]
        film.unlink()
        film.write_bytes(b"RIFF no film that browsers play")
        assert "do not play" in server.get(address).json()["error"]
        film.unlink()
        film.mkdir()
        assert server.get(address).status_code == 410
        film.rmdir()
    finally:
        elsewhere.rename(film)


@pytest.mark.soak
def test_the_page_plays_from_the_moment_and_shows_all_moments(films: Path, browser: Browser) -> None:
    with serving(films / ".mmsearch") as address, visiting(browser, address) as visit:
        page = visit.go("?q=red")
        tile = page.locator(".tile").first
        expect(tile).to_contain_text("trip.webm 0:03–0:06")
        tile.locator(".tile-open").click()
        expect(page.locator("#viewer-name")).to_have_text("trip.webm")
        expect(page.locator(".stage.plays")).to_be_visible()
        until(page, "document.querySelector('#viewer-film').currentTime >= 3")
        assert page.evaluate("document.querySelector('#viewer-film').muted")
        moments = page.locator("#film-moments button")
        expect(moments).to_have_text(["0:03–0:06", "0:09–0:12"])
        expect(moments.first).to_have_attribute("aria-current", "true")
        expect(page.locator("#viewer-original")).to_have_attribute("href", re.compile(r"api/images/\d+/film$"))
        expect(page.locator("#viewer-facts")).to_contain_text(str(films / "trip.webm"))
        moments.nth(1).click()
        until(page, "document.querySelector('#viewer-film').currentTime >= 9")
        expect(moments.nth(1)).to_have_attribute("aria-current", "true")
        _closes(page)


def _closes(page: Page) -> None:
    """Nothing plays on behind a photo, or once the large view is closed."""
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-name")).to_have_text("photo.png")
    expect(page.locator("#film-panel")).to_be_hidden()
    assert page.evaluate("document.querySelector('#viewer-film').hasAttribute('src')") is False
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".stage.plays")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate("document.querySelector('#viewer-film').hasAttribute('src')") is False


@pytest.mark.soak
def test_a_film_that_cannot_be_played_leaves_its_still_and_says_why(
    films: Path, browser: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "Films"
    write_film(folder / "old.webm", ("red",))
    embed([folder], gallery=folder / ".mmsearch", encoder=FakeEncoder())
    assert Gallery.open(folder / ".mmsearch").live_rows("images")
    with serving(folder / ".mmsearch") as address, visiting(browser, address) as visit:
        page = visit.go("?q=red")
        (folder / "old.webm").write_bytes(b"RIFF" + (folder / "old.webm").read_bytes()[4:])
        page.locator(".tile .tile-open").first.click()
        expect(page.locator("#film-words")).to_contain_text("browsers do not play films of its kind")
        expect(page.locator("#viewer-film")).to_be_hidden()
