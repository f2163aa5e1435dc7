"""Captions that a model writes: they follow their pictures, are found, and never pass for those of people."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmsearch.calibration.pairs import read_pairs
from mmsearch.describing import Describer, Said, said
from mmsearch.embedding import EmbedReport, embed
from mmsearch.errors import BenchmarkError, EncoderError, MmsearchWarning, SourceError, TrainingError
from mmsearch.evaluation import evaluate_galleries
from mmsearch.gallery import Gallery
from mmsearch.indexing.trial_queries import expected_queries
from mmsearch.items import CaptionRow
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query, TextPart
from mmsearch.training.pairs import gallery_pairs
from mmsearch.upkeep.maintenance import forget
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture


class Painter(Describer):
    """Says which colour a picture has, and counts what it has seen."""

    pictures_at_once = 3

    def __init__(self, name: str = "paint:1", *, stops_after: int | None = None) -> None:
        self.spec, self.identity = name, f"{name}@0123456789ab"
        self.seen = 0
        self._stops_after = stops_after

    def describe(self, images: "Sequence[Image.Image]") -> list[Said]:
        self.seen += len(images)
        if self._stops_after is not None and self.seen > self._stops_after:
            raise EncoderError("the power went")
        return [said(f"something {self._colour(image)} here") for image in images]

    def answer(self, question: str, images: "Sequence[Image.Image]") -> list[Said]:
        return [said(self._colour(image)) for image in images]

    @staticmethod
    def _colour(image: Image.Image) -> str:
        mean: Any = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], mean, strict=True)))


def sync(photos: Path, gallery: Path, describer: Describer | None = None) -> EmbedReport:
    return embed([photos], gallery=gallery, encoder=FakeEncoder(), describer=describer)


def captions(gallery: Path) -> dict[str | None, CaptionRow]:
    return {row.path: row for _, row in Gallery.open(gallery).all_captions()}


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


def test_descriptions_are_captions_of_their_own(photos: Path, gallery: Path, tmp_path: Path) -> None:
    painter = Painter()
    report = sync(photos, gallery, painter)
    assert report.guesses is not None
    assert (report.guesses.described, report.guesses.unread, painter.seen) == (12, 0, 12)
    rows = captions(gallery)
    assert rows["red.png"].caption == "something red here"
    assert {row.source for row in rows.values()} == {"machine:paint:1@0123456789ab"}
    assert {row.guessed_by for row in rows.values()} == {"paint:1"}
    assert all(row.content_hash for row in rows.values())

    asked = Query([TextPart("blue")], k=2, table="captions")
    opened = open_gallery(gallery, encoder=FakeEncoder())
    hits = opened.ask(asked).hits
    assert {hit.path for hit in hits} == {"blue.png", "more/blue.png"}
    assert hits[0].text == "a machine's guess: something blue here"
    with pytest.warns(MmsearchWarning, match="the filter admits none"):
        assert not opened.ask(Query([TextPart("blue")], table="captions", where="guessed_by is null")).hits


def test_the_same_model_describes_a_picture_once(photos: Path, gallery: Path) -> None:
    sync(photos, gallery, Painter())
    again = Painter()
    report = sync(photos, gallery, again)
    assert again.seen == 0
    assert report.guesses is not None
    assert report.guesses.unchanged == 12
    other = Painter("paint:2")
    sync(photos, gallery, other)
    assert other.seen == 12
    assert len([*Gallery.open(gallery).all_captions()]) == 24


def test_a_changed_picture_is_described_again_and_a_moved_one_is_not(photos: Path, gallery: Path) -> None:
    sync(photos, gallery, Painter())
    write_picture(photos / "red.png", "green", seed=77)
    (photos / "blue.png").rename(photos / "sea.png")
    (photos / "white.png").unlink()
    (photos / "copy.png").write_bytes((photos / "black.png").read_bytes())

    report = sync(photos, gallery)  # without the model: what is wrong goes, what is right goes along
    rows = captions(gallery)
    assert report.guesses is not None
    assert report.guesses.deleted == 2
    assert rows["sea.png"].caption == "something blue here"
    assert not rows.keys() & {"red.png", "blue.png", "white.png", "copy.png"}

    painter = Painter()
    report = sync(photos, gallery, painter)
    assert painter.seen == 1
    assert report.guesses is not None
    assert (report.guesses.described, report.guesses.copied, report.guesses.unchanged) == (1, 1, 10)
    assert captions(gallery)["red.png"].caption == "something green here"
    assert captions(gallery)["copy.png"].caption == "something black here"


def test_what_was_described_before_it_ended_is_kept(photos: Path, gallery: Path) -> None:
    with pytest.raises(EncoderError, match="the power went"):
        sync(photos, gallery, Painter(stops_after=7))
    assert len(captions(gallery)) == 6
    painter = Painter()
    sync(photos, gallery, painter)
    assert painter.seen == 6
    assert {path: row.caption for path, row in captions(gallery).items()} == {
        path: f"something {Path(path or '').stem} here" for path in captions(gallery)
    }
    assert len(captions(gallery)) == 12


def test_a_picture_that_cannot_be_read_is_passed_by(
    photos: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.search.gallery_files import FileGone, read_content

    def gone(opened: Gallery, row: Any) -> Any:
        if row.path == "red.png":
            raise FileGone("the file is gone since it was embedded")
        return read_content(opened, row)

    monkeypatch.setattr("mmsearch.embedding.guess_sync.read_content", gone)
    report = sync(photos, gallery, Painter())
    assert report.guesses is not None
    assert report.guesses.unread_files == (("red.png", "the file is gone since it was embedded"),)
    assert report.guesses.described == 11
    assert "red.png" not in captions(gallery)


def test_nothing_is_measured_by_what_a_model_says(photos: Path, gallery: Path, tmp_path: Path) -> None:
    sync(photos, gallery, Painter())
    with pytest.raises(BenchmarkError, match="no caption names a picture"):
        evaluate_galleries([gallery])
    opened = Gallery.open(gallery)
    assert len(read_pairs(opened).captions) == 0
    assert opened.guessed_captions() == ((0, 12),)
    assert expected_queries(opened, general=False) == 0

    people = tmp_path / "people.csv"
    people.write_text("image,caption\nred.png,a red square\nblue.png,a blue one\n")
    embed(captions=[people], gallery=gallery, encoder=FakeEncoder())
    sync(photos, gallery, Painter("paint:2"))
    report = evaluate_galleries([gallery])
    assert report.captions == 2
    assert Gallery.open(gallery).guessed_captions() == ((0, 12), (14, 26))
    assert len(read_pairs(Gallery.open(gallery)).captions) == 2


def test_what_a_model_says_leaves_with_forget(photos: Path, gallery: Path) -> None:
    sync(photos, gallery, Painter())
    sync(photos, gallery, Painter("paint:2"))
    assert forget("machine:paint:1", gallery=gallery).captions == 12
    assert {row.guessed_by for row in captions(gallery).values()} == {"paint:2"}
    with pytest.raises(SourceError, match=r"no captions of machine:paint:1; of models it has those of machine:paint:2"):
        forget("machine:paint:1", gallery=gallery)
    sync(photos, gallery, Painter())
    report = forget(photos, gallery=gallery)
    assert (report.images, report.captions, report.unlinked) == (12, 24, 0)


def test_the_command_line_describes_and_marks(
    mmsearch: Command, photos: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.describing.opening.provider_of", lambda _: lambda request: Painter(request.spec))
    run = mmsearch("embed", photos, "--gallery", gallery, "--model", "fake", "--describe", "paint:1")
    assert run.code == 0, run.err
    assert "captions  12 in the gallery\nguesses   12 pictures described by paint:1, 0 unchanged, 0 deleted" in run.out
    told = mmsearch("query", "red", "--in", "captions", "-k", 1, "--gallery", gallery, "--format", "jsonl").out
    assert json.loads(told)["caption"] == "something red here"
    assert json.loads(told)["guessed_by"] == "paint:1"
    lines = mmsearch("query", "red", "--in", "captions", "-k", 1, "--gallery", gallery).out
    assert "a machine's guess: something red here" in lines
    gone = mmsearch("forget", "machine:paint:1", "--gallery", gallery)
    assert "12 captions left" in gone.out
    for extra in ("--dry-run", "--watch", "--refresh"):
        assert mmsearch("embed", photos, "--gallery", gallery, "--describe", "paint:1", extra).code == 2


def test_what_models_wrote_is_no_lesson(photos: Path, gallery: Path) -> None:
    sync(photos, gallery, Painter())
    with pytest.raises(TrainingError, match="has 12 captions, all guessed by models, of which none is taught"):
        gallery_pairs(Gallery.open(gallery))
