"""A served gallery and a browser in front of it, for tests that use the page as a person would."""

import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route, expect, sync_playwright

from mmsearch.embedding import embed
from mmsearch.serve.running import ServeOptions
from tests.fakes import FakeEncoder
from tests.servers import running

RED, GREEN, BLUE, YELLOW, WHITE = (220, 30, 30), (30, 180, 60), (40, 60, 220), (240, 220, 40), (250, 250, 250)
SHAPES = ((64, 48), (48, 64), (50, 50), (120, 50))
HOSTILE = (
    "<img src=x onerror=document.title='run'>.png",
    "\" onerror=\"document.title='run'.png",
    "javascript:alert(1).png",
    "日本の猫 🐈 \u202egnp.png",
    "new\nline\x1b[31m.png",
    f"{'long name ' * 24}.png",
    os.fsdecode(b"caf\xe9.png"),
)
CAPTION = "</span><script>document.title='run'</script> \u202e & <img src=x onerror=\"document.title='run'\"> 👨‍👩‍👧"
PATIENCE = 30_000  # milliseconds: a machine that does much else at once is no fault of the page
ALL = 180 + 3 + 3 + len(HOSTILE)


def make_gallery(folder: Path) -> Path:
    """180 pictures in three colours, ranked by their shade, three of known days, three odd ones, and hostile names."""
    photos = folder / "Photos"
    for colour, name, many in ((RED, "red", 90), (GREEN, "green", 60), (BLUE, "blue", 30)):
        for place in range(many):
            less = place + 8 if place else 0  # the first is the colour itself
            shade = [one if one == max(colour) else one + less for one in colour]
            photo(photos / name / f"{name}-{place:03}.png", tuple(shade), SHAPES[place % 4])
    for day in ("2023:06:01 08:00:00", "2024:05:01 12:30:00", "2024:12:31 23:59:00"):
        photo(photos / "dated" / f"{day[:10].replace(':', '-')}.jpg", YELLOW, (80, 60), day)
    photo(photos / "odd" / "large.png", (200, 200, 60), (1400, 900))
    photo(photos / "odd" / "scan.tiff", (10, 90, 90), (200, 100))
    photo(photos / "odd" / "100%_sure.png", (90, 10, 90), (60, 60))
    for place, name in enumerate(HOSTILE):
        photo(photos / "<b>" / name, (250, 250, 250 - place), SHAPES[place % 4])
    captions = folder / "captions.jsonl"
    lines: list[dict[str, str | None]] = [
        {"image": f"red/red-{place:03}.png", "caption": f"a red picture, number {place}"} for place in range(30)
    ]
    lines += [
        {"image": f"<b>/{HOSTILE[0]}", "caption": CAPTION},
        {"image": None, "caption": "a red caption of nothing"},
    ]
    captions.write_text("\n".join(map(json.dumps, lines)))
    embed([photos], captions=[captions], gallery=photos / ".mmsearch", encoder=FakeEncoder())
    return photos / ".mmsearch"


@contextmanager
def serving(gallery: Path, *, token: str | None = None) -> Iterator[str]:
    """The address of a gallery that is served by a thread of this process, without a model."""
    with running(gallery, options=ServeOptions(token=token)) as server:
        yield f"{server.url}/"


@contextmanager
def browsing(chromium: str) -> Iterator[Browser]:
    """The browser that is installed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page in a browser, and what happened in it that a person does not see."""

    page: Page
    context: BrowserContext
    address: str
    errors: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def go(self, query: str = "") -> Page:
        """Open the page, at a query, and wait for what it shows."""
        self.page.goto(self.address + query)
        self.settled()
        return self.page

    def settled(self) -> Page:
        """The page, once no query is on its way and it knows the gallery: it says so in the search box."""
        self.page.wait_for_selector("body:not(:has(#words[placeholder='Describe a picture'])) main[aria-busy=false]")
        return self.page

    def enter(self, words: str) -> None:
        """Type into the box and press Enter, both at once: a slow machine would make a pause between them, in which the
        page asks by itself."""
        self.page.evaluate(
            """(words) => {
              const box = document.querySelector("#words");
              box.focus();
              box.value = words;
              box.dispatchEvent(new InputEvent("input", {bubbles: true}));
              box.form.requestSubmit();
            }""",
            words,
        )

    def ask(self, words: str) -> Page:
        """Type into the box, press Enter, and wait for the pictures."""
        with self.page.expect_response("**/api/query"):
            self.enter(words)
        return self.settled()

    def bodies(self) -> list[dict[str, Any]]:
        """What was asked of the server, in order."""
        return [json.loads(request.post_data or "") for request in self.requests if request.url.endswith("/api/query")]

    def asked(self) -> int:
        """How many queries were asked; requests for their further hits do not count, which come sooner or later."""
        return sum(not body.get("offset") for body in self.bodies())

    def names(self) -> list[str]:
        """The pictures on the page, in their order, as a screen reader names them."""
        return list(self.page.eval_on_selector_all(".tile .well img", "all => all.map((one) => one.alt)"))


@contextmanager
def visiting(browser: Browser, address: str, **options: Any) -> Iterator[Visit]:
    """A fresh visitor. At the end nothing may have broken, been refused by the policy or gone elsewhere."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **options})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    visit = Visit(page, context, address)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("console", lambda message: _note(visit, message))
    page.on("request", lambda request: visit.requests.append(request))
    try:
        yield visit
        assert visit.errors == []
        elsewhere = [each.url for each in visit.requests if not each.url.startswith((address, "blob:", "about:"))]
        assert elsewhere == []
    finally:
        context.close()


def _note(visit: Visit, message: ConsoleMessage) -> None:
    # What the network refuses (a 404, a server that is gone) the browser logs by itself; tests look at what is shown.
    if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
        visit.errors.append(message.text)


def photo(file: Path, colour: tuple[int, ...], size: tuple[int, int], taken: str | None = None) -> Path:
    """A picture of one colour, with the moment when a camera took it (2024:05:01 12:00:00)."""
    exif = Image.Exif()
    if taken is not None:
        exif[0x0132] = taken
        exif.get_ifd(0x8769)[0x9003] = taken
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file, exif=exif)
    return file


def png(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture as the bytes of a file."""
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


def until(page: Page, script: str, arg: Any = None) -> None:
    """Wait until a script's value is true. Playwright's own `wait_for_function` asks again from inside of the page, by
    `eval`, which the page's policy refuses: it only passes where what is waited for is there at once."""
    last = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(script, arg):
        assert time.monotonic() < last, f"never true: {script}"
        page.wait_for_timeout(20)


class Held:
    """Requests of a page that are not answered until they are released: what a slow server does.

    Args:
        pattern: of their addresses.
        words: that stand in the body of those that are held; the others go through.
    """

    def __init__(self, page: Page, pattern: str, words: str = "") -> None:
        self.page, self.pattern, self.words = page, pattern, words
        self.routes: list[Route] = []
        self.is_released = False
        page.route(pattern, self._hold)

    def _hold(self, route: Route) -> None:
        if not self.is_released and self.words in (route.request.post_data or ""):
            self.routes.append(route)
        else:
            route.fallback()

    def wait(self, count: int = 1) -> None:
        """Wait until so many were asked."""
        last = time.monotonic() + PATIENCE / 1000
        while len(self.routes) < count:
            assert time.monotonic() < last, f"{len(self.routes)} of {count} asked: {self.pattern}"
            self.page.wait_for_timeout(20)

    def release(self) -> None:
        """Have them answered, and those that come from now on."""
        self.is_released = True
        for route in self.routes:
            route.continue_()


def drawn(page: Page) -> None:
    """What has changed is drawn, and what observes sizes has been told: two frames later."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def at_rest(page: Page) -> None:
    """Nothing moves or fades any more, but for what turns without an end."""
    drawn(page)
    until(
        page,
        """() => document.getAnimations().every((one) =>
          one.playState !== "running" || one.effect?.getComputedTiming().endTime === Infinity)""",
    )


def scroll_to_the_end(page: Page, by: int, seconds: float = PATIENCE / 1000) -> int:
    """Scroll down, by so many pixels a turn, until the page says that this is all. The most images that it held."""
    last, most = time.monotonic() + seconds, 0
    while not page.is_visible("#end"):
        assert time.monotonic() < last, "there was no end"
        page.mouse.wheel(0, by)
        drawn(page)
        most = max(most, page.locator(".tile img[src]").count())
    return most


def reds(page: Page, count: int = 3) -> None:
    """The reddest pictures stand first."""
    expect(page.locator(".tile .well img").first).to_have_attribute("alt", "red-000.png")
    names = page.eval_on_selector_all(".tile .well img", "all => all.map((one) => one.alt)")
    assert all(name.startswith("red-") for name in names[:count])
