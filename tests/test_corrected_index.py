"""Corrected searches through an index: their recall is measured by corrected exact neighbours, and has an effort."""

import json
import re
import shutil
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort
from mmsearch.calibration import CalibrateOptions, calibrate
from mmsearch.errors import MmsearchWarning
from mmsearch.gallery import Gallery, open_writer
from mmsearch.indexing import IndexOptions, index
from mmsearch.scoring import CorrectedEffort, ScoresRecord
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.retrieval import EXACT, SearchOptions
from mmsearch.upkeep.maintenance import compact
from tests import hubby
from tests.conftest import Command
from tests.hubby import World

pytestmark = pytest.mark.soak

PICTURES, CAPTIONS = 2000, 1000
TARGET = 0.9
FACTORY = "IVF64,PQ8x4fsr"
AS_TUNED = SearchOptions()
STALE = CalibrateOptions(only_if_stale=True)


@pytest.fixture(scope="module")
def world() -> World:
    return World(PICTURES + 100)


@pytest.fixture(scope="module")
def tuned(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, captions of some of them, an index, and scores that were calibrated beside it."""
    folder = tmp_path_factory.mktemp("tuned") / "g"
    captions = [f"{n} said once" for n in range(CAPTIONS)]
    hubby.write(folder, world, pictures=range(PICTURES), captions=captions)
    index(folder, options=IndexOptions(factory=FACTORY, recall_target=TARGET))
    calibrate(folder)
    return folder


@pytest.fixture
def folder(tuned: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(tuned, tmp_path / "g"))


def record_of(folder: Path) -> ScoresRecord:
    """What is stored."""
    scores = open_gallery(folder).retriever.scores("images")
    assert scores is not None
    return scores.record


def effort_of(folder: Path) -> CorrectedEffort:
    """How corrected searches go through the index."""
    through_index = record_of(folder).through_index
    assert through_index is not None
    return through_index


def corrected_recall(folder: Path, world: World, options: SearchOptions = AS_TUNED) -> float:
    """Of the ten best by the corrected score, of texts that nothing was tuned with."""
    texts = np.stack([world.said(f"{n} said again") for n in range(1, PICTURES, 20)])
    retriever = open_gallery(folder).retriever
    alpha = record_of(folder).correction.alpha
    exact, found = (
        retriever.search(texts, k=10, table="images", options=how, alpha=alpha).row_ids for how in (EXACT, options)
    )
    return float(np.mean([np.isin(exact[row], found[row]).mean() for row in range(len(texts))]))


def test_corrected_searches_reach_what_the_index_was_asked_for(tuned: Path, world: World) -> None:
    """By an effort of their own, on texts that neither chose it nor judged it."""
    stored, entry = effort_of(tuned), Gallery.open(tuned).index_for("images")
    assert entry is not None
    assert (stored.index, stored.recall_target, stored.reached) == (entry.name, TARGET, True)
    assert (stored.recall.kind, stored.recall.source, stored.recall.n_queries) == ("text", "captions", 500)
    found = corrected_recall(tuned, world)
    assert found >= TARGET
    assert stored.recall.mean == pytest.approx(found, abs=0.03)
    assert corrected_recall(tuned, world, SearchOptions(nprobe=1)) < TARGET - 0.1  # what is asked for goes first


def test_the_effort_is_used_and_without_one_plain_searches_are_followed(folder: Path, world: World) -> None:
    """As in galleries that were calibrated before there was one."""
    entry = Gallery.open(folder).scores_for("images")
    assert entry is not None
    file = Gallery.open(folder).scores_folder(entry.name) / "record.json"
    document = json.loads(file.read_text())
    document["through_index"]["effort"] = {"nprobe": 1, "ef_search": None, "k_factor": 2}
    file.write_text(json.dumps(document))
    assert record_of(folder).effort_for(effort_of(folder).index) == Effort(nprobe=1, k_factor=2)
    least = corrected_recall(folder, world)
    assert least < TARGET - 0.1
    del document["through_index"]
    file.write_text(json.dumps(document))
    assert record_of(folder).through_index is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert least < corrected_recall(folder, world) <= 1


def test_another_index_makes_it_stale_and_that_is_said(folder: Path, world: World, mmsearch: Command) -> None:
    before, means = effort_of(folder), record_of(folder).highest
    index(folder, options=IndexOptions(factory="IVF32,PQ8x4fsr", recall_target=TARGET))
    entry, scores = Gallery.open(folder).index_for("images"), Gallery.open(folder).scores_for("images")
    assert entry is not None
    assert scores is not None
    assert record_of(folder).effort_for(entry.name) == Effort()
    with pytest.warns(MmsearchWarning, match="tuned for an index that was there before.*mmsearch calibrate"):
        corrected_recall(folder, world)
    assert "through the index: not tuned for this one (mmsearch calibrate)" in mmsearch("info", "-g", folder).out
    hubby.write(folder, world, pictures=range(PICTURES, PICTURES + 100))
    images, captions = calibrate(folder, options=STALE).tables
    assert (images.outcome, captions.outcome) == ("tuned", "kept")
    assert effort_of(folder).index == entry.name != before.index
    now = Gallery.open(folder).scores_for("images")
    assert now is not None
    assert (now.rows, record_of(folder).highest) == (scores.rows, means)  # the scores are as old as they were
    assert calibrate(folder, options=STALE).tables[0].outcome == "kept"
    assert corrected_recall(folder, world) >= TARGET


def test_it_stays_when_the_gallery_is_compacted(folder: Path, world: World) -> None:
    before = effort_of(folder)
    with open_writer(folder, command="tests") as writer:
        writer.set_encoder(hubby.IDENTITY)
        writer.delete("images", range(0, 300, 3))
        writer.commit()
    compact(folder)
    assert effort_of(folder) == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert corrected_recall(folder, world) >= TARGET - 0.02


def test_a_server_that_searched_without_it_takes_it_when_it_comes(folder: Path, world: World) -> None:
    """What is open goes on: its codes are not moved under those that search it."""
    opened = open_gallery(folder)
    texts = np.stack([world.said(f"{n} said again") for n in range(20)])
    plain = opened.retriever.search(texts, k=10, table="images").row_ids
    held = opened.retriever._index(opened.gallery, "images")
    assert held is not None
    alpha = record_of(folder).correction.alpha
    corrected = opened.retriever.search(texts, k=10, table="images", alpha=alpha)
    assert corrected.corrected is not None
    assert opened.retriever._index(opened.gallery, "images") is not held
    assert np.isin(held.neighbours(texts, 10).row_ids, plain).all()
    again = opened.retriever.search(texts, k=10, table="images").row_ids
    assert np.mean([np.isin(again[row], plain[row]).mean() for row in range(20)]) > 0.95


def test_a_newer_version_shares_no_index_whose_codes_are_being_moved(
    folder: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its searches would look into lists that are being emptied."""
    opened = open_gallery(folder)
    lower, shared = AnnIndex.lower, list[AnnIndex | None]()
    took = threading.Event()

    def take_over() -> None:
        newer = opened.retriever.for_version(opened.gallery)
        shared.extend(newer._indexes.values())
        took.set()

    def lower_meanwhile(index: AnnIndex, lowered: NDArray[np.float64]) -> bool:
        threading.Thread(target=take_over).start()
        assert not took.wait(0.5), "an index was handed on while its codes were moved"
        return lower(index, lowered)

    monkeypatch.setattr(AnnIndex, "lower", lower_meanwhile)
    alpha = record_of(folder).correction.alpha
    opened.retriever.search(world.said("5 said again")[None], k=10, table="images", alpha=alpha)
    assert took.wait(60)
    (index,) = shared
    assert index is opened.retriever._index(opened.gallery, "images")


def test_what_is_found_is_said_and_where_it_is_not_enough(folder: Path, mmsearch: Command) -> None:
    told = f"through the index: recall {effort_of(folder).recall.mean:.4f}"
    assert told in mmsearch("info", "-g", folder).out
    done = mmsearch("index", "-g", folder, "--factory", "IVF64,PQ2x4fsr", "--recall-target", 1)
    assert re.search(r"through the index: recall 0.\d{4} .* of the corrected exact neighbours, nprobe \d+", done.out)
    assert "corrected searches through the index do not reach its target of 1" in done.err
    assert not effort_of(folder).reached


def test_what_nobody_measured_and_what_is_not_there_is_not_tuned(tmp_path: Path, world: World) -> None:
    hubby.write(tmp_path / "g", world, pictures=range(500))
    index(tmp_path / "g", options=IndexOptions(factory="IVF8,PQ8x4fsr", encoder=world))
    calibrate(tmp_path / "g", options=CalibrateOptions(encoder=world))
    assert record_of(tmp_path / "g").through_index is None
    before = hubby.write_calibrated(tmp_path / "h", world, 300)
    assert record_of(before).through_index is None


def test_a_record_is_read_as_it_was_written(tuned: Path) -> None:
    stored = effort_of(tuned)
    assert isinstance(stored.effort, Effort)
    assert replace(stored) == stored
    assert effort_of(tuned) == stored
    assert 0 < (stored.recall.low or 0) <= (stored.recall.mean or 0) <= 1
