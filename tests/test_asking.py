"""Questions about pictures: answered a picture at a time, named, marked as guesses, and not where nothing fits."""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmsearch.describing import Describer, Said, said
from mmsearch.embedding import embed
from mmsearch.errors import EncoderError, GalleryNotFound, MmsearchWarning, QueryError
from mmsearch.gallery import Gallery
from mmsearch.search.answers import Worth
from mmsearch.search.asking import Asked, Guess, ask
from mmsearch.search.kept_queries import keep_query
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.search.query import Query, TextPart
from tests.conftest import Command
from tests.fakes import FakeEncoder
from tests.test_guesses import Painter


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    embed([photos], gallery=tmp_path / "gallery", encoder=FakeEncoder())
    return tmp_path / "gallery"


def test_named_pictures_are_answered_in_their_order(photos: Path) -> None:
    files = [photos / "red.png", photos / "blue.png", photos / "more" / "red.png"]
    asked = ask("which colour?", pictures=files, model=Painter())
    assert [(each.number, each.picture, each.guess) for each in asked.guesses] == [
        (1, str(files[0]), "red"),
        (2, str(files[1]), "blue"),
        (3, str(files[2]), "red"),
    ]
    assert asked.agreed == [("red", (1, 3)), ("blue", (2,))]
    assert (asked.guessed_by, asked.nothing, asked.remarks) == ("paint:1", None, ())


def test_answers_come_from_the_best_hits(photos: Path, gallery: Path) -> None:
    asked = ask("which colour?", query="green", k=3, model=Painter(), gallery=gallery, encoder=FakeEncoder())
    assert [each.guess for each in asked.guesses[:2]] == ["green", "green"]
    assert [each.number for each in asked.guesses] == [1, 2, 3]
    assert all(each.hit is not None and each.hit.file == each.picture for each in asked.guesses)
    assert asked.remarks == ("whether anything here fits was not measured (mmsearch calibrate)",)

    (photos / "green.png").unlink()
    with pytest.warns(MmsearchWarning, match="gone since they were embedded"):
        asked = ask("which colour?", query="green", k=2, model=Painter(), gallery=gallery, encoder=FakeEncoder())
    assert [Path(each.picture).parent.name for each in asked.guesses] == ["more"]
    assert any("green.png was not looked at: the file is gone" in remark for remark in asked.remarks)


class Silent(Describer):
    """Fails where it is asked."""

    spec = identity = "silent:1"

    def describe(self, images: "Sequence[Image.Image]") -> list[Said]:
        raise AssertionError

    def answer(self, question: str, images: "Sequence[Image.Image]") -> list[Said]:
        raise AssertionError("it was asked")


def test_where_nothing_fits_no_model_is_asked(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = OpenGallery.ask

    def unlikely(self: OpenGallery, *asked: Any, **how: Any) -> Any:
        return replace(plain(self, *asked, **how), worth=Worth(probability=0.02))

    monkeypatch.setattr(OpenGallery, "ask", unlikely)
    asked = ask("which colour?", query="green", model=Silent(), gallery=gallery, encoder=FakeEncoder())
    assert asked.guesses == ()
    assert asked.nothing == "Probably nothing here fits: the chance that any of the ten best does is 2 %."

    monkeypatch.setattr(OpenGallery, "ask", plain)
    with pytest.raises(AssertionError, match="it was asked"):
        ask("which colour?", query="green", model=Silent(), gallery=gallery, encoder=FakeEncoder())


def test_what_cannot_be_asked_is_said(photos: Path, gallery: Path) -> None:
    picture = photos / "red.png"
    with pytest.raises(QueryError, match="the question is empty"):
        ask("  ", pictures=[picture], model=Silent())
    with pytest.raises(QueryError, match="501 characters; at most 500"):
        ask("x" * 501, pictures=[picture], model=Silent())
    for given in ({}, {"pictures": [picture], "query": "red"}):
        with pytest.raises(QueryError, match=r"\(--image FILE\) .* \(--query TEXT\): one of them"):
            ask("what?", model=Silent(), **given)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="17 pictures; at most 16"):
        ask("what?", pictures=[picture] * 17, model=Silent())
    with pytest.raises(QueryError, match="answered from pictures, and this query is for captions"):
        ask("what?", query=Query([TextPart("red")], k=2, table="captions"), model=Silent(), gallery=gallery)
    mute = Silent()
    mute.answers = False
    with pytest.raises(EncoderError, match="takes no questions"):
        ask("what?", pictures=[picture], model=mute)


def test_equal_answers_are_counted_whatever_their_case() -> None:
    guesses = [Guess(n, "", text, False) for n, text in enumerate(["Yes.", "no", "yes", ""], 1)]
    assert Asked("q", "m", tuple(guesses)).agreed == [("Yes.", (1, 3)), ("no", (2,)), ("", (4,))]


def test_the_command_names_and_marks_its_guesses(
    mmsearch: Command, photos: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.describing.opening.provider_of", lambda _: lambda request: Painter(request.spec))
    red = photos / "red.png"
    run = mmsearch("ask", "which colour?", "--image", red, "--model", "paint:1")
    assert (run.code, run.out) == (0, f"1\t{red}\ta machine's guess: red\n")
    run = mmsearch(
        "ask", "which?", "--query", "blue", "-k", 1, "-g", gallery, "--model", "paint:1", "--format", "jsonl"
    )
    told = json.loads(run.out)
    assert (told["guess"], told["guessed_by"], told["number"], told["question"]) == ("blue", "paint:1", 1, "which?")
    assert told["picture"].endswith("blue.png")
    assert "was not measured" in run.err
    assert mmsearch("ask", "which?", "--model", "paint:1").code == 1


def test_a_kept_query_finds_what_is_asked_about(
    mmsearch: Command, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMSEARCH_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("mmsearch.describing.opening.provider_of", lambda _: lambda request: Painter(request.spec))
    keep_query("mine", Query([TextPart("blue")]), Gallery.open(gallery))
    asked = ("ask", "which?", "-k", 1, "-g", gallery, "--model", "paint:1", "--query")
    assert mmsearch(*asked, "@mine").out.endswith("a machine's guess: blue\n")
    assert "no query is kept as other; there is @mine" in mmsearch(*asked, "@other").err


def test_a_gallery_that_is_not_there_is_told_before_a_model_is_opened(tmp_path: Path) -> None:
    with pytest.raises(GalleryNotFound):
        ask("which?", query="blue", model="nobody:has-it", gallery=tmp_path / "nothing")


def test_a_model_that_says_nothing_is_seen_to(mmsearch: Command, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(Painter):
        def describe(self, images: "Sequence[Image.Image]") -> list[Said]:
            return [said("") for _ in images]

        def answer(self, question: str, images: "Sequence[Image.Image]") -> list[Said]:
            return self.describe(images)

    monkeypatch.setattr("mmsearch.describing.opening.provider_of", lambda _: lambda request: Mute(request.spec))
    red = photos / "red.png"
    assert mmsearch("describe", red, "--model", "x:1").out == f"{red}\ta machine's guess: (nothing)\n"
    assert mmsearch("ask", "what?", "--image", red, "--model", "x:1").out.endswith("a machine's guess: (nothing)\n")


def test_one_picture_that_breaks_off_costs_no_other_its_description(
    mmsearch: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.describing.opening.provider_of", lambda _: lambda request: Painter(request.spec))
    red, blue, broken = photos / "red.png", photos / "blue.png", tmp_path / "broken.png"
    whole = red.read_bytes()
    start = whole.index(b"IDAT") + 4
    broken.write_bytes(whole[:start] + b"\xff" * (len(whole) - start))
    run = mmsearch("describe", red, broken, blue, "--model", "paint:1")
    assert run.code == 1
    said_of = dict(line.split("\t") for line in run.out.splitlines())
    assert said_of == {
        str(red): "a machine's guess: something red here",
        str(blue): "a machine's guess: something blue here",
    }
    assert f"warning: {broken} is no picture that can be read" in run.err
    assert "error: 1 of 3 pictures could not be read; the others are described" in run.err
    lines = mmsearch("describe", red, broken, blue, "--model", "paint:1", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["unread"] is None for line in lines] == [True, False, True]


def test_a_picture_that_is_too_large_is_told_without_an_option_that_is_not_there(
    mmsearch: Command, photos: Path, tmp_path: Path
) -> None:
    small = (photos / "red.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 20_000, 12_000) + small[24:29]
    huge = tmp_path / "huge.png"
    huge.write_bytes(small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:])
    run = mmsearch("describe", huge, "--model", "paint:1")
    assert run.code == 1
    assert "240 megapixels, over the limit of 200. Make it smaller first" in run.err
    assert "--max-pixels" not in run.err
