"""`calibrate`, and queries whose hits it corrects: equal to brute force, however they are asked."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.calibration import CalibrateOptions, calibrate
from mmsearch.calibration.pairs import read_pairs
from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.gallery import Gallery, open_writer
from mmsearch.indexing import IndexOptions, index
from mmsearch.scoring import CAUTIOUS, ScoresRecord, bank_means
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ItemPart, Query, TextPart
from mmsearch.search.retrieval import EXACT
from mmsearch.serve.client import Server
from tests import hubby
from tests.conftest import Command
from tests.fakes import provide
from tests.hubby import World
from tests.servers import running

PICTURES = 300


@pytest.fixture(scope="module")
def world() -> World:
    return World(PICTURES + 50)


@pytest.fixture(scope="module")
def calibrated(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures with a caption each, calibrated."""
    return hubby.write_calibrated(tmp_path_factory.mktemp("calibrated") / "g", world, PICTURES)


@pytest.fixture
def folder(calibrated: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(calibrated, tmp_path / "g"))


def record_of(folder: Path, table: str = "images") -> ScoresRecord:
    """What is stored."""
    scores = open_gallery(folder).retriever.scores(table)
    assert scores is not None
    return scores.record


def brute_force(folder: Path, world: World, text: str) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """(row ids best first, cosines, corrected scores) of all live pictures, from the definition."""
    gallery = Gallery.open(folder)
    blocks = [*gallery.vector_blocks("images")]
    row_ids = np.concatenate([block.row_ids for block in blocks])
    vectors = np.concatenate([block.vectors for block in blocks]).astype(np.float64)
    scores = open_gallery(folder).retriever.scores("images")
    assert scores is not None
    setting, bank = scores.record.correction, scores.bank
    all_scores = vectors @ bank.vectors.astype(np.float64).T
    means = np.array(
        [
            np.sort(all_scores[row][bank.owners != row_id])[::-1][: setting.k].mean()
            for row, row_id in enumerate(row_ids.tolist())
        ]
    )
    cosines = vectors @ world.said(text).astype(np.float64)
    corrected = cosines - setting.alpha * means
    order = np.lexsort((row_ids, -corrected))
    return row_ids[order].tolist(), cosines[order], corrected[order]


def test_hubs_are_found_less_and_it_is_said_how_that_was_measured(folder: Path, world: World) -> None:
    correction = record_of(folder).correction
    assert (correction.measured, correction.source, correction.bank) == (True, "captions", PICTURES // 2)
    assert (correction.queries, correction.searched) == (PICTURES, PICTURES)
    assert correction.alpha > 0
    assert correction.gain is not None
    assert 0 < correction.gain[1] < correction.gain[0] < correction.gain[2]
    assert correction.gain[0] == pytest.approx(correction.corrected["MRR"] - correction.plain["MRR"])
    opened = open_gallery(folder, encoder=world)
    asked = [Query([TextPart(f"{n} said again")], k=1) for n in range(PICTURES)]
    plain = [Query([TextPart(f"{n} said again")], k=1, correct="none") for n in range(PICTURES)]

    def first(queries: list[Query]) -> list[int]:
        return [answer.hits[0].row_id for answer in opened.ask_all(queries) if not isinstance(answer, Exception)]

    hubs, hubs_before = (sum(n % 10 == 0 for n in first(queries)) for queries in (asked, plain))
    right, right_before = (sum(np.equal(first(queries), np.arange(PICTURES))) for queries in (asked, plain))
    assert hubs < 0.6 * hubs_before
    assert right > right_before + 10


@pytest.mark.parametrize("k", [1, 10, 100, 400])
def test_the_answer_is_that_of_the_definition(folder: Path, world: World, k: int) -> None:
    opened = open_gallery(folder, encoder=world)
    for text in ("7 said again", "nothing at all"):
        hits = opened.ask(Query([TextPart(text)], k=k)).hits
        row_ids, cosines, corrected = brute_force(folder, world, text)
        assert [hit.row_id for hit in hits] == row_ids[:k]
        assert [hit.score for hit in hits] == pytest.approx(cosines[:k], abs=1e-9)
        assert [hit.corrected for hit in hits] == pytest.approx(corrected[:k], abs=1e-6)
        plain = opened.ask(Query([TextPart(text)], k=k, correct="none")).hits
        assert [hit.score for hit in plain] == sorted((hit.score for hit in plain), reverse=True)
        assert {hit.corrected for hit in plain} == {None}
        assert plain == opened.query(text, k=k) or hits != plain


def test_also_beside_filters_pages_and_what_limits_the_answer(folder: Path, world: World) -> None:
    opened = open_gallery(folder, encoder=world)
    asked = [TextPart("7 said again")]
    row_ids, cosines, _ = brute_force(folder, world, "7 said again")
    fours = [row_id for row_id in row_ids if row_id % 10 == 4]
    assert [hit.row_id for hit in opened.ask(Query(asked, k=20, where="path LIKE '%4.jpg'")).hits] == fours[:20]
    assert [hit.row_id for hit in opened.ask(Query(asked, k=5, offset=7)).hits] == row_ids[7:12]
    high = [row_id for row_id, cosine in zip(row_ids, cosines, strict=True) if cosine >= 0.2]
    assert 3 < len(high) < PICTURES
    limited = opened.ask(Query(asked, k=PICTURES, min_score=0.2))
    assert ([hit.row_id for hit in limited.hits], limited.more) == (high, False)
    everything = opened.ask(Query(asked, k=PICTURES)).hits
    kept: list[int] = []
    for hit in everything:
        near = world.images[[hit.row_id]].astype(np.float16).astype(np.float32)
        if not kept or (near @ world.images[kept].astype(np.float16).astype(np.float32).T).max() < 0.6:
            kept.append(hit.row_id)
    assert len(kept) < PICTURES
    assert [hit.row_id for hit in opened.ask(Query(asked, k=9, distinct=0.6)).hits] == kept[:9]


def test_rows_that_came_since_are_corrected_and_those_that_went_are_gone(folder: Path, world: World) -> None:
    opened = open_gallery(folder, encoder=world, hold=1 << 30)
    opened.query("7 said again")
    hubby.write(folder, world, pictures=range(PICTURES, PICTURES + 50))
    with open_writer(folder, command="tests") as writer:
        writer.set_encoder(hubby.IDENTITY)
        writer.delete("images", [3, 5, 310])
        writer.commit()
    row_ids, _, corrected = brute_force(folder, world, "320 said again")
    assert len(row_ids) == PICTURES + 50 - 3
    for gallery in (opened.newest(), open_gallery(folder, encoder=world)):
        for _ in range(2):  # the second time the means of the new rows are known
            hits = gallery.ask(Query([TextPart("320 said again")], k=400)).hits
            assert [hit.row_id for hit in hits] == row_ids
            assert [hit.corrected for hit in hits] == pytest.approx(corrected, abs=1e-6)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "PQ8x4fs", "HNSW16"])
def test_through_an_index(folder: Path, world: World, factory: str) -> None:
    """Looking at everything, it finds what exact search does; and rows that it does not cover."""
    index(folder, options=IndexOptions(factory=factory, recall_target=1.0, encoder=world))
    hubby.write(folder, world, pictures=range(PICTURES, PICTURES + 20))
    opened = open_gallery(folder, encoder=world)
    shares = []
    for n in range(0, PICTURES + 20, 8):
        asked = Query([TextPart(f"{n} said again")])
        exact, indexed = opened.ask(asked, options=EXACT).hits, opened.ask(asked).hits
        shares.append(len({hit.row_id for hit in exact} & {hit.row_id for hit in indexed}) / 10)
        both = {hit.row_id: hit.corrected for hit in exact}
        for hit in indexed:
            assert both.get(hit.row_id, hit.corrected) == hit.corrected
        assert [hit.corrected for hit in indexed] == sorted((hit.corrected or 0 for hit in indexed), reverse=True)
    assert np.mean(shares) >= 0.98


def test_only_what_asks_as_the_bank_does_is_corrected(folder: Path, world: World) -> None:
    """Pictures are corrected for texts, captions for pictures; a picture among pictures is not."""
    opened = open_gallery(folder, encoder=world)
    assert {hit.corrected for hit in opened.ask(Query([ItemPart(7)])).hits} == {None}
    assert {hit.corrected for hit in opened.ask(Query([ItemPart(7), TextPart("7 x")])).hits} == {None}
    assert {hit.corrected for hit in opened.ask(Query([TextPart("7 x")], table="captions")).hits} == {None}
    captions = record_of(folder, "captions").correction
    corrected = {hit.corrected for hit in opened.ask(Query([ItemPart(7)], table="captions")).hits}
    assert (corrected == {None}) == (captions.alpha == 0)


def test_a_pictures_own_captions_do_not_count_for_it(folder: Path, world: World) -> None:
    scores = open_gallery(folder).retriever.scores("images")
    assert scores is not None
    k = scores.record.correction.k
    stored = scores.lowered(np.arange(PICTURES), lambda _: pytest.fail("all are known"), alpha=1.0)
    images = world.images[:PICTURES].astype(np.float16)
    without = bank_means(images, scores.bank.vectors, (k,), owners=np.arange(PICTURES), bank_owners=scores.bank.owners)
    assert stored == pytest.approx(without[k], abs=1e-6)
    assert (bank_means(images, scores.bank.vectors, (k,))[k] > stored + 1e-3).sum() > PICTURES / 3


def test_what_was_not_seen_to_help_is_not_stored(tmp_path: Path) -> None:
    world = World(PICTURES, hubs=None)
    captions = [f"{n} said once" for n in range(PICTURES)]
    hubby.write(tmp_path / "g", world, pictures=range(PICTURES), captions=captions)
    calibrate(tmp_path / "g")
    correction = record_of(tmp_path / "g").correction
    assert (correction.alpha, correction.measured) == (0, True)
    assert "no correction" in correction.why
    hits = open_gallery(tmp_path / "g", encoder=world).ask(Query([TextPart("7 again")])).hits
    assert {hit.corrected for hit in hits} == {None}


def test_without_captions_nothing_is_measured_and_nothing_applied_unasked(tmp_path: Path, world: World) -> None:
    hubby.write(tmp_path / "g", world, pictures=range(PICTURES))
    report = calibrate(tmp_path / "g", options=CalibrateOptions(encoder=world))
    images, captions = report.tables
    assert images.record is not None
    correction = images.record.correction
    assert (correction.measured, correction.alpha, correction.k) == (False, CAUTIOUS.alpha, CAUTIOUS.k)
    assert correction.source == "general captions"
    assert "not measured" in correction.why
    assert (captions.outcome, captions.record) == ("left out", None)
    opened = open_gallery(tmp_path / "g", encoder=world)
    assert opened.query("7 again")[0].corrected is None
    row_ids, _, _ = brute_force(tmp_path / "g", world, "7 again")
    hits = opened.ask(Query([TextPart("7 again")], correct="general")).hits
    assert [hit.row_id for hit in hits] == row_ids[:10]


def test_a_general_correction_needs_something_to_correct_with(tmp_path: Path, world: World) -> None:
    hubby.write(tmp_path / "g", world, pictures=range(5))
    with pytest.raises(QueryError, match="mmsearch calibrate"):
        open_gallery(tmp_path / "g", encoder=world).ask(Query([TextPart("7")], correct="general"))
    with pytest.raises(QueryError, match="one of measured, general, none"):
        Query([TextPart("7")], correct="always")


def test_what_is_there_is_kept_until_the_gallery_is_another_one(folder: Path, world: World) -> None:
    stale = CalibrateOptions(only_if_stale=True)
    version = Gallery.open(folder).manifest.version
    assert {table.outcome for table in calibrate(folder, options=stale).tables} == {"kept"}
    assert Gallery.open(folder).manifest.version == version
    hubby.write(folder, World(900), pictures=range(400, 500))
    assert [table.outcome for table in calibrate(folder, options=stale).tables] == ["calibrated", "kept"]


def test_captions_and_their_pictures_are_paired(tmp_path: Path, world: World) -> None:
    hubby.write(tmp_path / "g", world, pictures=range(3), captions=["2 x", "0 x", "9 x", "2 y"])
    pairs = read_pairs(Gallery.open(tmp_path / "g"))
    assert (pairs.captions.tolist(), pairs.images.tolist()) == ([0, 1, 2, 3], [2, 0, -1, 2])
    assert (pairs.linked().captions.tolist(), pairs.linked().images.tolist()) == ([0, 1, 3], [2, 0, 2])


@pytest.mark.parametrize("gone", ["", "moments.npy"])
def test_scores_that_are_gone_are_made_anew(folder: Path, gone: str) -> None:
    """Also those of which a part is, as that which older ones never had."""
    entry = Gallery.open(folder).scores_for("images")
    assert entry is not None
    scores = Gallery.open(folder).scores_folder(entry.name)
    if gone:
        (scores / gone).unlink()
    else:
        shutil.rmtree(scores)
    assert [table.outcome for table in calibrate(folder, options=CalibrateOptions(only_if_stale=True)).tables] == [
        "calibrated",
        "kept",
    ]
    assert record_of(folder).correction.alpha > 0


@pytest.mark.parametrize("name", ["record.json", "bank.npy", "means.npy", "moments.npy"])
def test_damaged_scores_are_said_and_passed_by(folder: Path, world: World, name: str) -> None:
    plain = open_gallery(folder, encoder=world).ask(Query([TextPart("7 again")], correct="none")).hits
    entry = Gallery.open(folder).scores_for("images")
    assert entry is not None
    (Gallery.open(folder).scores_folder(entry.name) / name).write_bytes(b"damaged")
    opened: OpenGallery = open_gallery(folder, encoder=world)
    with pytest.warns(MmsearchWarning, match="mmsearch calibrate"):
        hits = opened.ask(Query([TextPart("7 again")])).hits
    assert hits == plain


def test_an_empty_gallery_is_told_what_to_do(tmp_path: Path, world: World, mmsearch: Command) -> None:
    hubby.write(tmp_path / "g", world, pictures=(), captions=["1 x"])
    done = mmsearch("calibrate", "-g", tmp_path / "g")
    assert done.code == 1
    assert "mmsearch embed" in done.err


def test_the_command_says_what_was_measured(folder: Path, mmsearch: Command) -> None:
    done = mmsearch("calibrate", "-g", folder)
    assert "corrected by" in done.out
    assert "R@1" in done.out
    assert "300 captions" in done.out


def test_what_was_corrected_is_told_in_every_form(
    folder: Path, world: World, command_line: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is told of it where nothing was."""
    provide(monkeypatch, lambda _: world)
    asked = ("query", "17 said again", "-g", folder, "-k", 3)
    hits = open_gallery(folder, encoder=world).ask(Query([TextPart("17 said again")], k=3)).hits
    lines = [json.loads(line) for line in command_line(*asked, "--format", "jsonl").out.splitlines()]
    assert [line["corrected"] for line in lines] == [hit.corrected for hit in hits]
    header, *rows = csv.reader(command_line(*asked, "--format", "csv").out.splitlines())
    assert [float(row[header.index("corrected")]) for row in rows] == [hit.corrected for hit in hits]
    run = [line.split() for line in command_line(*asked, "--format", "trec").out.splitlines()]
    assert [float(score) for *_, score, _ in run] == pytest.approx([hit.corrected for hit in hits], abs=1e-6)
    plain = command_line(*asked, "--format", "jsonl", "--no-correct").out.splitlines()
    assert "corrected" not in json.loads(plain[0])
    assert "corrected" not in command_line(*asked, "--format", "csv", "--no-correct").out
    (folder.parent / "asked.txt").write_text("17 said again\n")
    batch = ("query", "--from-file", folder.parent / "asked.txt", "-g", folder, "-k", 3)
    assert [json.loads(line)["corrected"] for line in command_line(*batch).out.splitlines()] == [
        hit.corrected for hit in hits
    ]
    assert "corrected" not in command_line(*batch, "--no-correct").out
    info = command_line("info", "-g", folder).out
    assert "scores    images: corrected by" in info


def test_the_server_corrects_too(folder: Path, world: World) -> None:
    query = Query([TextPart("17 said again")], k=5)
    with running(folder, encoder=world) as site, Server(site.url) as server:
        hits, plain = (server.ask(each).hits for each in (query, replace(query, correct="none")))
    opened = open_gallery(folder, encoder=world)
    right = [(hit.row_id, hit.corrected) for hit in opened.ask(query).hits]
    assert [(hit.row_id, hit.corrected) for hit in hits] == right
    assert {hit.corrected for hit in plain} == {None}
