"""Pages: one file that needs nothing else, in which no name or caption is anything but text."""

import base64
import io
import json
import os
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.embedding import embed
from mmsearch.errors import MmsearchWarning, QueryError, StoreError
from mmsearch.explaining.records import Region
from mmsearch.render import html_page
from mmsearch.search.answers import Answer
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ImagePart, ItemPart, Part, Query, TextPart
from tests.browsing import browsing, visiting
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture

HOSTILE = (
    "<script>document.title='run'<-script>.png",
    "\" onerror=\"document.title='run'.png",
    "' onload='document.title=1 & x.png",
    "{{ 1234 * 5678 }}{% raise %}.png",
    "javascript:alert(1).png",
    "日本の猫 🐈 \u202egnp.png",
    "new\nline\x1b[31m.png",
    os.fsdecode(b"caf\xe9.png"),
)
CAPTION = "</blockquote><script>document.title='run'</script> <img src=https://example.org/x.png> & \"so\" 👨‍👩‍👧"


class Elements(HTMLParser):
    """Every element with its attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip() and self.elements[-1][0] != "style":
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for name, attributes in self.elements if name == tag]


@pytest.fixture
def opened(tmp_path: Path, fake: FakeEncoder) -> OpenGallery:
    folder = tmp_path / "photos"
    for seed, name in enumerate(HOSTILE):
        write_picture(folder / "<b>" / name, list(COLOURS)[seed % 3], seed=seed, size=(640, 480 + seed))
    captions = tmp_path / "captions.jsonl"
    lines = [{"image": f"<b>/{HOSTILE[0]}", "caption": CAPTION}, {"image": None, "caption": "red, of nothing"}]
    captions.write_text("\n".join(map(json.dumps, lines)))
    embed([folder], captions=[captions], gallery=tmp_path / "g", encoder=fake)
    return open_gallery(tmp_path / "g", encoder=fake)


def page_of(tmp_path: Path, *answers: Answer) -> tuple[Path, Elements]:
    file = html_page(answers, tmp_path / "out.html")
    return file, Elements(file.read_text("utf-8"))


def test_every_hit_has_its_picture_score_and_name(opened: OpenGallery, tmp_path: Path) -> None:
    answer = opened.ask(Query([TextPart("red")], k=8))
    file, page = page_of(tmp_path, answer)
    shown = [source for tag, source in ((tag, found.get("src")) for tag, found in page.elements) if tag == "img"]
    assert len(shown) == 8
    for source, hit in zip(shown, answer.hits, strict=True):
        head, data = (source or "").split(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail, Image.open(hit.file or "") as picture:
            assert max(thumbnail.size) == 512
            difference = np.asarray(thumbnail.resize((4, 4)), float) - np.asarray(picture.resize((4, 4)), float)
            assert np.abs(difference).max() < 30
    scores = [text for text in page.texts if re.fullmatch(r"-?\d\.\d{4}", text)]
    assert scores == [f"{hit.score:.4f}" for hit in answer.hits]
    assert page.all("a", "href")[::2] == [Path(hit.file or "").as_uri() for hit in answer.hits]
    assert file.stat().st_size < 1_000_000


def test_names_and_captions_are_text_and_nothing_else(opened: OpenGallery, tmp_path: Path) -> None:
    """No script, no handler, nothing fetched: what is hostile in a name is shown as it is spelled."""
    pictures = opened.ask(Query([TextPart("red <script>alert(1)</script>")], k=8, where="path <> '<i>'"))
    captions = opened.ask(Query([TextPart("red")], table="captions"))
    _, page = page_of(tmp_path, pictures, captions)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form", "svg", "b", "i"}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "file:///"))
    (policy,) = [found["content"] for _, found in page.elements if found.get("http-equiv") == "Content-Security-Policy"]
    assert (policy or "").startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    text = " ".join(page.texts)
    for name in (HOSTILE[0], HOSTILE[1], HOSTILE[3], "日本の猫 🐈 \\u202egnp.png", "line\\x1b[31m.png", "caf\\xe9.png"):
        assert " ".join(name.split()) in text
    assert " ".join(CAPTION.split()) in text
    assert "red <script>alert(1)</script>" in text
    assert "where path <> '<i>'" in text
    assert str(1234 * 5678) not in text


def test_what_is_gone_or_has_no_picture_keeps_its_card(opened: OpenGallery, tmp_path: Path) -> None:
    hits = opened.ask(Query([TextPart("red")], k=3)).hits
    Path(hits[0].file or "").unlink()
    Path(hits[1].file or "").write_text("not a picture any more")
    with pytest.warns(MmsearchWarning, match="gone"):
        answer = opened.ask(Query([TextPart("red")], k=3))
    _, page = page_of(tmp_path, answer)
    assert page.texts.count("gone since it was embedded") == 1
    assert page.texts.count("cannot be read: not an image") == 1
    assert len(page.all("img", "src")) == 1
    assert Path(hits[0].file or "").as_uri() not in page.all("a", "href")
    _, page = page_of(tmp_path, opened.ask(Query([TextPart("red")], table="captions", where="path is null")))
    assert page.texts.count("no picture") == 1


def test_the_pictures_asked_with_stand_above_and_no_hits_are_said(opened: OpenGallery, tmp_path: Path) -> None:
    (hit,) = opened.query("blue", k=1)
    parts: list[Part] = [ImagePart(hit.file or ""), ItemPart(hit.file or ""), TextPart("red", -0.5)]
    with pytest.warns(MmsearchWarning, match="no hit scores"):
        answer = opened.ask(Query(parts, min_score=1.0))
    _, page = page_of(tmp_path, answer)
    assert page.all("img", "alt") == ["asked with"] * 2
    assert "No hits." in page.texts
    assert "0 pictures, best first · score at least 1" in page.texts


def test_thumbnails_are_upright_and_carry_no_place(tmp_path: Path, fake: FakeEncoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    picture = Image.new("RGB", (60, 30), (200, 0, 0))
    (tmp_path / "photos").mkdir()
    picture.save(tmp_path / "photos" / "turned.jpg", exif=exif)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)
    _, page = page_of(tmp_path, open_gallery(tmp_path / "g", encoder=fake).ask(Query.of("red")))
    with Image.open(io.BytesIO(base64.b64decode(page.all("img", "src")[0].split(",")[1]))) as thumbnail:
        assert thumbnail.size == (30, 60)
        assert not thumbnail.getexif()


def test_what_cannot_be_written_is_refused(opened: OpenGallery, tmp_path: Path) -> None:
    answer = opened.ask(Query.of("red", k=1))
    with pytest.raises(QueryError, match="no answers"):
        html_page([], tmp_path / "out.html")
    with pytest.raises(QueryError, match=r"out\.pdf: name a file that ends in \.html or \.htm"):
        html_page([answer], tmp_path / "out.pdf")
    with pytest.raises(StoreError, match="there is no folder"):
        html_page([answer], tmp_path / "nowhere" / "out.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StoreError, match="it is a folder"):
        html_page([answer], tmp_path / "folder.html")
    own = replace(answer.hits[0], file=str(tmp_path / "picture.html"))
    with pytest.raises(QueryError, match="one of the pictures"):
        html_page([replace(answer, hits=[own])], tmp_path / "picture.html")


def test_the_options_of_query(photos: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import webbrowser

    import typer

    gallery = photos.parent / "g"
    mmsearch("embed", photos, "--model", "fake", "-g", gallery)
    seen: list[str] = []

    def shown(uri: str) -> bool:
        seen.append(uri)
        return True

    monkeypatch.setattr(webbrowser, "open", shown)
    page = tmp_path / "red & blue.html"
    done = mmsearch("query", "red", "-k", 30, "-g", gallery, "--html", page, "--open", "--format", "paths")
    assert (done.code, done.err, len(done.out.splitlines())) == (0, f"mmsearch: page: {page}\n", 12)
    assert len(Elements(page.read_text("utf-8")).all("img", "src")) == 12
    assert seen == [page.as_uri()]

    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    done = mmsearch("query", "red", "-g", gallery, "--html", page, "--open")
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        f"mmsearch: error: no browser was found; open it yourself: {page}",
    )

    seen.clear()

    def launched(file: str) -> int:
        seen.append(file)
        return 0

    monkeypatch.setattr(typer, "launch", launched)
    done = mmsearch("query", "red", "-k", 2, "-g", gallery, "--open", "--format", "paths")
    assert seen == done.out.splitlines()
    monkeypatch.setattr(typer, "launch", lambda _: 1)
    done = mmsearch("query", "red", "-g", gallery, "--open")
    assert done.code == 1
    assert "no viewer was found" in done.err


@pytest.mark.soak
def test_a_browser_shows_the_page_as_it_is_meant(opened: OpenGallery, tmp_path: Path, chromium: str) -> None:
    """In Chromium, without a network: nothing runs, every picture shows, light and dark differ, nothing is cut off."""
    pictures = opened.ask(Query([TextPart("red")], k=8))
    captions = opened.ask(Query([TextPart("red")], table="captions"))
    file, _ = page_of(tmp_path, pictures, captions)
    plain = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    plain += [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*plain, *arguments, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout

    dom = run("--dump-dom")
    assert "<title>red · mmsearch</title>" in dom  # a script that ran would have changed it
    assert dom.count('<li class="card">') == 8 + 2
    shots = {}
    for name, size, more in [
        ("light", (1280, 1400), []),
        ("dark", (1280, 1400), ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]),
        ("narrow", (500, 2600), []),
    ]:
        run(*more, f"--window-size={size[0]},{size[1]}", f"--screenshot={tmp_path / name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            shots[name] = np.asarray(picture.convert("RGB"), np.float64)
    assert shots["light"][2, 2].mean() > 200
    assert shots["dark"][2, 2].mean() < 60
    for name, shot in shots.items():
        for colour in ("red", "green", "blue"):
            pixels = int((np.abs(shot - COLOURS[colour]).max(axis=2) < 45).sum())
            assert pixels > 30_000, (name, colour, pixels)
        # The margins are empty: nothing sticks out at the side.
        assert np.abs(shot[:, -8:] - shot[2, 2]).max() < 3, name


@pytest.mark.soak
def test_phrases_stay_words_on_a_phone(opened: OpenGallery, tmp_path: Path, chromium: str) -> None:
    """Beside "no place stands out" there is little room: a phrase stood a letter a line, and the end was cut off."""
    nowhere = Region(
        "two tents", 0, 9, 0.1, 0.0, 0.0, None, 0.0, None, (0, 0, 0, 0), (0, 0), np.zeros((1, 1), np.float32)
    )
    answer = opened.ask(Query([TextPart("red")], k=2))
    file, _ = page_of(tmp_path, replace(answer, hits=[replace(hit, regions=[nowhere]) for hit in answer.hits]))
    with (
        browsing(chromium) as browser,
        visiting(browser, file.as_uri(), viewport={"width": 390, "height": 844}) as visit,
    ):
        visit.page.goto(file.as_uri())
        height, inside = visit.page.eval_on_selector(
            ".explained li",
            """(row) => {
              const [words, fall] = [".phrase", ".fall"].map((name) => row.querySelector(name).getBoundingClientRect());
              return [words.height, fall.right <= row.getBoundingClientRect().right + 1];
            }""",
        )
        assert inside
        assert height < 30
