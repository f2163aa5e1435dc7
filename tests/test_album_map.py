"""The map of a gallery: neighbours stay neighbours, it is the same each time, and people can move about on it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.albums.clustering import clusters
from mmsearch.albums.grouping import center
from mmsearch.albums.layout import lay_out, place_at_neighbours, trustworthiness
from mmsearch.albums.mapping import album_map
from mmsearch.embedding import embed
from mmsearch.errors import QueryError
from mmsearch.render import map_page
from scripts.page_types import check_scripts, find_tsc
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.vectors import random_unit_vectors, unit_vectors

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browsing import Visit

RENDER = Path(__file__).resolve().parents[1] / "mmsearch" / "render"


def groups(count: int, many: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Centred unit vectors in groups, and the group of each."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(np.eye(24)[:count], many, axis=0) + 0.15 * rng.normal(size=(count * many, 24))
    unit = unit_vectors(vectors).astype(np.float32)
    return center(unit, unit.mean(axis=0)), np.repeat(np.arange(count), many)


def test_neighbours_stay_neighbours() -> None:
    """On the map the ten nearest of each are of its group, which on the two principal axes they are not."""
    vectors, group = groups(8, 40)
    positions = lay_out(vectors)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :10]
    assert np.mean(group[nearest] == group[:, None]) > 0.99
    _, _, axes = np.linalg.svd(vectors, full_matrices=False)
    assert trustworthiness(vectors, positions) > trustworthiness(vectors, vectors @ axes[:2].T) + 0.1
    assert trustworthiness(vectors, positions) > 0.9


def test_the_same_vectors_give_the_same_map() -> None:
    vectors, _ = groups(3, 20)
    assert np.array_equal(lay_out(vectors), lay_out(vectors.copy()))


@pytest.mark.parametrize("rows", [4, 10])
def test_few_and_equal_vectors_are_borne(rows: int) -> None:
    assert np.isfinite(lay_out(np.repeat(np.eye(3, dtype=np.float32)[:1], rows, axis=0))).all()
    assert np.isfinite(lay_out(random_unit_vectors(np.random.default_rng(0), rows, 8).astype(np.float32))).all()


def test_the_rest_stands_at_its_neighbours() -> None:
    vectors, group = groups(4, 50)
    is_landmark = np.arange(200) % 2 == 0
    positions = lay_out(vectors[is_landmark])
    placed = place_at_neighbours(vectors[~is_landmark], vectors[is_landmark], positions)
    middles = np.stack([positions[group[is_landmark] == number].mean(axis=0) for number in range(4)])
    nearest = np.argmin(np.linalg.norm(placed[:, None] - middles[None], axis=2), axis=1)
    assert np.array_equal(nearest, group[~is_landmark])


def test_trustworthiness_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(2)
    vectors = random_unit_vectors(rng, 60, 8).astype(np.float32)
    positions, k, n = rng.normal(size=(60, 2)).astype(np.float32), 10, 60
    penalty = 0
    for row in range(n):
        others = [each for each in range(n) if each != row]
        by_cosine = sorted(others, key=lambda each: -float(vectors[row] @ vectors[each]))
        on_map = sorted(others, key=lambda each: float(np.linalg.norm(positions[row] - positions[each])))[:k]
        penalty += sum(max(0, by_cosine.index(each) + 1 - k) for each in on_map)
    expected = 1 - 2 * penalty / (n * k * (2 * n - 3 * k - 1))
    assert trustworthiness(vectors, positions) == pytest.approx(expected)
    assert 0.35 < trustworthiness(vectors, positions) < 0.65
    plane = unit_vectors(rng.normal(size=(60, 2))).astype(np.float32)
    assert trustworthiness(plane, plane) == 1.0


HOSTILE = "<script>document.title='run'<-script> &.png"


@pytest.fixture(scope="module")
def colourful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of sixty pictures in six colours, one with a hostile name."""
    folder = tmp_path_factory.mktemp("map")
    for number, colour in enumerate(COLOURS):
        for copy in range(10):
            write_picture(folder / "p" / f"{colour}-{copy}.png", colour, seed=100 * number + copy, size=(40, 30))
    (folder / "p" / "white-9.png").rename(folder / "p" / HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(folder / "cache"))
        embed([folder / "p"], gallery=folder / "g", encoder=FakeEncoder())
    (folder / "words.txt").write_text("\n".join(COLOURS))
    return folder / "g"


@pytest.fixture
def varied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of one colour are near-duplicates to the fake encoder: here they count one by one."""
    monkeypatch.setattr("mmsearch.albums.clustering.NEAR_DUPLICATE", 2.0)


@pytest.mark.usefixtures("varied")
def test_a_map_holds_every_picture_with_its_album(colourful: Path, tmp_path: Path) -> None:
    report = clusters(colourful, encoder=FakeEncoder(), words=colourful.parent / "words.txt")
    laid_out = album_map(report)
    assert len(laid_out.hits) == len(laid_out.albums) == len(laid_out.positions) == 60
    names = {album.number: album.name for album in report.all_albums}
    for hit, album in zip(laid_out.hits, laid_out.albums.tolist(), strict=True):
        assert names[album] in (hit.path or "") or hit.path == HOSTILE
    again = album_map(report)
    assert np.array_equal(laid_out.positions, again.positions)
    assert 0.5 < laid_out.trustworthiness <= 1
    with pytest.raises(QueryError):
        map_page(report, laid_out, tmp_path / "map.txt")


@pytest.mark.usefixtures("varied")
def test_of_many_pictures_some_are_laid_out_and_some_shown(colourful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.albums.mapping._LAID_OUT", 20)
    monkeypatch.setattr("mmsearch.albums.mapping._ON_MAP", 50)
    laid_out = album_map(clusters(colourful, encoder=FakeEncoder()))
    assert (len(laid_out.hits), laid_out.laid_out) == (50, 20)
    assert np.isfinite(laid_out.positions).all()


@pytest.fixture
def page(colourful: Path, mmsearch: Command, tmp_path: Path, varied: None) -> Path:
    file = tmp_path / "map.html"
    done = mmsearch("clusters", "-g", colourful, "--words", colourful.parent / "words.txt", "--map", file)
    assert done.code == 0
    assert re.search(r"map\.html: 60 pictures; of 10 neighbours on it, trustworthiness 0\.\d{3}", done.err)
    return file


def test_the_page_holds_all_that_it_needs(page: Path) -> None:
    text = page.read_text()
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])
    assert len(data["x"]) == len(data["link"]) == len(data["album"]) == 60
    assert {data["albums"][0]["pictures"], *(each["name"] for each in data["albums"])} == {10, *COLOURS}
    assert sorted(Path(name).name for name in data["name"])[0] == HOSTILE
    assert len(re.findall("<script", text)) == 2
    assert "http://" not in text
    assert "https://" not in text
    assert max(map(abs, data["x"] + data["y"])) <= 0.5


@pytest.fixture
def visit(browser: "Browser", page: Path) -> "Iterator[Visit]":
    from tests.browsing import visiting

    with visiting(browser, page.as_uri()) as one:
        one.page.goto(one.address)
        one.page.wait_for_selector("#legend button")
        one.page.wait_for_selector("#map[aria-busy=false]")  # thumbnails are drawn once they are decoded
        yield one


def painted(visit: "Visit") -> str:
    """What is on the map now."""
    from tests.browsing import drawn

    drawn(visit.page)
    return str(visit.page.evaluate("document.getElementById('map').toDataURL()"))


@pytest.mark.soak
def test_the_map_is_moved_and_opened_by_mouse_and_by_keys(visit: "Visit") -> None:
    page = visit.page
    assert page.title() == "map · mmsearch"
    page.focus("#map")
    page.keyboard.press("0")
    page.mouse.move(5, 400)
    whole = painted(visit)
    for key in ("+", "ArrowLeft", "-", "ArrowUp"):
        before = painted(visit)
        page.keyboard.press(key)
        assert painted(visit) != before, key
    name = page.inner_text("#said-name")
    assert name.endswith(".png")
    with page.expect_popup() as opened:
        page.keyboard.press("Enter")
    assert opened.value.url.endswith(name) or name == HOSTILE
    opened.value.close()
    page.keyboard.press("Escape")
    page.mouse.move(5, 400)
    assert painted(visit) == whole
    page.mouse.move(500, 400)
    page.mouse.wheel(0, -600)
    larger = painted(visit)
    assert larger != whole
    page.mouse.down()
    page.mouse.move(560, 430, steps=4)
    page.mouse.up()
    assert painted(visit) != larger
    assert len(page.context.pages) == 1  # a drag opens nothing


@pytest.mark.soak
def test_an_album_is_shown_alone(visit: "Visit") -> None:
    page = visit.page
    assert sorted(page.locator("#legend button span:first-of-type").all_inner_texts()) == sorted(COLOURS)
    whole = painted(visit)
    page.click("#legend li:nth-child(2) button")
    assert page.get_attribute("#legend li:nth-child(2) button", "aria-pressed") == "true"
    assert painted(visit) != whole
    page.click("#legend li:nth-child(2) button")
    assert page.get_attribute("#legend li:nth-child(2) button", "aria-pressed") == "false"


@pytest.mark.soak
def test_the_map_fits_a_phone(browser: "Browser", page: Path) -> None:
    from tests.browsing import visiting

    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "color_scheme": "dark"}
    with visiting(browser, page.as_uri(), **phone) as one:
        one.page.goto(one.address)
        one.page.wait_for_selector("#legend button")
        assert one.page.evaluate("document.documentElement.scrollWidth") == 390
        point = one.page.evaluate(
            """() => { const box = document.getElementById('map').getBoundingClientRect();
               return [box.x + box.width / 2, box.y + box.height / 2]; }"""
        )
        one.page.focus("#map")
        one.page.keyboard.press("ArrowLeft")
        assert one.page.is_visible("#said")
        one.page.touchscreen.tap(*point)
        assert len(one.page.context.pages) == 1


def test_the_script_is_right_by_its_types() -> None:
    tsc = find_tsc()
    if tsc is None:
        pytest.skip("tsc is not installed (Debian: apt-get install node-typescript)")
    checked = check_scripts(tsc, RENDER)
    assert checked.returncode == 0, checked.stdout
