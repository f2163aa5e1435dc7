"""Corrections, chances and counts go by files, not frames, pages and tiles: a film of 1,000 frames is one answer."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.albums.clustering import clusters
from mmsearch.calibration import CalibrateOptions, calibrate
from mmsearch.gallery import open_writer
from mmsearch.items import CaptionRow, ImageRow
from mmsearch.metrics import Relevance
from mmsearch.scoring import ALPHAS, NO_CORRECTION, TableScores, bank_means, best_of_files, try_settings
from mmsearch.search.answers import Answer
from mmsearch.search.counting import count_facet, count_folders, make_timeline
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import Query, TextPart
from mmsearch.upkeep.summary import info
from tests import hubby
from tests.films import DIM, frame, page, photo, tile, write_items
from tests.hubby import World
from tests.vectors import unit_vectors

PHOTOS, FRAMES = 120, 1_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(2 * PHOTOS, seed=3)


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 photos with two captions each, of which every fourth has two tiles; and a film of 1,000 frames between two
    views that none of them shows. The film lies among the photos, so that its rows are in the middle of theirs."""
    rng = np.random.default_rng(0)
    share = np.linspace(0, 1, FRAMES)[:, None]
    views = (1 - share) * world.images[2 * PHOTOS - 1] + share * world.images[2 * PHOTOS - 2]
    film = unit_vectors(views + 0.02 * rng.normal(size=views.shape)).astype(np.float32)
    rows: list[ImageRow] = []
    vectors: list[NDArray[np.float32]] = []
    for number in range(PHOTOS):
        rows.append(photo(f"{number}.jpg"))
        vectors.append(world.images[number])
        if number % 4 == 0:
            rows += [tile(f"{number}.jpg", [left, 0, left + 0.5, 1]) for left in (0.0, 0.5)]
            near = world.images[number] + 0.1 * rng.normal(size=(2, hubby.DIM))
            vectors += [*unit_vectors(near).astype(np.float32)]
        if number == PHOTOS // 2:
            rows += [frame("long.mp4", at / 10, (at + 1) / 10) for at in range(FRAMES)]
            vectors += [*film]
    path = tmp_path_factory.mktemp("counted") / "g"
    write(path, world, rows, vectors, [f"{n} said {said}" for said in ("once", "twice") for n in range(PHOTOS)])
    calibrate(path)
    return path


def write(
    folder: Path, world: World, rows: Sequence[ImageRow], vectors: Sequence[NDArray[np.float32]], said: Sequence[str]
) -> None:
    with open_writer(folder, command="tests") as writer:
        writer.set_encoder(hubby.IDENTITY)
        writer.append("images", rows, np.stack(vectors))
        texts = [CaptionRow(text, 1, f"{text.split()[0]}.jpg", None, "f", at) for at, text in enumerate(said)]
        writer.append("captions", texts, np.stack([world.said(text) for text in said]))
        writer.commit()


@pytest.fixture
def opened(folder: Path, world: World) -> OpenGallery:
    return open_gallery(folder, encoder=world)


def scores_of(opened: OpenGallery) -> TableScores:
    scores = opened.retriever.scores("images")
    assert scores is not None
    return scores


@pytest.mark.soak
def test_it_is_measured_among_files(opened: OpenGallery) -> None:
    record = scores_of(opened).record
    assert (record.by_file, record.correction.searched) == (True, PHOTOS + 1)
    assert record.correction.why.endswith(f"of {2 * PHOTOS} captions among {PHOTOS + 1} files")


def test_all_items_of_a_file_are_lowered_by_what_its_best_scores(opened: OpenGallery) -> None:
    """By loops over the definition; what is said of a picture does not count for its tiles either."""
    scores = scores_of(opened)
    setting, bank = scores.record.correction, scores.bank
    assert setting.alpha > 0
    (block,) = opened.gallery.vector_blocks("images")
    names = {row_id: name.partition("!/")[0] for row_id, _, name in opened.gallery.image_names()}
    first: dict[str, int] = {}
    for row_id, name in sorted(names.items()):
        first.setdefault(name, row_id)
    said = np.asarray(block.vectors, np.float64) @ bank.vectors.astype(np.float64).T
    lowered = scores.lowered(block.row_ids, lambda rows: block.vectors[rows], alpha=1.0)
    for name in ("long.mp4", "8.jpg", "9.jpg", "116.jpg"):
        own = [place for place, row_id in enumerate(block.row_ids.tolist()) if names[row_id] == name]
        best = said[own].max(axis=0)[bank.owners != first[name]]
        mean = np.sort(best)[::-1][: setting.k].mean()
        np.testing.assert_allclose(lowered[own], mean, atol=1e-6)
    assert (bank.owners == first["8.jpg"]).any()


@pytest.mark.soak
def test_chances_come_true_whatever_a_film_adds_to_a_filter(opened: OpenGallery) -> None:
    """Of queries that were never seen, half of which ask for what is not there, among ten photos and the film."""
    rng = np.random.default_rng(5)
    chances, right = [], []
    for group in rng.permutation(PHOTOS).reshape(-1, 10)[:5]:
        admitted = ", ".join(f"'{number}.jpg'" for number in group)
        where = f"path LIKE 'long.mp4%' OR split_part(path, '!/', 1) IN ({admitted})"
        asked = [*group.tolist(), *(PHOTOS + rng.permutation(PHOTOS - 2)[:10]).tolist()]
        queries = [Query([TextPart(f"{number} said later")], k=10, where=where) for number in asked]
        for number, answer in zip(asked, opened.ask_all(queries), strict=True):
            assert isinstance(answer, Answer)
            chances.append(answer.worth.probability or 0.0)
            right.append(any((hit.path or "").startswith(f"{number}.jpg") for hit in answer.hits))
    there = np.array(right)
    assert there.mean() == 0.5
    assert abs(np.mean(chances) - there.mean()) < 0.08
    assert np.array(chances)[there].mean() > np.array(chances)[~there].mean() + 0.4


def test_what_earlier_releases_measured_is_told_by_rows(opened: OpenGallery) -> None:
    """Their chances went by the number of rows; by that of files all would be too high."""
    query = Query([TextPart("7 said later")], where="path LIKE 'long.mp4%' OR path LIKE '%7.jpg'")
    now = opened.ask(query).worth.probability
    scores = scores_of(opened)
    scores.record = replace(scores.record, by_file=False)
    before = opened.ask(query).worth.probability
    assert now is not None
    assert before is not None
    assert scores.record.chances is not None
    assert now == pytest.approx(float(scores.record.chances.of_any([best_of(opened, query)], 13)[0]))
    assert before == pytest.approx(float(scores.record.chances.of_any([best_of(opened, query)], 1_012)[0]))


def best_of(opened: OpenGallery, query: Query) -> float:
    answer = opened.ask(query)
    assert isinstance(answer, Answer)
    return answer.hits[0].ranking


@pytest.mark.soak
def test_pages_that_captions_name_are_found_by_their_document(tmp_path: Path) -> None:
    """Each page has a text of its own: what is asked for is the document, and no page's text lowers its siblings."""
    world = World(210, seed=1)
    rows = [page(f"{number // 3}.pdf", number % 3 + 1) for number in range(210)]
    with open_writer(tmp_path / "g", command="tests") as writer:
        writer.set_encoder(hubby.IDENTITY)
        writer.append("images", rows, world.images)
        texts = [CaptionRow(f"{n} said once", 1, rows[n].path, None, "f", n) for n in range(210)]
        writer.append("captions", texts, np.stack([world.said(text.caption) for text in texts]))
        writer.commit()
    calibrate(tmp_path / "g", options=CalibrateOptions())
    scores = scores_of(open_gallery(tmp_path / "g", encoder=world))
    assert (scores.record.correction.queries, scores.record.correction.searched) == (210, 70)
    assert set(np.unique_counts(scores.bank.owners).counts.tolist()) <= {1, 2, 3}
    plain = np.array([world.said(text.caption) for text in texts]).astype(np.float64) @ world.images.T
    by_file = plain.reshape(210, 70, 3).max(axis=2)
    right = by_file[np.arange(210), np.arange(210) // 3]
    ranks = 1 + (by_file > right[:, None]).sum(axis=1)
    assert scores.record.correction.plain["R@1"] == pytest.approx((ranks == 1).mean())
    assert scores.record.correction.plain["MRR"] == pytest.approx((1 / ranks).mean())


def test_means_and_ranks_of_files_are_those_of_loops() -> None:
    rng = np.random.default_rng(0)
    starts = np.array([0, 1, 4, 5, 9])
    owners = np.repeat(np.arange(5), np.diff(starts, append=12))
    items = unit_vectors(rng.normal(size=(12, 8))).astype(np.float32)
    bank, bank_owners = unit_vectors(rng.normal(size=(20, 8))).astype(np.float32), np.arange(20) % 7
    means = bank_means(items, bank, (1, 3, 99), owners=owners, bank_owners=bank_owners, starts=starts)
    for file in range(5):
        of_file = np.flatnonzero(owners == file)
        best = np.sort((items[of_file] @ bank[bank_owners != file].T).max(axis=0))[::-1]
        for k in (1, 3, 99):
            np.testing.assert_allclose(means[k][of_file], best[:k].mean(), rtol=1e-5)
    scores = rng.normal(size=(6, 12))
    lowered = {2: rng.normal(size=12)}
    trial = try_settings(
        scores,
        Relevance.one_each(np.array([0, 1, 2, 3, 4, 1])),
        [lowered, lowered],
        np.array([0, 1, 0, 1, 0, 1]),
        np.arange(6),
        starts,
    )
    for query, wanted in enumerate([0, 1, 2, 3, 4, 1]):
        of_files = [scores[query, owners == file].max() for file in range(5)]
        assert trial.plain_ranks[query] == 1 + sum(each > of_files[wanted] for each in of_files)
    reciprocal = []
    for alpha in ALPHAS:
        corrected = best_of_files(scores - alpha * lowered[2], starts)
        ranks = [1 + sum(row > row[wanted]) for row, wanted in zip(corrected, [0, 1, 2, 3, 4, 1], strict=True)]
        reciprocal.append(np.mean(1 / np.array(ranks)))
    tried = [mrr for setting, mrr in trial.mrr.items() if setting != NO_CORRECTION]
    np.testing.assert_allclose(tried, reciprocal)


def test_what_is_leafed_through_counts_files(tmp_path: Path) -> None:
    """A film, a document and a picture with tiles are one entry each, also where a filter leaves some of them."""
    day = datetime(2024, 5, 1)
    items = [photo("a/1.jpg"), *(tile("a/1.jpg", [left, 0, left + 0.5, 1]) for left in (0.0, 0.5))]
    items += [frame("a/trip.mp4", at) for at in range(50)] + [page("b.pdf", at) for at in (1, 2)] + [photo("2.jpg")]
    rows = [replace(row, taken_at=day + timedelta(seconds=at)) for at, row in enumerate(items)]
    vectors = unit_vectors(np.random.default_rng(0).normal(size=(len(rows), DIM))).astype(np.float32)
    for some in (slice(20), slice(20, None)):  # the film lies in two shards
        write_items(tmp_path / "g", [*zip(rows[some], vectors[some], strict=True)])
    opened = open_gallery(tmp_path / "g")
    ids = {name: row_id for row_id, _, name in opened.gallery.image_names()}
    assert count_facet(opened, "suffix") == [("jpg", 2), ("mp4", 1), ("pdf", 1)]
    assert count_facet(opened, "suffix", "start_s > 30") == [("mp4", 1)]
    assert [(each.path, each.count) for each in count_folders(opened, 1)] == [("a", 2)]
    shown = ["2.jpg", "b.pdf!/page=1", "a/trip.mp4!/t=0", "a/1.jpg"]
    assert make_timeline(opened).row_ids.tolist() == [ids[name] for name in shown]
    assert make_timeline(opened, "start_s > 30").row_ids.tolist() == [ids["a/trip.mp4!/t=31"]]
    held = info(tmp_path / "g")
    assert (held.images, held.files) == (56, 4)


def test_a_film_is_one_picture_of_an_album(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2, DIM))

    def near(centre: int, count: int) -> NDArray[np.float32]:
        return unit_vectors(centres[centre] + 0.25 * rng.normal(size=(count, DIM))).astype(np.float32)

    items = [*zip((photo(f"{number}.jpg") for number in range(40)), [*near(0, 20), *near(1, 20)], strict=True)]
    items += zip((frame("long.mp4", at) for at in range(30)), near(1, 30), strict=True)
    report = clusters(write_items(tmp_path / "g", items), k=2)
    names = {row_id: name for row_id, _, name in open_gallery(tmp_path / "g").gallery.image_names()}
    assert sorted(album.pictures for album in report.albums) == [20, 21]
    largest = [names[row_id].partition("!/")[0] for row_id in report.albums[0].row_ids.tolist()]
    assert sorted(largest) == sorted([*(f"{number}.jpg" for number in range(20, 40)), "long.mp4"])
    assert report.pictures == 41
