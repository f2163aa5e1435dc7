"""The page of a server, used as a person would: in Chromium, with keys, pointer, files and fingers."""

import base64
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

from mmsearch.embedding import embed
from mmsearch.filters import RowFilter
from tests.browsing import (
    ALL,
    BLUE,
    CAPTION,
    GREEN,
    HOSTILE,
    RED,
    SHAPES,
    WHITE,
    YELLOW,
    Held,
    Visit,
    drawn,
    photo,
    png,
    reds,
    scroll_to_the_end,
    serving,
    until,
    visiting,
)
from tests.fakes import FakeEncoder


def blue_file() -> FilePayload:
    return {"name": "b.png", "mimeType": "image/png", "buffer": png(BLUE)}


def chips(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(".chips-list .chip-words").all_inner_texts()]


def refuse_once(page: Page, words: str, **answer: Any) -> None:
    """Have the next query for these words refused. The page may just be asking for further hits of what it shows."""
    refused: list[Route] = []

    def answered(route: Route) -> None:
        if refused or words not in (route.request.post_data or ""):
            route.fallback()
        else:
            refused.append(route)
            route.fulfill(**answer)

    page.route("**/api/query", answered)


# --- before and while searching


def test_the_start_says_what_the_gallery_is(visit: Visit) -> None:
    page = visit.go()
    assert page.title() == "Photos"
    assert page.inner_text("h1:visible") == "Photos"
    assert f"{ALL} pictures · 32 captions · fake" in page.inner_text("#start")
    assert page.evaluate("document.activeElement.id") == "words"
    assert page.get_attribute("#words", "placeholder") == f"Search {ALL} pictures"
    expect(page.locator(".tile.loaded").first).to_be_visible()
    assert len(set(visit.names())) == page.locator(".tile").count() >= 40
    page.locator(".example", has_text="a red picture").first.click()
    visit.settled()
    assert page.input_value("#words").startswith("a red picture")
    assert page.locator(".tile").count() > 0
    assert not page.is_visible("#start")


# A letter after the other, with no time between them in which a slow machine would make a pause.
LETTERS = """(words) => {
  const box = document.querySelector("#words");
  for (const letter of words) {
    box.value += letter;
    box.dispatchEvent(new InputEvent("input", {bubbles: true}));
  }
}"""


def test_typing_brings_pictures_after_a_pause_and_enter_at_once(visit: Visit) -> None:
    page = visit.go()
    with page.expect_response("**/api/query") as answer:
        page.evaluate(LETTERS, "red")
    visit.settled()
    reds(page)
    assert visit.asked() == 1  # none a letter
    expected = [f"{hit['score']:.3f}" for hit in answer.value.json()["hits"]]
    assert page.locator(".tile-score").all_text_contents()[:60] == expected
    assert page.url.endswith("/?q=red")
    assert page.title() == "red · Photos"
    assert re.fullmatch(rf"Best of {ALL} pictures · \d+ ms", page.inner_text("#summary"))
    assert page.locator("#live").text_content() in ("60 pictures, more below", "120 further hits, 180 in all")
    visit.enter("blue")
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "blue-000.png")
    assert page.evaluate("document.activeElement.id") == "words"


def test_pictures_have_their_place_before_they_load_and_their_own_shape(visit: Visit) -> None:
    page = visit.page
    held = Held(page, "**/thumbnail*")
    page.goto(f"{visit.address}?q=red", wait_until="commit")  # it is whole only once its images are there
    visit.settled()
    boxes = """all => all.slice(0, 30).map((one) => {
      const box = one.getBoundingClientRect();
      return [box.x, box.y, box.width, box.height];
    })"""
    before = np.array(page.eval_on_selector_all(".tile", boxes))
    assert not page.locator(".tile.loaded").count()
    held.release()
    expect(page.locator(".tile.loaded").nth(5)).to_be_visible()
    after = np.array(page.eval_on_selector_all(".tile", boxes))
    assert np.array_equal(before, after)
    ratios = [SHAPES[int(name[4:7]) % 4] for name in visit.names()[:30]]
    assert after[:, 2] / after[:, 3] == pytest.approx([width / height for width, height in ratios], rel=0.02)
    rows = [after[after[:, 1] == top] for top in np.unique(after[:, 1])]
    for row in rows[:-1]:
        assert row[-1, 0] + row[-1, 2] == pytest.approx(rows[0][-1, 0] + rows[0][-1, 2], abs=1)
        assert len(np.unique(row[:, 3])) == 1


def test_an_answer_that_comes_late_is_not_shown(visit: Visit) -> None:
    page = visit.go()
    held = Held(page, "**/api/query", "green")
    over: list[str] = []
    for event in ("requestfinished", "requestfailed"):
        page.on(event, lambda request: over.append(request.post_data or ""))
    visit.enter("green")
    held.wait()
    expect(page.locator("#busy")).to_be_visible()
    visit.enter("red")
    reds(page)
    held.release()
    while not any("green" in body for body in over):
        page.wait_for_timeout(20)
    drawn(page)
    reds(page)
    expect(page.locator("#busy")).to_be_hidden()


def test_nothing_found_says_why(visit: Visit) -> None:
    page = visit.go("?q=red&path=nowhere")
    expect(page.locator("#nothing-words")).to_have_text("Nothing was found")
    assert "The filter admits none" in page.inner_text("#nothing-why")
    assert not page.is_visible("#summary")
    page.click("text=Take the filters away")
    reds(page)
    visit.go("?q=zebra&score=0.99")
    assert "No hit scores 0.99 or more; the best scores" in page.inner_text("#nothing-why")


def test_remarks_of_the_server_are_shown(visit: Visit) -> None:
    visit.go()
    page = visit.ask(f"red {'and more ' * 30}")
    expect(page.locator("#warnings")).to_contain_text("longer than the model reads")


# --- asking with pictures


def test_a_picture_dropped_anywhere_is_asked_with(visit: Visit, tmp_path: Path) -> None:
    """A real drop of the browser's, over the pictures."""
    page = visit.go()
    file = tmp_path / "mine.png"
    file.write_bytes(png(BLUE))
    devtools = visit.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 500, "y": 600, "data": data})
    expect(page.locator("#drop")).to_be_visible()
    devtools.send("Input.dispatchDragEvent", {"type": "drop", "x": 500, "y": 600, "data": data})
    expect(page.locator("#drop")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"\?picture=[0-9a-f]{32}$"))
    visit.settled()
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", re.compile("blue-"))
    preview = page.locator(".chip-picture")
    assert preview.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 40
    page.click("[aria-label='Remove your picture']")
    expect(page.locator("#start")).to_be_visible()
    assert page.url == visit.address


def test_a_picture_is_pasted_or_chosen_and_goes_together_with_words(visit: Visit) -> None:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.go()
    page.evaluate(
        """async (data) => {
          const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
          await navigator.clipboard.write([new ClipboardItem({"image/png": new Blob([bytes], {type: "image/png"})})]);
        }""",
        base64.b64encode(png(GREEN)).decode(),
    )
    page.keyboard.press("Control+v")
    expect(page).to_have_url(re.compile("picture="))
    visit.settled()
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", re.compile("green-"))
    visit.ask("red")
    parts = visit.bodies()[-1]["parts"]
    assert [sorted(part) for part in parts] == [["text", "weight"], ["picture", "weight"]]
    assert chips(page) == ["red", "picture"]
    with page.expect_file_chooser() as chooser:
        page.click("text=Add a picture")
    chooser.value.set_files(blue_file())
    expect(page).to_have_url(re.compile("picture=.*picture="))
    visit.settled()
    page.reload()
    visit.settled()
    assert chips(page) == ["red", "picture", "picture"]
    shown = page.locator(".chip-picture").first
    assert shown.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
    page.click("[aria-label='Remove red']")
    visit.settled()
    assert page.input_value("#words") == ""
    assert chips(page) == ["picture", "picture"]


def test_a_second_picture_replaces_the_first_unless_it_is_added(visit: Visit, tmp_path: Path) -> None:
    page = visit.go("?q=red&like=3")
    page.set_input_files("#file", {"name": "g.png", "mimeType": "image/png", "buffer": png(GREEN)})
    expect(page).to_have_url(re.compile(r"\?q=red&picture=[0-9a-f]{32}$"))
    visit.settled()
    first = page.url
    page.set_input_files("#file", blue_file())
    expect(page).not_to_have_url(first)
    expect(page.locator("#toast")).to_contain_text("It replaced the picture before")
    visit.settled()
    assert chips(page) == ["red", "picture"]
    file = tmp_path / "mine.png"
    file.write_bytes(png(YELLOW))
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    devtools = visit.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 500, "y": 600, "data": data, "modifiers": 8})
    expect(page).to_have_url(re.compile("picture=.*picture="))
    visit.settled()
    assert chips(page) == ["red", "picture", "picture"]


def test_what_is_no_picture_is_said_and_nothing_is_lost(visit: Visit) -> None:
    page = visit.go("?q=red")
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    expect(page.locator("#banner")).to_contain_text("That is no picture")
    page.click("text=Dismiss")
    page.set_input_files("#file", {"name": "<b>.png", "mimeType": "image/png", "buffer": b"no picture either"})
    expect(page.locator("#banner")).to_contain_text("<b>.png: this is no picture that can be read")
    reds(page)
    assert page.locator(".chip").count() == 1  # "avoid"


def test_a_picture_that_the_server_no_longer_knows_is_asked_for_again(visit: Visit) -> None:
    unknown = "0123456789abcdef" * 2
    page = visit.go(f"?q=red&picture={unknown}")
    expect(page.locator("#nothing")).to_contain_text("no longer knows the picture")
    assert not page.is_visible("#banner")
    with page.expect_file_chooser() as chooser:
        page.click("text=Choose the picture >> nth=-1")
    chooser.value.set_files(blue_file())
    expect(page.locator(".tile").first).to_be_visible()
    expect(page.locator("#nothing")).to_be_hidden()
    visit.settled()
    assert unknown not in page.url
    assert re.search(r"\?q=red&picture=[0-9a-f]{32}$", page.url)


def test_a_picture_that_is_still_here_is_sent_again_by_itself(visit: Visit) -> None:
    page = visit.go()
    page.set_input_files("#file", {"name": "b.png", "mimeType": "image/png", "buffer": png((40, 60, 221))})
    expect(page).to_have_url(re.compile("picture="))
    visit.settled()
    forgot = {"error": "not known any more", "code": "unknown_picture", "picture": page.url[-32:]}
    refuse_once(page, "red", status=404, json=forgot)
    again = page.expect_request("**/api/pictures")
    answered = page.expect_response(lambda answer: "red" in (answer.request.post_data or "") and answer.ok)
    with again, answered:
        visit.enter("red")
    visit.settled()
    assert not page.is_visible("#banner")
    assert chips(page) == ["red", "picture"]


# --- parts and filters


def test_a_chip_can_be_pressed_while_a_field_is_being_filled_in(visit: Visit) -> None:
    """Its press is not lost to what leaving the field would change, nor is what was typed."""
    page = visit.go("?q=red&and=sky")
    page.fill("[aria-label^='Avoid']", "green")
    page.click("[aria-label='Remove “sky”']")
    visit.settled()
    assert page.url.endswith("?q=red")
    assert page.input_value("[aria-label^='Avoid']") == "green"


def test_what_to_avoid_and_weights(visit: Visit) -> None:
    page = visit.go("?q=red")
    page.fill("[aria-label^='Avoid']", "green")
    page.press("[aria-label^='Avoid']", "Enter")
    visit.settled()
    assert visit.bodies()[-1]["parts"] == [{"text": "red", "weight": 1}, {"text": "green", "weight": -1}]
    assert page.url.endswith("?q=red&not=green")
    page.select_option("[aria-label='Weight of red']", "2")
    visit.settled()
    page.focus("[aria-label='Weight of “green”']")
    page.select_option("[aria-label='Weight of “green”']", "-0.5")
    visit.settled()
    assert visit.bodies()[-1]["parts"] == [{"text": "red", "weight": 2}, {"text": "green", "weight": -0.5}]
    assert page.url.endswith("?q=red%5E2&not=green%5E0.5")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Weight of “green”"
    page.reload()
    visit.settled()
    assert visit.bodies()[-1]["parts"] == [{"text": "red", "weight": 2}, {"text": "green", "weight": -0.5}]
    page.click("[aria-label='Remove “green”']")
    visit.settled()
    assert page.url.endswith("?q=red%5E2")


def test_filters_need_no_sql(visit: Visit) -> None:
    page = visit.go("?q=red")
    page.click("#filters-button")
    assert page.get_attribute("#filters-button", "aria-expanded") == "true"
    page.check("[name=shape][value=portrait]")
    visit.settled()
    shown = page.eval_on_selector_all(".tile", "all => all.map((one) => one.clientWidth < one.clientHeight)")
    assert shown
    assert all(shown)
    page.fill("[name=path]", "RED/")
    expect(page).to_have_url(re.compile("path=RED"))
    visit.settled()
    assert {name[:4] for name in visit.names()} == {"red-"}
    assert chips(page) == ["Tall", "Path: RED/"]
    assert page.inner_text("#filters-count") == "2"
    page.click("[aria-label='Remove Tall']")
    visit.settled()
    assert page.is_checked("[name=shape][value='']")
    page.click("#filters-reset")
    visit.settled()
    assert page.url.endswith("?q=red")
    page.select_option("[name=edge]", "1280")
    visit.settled()
    assert visit.names() == ["large.png"]
    expect(page.locator("#end")).to_have_text("That is all: 1 picture.")
    page.select_option("[name=edge]", "")
    page.fill("[name=from]", "2024-05-01")
    page.fill("[name=to]", "2024-12-31")
    visit.settled()
    assert sorted(visit.names()) == ["2024-05-01.jpg", "2024-12-31.jpg"]
    page.fill("[name=to]", "2024-12-30")
    visit.settled()
    assert visit.names() == ["2024-05-01.jpg"]
    page.click("#filters-reset")
    visit.settled()
    page.fill("[name=path]", "100%_")
    expect(page).to_have_url(re.compile("path=100"))
    visit.settled()
    assert visit.names() == ["100%_sure.png"]
    page.fill("[name=path]", "")
    page.check("[name=distinct]")
    visit.settled()
    assert visit.bodies()[-1]["distinct"] is True
    assert visit.bodies()[-1].get("sort") == "rank"
    assert 1 < page.locator(".tile").count() < 40
    page.keyboard.press("Escape")
    assert not page.is_visible("#filters")
    assert page.evaluate("document.activeElement.id") == "filters-button"


def test_sql_and_its_mistakes(visit: Visit) -> None:
    page = visit.go("?q=red")
    page.keyboard.press("Tab")
    page.click("#filters-button")
    page.click("#sql summary")
    page.click(".column >> text=width")
    page.locator("#where").press_sequentially(" = 1400 -- wide")
    page.press("#where", "Enter")
    visit.settled()
    assert visit.names() == ["large.png"]
    page.fill("#where", "widht > 3")
    page.press("#where", "Enter")
    expect(page.locator("#where-error")).to_contain_text("there is no column widht")
    assert visit.names() == ["large.png"]  # what was there stays
    assert page.get_attribute("#where", "aria-invalid") == "true"
    page.fill("#where", "")
    page.press("#where", "Enter")
    visit.settled()
    expect(page.locator("#where-error")).to_be_hidden()
    reds(page)


def test_filters_and_addresses_mean_what_they_say(visit: Visit) -> None:
    """The SQL that the page writes, run by the filters themselves; and addresses that reproduce every query."""
    page = visit.go()
    rows = pa.table(
        {
            "row_id": pa.array([1, 2, 3, 4], pa.int64()),
            "path": ["it's/a%b_c\\d.jpg", "ITS/axbyc.jpg", "x.jpg", "a%b.jpg"],
            "width": pa.array([4, 3, 2, None], pa.int32()),
            "height": pa.array([3, 4, 2, None], pa.int32()),
            "taken_at": pa.array([0, 86_399_000_000, 86_400_000_000, None], pa.timestamp("us")),
        }
    )
    for filters, admitted in [
        ({"shape": "landscape"}, [1]),
        ({"shape": "portrait"}, [2]),
        ({"shape": "square"}, [3]),
        ({"edge": "3"}, [1, 2]),
        ({"path": "it's"}, [1]),
        ({"path": "A%B"}, [1, 4]),
        ({"path": "b_c\\"}, [1]),
        ({"from": "1970-01-02"}, [3]),
        ({"to": "1970-01-01"}, [1, 2]),
        ({"where": "row_id = 1 or row_id = 4 -- these", "path": "a%"}, [1, 4]),
        ({"where": "row_id = 1 or row_id = 3", "shape": "square"}, [3]),
    ]:
        where = page.evaluate(
            """async (filters) => {
              const {NOTHING, whereOf} = await import("/static/query.js");
              return whereOf({...NOTHING, filter: {...NOTHING.filter, ...filters}});
            }""",
            filters,
        )
        assert RowFilter(where, rows.schema).row_ids(rows).tolist() == admitted, where
    for query in [
        {"words": "x^2 & <b> #?", "weight": 1},
        {"words": "x^2", "weight": -0.5, "parts": [{"kind": "text", "value": "y^3", "weight": -2}]},
        {"parts": [{"kind": "like", "value": "17", "weight": 2}, {"kind": "picture", "value": "ab" * 16, "weight": 1}]},
        {
            "words": "é 日本",
            "table": "captions",
            "filter": {"path": "a&b=c", "distinct": True, "newest": True, "where": "a = 'b'\nor c"},
        },
        {"filter": {"shape": "square", "edge": "640", "from": "2024-02-29", "to": "2024-03-01", "score": "-0.25"}},
    ]:
        same = page.evaluate(
            """async (some) => {
              const {NOTHING, fromAddress, toAddress} = await import("/static/query.js");
              const query = {...NOTHING, ...some, filter: {...NOTHING.filter, ...some.filter}};
              return [query, fromAddress("?" + toAddress(query))];
            }""",
            query,
        )
        assert same[0] == same[1]


def test_captions_are_searched_too(visit: Visit) -> None:
    page = visit.go("?q=red")
    page.click("#filters-button")
    page.check("[name=table][value=captions]")
    visit.settled()
    assert visit.bodies()[-1]["table"] == "captions"
    assert page.url.endswith("?q=red&in=captions")
    expect(page.locator(".captions .tile-words").first).to_contain_text("a red")
    assert page.locator(".captions .tile").count() == 32
    expect(page.locator("#end")).to_have_text("That is all: 32 captions.")
    numbered = page.locator(".tile", has_text="number 7").first
    expect(numbered.locator("img")).to_be_visible()
    numbered.locator(".tile-open").click()
    expect(page.locator("#viewer-name")).to_have_text("red-007.png")
    expect(page.locator("#viewer-caption")).to_have_text("a red picture, number 7")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    page.locator(".tile", has_text="of nothing").locator(".tile-open").click()
    expect(page.locator("#viewer-absent")).to_have_text("This caption has no picture in the gallery")


def test_pictures_and_captions_in_one_list(visit: Visit) -> None:
    page = visit.go("?q=red&in=both")
    assert visit.bodies()[-1]["table"] == "both"
    expect(page.locator("#summary")).to_contain_text(f"Best of {ALL + 32} items")
    expect(page.locator("#chips")).to_contain_text("Among pictures and captions")
    name = page.locator(".captions .tile-name").first
    assert name.evaluate("element => getComputedStyle(element).opacity") == "1"
    expect(page.locator(".tile-score").first).to_have_text(re.compile(r"^-?\d+\.\d σ$"))
    page.locator(".tile-open").first.click()
    expect(page.locator("#viewer")).to_contain_text("Standard score")


# --- hits


def test_more_like_this(visit: Visit) -> None:
    page = visit.go("?q=red&path=r")
    page.hover(".tile >> nth=4")
    page.click(".tile >> nth=4 >> .tile-like")
    expect(page).to_have_url(re.compile(r"\?like=\d+&path=r$"))
    visit.settled()
    expect(page.locator(".chips-list .chip-words").first).to_have_text(re.compile(r"red-\d+\.png"))
    assert page.input_value("#words") == ""
    first = visit.names()[0]
    assert page.evaluate("document.activeElement.querySelector('img')?.alt") == first
    page.keyboard.press("m")
    expect(page.locator(".chips-list .chip-words").first).to_have_text(first)
    visit.settled()
    assert first not in visit.names()
    page.keyboard.press("Enter")
    page.click("#viewer-like")
    expect(page.locator("#viewer")).to_be_hidden()
    visit.settled()
    assert len(visit.bodies()) >= 4


def test_the_large_view(visit: Visit) -> None:
    page = visit.go("?q=red&path=red")
    names = visit.names()
    page.locator(".tile-open").nth(2).click()
    expect(page.locator("#viewer-name")).to_have_text(names[2])
    facts = page.locator("#viewer-facts")
    expect(facts).to_contain_text("Size")
    text = " ".join(facts.inner_text().split())
    width, height = SHAPES[int(names[2][4:7]) % 4]
    assert f"Dimensions {width} × {height} pixels" in text
    assert re.search(r"Folder red .* Score \d\.\d{3}, rank 3 Path /.*/Photos/red/" + names[2], text)
    expect(page.locator("#viewer-captions")).to_contain_text("a red picture, number")
    assert "view=" in page.url
    until(page, "() => document.querySelector('#viewer-picture').naturalWidth > 0")
    for _ in range(12):  # the focus does not leave it
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-name")).to_have_text(names[3])
    page.click("#previous")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-name")).to_have_text(names[1])
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#previous")).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-name")).to_have_text(names[0])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate("document.activeElement.querySelector('img')?.alt") == names[1]
    assert "view=" not in page.url
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    page.go_forward()
    expect(page.locator("#viewer-name")).to_have_text(names[1])
    page.reload()
    expect(page.locator("#viewer-name")).to_have_text(names[1])
    page.click("#viewer-close")
    expect(page.locator("#viewer")).to_be_hidden()
    reds(page)


def test_a_large_view_outlives_the_answer_that_it_came_from(visit: Visit) -> None:
    page = visit.go("?q=red")
    held = Held(page, "**/api/query", "blue")
    visit.enter("blue")
    held.wait()
    name = visit.names()[2]
    page.locator(".tile-open").nth(2).click()
    expect(page.locator("#viewer-name")).to_have_text(name)
    held.release()
    visit.settled()
    expect(page.locator("#viewer-name")).to_have_text(name)
    expect(page.locator("#next")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.url.endswith("?q=blue")


def test_the_path_is_copied_with_and_without_a_clipboard_to_ask(visit: Visit) -> None:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.go("?q=red&path=red-00")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.click("#viewer-copy")
    expect(page.locator("#toast")).to_have_text("Path copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith(f"/Photos/red/{visit.names()[0]}")
    assert Path(copied).is_file()
    page.keyboard.press("ArrowRight")
    page.evaluate("() => { Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true}) }")
    page.keyboard.press("c")
    page.evaluate("() => { delete navigator.clipboard }")
    until(page, "async (old) => (await navigator.clipboard.readText()) !== old", arg=copied)
    assert page.evaluate("navigator.clipboard.readText()").endswith(f"/Photos/red/{visit.names()[1]}")


def test_what_browsers_do_not_show_is_shown_by_the_server(visit: Visit) -> None:
    page = visit.go("?q=red&path=scan.tiff")
    page.locator(".tile-open").click()
    expect(page.locator("#viewer-name")).to_have_text("scan.tiff")
    until(page, "() => document.querySelector('#viewer-picture').naturalWidth === 200")
    page.click("#viewer-picture")
    visit.settled()
    expect(page.locator("#viewer-picture")).to_be_visible()
    assert page.evaluate("document.querySelector('#viewer-picture').naturalWidth") == 200
    with page.expect_download() as download:
        page.click("#viewer-original")
    assert download.value.url.endswith("/original")


@pytest.mark.parametrize("kind", ["tiff", "heic"])
def test_what_browsers_do_not_show_is_zoomed_to_its_own_pixels(kind: str, browser: Browser, tmp_path: Path) -> None:
    """It ended at the largest thumbnail: a photo of twelve megapixels was a blur."""
    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    file = photo(tmp_path / "Photos" / f"wide.{kind}", (200, 30, 30), (2400, 1600))
    embed([file.parent], gallery=tmp_path / "g", encoder=FakeEncoder("fake"))
    with serving(tmp_path / "g") as address, visiting(browser, address) as visit:
        page = visit.go()
        page.locator(".tile-open").first.click()
        until(page, "() => document.querySelector('#viewer-picture').naturalWidth === 1280")
        page.keyboard.press("z")
        until(page, "() => document.querySelectorAll('#viewer-parts img.there').length >= 4")
        parts = page.locator("#viewer-parts img")
        seen = page.locator("#viewer-parts img.there")
        assert seen.evaluate_all("all => all.every((one) => one.naturalWidth === one.offsetWidth)")  # no pixel between
        assert parts.count() < 15  # of the 20 that there are: those that are seen
        page.evaluate("document.querySelector('#stage').scrollTo(9_999, 9_999)")
        corner = page.locator("#viewer-parts img[src*='left=2048&top=1536&']")
        expect(corner).to_have_class("there")
        assert corner.evaluate("(one) => [one.naturalWidth, one.naturalHeight]") == [352, 64]
        box, whole = corner.bounding_box(), page.locator("#viewer-picture").bounding_box()
        assert box is not None
        assert whole is not None
        assert box["x"] + box["width"] == pytest.approx(whole["x"] + whole["width"], abs=1)
        assert box["y"] + box["height"] == pytest.approx(whole["y"] + whole["height"], abs=1)
        page.keyboard.press("z")
        assert parts.count() == 0
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("z")  # which is not for the picture behind the keys
        assert page.locator("#stage.zoomed").count() == 0

        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()
        expect(page.locator("#viewer")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#viewer")).to_be_hidden()


def test_scrolling_goes_on_to_the_end_and_memory_stays_bounded(visit: Visit) -> None:
    page = visit.go("?q=red")
    most = scroll_to_the_end(page, 1_500)
    expect(page.locator("#end")).to_have_text(f"That is all: {ALL} pictures.")
    names = visit.names()
    assert len(names) == ALL == len(set(names))
    assert most < ALL - 60
    assert [body["offset"] for body in visit.bodies()] == [0, 60, 180]
    page.mouse.wheel(0, -100_000)
    expect(page.locator(".tile.loaded").first).to_be_visible()
    assert page.locator(".tile img[src]").count() < ALL - 60


def test_hostile_names_and_captions_are_text(visit: Visit) -> None:
    page = visit.go("?q=white")
    assert page.title() == "white · Photos"
    for name in HOSTILE:
        page.locator(".tile-open", has=page.get_by_alt_text(shown(name), exact=True)).focus()
        page.keyboard.press("Enter")
        expect(page.locator("#viewer-name")).to_have_text(shown(name))
        expect(page.locator("#viewer-facts")).to_contain_text("Size")
        assert not page.locator("#viewer-facts b, #viewer-facts img, #viewer h2 *").count()
        overflow = page.evaluate(
            "(() => { const one = document.querySelector('#details'); return one.scrollWidth - one.clientWidth })()"
        )
        assert overflow <= 0
        page.keyboard.press("Escape")
        expect(page.locator("#viewer")).to_be_hidden()
    visit.go("?q=white&in=captions")
    words = page.locator(".tile-words", has_text="document.title").first
    assert words.text_content() == shown(CAPTION)
    assert not page.locator(".tile script, .tile-words *").count()
    visit.go(f"?q={'%3Cimg src=x onerror=document.title=1%3E'}&not=%3Cb%3Ebold")
    assert "<b>bold" in chips(page)
    assert page.title().startswith("<img src=x onerror=document.title=1> − <b>bold")


def shown(name: str) -> str:
    """As the page spells what it may not show."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\u202e", "\\u202e").replace("\n", "\\n").replace("\x1b", "\\x1b")


# --- addresses, failures, tokens


def test_back_forward_and_reload_reproduce_the_query(visit: Visit) -> None:
    page = visit.go()
    visit.ask("red")
    page.evaluate(
        """() => new Promise((seen) => {
          addEventListener("scroll", () => requestAnimationFrame(seen), {once: true});
          scrollTo(0, 700);
        })"""
    )  # the page has been told of it
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("[scrollY, document.activeElement.id]") == [700, "words"]  # nothing moves
    visit.ask("blue")
    assert page.evaluate("scrollY") == 0
    asked = visit.asked()
    page.go_back()
    reds(page)
    assert page.input_value("#words") == "red"
    until(page, "() => scrollY === 700")
    page.go_back()
    expect(page.locator("#start")).to_be_visible()
    page.go_forward()
    page.go_forward()
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "blue-000.png")
    assert visit.asked() == asked  # all of it was still here
    page.reload()
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "blue-000.png")
    page.keyboard.press("End")
    page.keyboard.type(" ")
    for letter in "sky":
        page.keyboard.type(letter)
        expect(page).to_have_url(re.compile(rf"\?q=blue.*{letter}$"))
    visit.settled()
    page.go_back()  # one step, not one a letter
    expect(page.locator("#words")).to_have_value("blue")


def test_a_server_that_is_gone_takes_nothing_from_the_screen(visit: Visit) -> None:
    page = visit.go("?q=red")
    visit.context.set_offline(True)
    visit.enter("blue")
    expect(page.locator("#banner")).to_contain_text("The server does not answer")
    reds(page)
    page.click("text=Try now")
    expect(page.locator("#banner")).to_be_visible()
    visit.context.set_offline(False)
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "blue-000.png")
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator(".tile.loaded").first).to_be_visible()


def test_thumbnails_that_did_not_come_are_asked_for_again(visit: Visit) -> None:
    page = visit.page
    page.route("**/thumbnail*", lambda route: route.abort("connectionrefused"))
    page.goto(f"{visit.address}?q=red")
    expect(page.locator("#banner")).to_contain_text("The server does not answer")
    page.unroute("**/thumbnail*")
    expect(page.locator(".tile.loaded").nth(5)).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()


def test_a_busy_server_and_one_that_breaks_say_so(visit: Visit) -> None:
    page = visit.go("?q=red")
    refuse_once(page, "blue", status=503, json={"error": "too many queries"})
    visit.enter("blue")
    expect(page.locator("#banner")).to_contain_text("too many queries")
    reds(page)
    page.click("text=Try again")
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "blue-000.png")
    refuse_once(page, "red", status=500, body="<h1>boom")
    visit.enter("red")
    expect(page.locator("#banner")).to_contain_text("The server answered 500.")
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "blue-000.png")


def test_a_file_that_is_gone_leaves_a_quiet_placeholder(browser: Browser, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name, colour in (("a", RED), ("b", GREEN), ("c", BLUE)):
        photo(photos / f"{name}.png", colour, (64, 48))
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    (photos / "a.png").unlink()
    (photos / "b.png").write_bytes(png(WHITE))  # something else, under the same name
    with serving(tmp_path / "g") as address, visiting(browser, address) as visit:
        page = visit.go("?q=red")
        expect(page.locator(".tile.absent")).to_have_count(2)
        gone = page.locator(".tile.absent", has_text="a.png")
        expect(gone).to_contain_text("The file is gone")
        expect(page.locator(".tile.absent", has_text="b.png")).to_contain_text("The file was changed")
        expect(page.locator("#warnings")).to_contain_text("gone since they were embedded")
        assert not page.is_visible("#banner")
        gone.locator(".tile-open").click()
        expect(page.locator("#viewer-absent")).to_have_text("The file is gone")
        expect(page.locator("#viewer-name")).to_have_text("a.png")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#viewer-absent, #viewer-picture").locator("visible=true")).to_have_count(1)


def test_a_token_is_asked_for_once(browser: Browser, colours: Path) -> None:
    with serving(colours, token="open-sesame-and-enter") as address, visiting(browser, address) as visit:
        page = visit.page
        page.goto(f"{address}?q=red")
        expect(page.locator("#token")).to_be_visible()
        page.fill("#token-field", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-error")).to_have_text("That is not the token of this server.")
        page.fill("#token-field", "open-sesame-and-enter")
        page.keyboard.press("Enter")
        reds(page)
        expect(page.locator("#token")).to_be_hidden()
        assert "sesame" not in page.url
        page.reload()
        reds(page)
    with serving(colours, token="open-sesame-and-enter") as address, visiting(browser, address) as visit:
        visit.page.goto(f"{address}?token=open-sesame-and-enter&q=red")
        reds(visit.page)
        assert visit.page.url == f"{address}?q=red"


# --- what the page is made of


def test_the_page_is_whole_and_loads_nothing_from_elsewhere() -> None:
    folder = files("mmsearch.serve") / "page"
    texts = {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.is_file()}
    page = texts["index.html"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", page)
    for name, text in texts.items():
        outside = set(
            re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}[^\s\"']*", re.sub(r"^\s*//.*$", "", text, flags=re.M))
        )
        assert outside <= {"//www.w3.org/2000/svg"} | {"http://www.w3.org/2000/svg"}, name
        if name.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), name
            for module in re.findall(r'from "\./([^"]+)"', text):
                assert module in texts, (name, module)
            for one in re.findall(r'byId\("([^"]+)"', text):
                assert f'id="{one}"' in page, (name, one)
    for one in re.findall(r'(?:href|src)="static/([^"]+)"', page):
        assert one in texts
    assert set(re.findall(r'href="#(i-[\w-]+)"', page)) <= set(re.findall(r'<symbol id="(i-[\w-]+)"', page))


@pytest.mark.soak
def test_ten_thousand_pictures_scrolled_through(browser: Browser, tmp_path: Path) -> None:
    """All the hits that a server gives: none twice, few images held at a time, and the heap of the page stays small."""
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for place in range(6_000):
        photo(photos / f"{place:05}.png", tuple(rng.integers(0, 255, 3).tolist()), SHAPES[place % 4])
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    with serving(tmp_path / "g") as address, visiting(browser, address) as visit:
        page = visit.go("?q=red")
        devtools = visit.context.new_cdp_session(page)
        most = scroll_to_the_end(page, 3_000, seconds=240)
        expect(page.locator("#end")).to_have_text("That is all: 6,000 pictures.")
        names = visit.names()
        assert len(names) == 6_000 == len(set(names))
        assert most < 400
        devtools.send("HeapProfiler.collectGarbage")
        heap = page.evaluate("performance.memory.usedJSHeapSize")
        assert heap < 60e6, heap
        page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        expect(page.locator(".tile").last).to_be_in_viewport()
