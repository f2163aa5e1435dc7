"""Albums: pictures that are like each other stand together, have names that say so, and the same ones each time."""

import csv
import importlib
import io
import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.albums.clustering import album_hits, clusters
from mmsearch.albums.grouping import GroupSums as Sums
from mmsearch.albums.grouping import (
    candidate_ks,
    center,
    choose_grouping,
    group,
    least_silhouette,
    silhouettes,
    without_twins,
)
from mmsearch.albums.naming import fit_of, name_albums
from mmsearch.albums.records import Album, ClustersReport
from mmsearch.albums.vocabulary import general_words, read_words
from mmsearch.embedding import embed
from mmsearch.errors import EncoderError, FilterError, QueryError
from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from mmsearch.search.open_gallery import open_gallery
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.vectors import random_unit_vectors, unit_vectors


def blobs(counts: list[int], seed: int = 0, dim: int = 16, spread: float = 0.05) -> NDArray[np.float32]:
    """Unit vectors in groups of these sizes, about centres far from each other, in the order of the groups."""
    rng = np.random.default_rng(seed)
    centres = np.eye(dim)[: len(counts)] + 0.5
    rows = [centres[number] + spread * rng.normal(size=(count, dim)) for number, count in enumerate(counts)]
    return unit_vectors(np.concatenate(rows)).astype(np.float32)


def centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return center(vectors, vectors.mean(axis=0))


def same_groups(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether two labellings part the rows alike."""
    pairs = Counter(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


# --- grouping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_as_many_albums_as_there_are_groups(k: int) -> None:
    vectors = centred(blobs([30 + 5 * number for number in range(k)]))
    truth = np.repeat(np.arange(k), [30 + 5 * number for number in range(k)])
    grouping = choose_grouping(vectors, candidate_ks(len(vectors)), seed=0)
    assert same_groups(grouping.labels, truth)
    best = max(grouping.tried, key=lambda each: each.silhouette)
    assert best.k == k
    assert [each.k for each in grouping.tried] == candidate_ks(len(vectors))


def test_silhouettes_are_those_of_the_definition() -> None:
    """Against a look at all pairs, a group of one and a vector outside of the sums among them."""
    vectors = random_unit_vectors(np.random.default_rng(1), 40, 8).astype(np.float32)
    labels = np.array([0] * 15 + [1] * 24 + [2])
    summed = np.ones(40, np.bool_)
    summed[[3, 20]] = False
    groups = Sums.of(vectors[summed], labels[summed], 3)
    distances = 1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    expected = []
    for row in range(40):
        mean_to = {}
        for label in range(3):
            members = [each for each in np.flatnonzero((labels == label) & summed).tolist() if each != row]
            mean_to[label] = distances[row, members].mean() if members else None
        within = mean_to.pop(int(labels[row]))
        between = min(value for value in mean_to.values() if value is not None)
        expected.append(0.0 if within is None else (between - within) / max(within, between))
    assert silhouettes(vectors, labels, groups, summed) == pytest.approx(expected, abs=1e-5)


def test_the_larger_of_two_numbers_that_are_as_good_is_taken() -> None:
    """One in which some groups lie near to each other: k = 2 and k = 4 part them well, and 4 tell more."""
    rng = np.random.default_rng(0)
    pairs = [
        np.array([1.0, 0, 0, 0, 0]),
        np.array([1.0, 0.9, 0, 0, 0]),
        np.array([0, 0, 1.0, 0, 0]),
        np.array([0, 0, 1.0, 0.9, 0]),
    ]
    vectors = np.concatenate([each + 0.03 * rng.normal(size=(40, 5)) for each in pairs])
    grouping = choose_grouping(centred(unit_vectors(vectors).astype(np.float32)), [2, 3, 4, 5], seed=0)
    assert same_groups(grouping.labels, np.repeat(np.arange(4), 40))


def test_a_seed_gives_the_same_groups_each_time() -> None:
    vectors = centred(random_unit_vectors(np.random.default_rng(3), 300, 16).astype(np.float32))
    one, again, other = (choose_grouping(vectors, [6], seed) for seed in (0, 0, 1))
    assert np.array_equal(one.labels, again.labels)
    assert np.array_equal(one.centres, again.centres)
    assert not np.array_equal(one.labels, other.labels)


def test_equal_vectors_and_more_groups_than_places_are_borne() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32)[:2], 5, axis=0)
    centres, labels = group(vectors, 4, np.random.default_rng(0))
    assert np.isfinite(centres).all()
    assert len(set(labels[:5].tolist()) & set(labels[5:].tolist())) == 0
    assert np.isfinite(silhouettes(vectors, labels, Sums.of(vectors, labels, 4))).all()
    assert np.array_equal(center(vectors[:5], vectors[0].astype(np.float64)), np.zeros((5, 4), np.float32))


def test_of_twins_the_first_is_kept() -> None:
    vectors = random_unit_vectors(np.random.default_rng(0), 1500, 32).astype(np.float32)
    doubled = np.concatenate([vectors, vectors[::-1]])
    assert without_twins(doubled, 0.97).tolist() == [True] * 1500 + [False] * 1500


def test_what_is_far_below_the_usual_belongs_nowhere() -> None:
    values = np.array([0.3, 0.31, 0.32, 0.33, 0.34, 0.1])
    assert values[values < least_silhouette(values)].tolist() == [0.1]
    assert least_silhouette(np.array([0.9, 0.1, -0.2])) == 0


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_name_is_what_fits_better_than_the_rest_not_what_fits_all() -> None:
    """A hub scores highest with everything and names nothing; no name stands twice; the shortest of equals is taken."""
    words = ["hub", "big dog", "dog", "sea", "both"]
    scores = np.array(
        [[0.9, 0.500, 0.495, 0.1, 0.4]] * 5 + [[0.9, 0.1, 0.1, 0.5, 0.3]] * 5 + [[0.9, 0.1, 0.1, 0.45, 0.3]] * 5
    )
    labels = np.repeat([0, 1, 2], 5)
    named = name_albums(scores.astype(np.float32), labels, 3, words)
    assert [[each.word for each in of_album][:1] for of_album in named] == [["dog"], ["sea"], []]
    assert not {"hub"} & {each.word for of_album in named for each in of_album}
    assert [each.word for each in named[0]] == ["dog", "big dog", "both"]
    assert named[0][0].fit == 1.0
    reserved = name_albums(scores.astype(np.float32), labels, 3, words, reserved={"dog"})
    assert reserved[0][0].word == "big dog"


def test_fit_is_the_share_of_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, is_in = np.round(rng.normal(size=60), 1).astype(np.float32), rng.random(60) < 0.3
    pairs = [(one > other) + 0.5 * (one == other) for one in scores[is_in] for other in scores[~is_in]]
    assert fit_of(scores, is_in) == pytest.approx(np.mean(pairs))


def test_the_words_that_come_along_are_words() -> None:
    words = general_words()
    assert 1000 < len(words) == len({word.casefold() for word in words})
    assert all(word == word.strip() == word.casefold() and len(word) < 30 for word in words)


def test_words_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\ufeffBeach\n\n  birthday   party \nbeach\n", "utf-8")
    assert read_words(file) == ["Beach", "birthday party"]
    for content, said in (("\n \n", "holds no words"), ("x" * 300, "300 characters")):
        file.write_text(content)
        with pytest.raises(QueryError, match=said):
            read_words(file)
    with pytest.raises(QueryError, match="cannot read the words"):
        read_words(tmp_path / "absent.txt")


# --- a gallery ------------------------------------------------------------------------------------------------------


@pytest.fixture
def colourful(tmp_path: Path) -> Path:
    """Sixty pictures, ten of each colour, the red ones with days; and the gallery of them."""
    for number, colour in enumerate(COLOURS):
        for copy in range(10):
            write_picture(tmp_path / "p" / f"{colour}-{copy}.png", colour, seed=100 * number + copy)
    for copy in range(10):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"{2010 + copy // 4}:05:01 12:00:0{copy}"
        Image.open(tmp_path / "p" / f"red-{copy}.png").save(tmp_path / "p" / f"red-{copy}.jpg", exif=exif, quality=95)
        (tmp_path / "p" / f"red-{copy}.png").unlink()
    embed([tmp_path / "p"], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


@pytest.fixture
def varied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of one colour are near-duplicates to the fake encoder: here they count one by one."""
    monkeypatch.setattr("mmsearch.albums.clustering.NEAR_DUPLICATE", 2.0)


def colours_of(gallery: Path, album: Album) -> set[str]:
    return {Path(hit.file or "").name.partition("-")[0] for hit in album_hits(open_gallery(gallery), album)}


def everything(report: ClustersReport) -> list[tuple[object, ...]]:
    return [
        (album.number, album.name, album.words, album.row_ids.tolist(), album.scores.tolist())
        for album in report.all_albums
    ]


@pytest.mark.usefixtures("varied")
def test_albums_of_a_gallery(colourful: Path) -> None:
    report = clusters(colourful, encoder=FakeEncoder(), words=written(colourful, [*COLOURS, "pink", "grey"]))
    assert {album.name: colours_of(colourful, album) for album in report.albums} == {name: {name} for name in COLOURS}
    assert [album.pictures for album in report.albums] == [10] * 6
    assert report.pictures == 60
    assert report.other is None
    assert "6 albums: their silhouette" in report.why
    assert all(album.fit == 1.0 for album in report.albums)
    for album in report.albums:
        assert np.all(np.diff(album.scores) <= 0)
        assert [hit.row_id for hit in album.typical] == album.row_ids[:12].tolist()
        assert [hit.rank for hit in album_hits(open_gallery(colourful), album, 3, 6)] == [4, 5, 6]
    (red,) = (album for album in report.albums if album.name == "red")
    assert (red.years, red.first_taken) == ("2010-2012", datetime(2010, 5, 1, 12))
    assert {album.years for album in report.albums if album is not red} == {""}


@pytest.mark.usefixtures("varied")
def test_the_same_gallery_gives_the_same_albums(colourful: Path) -> None:
    one, again = (clusters(colourful, encoder=FakeEncoder()) for _ in range(2))
    assert everything(one) == everything(again)
    assert len({album.name for album in one.all_albums}) == len(one.all_albums)


def written(gallery: Path, words: list[str]) -> Path:
    file = gallery.parent / "words.txt"
    file.write_text("\n".join(words))
    return file


@pytest.mark.usefixtures("varied")
def test_a_number_and_a_filter_are_kept(colourful: Path) -> None:
    report = clusters(colourful, k=2, where="path not like 'black%'", encoder=FakeEncoder())
    assert (len(report.albums), report.why, report.pictures) == (2, "2 albums, as asked", 50)
    assert not any("black" in colours_of(colourful, album) for album in report.all_albums)
    assert len(clusters(colourful, k=1, encoder=FakeEncoder()).albums) == 1


def imported(folder: Path, vectors: NDArray[np.float32], spec: str = "nobody/knows") -> Path:
    """A gallery of vectors of a model that is not there."""
    with open_writer(folder, command="test") as writer:
        writer.set_encoder(EncoderIdentity(spec, f"declared:{spec}", vectors.shape[1]))
        root = writer.add_root(folder.parent / "photos")
        names = [f"{number:05}.jpg" for number in range(len(vectors))]
        rows = [ImageRow(root.id, name, None, 1, 1, None, name.encode(), 640, 480, None) for name in names]
        writer.append("images", rows, vectors)
        writer.commit()
    return folder


def test_near_duplicates_are_no_subject_of_their_own(tmp_path: Path) -> None:
    """Of ninety copies of one picture one counts: albums are made as without them, and all copies are in one."""
    vectors = blobs([30, 30, 30], spread=0.2)
    plain = clusters(imported(tmp_path / "plain", vectors))
    copied = clusters(imported(tmp_path / "copied", np.concatenate([vectors, np.repeat(vectors[7:8], 90, axis=0)])))
    assert plain.why == copied.why
    assert sorted(album.pictures for album in copied.albums)[:2] == sorted(album.pictures for album in plain.albums)[:2]
    assert copied.albums[0].pictures == plain.albums[0].pictures + 90
    copies = {7, *range(90, 180)}
    assert copies <= set(copied.albums[0].row_ids.tolist())
    assert len(copies & {hit.row_id for hit in copied.albums[0].typical}) <= 1


def test_why_is_said_in_words_where_there_was_no_choice(tmp_path: Path) -> None:
    report = clusters(imported(tmp_path, blobs([7, 7], spread=0.3)))
    assert report.why == "2 albums: 14 different pictures are too few to tell more apart"


def test_too_few_too_many_and_nothing(colourful: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"6 pictures that are not near-duplicates \(of 60\): that is too few"):
        clusters(colourful, encoder=FakeEncoder())
    with pytest.raises(QueryError, match="1 picture: that is too few for albums, which take 10 or more"):
        clusters(colourful, where="path = 'red-1.jpg'")
    with pytest.raises(QueryError, match="the filter admits none of the 60 images: width > 9999"):
        clusters(colourful, where="width > 9999")
    with pytest.raises(FilterError):
        clusters(colourful, where="nonsense")
    with pytest.raises(QueryError, match="0 albums"):
        clusters(colourful, k=0)
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"caption": "red"}\n')
    embed([], captions=[captions], gallery=tmp_path / "texts", encoder=FakeEncoder())
    with pytest.raises(QueryError, match=r"holds no images. Add some: mmsearch embed PICTURES"):
        clusters(tmp_path / "texts")


@pytest.mark.usefixtures("varied")
def test_more_albums_than_pictures(colourful: Path) -> None:
    with pytest.raises(QueryError, match="61 albums of 60 different pictures: ask for fewer"):
        clusters(colourful, k=61, encoder=FakeEncoder())
    assert len(clusters(colourful, k=60, encoder=FakeEncoder()).all_albums) >= 6


def test_without_a_text_encoder_albums_have_numbers(tmp_path: Path, command_line: Command) -> None:
    gallery = imported(tmp_path / "g", blobs([30, 20, 10], spread=0.12))
    report = clusters(gallery)
    assert [album.name for album in report.albums] == ["album 1", "album 2", "album 3"]
    assert [album.pictures for album in report.albums] == [30, 20, 10]
    assert (report.albums[0].fit, report.albums[0].words) == (None, ())
    assert "albums have numbers instead of names, since there is no text encoder" in str(report.nameless)
    done = command_line("clusters", "-g", gallery)
    assert done.code == 0
    assert "albums have numbers instead of names" in done.err
    assert "Traceback" not in done.err
    with pytest.raises(EncoderError):
        clusters(gallery, words=written(gallery, ["dog"]))


def test_strangers_are_left_in_other(tmp_path: Path) -> None:
    """Some vectors of three groups, and some that lie between them."""
    vectors = blobs([60, 60, 60], spread=0.12)
    between = np.eye(16)[:3].sum(axis=0) + 0.5 + 0.02 * np.random.default_rng(0).normal(size=(6, 16))
    gallery = imported(tmp_path / "g", np.concatenate([vectors, unit_vectors(between).astype(np.float32)]))
    report = clusters(gallery)
    assert len(report.albums) == 3
    assert report.other is not None
    assert report.other.name == "other"
    assert set(report.other.row_ids.tolist()) >= {180, 181, 182, 183, 184, 185}
    assert report.other.pictures < 15
    all_rows = np.concatenate([album.row_ids for album in report.all_albums])
    assert sorted(all_rows.tolist()) == [*range(186)]


def test_a_gallery_larger_than_the_sample_is_placed_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.albums.clustering._SAMPLED", 120)
    monkeypatch.setattr("mmsearch.albums.clustering._BLOCK", 100)
    counts = [300, 200, 100]
    gallery = imported(tmp_path / "g", blobs(counts, spread=0.12))
    report = clusters(gallery)
    placed = np.full(600, -1)
    for number, album in enumerate(report.albums):
        placed[album.row_ids] = number
    assert len(report.albums) == 3
    assert np.mean(placed == np.repeat(np.arange(3), counts)) > 0.95
    assert np.array_equal(placed[placed >= 0], np.repeat(np.arange(3), counts)[placed >= 0])


@pytest.mark.usefixtures("varied")
def test_formats(colourful: Path, mmsearch: Command) -> None:
    words = written(colourful, [*COLOURS])
    shown = mmsearch("clusters", "-g", colourful, "--words", words)
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert len(lines) == 12
    (red,) = (line for line in lines if " red " in line)
    assert red.split()[1:6] == ["red", "10", "pictures", "2010-2012", "fit"]
    assert "6 albums: their silhouette" in shown.err
    albums = [
        json.loads(line)
        for line in mmsearch("clusters", "-g", colourful, "--words", words, "--format", "jsonl").out.splitlines()
    ]
    assert {album["name"] for album in albums} == set(COLOURS)
    assert {album["name"]: album["first_taken"] for album in albums}["red"] == "2010-05-01T12:00:00"
    assert all(len(album["paths"]) == album["pictures"] == 10 for album in albums)
    rows = list(
        csv.DictReader(io.StringIO(mmsearch("clusters", "-g", colourful, "--words", words, "--format", "csv").out))
    )
    assert len(rows) == 60
    assert {(row["album"], row["name"]) for row in rows} == {(str(album["number"]), album["name"]) for album in albums}
    assert [row["file"] for row in rows[:10]] == albums[0]["paths"]
    assert mmsearch("clusters", "-g", colourful, "-k", "0").code == 2
    assert mmsearch("clusters", "-g", colourful, "--where", "width > 9999").code == 1


# --- pages and the sheet --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("varied")
def test_a_page_shows_the_most_typical_of_each_album(colourful: Path, mmsearch: Command, tmp_path: Path) -> None:
    page, sheet = tmp_path / "albums.html", tmp_path / "sheet.png"
    words = written(colourful, [*COLOURS])
    done = mmsearch("clusters", "-g", colourful, "--words", words, "--html", page, "--sheet", sheet)
    assert done.code == 0
    assert f"wrote {page}" in done.err
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 60
    assert all(f">{name} <span>10</span></a>" in text for name in COLOURS)
    assert "10 pictures · 2010-2012 · " in text
    assert (colourful.parent / "p" / "red-1.jpg").as_uri() in text
    assert "<script" not in text
    with Image.open(sheet) as image:
        assert image.width == 10 + 10 * 186


@pytest.mark.usefixtures("varied")
def test_a_folder_has_pages_of_all_pictures(
    colourful: Path, mmsearch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("mmsearch.render.albums_page"), "_A_PAGE", 4)
    (colourful.parent / "p" / "blue-3.png").unlink()
    folder = tmp_path / "pages"
    assert mmsearch("clusters", "-g", colourful, "--words", written(colourful, [*COLOURS]), "--html", folder).code == 0
    pages = {file.name: file.read_text() for file in folder.iterdir()}
    assert len(pages) == 1 + 6 * 3
    linked = [link for text in pages.values() for link in re.findall(r'href="([a-z0-9-]+\.html)', text)]
    assert set(linked) == set(pages)
    shown = [
        link for name, text in pages.items() if name != "index.html" for link in re.findall(r'alt="([^"]+)"', text)
    ]
    assert sorted(shown) == sorted(file.name for file in (colourful.parent / "p").iterdir())
    assert sum(text.count("gone since it was embedded") for text in pages.values()) == 2  # on its page and the first
    assert "Page 2 of 3" in pages["album-01-2.html"]
    again = mmsearch("clusters", "-g", colourful, "-k", "3", "--html", folder)
    assert again.code == 0
    assert {file.name[:8] for file in folder.iterdir()} == {"index.ht", "album-01", "album-02", "album-03"}


@pytest.mark.usefixtures("varied")
def test_pages_take_no_place_of_anything_else(colourful: Path, mmsearch: Command, tmp_path: Path) -> None:
    """Said before anything is grouped; and pictures beside a page of that name stay."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "album-01.html").write_text("mine")
    for arguments in (
        ("--html", tmp_path / "full"),
        ("--html", colourful.parent / "p"),
        ("--html", tmp_path / "absent" / "pages"),
        ("--html", colourful.parent / "p" / "red-1.jpg"),
        ("--sheet", tmp_path / "sheet.txt"),
    ):
        done = mmsearch("clusters", "-g", colourful, "--format", "csv", *arguments)
        assert (done.code, done.out) == (1, ""), arguments
        assert len(done.err.splitlines()) == 1
    assert (tmp_path / "full" / "album-01.html").read_text() == "mine"


@pytest.mark.usefixtures("varied")
def test_names_on_pages_are_text(colourful: Path, mmsearch: Command, tmp_path: Path) -> None:
    hostile = "<script>document.title='run'</script>"
    odd = colourful.parent / "p" / "<b>\" onload='x' .png"
    (colourful.parent / "p" / "green-1.png").rename(odd)
    embed([colourful.parent / "p"], gallery=colourful, encoder=FakeEncoder())
    folder = tmp_path / "pages"
    done = mmsearch(
        "clusters", "-g", colourful, "-k", "2", "--words", written(colourful, [hostile, "red"]), "--html", folder
    )
    assert done.code == 0
    for file in folder.iterdir():
        text = file.read_text()
        assert "<script" not in text
        assert "<b>" not in text
