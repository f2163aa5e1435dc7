"""Films in galleries: their frames are items, and a film costs what it should."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch import cutting
from mmsearch.embedding import EmbedOptions, EmbedReport, embed, preview
from mmsearch.encoders import Pixels
from mmsearch.errors import ImageError, QueryError
from mmsearch.file_ranges import FileRange
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions, MadePicture
from mmsearch.items import IMAGES, SKIPPED, ImageRow
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import ImagePart, Query, TextPart
from mmsearch.sources import Selection, read_named_picture
from tests.fakes import FakeEncoder, write_picture
from tests.rendered_films import render, render_scenes
from tests.worker_pools import PretendedWorkerPool, worker_pool

__all__ = ["worker_pool"]

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


def test_frames_of_a_film_whose_clock_leaps_for_years_are_items(videos: Path) -> None:
    (videos / "trip.mp4").unlink()
    render(videos / "leap.mkv", [0.0, 0.5, 20_000_000.25, 20_000_000.5], group=1)
    assert counts(sync(videos, selection=frames("keys"))) == {"added": 4}
    assert "leap.mkv!/t=20000000.25" in rows(videos)


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
    assert counts(sync(videos)) == {"added": 4, "unchanged": 1}  # once it is installed


def test_the_film_of_a_live_photo_belongs_to_its_picture(videos: Path) -> None:
    write_picture(videos / "IMG_1.jpg", "white")
    (videos / "trip.mp4").rename(videos / "IMG_1.MOV")
    report = sync(videos)
    assert [*rows(videos)] == ["IMG_1.jpg"]
    assert rows(videos)["IMG_1.jpg"].files == ["IMG_1.MOV"]
    assert report.images.joined == 1


def test_a_film_that_changed_is_taken_anew(videos: Path) -> None:
    sync(videos, selection=frames("every=2s"))
    render_scenes(videos / "trip.mp4", [("white", 3.0), ("black", 2.0)])
    report = sync(videos, selection=frames("every=2s"))
    assert counts(report) == {"updated": 3, "deleted": 5}
    assert [*rows(videos)] == ["trip.mp4!/t=0", "trip.mp4!/t=2", "trip.mp4!/t=4"]


def test_a_film_that_is_replaced_while_it_is_read_is_noticed(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cutter = cutting.cutter_of("trip.mp4", "t=0")
    assert cutter is not None

    def make(file: FileRange, spans: Sequence[str], max_pixels: int) -> Iterator[MadePicture | ImageError]:
        for number, picture in enumerate(cutter.make(file, spans, max_pixels)):
            if number == 2:
                render_scenes(Path(file.path), [("white", 3.0), ("black", 2.0)])
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


def vectors_of(folder: Path) -> dict[str, bytes]:
    gallery = Gallery.open(folder.parent / "g")
    return {
        row.path: gallery.vectors(IMAGES.name, np.array([row_id])).tobytes()
        for row_id, row in gallery.all_records(IMAGES)
    }


def test_frames_that_show_nothing_new_are_left_out(videos: Path) -> None:
    report = sync(videos)
    held = sorted(rows(videos).values(), key=lambda row: row.start_s or 0)
    # Each scene is seen at most two seconds after it began; blue is short, but has the key frame of a cut.
    assert len(held) == 4
    for row, (begins, ends) in zip(held, ((0, 5), (5, 8), (8, 8.5), (8.5, 14.5)), strict=True):
        assert row.start_s is not None
        assert begins - 0.01 <= row.start_s <= min(begins + 2, ends)
    for row, following in pairwise(held):
        assert row.end_s == following.start_s
    assert held[-1].end_s == pytest.approx(14.5, abs=0.1)
    opened = open_gallery(videos.parent / "g", encoder=FakeEncoder())
    for row, colour in zip(held, ("red", "green", "blue", "yellow"), strict=True):
        assert opened.ask(Query([TextPart(colour)], k=1)).hits[0].path == row.path
    assert report.images.alike >= 4
    assert counts(sync(videos)) == {"unchanged": 4}


def test_a_film_that_was_renamed_or_touched_keeps_its_vectors(videos: Path) -> None:
    sync(videos)
    before = vectors_of(videos)
    (videos / "trip.mp4").rename(videos / "tour.mp4")
    assert counts(sync(videos)) == {"moved": 4}
    assert [*vectors_of(videos).values()] == [*before.values()]
    os.utime(videos / "tour.mp4", (1, 1))
    assert counts(sync(videos)) == {"updated": 4, "reused": 4}
    assert counts(sync(videos)) == {"unchanged": 4}


def test_two_films_of_one_content_are_thinned_alike(videos: Path) -> None:
    shutil.copy(videos / "trip.mp4", videos / "copy.mp4")
    assert counts(sync(videos)) == {"added": 8, "reused": 4}
    assert {path.split("!")[1] for path in rows(videos) if path.startswith("copy")} == {
        path.split("!")[1] for path in rows(videos) if path.startswith("trip")
    }
    assert counts(sync(videos)) == {"unchanged": 8}


def test_of_a_changed_film_no_former_frame_stays(videos: Path) -> None:
    sync(videos, selection=frames("every=1s"))
    assert len(rows(videos)) == 15
    sync(videos, selection=frames("scenes"))
    assert len(rows(videos)) == 4
    render_scenes(videos / "trip.mp4", [("white", 6.0)])
    sync(videos, selection=frames("scenes"))
    assert [(row.path, row.start_s) for row in rows(videos).values()] == [("trip.mp4!/t=0", 0.0)]
    assert counts(sync(videos)) == {"unchanged": 1}


def test_a_run_that_ends_within_a_film_begins_it_anew(videos: Path) -> None:
    write_picture(videos / "a.png", "white")
    sync(videos)
    whole = vectors_of(videos)
    shutil.rmtree(videos.parent / "g")

    class Dying(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            if self.images_encoded >= 3:
                raise KeyboardInterrupt
            return super().encode_images(pixels)

    with pytest.raises(KeyboardInterrupt):
        sync(videos, Dying(), options=EmbedOptions(batch_size=2))
    assert counts(sync(videos)).get("added", 0) >= 4
    assert vectors_of(videos) == whole


def test_a_limit_takes_films_as_a_whole(videos: Path) -> None:
    shutil.copy(videos / "trip.mp4", videos / "copy.mp4")
    sync(videos, selection=Selection(limit=2))
    assert len(rows(videos)) == 4
    assert counts(sync(videos)) == {"added": 4, "reused": 4, "unchanged": 4}


def test_a_cluster_leaves_out_what_this_process_does(videos: Path, worker_pool: type[PretendedWorkerPool]) -> None:
    sync(videos)
    here = vectors_of(videos)
    shutil.rmtree(videos.parent / "g")
    report = sync(videos, options=EmbedOptions(ray="local"))
    assert vectors_of(videos) == here
    assert report.images.alike >= 4
    assert counts(sync(videos)) == {"unchanged": 4}


def test_a_dry_run_says_how_many_frames_are_looked_at(videos: Path) -> None:
    said = preview([videos], gallery=videos.parent / "g", encoder=FakeEncoder(), selection=frames("every=1s"))
    assert said.new == 15


def test_films_may_have_names_that_are_no_text(videos: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    (videos / "trip.mp4").rename(videos / name)
    assert counts(sync(videos, selection=frames("2"))) == {"added": 2}


def test_a_film_with_its_cover_is_an_item_and_a_live_photo_is_none(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(videos / "trip.jpg", "white")
    assert set(rows_after_sync(videos)) == {"trip.jpg"}
    monkeypatch.setattr("mmsearch.sources.companions.MOST_LIVE_BYTES", 1_000)
    assert len(rows_after_sync(videos)) > 2
    assert "trip.jpg" in rows(videos)
    listed = embed(
        [videos / "trip.mp4"], gallery=videos.parent / "other", encoder=FakeEncoder(), selection=frames("every=2s")
    )
    assert listed.images.added == 8


def rows_after_sync(folder: Path) -> dict[str, ImageRow]:
    sync(folder)
    return rows(folder)


def test_who_wants_a_picture_and_names_a_film_is_told_how_to_name_a_frame(videos: Path) -> None:
    sync(videos)
    with pytest.raises(QueryError, match=r"not an image: a film .*\. Name a piece of it, as in .*trip\.mp4!/t=12\.48$"):
        read_named_picture(videos / "trip.mp4")
    opened = open_gallery(videos.parent / "g", encoder=FakeEncoder())
    assert opened.ask(Query([ImagePart(f"{videos / 'trip.mp4'}!/t=6")], k=1)).hits[0].score > 0.9
