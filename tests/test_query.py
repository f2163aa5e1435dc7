"""Queries: the right pictures first, whatever came, went or changed since the index was built."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.embedding import EmbedOptions, embed
from mmsearch.errors import EncoderMismatch, MmsearchWarning, QueryError
from mmsearch.gallery import Gallery
from mmsearch.indexing import index
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.retrieval import EXACT, SearchOptions
from tests.fakes import COLOURS, FakeEncoder, write_picture


@pytest.fixture
def gallery(photos: Path, fake: FakeEncoder) -> Path:
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    return photos.parent / "g"


def opened(gallery: Path) -> OpenGallery:
    return open_gallery(gallery, encoder=FakeEncoder())


@pytest.mark.parametrize("colour", COLOURS)
def test_a_text_finds_its_pictures(gallery: Path, colour: str) -> None:
    hits = opened(gallery).query(f"something {colour} please", k=2)
    assert {hit.path for hit in hits} == {f"{colour}.png", f"more/{colour}.png"}
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].score >= hits[1].score > 0.9


def test_hits_say_where_to_open_the_picture(gallery: Path, photos: Path) -> None:
    (hit,) = opened(gallery).query("red", k=1)
    assert hit.file is not None
    assert Path(hit.file).is_file()
    assert (hit.root, hit.row.width, hit.row.height, hit.kind.name) == (str(photos), 16, 12, "images")


def test_scores_are_those_of_record(gallery: Path) -> None:
    """The float64 dot product of the stored vectors, ties by row id: equal to an argsort of everything."""
    reader = Gallery.open(gallery)
    query = FakeEncoder().encode_texts(["blue"]).vectors
    ids = np.concatenate([block.row_ids for block in reader.vector_blocks("images")])
    stored = np.concatenate([block.vectors for block in reader.vector_blocks("images")])
    scores = stored.astype(np.float64) @ query[0].astype(np.float64)
    order = np.lexsort((ids, -scores))
    found = opened(gallery).search(query, k=12)
    assert found.row_ids[0].tolist() == ids[order].tolist()
    np.testing.assert_allclose(found.scores[0], scores[order], atol=1e-15)


def test_k_larger_than_the_gallery_gives_everything_once(gallery: Path) -> None:
    hits = opened(gallery).query("red", k=1000)
    assert len({hit.row_id for hit in hits}) == len(hits) == 12


def test_a_picture_finds_itself_and_its_like(gallery: Path, photos: Path) -> None:
    hits = opened(gallery).query(image=photos / "green.png", k=2)
    assert {hit.path for hit in hits} == {"green.png", "more/green.png"}


def test_a_picture_of_the_gallery_needs_no_model(gallery: Path, photos: Path, tmp_path: Path) -> None:
    """Its vector is there already, also when it is asked for by a copy."""
    copy = shutil.copy(photos / "green.png", tmp_path / "elsewhere.png")
    answers = open_gallery(gallery)  # the encoder named "fake" cannot be loaded
    assert answers.query(image=copy, k=1)[0].path == "green.png"


@pytest.mark.parametrize("options", [SearchOptions(), EXACT], ids=["index", "exact"])
def test_search_is_complete_whatever_happened_since_the_index(
    gallery: Path, photos: Path, fake: FakeEncoder, options: SearchOptions
) -> None:
    """New rows are found, deleted ones are not, changed ones by their new content only; no rebuild in between."""
    index(gallery)
    write_picture(photos / "new red.png", "red", seed=400)
    (photos / "red.png").unlink()
    write_picture(photos / "blue.png", "red", seed=401)
    os.utime(photos / "blue.png", ns=(9, 9))
    embed([photos], gallery=gallery, encoder=fake)
    red = {hit.path for hit in opened(gallery).query("red", k=3, options=options)}
    assert red == {"new red.png", "more/red.png", "blue.png"}
    blue = {hit.path for hit in opened(gallery).query("blue", k=1, options=options)}
    assert blue == {"more/blue.png"}
    everything = opened(gallery).query("red", k=100, options=options)
    assert len(everything) == len({hit.row_id for hit in everything}) == 12


def test_a_damaged_index_is_named_and_passed_by(gallery: Path) -> None:
    index(gallery)
    reader = Gallery.open(gallery)
    entry = reader.index_for("images")
    assert entry is not None
    file = reader.index_folder(entry.name) / "index.faiss"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.warns(MmsearchWarning, match=r"mmsearch index.*exact search"):
        hits = opened(gallery).query("red", k=2)
    assert {hit.path for hit in hits} == {"red.png", "more/red.png"}


def test_an_open_gallery_survives_compaction(gallery: Path, photos: Path, fake: FakeEncoder) -> None:
    from datetime import timedelta

    from mmsearch.upkeep.maintenance import compact

    answers = opened(gallery)
    write_picture(photos / "new.png", "white", seed=5)
    embed([photos], gallery=gallery, encoder=fake)
    compact(gallery, grace=timedelta(0))
    assert "red.png" in {hit.path for hit in answers.query("red", k=2)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": ""}, "empty"),
        ({"text": " \n\t"}, "empty"),
        ({}, "nothing is asked"),
        ({"image": "nowhere.png"}, "no such file"),
        ({"image": "https://example.org/a.png"}, "is a URL.*curl -O https://example.org/a.png"),
        ({"image": Path("https://example.org/a.png")}, "is a URL"),
        ({"text": "red", "k": 0}, "at least one"),
        ({"text": "red", "table": "captions"}, "--captions"),
    ],
)
def test_a_query_without_an_answer_says_why(gallery: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        opened(gallery).query(**arguments)


def test_a_query_picture_that_does_not_decode_says_why(gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("not a picture")
    with pytest.raises(QueryError, match=r"bad\.jpg.*not an image"):
        opened(gallery).query(image=tmp_path / "bad.jpg")


def test_a_query_longer_than_the_model_reads_is_answered_with_a_warning(gallery: Path) -> None:
    with pytest.warns(MmsearchWarning, match="cut"):
        assert opened(gallery).query("red " * 10_000, k=1)


def test_another_model_is_refused(gallery: Path) -> None:
    with pytest.raises(EncoderMismatch, match=r"fake.*other"):
        open_gallery(gallery, encoder=FakeEncoder("other")).query("red")


def captions_file(folder: Path) -> Path:
    file = folder / "captions.csv"
    file.write_text('image,caption\nred.png,all red\nmore/blue.png,"blue, of course"\nnowhere.png,green\n')
    return file


def test_captions_are_found_by_picture_and_by_text(gallery: Path, photos: Path, fake: FakeEncoder) -> None:
    report = embed(captions=[captions_file(photos)], gallery=gallery, encoder=fake)
    assert (report.captions.added, report.captions.unmatched, report.total_images) == (3, 1, 12)
    hits = opened(gallery).query(image=photos / "blue.png", k=3, table="captions")
    assert hits[0].row.caption == "blue, of course"
    assert (hits[0].path, hits[0].file) == ("more/blue.png", str(photos / "more" / "blue.png"))
    (hit,) = opened(gallery).query("green", k=1, table="captions")
    assert (hit.text, hit.path, hit.file) == ("green", None, None)


def test_running_a_file_of_captions_again_replaces_its_captions(gallery: Path, photos: Path, fake: FakeEncoder) -> None:
    """By its place in the file: unchanged ones keep their rows, equal texts stay apart, other files are not touched."""
    file = captions_file(photos)
    other = photos / "other.txt"
    other.write_text("a caption a line\na caption a line\n")
    embed(captions=[file, other], gallery=gallery, encoder=fake)
    before = {row.ordinal: row_id for row_id, row in Gallery.open(gallery).all_captions() if "csv" in row.source}
    file.write_text("image,caption\nred.png,all red\nmore/blue.png,changed\n")
    report = embed(captions=[file], gallery=gallery, encoder=fake)
    counts = report.captions
    assert (counts.unchanged, counts.updated, counts.deleted, report.total_captions) == (1, 1, 1, 4)
    after = {row.ordinal: row_id for row_id, row in Gallery.open(gallery).all_captions() if "csv" in row.source}
    assert after[0] == before[0]
    assert after[1] != before[1]
    again = embed(captions=[file, other], gallery=gallery, encoder=fake)
    assert (again.captions.unchanged, again.version) == (4, report.version)


def test_a_caption_finds_its_picture_when_it_is_embedded_later(photos: Path, fake: FakeEncoder) -> None:
    file = captions_file(photos)
    embed(captions=[file], gallery=photos.parent / "g", encoder=fake)
    report = embed([photos], captions=[file], gallery=photos.parent / "g", encoder=fake)
    assert report.captions.updated == 2
    rows = [row for _, row in Gallery.open(photos.parent / "g").all_captions()]
    assert sorted(row.path or "" for row in rows) == ["", "more/blue.png", "red.png"]


def test_a_gallery_moves_with_its_pictures(tmp_path: Path, fake: FakeEncoder) -> None:
    """Roots below the gallery's own folder are written down relative to it."""
    write_picture(tmp_path / "a" / "photos" / "x.png", "red")
    embed([tmp_path / "a" / "photos"], gallery=tmp_path / "a" / ".mmsearch", encoder=fake)
    (tmp_path / "a").rename(tmp_path / "b")
    (hit,) = opened(tmp_path / "b" / ".mmsearch").query("red")
    assert hit.file == str(tmp_path / "b" / "photos" / "x.png")


def test_relocate_and_forget(gallery: Path, photos: Path, fake: FakeEncoder) -> None:
    from mmsearch.errors import SourceError
    from mmsearch.upkeep.maintenance import forget, relocate

    moved = photos.parent / "pictures"
    photos.rename(moved)
    version = Gallery.open(gallery).manifest
    relocate(photos, moved, gallery=gallery)
    assert Gallery.open(gallery).manifest.shards == version.shards  # only the address changed
    (hit,) = opened(gallery).query("red", k=1)
    assert Path(hit.file or "").is_file()
    assert embed([moved], gallery=gallery, encoder=fake, options=EmbedOptions()).images.unchanged == 12
    with pytest.raises(SourceError, match=str(moved)):
        forget(photos, gallery=gallery)
    assert forget(moved, gallery=gallery).images == 12
    assert Gallery.open(gallery).live_rows("images") == 0
    with pytest.raises(QueryError, match="holds no images"):
        opened(gallery).query("red")
