"""The page of a server for everyone: by keys alone, with a screen reader, in any light, on any screen."""

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from playwright.sync_api import Browser, Page, expect

from tests.browsing import ALL, Visit, at_rest, drawn, reds, visiting


def test_everything_goes_by_keys(visit: Visit) -> None:
    page = visit.go("?q=red")
    focused = "document.activeElement.querySelector('img')?.alt"
    names = visit.names()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == names[0]
    expect(page.locator(".grid [tabindex='0']")).to_have_count(5)  # a picture, "more like" it, its box, and its thumbs
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == names[1]
    page.keyboard.press("ArrowDown")
    below = page.evaluate(focused)
    tops = page.eval_on_selector_all(".tile", "all => all.map((one) => one.offsetTop)")
    assert tops[names.index(below)] == sorted(set(tops))[1]
    page.keyboard.press("ArrowUp")
    assert tops[names.index(page.evaluate(focused))] == 0
    page.keyboard.press("End")
    assert page.evaluate(
        """() => {
          const box = document.activeElement.getBoundingClientRect();
          return box.top >= 0 && box.bottom <= innerHeight;
        }"""
    )
    page.keyboard.press("Home")
    assert page.evaluate(focused) == names[0]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "tile-like"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "words"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("/")
    assert page.evaluate("[document.activeElement.id, getSelection().toString()]") == ["words", "red"]
    page.keyboard.type("?")
    assert page.input_value("#words") == "?"  # not a key here
    page.keyboard.press("Escape")
    assert page.input_value("#words") == ""
    expect(page.locator("#start")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    assert "more like this" in page.inner_text("#help")
    assert f"{ALL} pictures" in page.inner_text("#help")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("f")
    expect(page.locator("#filters")).to_be_visible()


UNNAMED = """() => {
  const named = (one) => (one.getAttribute("aria-labelledby") ?? "")
    .split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("")
    || one.ariaLabel || one.labels?.[0]?.textContent || one.textContent || one.querySelector("img")?.alt || "";
  const all = "button, input, select, textarea, a[href], dialog, aside, form[role], ol, ul";
  return [...document.querySelectorAll(all)]
    .filter((one) => !one.closest("[hidden]") && one.type !== "file")
    .filter((one) => !named(one).trim() && (one.childElementCount || one.matches("button, input, select, textarea, a")))
    .map((one) => one.outerHTML.slice(0, 120));
}"""


def test_a_screen_reader_finds_its_way(visit: Visit) -> None:
    page = visit.go("?q=red&not=green&shape=landscape")
    page.click("#filters-button")
    unnamed = page.evaluate(UNNAMED)
    assert unnamed == []
    for role in ("banner", "main", "search", "complementary"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("heading", level=1).all_text_contents() == ["red − green"]
    assert page.get_by_role("list", name="Answers, best first").count() == 1
    assert page.get_by_role("button", name="More like red-").count() > 10
    assert page.evaluate("document.documentElement.lang") == "en"
    expect(page.locator("#live")).to_have_text(re.compile(r"\d+ pictures|further hits"))
    visit.go("?q=red")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "tile-open"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((one, i) => one * a / 255 + under[i] * (1 - a / 255));
  const ground = (one) => {
    const picture = one.closest(".tile:not(.absent):not(.captions .tile)");
    const layers = [];
    for (let at = one; at && at !== picture; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3]) layers.unshift(colour);
      if (colour[3] === 255) break;
    }
    return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const light = (colour) => {
    const linear = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map((one) => linear(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    const field = one.matches("input:not([type=radio], [type=checkbox], [type=file]), textarea, select");
    const words = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!(words || field) || !one.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (one.closest("[inert], :disabled, .unseen, option, .skip, .toast, .tile-name")) continue;
    const box = one.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight || !box.width) continue;
    const style = getComputedStyle(one);
    const under = ground(one);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const colours = [style.color];
    if (field && one.placeholder) colours.push(getComputedStyle(one, "::placeholder").color);
    for (const colour of colours) {
      const [a, b] = [light(over(rgba(colour), under)), light(under)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      const name = one.id || one.className || one.tagName;
      if (ratio < needed) poor.push([name, one.textContent.trim().slice(0, 30), ratio.toFixed(2)]);
    }
  }
  return poor;
}"""


def _stands_out(page: Page) -> None:
    """Once nothing fades in or out any more."""
    at_rest(page)
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.soak
def test_text_stands_out_in_both_themes(browser: Browser, site: str, scheme: str) -> None:
    """WCAG AA by the colours that Chromium computes: 4.5:1, 3:1 for large text; what lies on pictures, as on white."""
    with visiting(browser, site, color_scheme=scheme) as visit:
        page = visit.go()
        _stands_out(page)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) > 200) == (scheme == "light")
        visit.go("?q=red&not=green&like=3&shape=landscape&where=widht%3D1&path=r")
        expect(page.locator("#where-error")).to_be_visible()
        _stands_out(page)
        visit.go("?q=red&yes=3&no=5")
        expect(page.locator(".taught-mark")).to_have_count(2)
        page.click("#teach")
        _stands_out(page)
        visit.go("?q=red&path=red")
        page.route("**/api/query", lambda route: route.fulfill(status=500, json={"error": "it broke"}))
        page.press("#words", "Enter")
        expect(page.locator("#banner")).to_be_visible()
        assert page.locator(".tile-score").count() > 10
        _stands_out(page)
        page.unroute("**/api/query")
        page.click("#help-button")
        expect(page.locator("#help")).to_be_visible()
        _stands_out(page)
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()
        page.locator(".tile-open").first.click()
        expect(page.locator("#viewer-facts")).to_contain_text("Size")
        _stands_out(page)
        visit.go("?q=red&in=captions")
        _stands_out(page)


def test_the_theme_is_chosen_and_kept(visit: Visit) -> None:
    page = visit.go()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) == light
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != light
    assert "dark" in (page.get_attribute("#theme", "aria-label") or "")
    page.reload()
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark


SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SMALL = """() => {
  const all = "button, a[href], select, input:not([type=radio], [type=file], [type=checkbox])";
  return [...document.querySelectorAll(all)].filter((one) => {
    const box = one.getBoundingClientRect();
    return one.checkVisibility() && !one.closest(".unseen, .skip") && box.width && (box.width < 24 || box.height < 24);
  }).map((one) => one.outerHTML.slice(0, 100));
}"""


def test_a_phone_shows_all_of_it(browser: Browser, site: str) -> None:
    """360 pixels wide and touched: nothing sticks out, everything is large enough for a finger."""
    with visiting(browser, site, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as visit:
        page = visit.go()
        assert page.evaluate(SIDEWAYS) == 0
        page.tap("#words")
        page.keyboard.type("red")
        page.keyboard.press("Enter")
        reds(page)
        assert page.evaluate("document.activeElement.id") != "words"  # the keyboard of the phone is out of the way
        visit.settled()
        assert page.evaluate(SIDEWAYS) == 0
        assert page.evaluate(SMALL) == []
        across = page.eval_on_selector_all(".tile", "all => all.filter((one) => one.offsetTop === 0).length")
        assert 2 <= across <= 4
        page.locator(".tile-like").first.tap()
        expect(page).to_have_url(re.compile("like="))
        visit.settled()
        page.tap("#filters-button")
        expect(page.locator(".facet").first).to_be_visible()
        assert page.evaluate("document.querySelector('#filters').getBoundingClientRect().width") == 360
        assert page.evaluate(SMALL) == []
        page.check("[name=shape][value=landscape]")
        page.tap("#filters-done")
        expect(page.locator("#filters")).to_be_hidden()
        visit.settled()
        names = visit.names()
        page.locator(".tile-open").first.tap()
        expect(page.locator("#viewer-name")).to_have_text(names[0])
        devtools = visit.context.new_cdp_session(page)
        for kind, x in (("touchStart", 280), ("touchMove", 180), ("touchEnd", None)):
            points = [] if x is None else [{"x": x, "y": 200}]
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        expect(page.locator("#viewer-name")).to_have_text(names[1])
        assert page.evaluate(SIDEWAYS) == 0
        assert page.evaluate(SMALL) == []
        page.go_back()
        expect(page.locator("#viewer")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 640, 768, 1024])
def test_nothing_sticks_out_at_any_width_or_size_of_letters(browser: Browser, site: str, width: int) -> None:
    """1,280 pixels at 200 % and at 400 % are 640 and 320; and letters twice as large."""
    with visiting(browser, site, viewport={"width": width, "height": 700}) as visit:
        page = visit.go("?q=red&not=green&like=3&shape=landscape&edge=10&from=2020-01-01&path=a+rather+long+path")
        for size in ("100%", "200%"):
            page.evaluate("(size) => { document.documentElement.style.fontSize = size }", size)
            drawn(page)
            assert page.evaluate(SIDEWAYS) == 0, size
            for one in ("#words", "#choose", "#filters-button", "#theme", "#help-button"):
                box = page.locator(one).bounding_box()
                assert box is not None
                assert box["x"] >= 0, (one, size)
                assert box["x"] + box["width"] <= width, (one, size)
        page.click("#filters-button")
        drawn(page)
        assert page.evaluate(SIDEWAYS) == 0
        page.evaluate("document.documentElement.style.fontSize = '100%'")
        page.keyboard.press("Escape")
        page.click("#help-button")
        drawn(page)
        over = page.eval_on_selector_all(
            ".keys dt", "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1)"
        )
        assert over == []  # keys lie on no words


def test_who_wants_no_motion_gets_none(browser: Browser, site: str) -> None:
    with visiting(browser, site, reduced_motion="reduce") as visit:
        page = visit.go("?q=red")
        moving = page.evaluate(
            """() => [...document.querySelectorAll("*")]
              .filter((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0.001).length"""
        )
        assert moving == 0
