"""Re-ranking in the page of a server that has a re-ranker."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Browser, expect

from mmsearch.embedding import embed
from mmsearch.serve.running import ServeOptions
from tests.browsing import Visit, visiting
from tests.colour_reranker import ColourReranker, provide_colour
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.servers import Running, running


@pytest.fixture
def colour(monkeypatch: pytest.MonkeyPatch) -> list[ColourReranker]:
    return provide_colour(monkeypatch)


@pytest.fixture
def server(colour: list[ColourReranker], tmp_path: Path) -> Iterator[Running]:
    """Twenty-four pictures, and a re-ranker that likes blue ones."""
    for seed in range(4):
        for name in COLOURS:
            write_picture(tmp_path / "photos" / f"{name} {seed}.png", name, seed=seed)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    with running(tmp_path / "g", options=ServeOptions(rerank="colour:x")) as found:
        yield found


def test_a_server_re_ranks_with_its_own(server: Running, tmp_path: Path) -> None:
    named, own = (server.ask("red", k=24, rerank=each, depth=10) for each in ("colour:x", True))
    assert own == named
    assert own["reranked"] == 10
    assert server.ask("red", k=24, rerank=False)["reranked"] is None
    with running(tmp_path / "g") as other:
        assert "mmsearch serve --rerank MODEL" in other.error({"parts": [{"text": "red"}], "rerank": True})


@pytest.mark.soak
def test_hits_say_whether_they_are_re_ranked(
    browser: Browser, server: Running, colour: list[ColourReranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    with visiting(browser, f"{server.url}/") as visit:
        page = visit.go("?q=red")
        page.click("#filters-button")
        expect(page.locator("#rerank-name")).to_have_text("colour:x")
        page.select_option("[name=rerank]", "20")
        expect(page.locator("#summary")).to_contain_text("24 re-ranked")
        visit.settled()
        assert page.url.endswith("?q=red&rerank=20")
        assert {each[:4] for each in visit.names()[:4]} <= {"blue", "whit"}
        assert page.locator(".tile-second").all_text_contents() == ["re-ranked"] * 24
        body = visit.bodies()[-1]
        assert (body["rerank"], body["within"], body["depth"], body["k"]) == (True, 20, 128, 128)
        page.locator(".tile-open").first.click()
        expect(page.locator("#viewer-facts")).to_contain_text("Re-ranked")
        page.keyboard.press("Escape")
        expect(page.locator("#viewer")).to_be_hidden()

        now = [100.0]  # a clock that moves on by a second at each call of the model
        monkeypatch.setattr("mmsearch.search.rerank.time", SimpleNamespace(monotonic=lambda: now[0]))
        colour[0].when_matching = lambda: now.__setitem__(0, now[0] + 1)
        page.select_option("[name=rerank]", "2")
        expect(page.locator("#summary")).to_contain_text("8 re-ranked")
        visit.settled()
        expect(page.locator("#warnings")).to_contain_text("re-ranked are the best 8 of 24: there was time for no more")
        assert page.locator(".tile-second").all_text_contents() == ["re-ranked"] * 8 + ["not re-ranked"] * 16
        page.fill("[aria-label^='Avoid']", "green")
        page.press("[aria-label^='Avoid']", "Enter")
        expect(page.locator(".chips-list")).to_contain_text("Not re-ranked: ask with words alone")
        visit.settled()
        assert page.locator(".tile-second").count() == 0
        page.go_back()
        expect(page.locator("#summary")).to_contain_text("8 re-ranked")
        page.click("[aria-label='Remove Re-ranked']")
        expect(page.locator(".tile-second")).to_have_count(0)
        visit.settled()
        assert page.url.endswith("?q=red")


@pytest.mark.soak
def test_without_a_re_ranker_none_is_offered(visit: Visit) -> None:
    page = visit.go("?q=red")
    page.click("#filters-button")
    expect(page.locator("#sql")).to_be_visible()
    expect(page.locator("#rerank-field")).to_be_hidden()
