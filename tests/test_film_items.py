"""Films in galleries: their frames are items, and a film costs what it should."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from mmsearch import cutting
from mmsearch.embedding import EmbedOptions, EmbedReport, embed, preview
from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions, MadePicture
from mmsearch.items import IMAGES, SKIPPED, ImageRow
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query, TextPart
from mmsearch.sources import Selection
from tests.fakes import FakeEncoder, write_picture
from tests.rendered_films import render_scenes

SCENES = (("red", 5.0), ("green", 3.0), ("blue", 0.5), ("yellow", 6.0))
APPLE = {
    "com.apple.quicktime.creationdate": "2024-05-01T12:00:00+0200",
    "com.apple.quicktime.location.ISO6709": "+48.1374+011.5755+519.0/",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15",
}


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trip")
    options = {"movflags": "use_metadata_tags"}
    return render_scenes(folder / "trip.mp4", SCENES, metadata=APPLE, container_options=options, b_frames=2)


@pytest.fixture
def videos(tmp_path: Path, trip: Path) -> Path:
    (tmp_path / "videos").mkdir()
    shutil.copy(trip, tmp_path / "videos" / "trip.mp4")
    return tmp_path / "videos"


def sync(folder: Path, encoder: FakeEncoder | None = None, **how: object) -> EmbedReport:
    return embed([folder], gallery=folder.parent / "g", encoder=encoder or FakeEncoder(), **how)  # type: ignore[arg-type]


def rows(folder: Path) -> dict[str, ImageRow]:
    return {row.path: row for _, row in Gallery.open(folder.parent / "g").all_records(IMAGES)}


def counts(report: EmbedReport) -> dict[str, int]:
    names = ("added", "updated", "reused", "unchanged", "deleted", "moved", "skipped", "still_skipped")
    return {name: count for name in names if (count := getattr(report.images, name))}


def frames(said: str) -> Selection:
    return Selection(cuts=CutOptions(frames=said))


def test_frames_are_items_with_their_times(videos: Path) -> None:
    sync(videos, selection=frames("every=2s"))
    held = sorted(rows(videos).values(), key=lambda row: row.start_s or 0)
    starts = list(range(0, 16, 2))
    assert [(row.path, row.start_s) for row in held] == [(f"trip.mp4!/t={start}", start) for start in starts]
    assert [row.end_s for row in held] == [*starts[1:], pytest.approx(14.5, abs=0.1)]
    assert {(row.width, row.height, row.damaged) for row in held} == {(160, 96, False)}
    opened = open_gallery(videos.parent / "g", encoder=FakeEncoder())
    (hit,) = opened.ask(Query([TextPart("green")], k=1)).hits
    assert hit.path == "trip.mp4!/t=6"
    assert not hit.gone


def test_when_and_where_a_film_was_taken(videos: Path) -> None:
    sync(videos, selection=frames("every=4s"), options=EmbedOptions(places=True))
    row = rows(videos)["trip.mp4!/t=8"]
    assert (row.taken_at, row.utc_offset, row.taken_from) == (datetime(2024, 5, 1, 12, 0, 8), 120, "quicktime")
    assert (row.lat, row.lon, row.camera) == (48.1374, 11.5755, "Apple iPhone 15")


def test_places_are_not_kept_unless_they_are_asked_for(videos: Path) -> None:
    sync(videos, selection=frames("1"))
    assert {(row.lat, row.lon, row.city) for row in rows(videos).values()} == {(None, None, None)}


def test_what_is_not_said_stays_as_it_was(videos: Path) -> None:
    sync(videos, selection=frames("3"))
    assert counts(sync(videos)) == {"unchanged": 3}
    sync(videos, selection=frames("auto"))
    assert len(rows(videos)) > 3


def test_an_unchanged_film_costs_a_look_at_the_file(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(videos)
    before = rows(videos)
    monkeypatch.setattr("mmsearch.sync.plan.list_pictures", lambda *_: pytest.fail("it was opened"))
    encoder = FakeEncoder()
    assert counts(sync(videos, encoder)) == {"unchanged": len(before)}
    assert (rows(videos), encoder.images_encoded) == (before, 0)


def test_without_the_extra_the_line_that_installs_it_is_said(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(videos / "photo.png", "white")
    with monkeypatch.context() as bare:
        bare.setattr("mmsearch.films.reading.find_spec", lambda name: None)
        report = sync(videos)
    assert counts(report) == {"added": 1, "skipped": 1}
    ((reason, _),) = report.images.skipped_reasons
    assert reason.endswith("pip install 'mmsearch[video]'")
    assert counts(sync(videos))["added"] >= 4  # once it is installed


def test_the_film_of_a_live_photo_belongs_to_its_picture(videos: Path) -> None:
    write_picture(videos / "IMG_1.png", "white")
    (videos / "trip.mp4").rename(videos / "IMG_1.MOV")
    report = sync(videos)
    assert [*rows(videos)] == ["IMG_1.png"]
    assert rows(videos)["IMG_1.png"].files == ["IMG_1.MOV"]
    assert report.images.joined == 1


def test_a_film_that_changed_is_taken_anew(videos: Path) -> None:
    sync(videos, selection=frames("every=2s"))
    render_scenes(videos / "trip.mp4", [("white", 3.0), ("black", 2.0)])
    report = sync(videos, selection=frames("every=2s"))
    assert counts(report) == {"updated": 3, "deleted": 5}
    assert [*rows(videos)] == ["trip.mp4!/t=0", "trip.mp4!/t=2", "trip.mp4!/t=4"]


def test_a_film_that_is_replaced_while_it_is_read_is_noticed(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cutter,) = (each for each in cutting.CUTTERS if each.key == "t")

    def make(path: str, spans: Sequence[str], max_pixels: int) -> Iterator[MadePicture | ImageError]:
        for number, picture in enumerate(cutter.make(path, spans, max_pixels)):
            if number == 2:
                render_scenes(Path(path), [("white", 3.0), ("black", 2.0)])
            yield picture

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("mmsearch.cutting.registry.CUTTERS", (replace(cutter, make=make),))
        report = sync(videos, selection=frames("every=2s"))
    assert {reason for _, reason in report.images.unreadable} <= {"changed while it was read"}
    assert counts(sync(videos, selection=frames("every=2s")))
    assert [*rows(videos)] == ["trip.mp4!/t=0", "trip.mp4!/t=2", "trip.mp4!/t=4"]
    opened = open_gallery(videos.parent / "g", encoder=FakeEncoder())
    (hit,) = opened.ask(Query([TextPart("black")], k=1)).hits
    assert hit.path == "trip.mp4!/t=4"


def test_a_truncated_film_gives_what_is_there_and_is_counted(videos: Path) -> None:
    path = render_scenes(videos / "trip.mp4", SCENES, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    report = sync(videos, selection=frames("every=2s"))
    added, skipped = report.images.added, report.images.skipped
    assert 1 <= added < 8
    assert skipped >= 1
    (skipped_row, *_) = [row for _, row in Gallery.open(videos.parent / "g").all_records(SKIPPED)]
    assert "of 14 seconds are there" in skipped_row.reason
    assert counts(sync(videos, selection=frames("every=2s"))) == {"unchanged": added, "still_skipped": skipped}


def test_a_dry_run_says_how_many_frames_are_looked_at(videos: Path) -> None:
    said = preview([videos], gallery=videos.parent / "g", encoder=FakeEncoder(), selection=frames("every=1s"))
    assert said.new == 15


def test_films_may_have_names_that_are_no_text(videos: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    (videos / "trip.mp4").rename(videos / name)
    assert counts(sync(videos, selection=frames("2"))) == {"added": 2}
