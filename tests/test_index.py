"""Indexes: built by rule or by order, measured against exact search, and right whatever happens to the gallery."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.errors import AnnIndexError, GalleryNotFound
from mmsearch.exact import exact_search
from mmsearch.gallery import Gallery, open_writer
from mmsearch.pipeline.index import FLAT_ROWS, IndexOptions, IndexReport, automatic_factory, index
from mmsearch.pipeline.query import EXACT, OpenGallery, SearchOptions
from mmsearch.records import CaptionRow, EncoderIdentity, ImageRow, ItemTable

DIM = 16
ENCODER = EncoderIdentity("tests", "sha256:0123", DIM)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def clustered(count: int, seed: int, *, away: float = 0.0) -> np.ndarray:
    """Vectors around forty centres; `away` moves all of them, as the modality gap moves texts."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, DIM))
    shift = np.random.default_rng(98).normal(size=DIM) * away
    return unit(centres[rng.integers(40, size=count)] + 0.4 * rng.normal(size=(count, DIM)) + shift)


def add(folder: Path, images: int = 0, captions: int = 0, *, seed: int = 0, delete: tuple[int, ...] = ()) -> None:
    with open_writer(folder, command="test") as writer:
        writer.begin(ENCODER)
        if images:
            rows = [ImageRow(1, f"{seed}-{n}", None, 1, 1, None, b"", 1, 1, None) for n in range(images)]
            writer.append("images", rows, clustered(images, seed))
        if captions:
            texts = [CaptionRow(f"caption {n}", None, None, None, "file", n) for n in range(captions)]
            writer.append("captions", texts, clustered(captions, seed + 1, away=1.0))
        writer.delete("images", delete)
        writer.commit()


def indexed(folder: Path, *, table: ItemTable = "images", **options: Any) -> IndexReport:
    return index(folder, table=table, options=IndexOptions(**options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    add(tmp_path / "g", images=2000, captions=200)
    return tmp_path / "g"


def test_the_rule_is_flat_while_that_is_quick() -> None:
    assert automatic_factory(1, 512) == automatic_factory(FLAT_ROWS - 1, 512) == "Flat"
    assert automatic_factory(100_000, 512) == "IVF256,PQ256x4fsr"
    assert automatic_factory(1_000_000, 768) == "IVF1024,PQ384x4fsr"
    assert automatic_factory(10**9, 1152, dimensions_a_code=16) == "IVF32768_HNSW32,PQ72x4fsr"


def test_a_flat_index_has_recall_one_and_says_so(folder: Path) -> None:
    report = index(folder)
    assert (report.factory, report.rows, report.reached) == ("Flat", 2000, True)
    assert [(recall.kind, recall.mean) for recall in report.recall] == [("image", 1.0), ("text", 1.0)]


def test_effort_is_the_cheapest_that_reaches_the_target(folder: Path) -> None:
    """And the recall that is reported is what an independent count over fresh hits gives."""
    low = indexed(folder, factory="IVF64,Flat", recall_target=0.5)
    high = indexed(folder, factory="IVF64,Flat", recall_target=0.99)
    assert low.effort.nprobe is not None
    assert high.effort.nprobe is not None
    assert low.effort.nprobe < high.effort.nprobe
    assert low.reached
    assert high.reached
    gallery = OpenGallery(Gallery.open(folder))
    queries = np.concatenate([block.vectors for block in gallery.gallery.vector_blocks("captions")]).astype(np.float32)
    found = gallery.search(queries, k=10).row_ids
    exact = gallery.search(queries, k=10, options=EXACT).row_ids
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert overlap == pytest.approx(next(r.mean for r in high.recall if r.kind == "text"), abs=1e-9)


def test_text_queries_decide_where_they_are_the_harder_ones(folder: Path) -> None:
    """Tuned on images alone the effort would be too small for texts: both have to reach the target."""
    report = indexed(folder, factory="IVF64,Flat", recall_target=0.95)
    assert all(recall.mean is not None and recall.mean >= 0.95 for recall in report.recall)
    assert report.effort.nprobe is not None
    gallery = OpenGallery(Gallery.open(folder))
    texts = np.concatenate([block.vectors for block in gallery.gallery.vector_blocks("captions")]).astype(np.float32)
    less = SearchOptions(nprobe=max(1, report.effort.nprobe // 2))
    found, exact = (gallery.search(texts, k=10, options=options).row_ids for options in (less, EXACT))
    text = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert text < 0.95


def test_what_is_measured_is_what_a_query_gets(folder: Path) -> None:
    """With lossy codes more is asked for than returned, in the measurement as in the query: no free candidate."""
    report = indexed(folder, factory="IVF8,PQ4x4fs", recall_target=0.9)
    gallery = OpenGallery(Gallery.open(folder))
    texts = np.concatenate([block.vectors for block in gallery.gallery.vector_blocks("captions")]).astype(np.float32)
    found, exact = (gallery.search(texts, k=10, options=options).row_ids for options in (SearchOptions(), EXACT))
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert overlap == pytest.approx(next(r.mean for r in report.recall if r.kind == "text"), abs=1e-9)


def test_out_of_reach_the_effort_is_not_wasted(folder: Path) -> None:
    """Codes of two bytes cannot reach .99: more lists do not help, and the report says that it was not reached."""
    report = indexed(folder, factory="IVF64,PQ2x4", recall_target=0.999)
    assert not report.reached
    assert report.effort.nprobe is not None
    assert report.effort.nprobe < 64


def test_without_captions_the_effort_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could ask with texts, which need more than the images that could: four times what these need."""
    from mmsearch.pipeline import index as module

    for name in "gh":
        add(tmp_path / name, images=2000)
    raised = indexed(tmp_path / "g", factory="IVF64,Flat", recall_target=0.6)
    monkeypatch.setattr(module, "UNMEASURED_FACTOR", 1)
    least = indexed(tmp_path / "h", factory="IVF64,Flat", recall_target=0.6)
    assert least.effort.nprobe is not None
    assert raised.effort.nprobe == 4 * least.effort.nprobe


def test_without_captions_text_recall_is_said_to_be_unmeasured(tmp_path: Path) -> None:
    add(tmp_path / "g", images=100)
    report = index(tmp_path / "g")
    (text,) = [recall for recall in report.recall if recall.kind == "text"]
    assert text.mean is None
    assert "unmeasured" in (text.unmeasured or "")


def test_indexing_again_does_nothing_until_something_changed(folder: Path) -> None:
    first = index(folder)
    again = index(folder)
    assert again.reused
    assert (again.name, again.recall) == (first.name, first.recall)
    add(folder, images=10, seed=5)
    grown = index(folder)
    assert not grown.reused
    assert grown.rows == 2010
    assert len(Gallery.open(folder).manifest.indexes) == 1  # the new one takes the place of the old


def test_captions_have_an_index_of_their_own(folder: Path) -> None:
    index(folder)
    report = index(folder, table="captions")
    assert (report.table, report.rows) == ("captions", 200)
    gallery = Gallery.open(folder)
    assert {entry.table for entry in gallery.manifest.indexes} == {"images", "captions"}
    query = clustered(1, 3)
    found = OpenGallery(gallery).search(query, k=5, table="captions")
    assert np.array_equal(found.row_ids, exact_search(gallery.vector_blocks("captions"), query, 5).row_ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factory": "IVF9999999999"}, "factory string"),
        ({"factory": "IVF4096,Flat"}, "4,096"),
        ({"recall_target": 1.5}, "out of reach"),
        ({"k": 0}, "out of reach"),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_reason(folder: Path, arguments: dict, message: str) -> None:
    with pytest.raises(AnnIndexError, match=message):
        indexed(folder, **arguments)
    assert Gallery.open(folder).manifest.indexes == ()


def test_nothing_to_index(tmp_path: Path) -> None:
    with pytest.raises(GalleryNotFound):
        index(tmp_path / "g")
    add(tmp_path / "g", images=3)
    with pytest.raises(AnnIndexError, match="--captions"):
        index(tmp_path / "g", table="captions")


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW8", "IVF8,SQ8", "IVF8,PQ4,RFlat"])
def test_indexes_of_each_kind_leave_out_the_dead_and_score_exactly(folder: Path, factory: str) -> None:
    indexed(folder, factory=factory)
    add(folder, images=50, seed=7, delete=tuple(range(0, 2000, 3)))
    gallery = Gallery.open(folder)
    live = {int(row_id) for block in gallery.vector_blocks("images") for row_id in block.row_ids}
    queries = clustered(20, 12)
    found = OpenGallery(gallery).search(queries, k=20)
    for query, row_ids, scores in zip(queries, found.row_ids, found.scores, strict=True):
        assert set(row_ids.tolist()) <= live
        assert len(set(row_ids.tolist())) == 20
        stored = gallery.vectors("images", row_ids).astype(np.float64)
        np.testing.assert_allclose(scores, stored @ query.astype(np.float64), atol=1e-12)
        assert np.all(np.diff(scores) <= 0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["add", "delete", "flat", "ivf"]), max_size=8), st.integers(0, 1000))
def test_exhaustive_indexes_answer_as_exact_search_after_any_history(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    """Flat, and IVF with every list visited: whatever was added and deleted before and after they were built."""
    folder = tmp_path_factory.mktemp("g")
    rng = np.random.default_rng(seed)
    add(folder, images=40, seed=seed)
    for number, step in enumerate(steps):
        gallery = Gallery.open(folder)
        live = np.concatenate([block.row_ids for block in gallery.vector_blocks("images")])
        if step == "add":
            add(folder, images=7, seed=seed + number + 1)
        elif step == "delete":
            add(folder, delete=tuple(rng.choice(live, size=5, replace=False).tolist()) if len(live) > 12 else ())
        else:
            indexed(folder, factory="Flat" if step == "flat" else "IVF4,Flat")
        answers = OpenGallery(Gallery.open(folder))
        queries = clustered(3, seed + 50)
        exact = answers.search(queries, k=9, options=EXACT)
        found = answers.search(queries, k=9, options=SearchOptions(nprobe=4))
        assert found.row_ids.tolist() == exact.row_ids.tolist()
        np.testing.assert_allclose(found.scores, exact.scores, atol=1e-12)


def test_the_gap_between_text_and_image_queries_on_real_vectors(tmp_path: Path, shared_data: Path) -> None:
    """On CLIP's own vectors a small IVF index that serves image queries well serves text queries worse."""
    vectors = np.load(shared_data / "modality_gap_clip_vitb16_coco500" / "features_clip.npy")
    images, texts = unit(vectors[0]), unit(vectors[1])
    with open_writer(tmp_path / "g", command="test") as writer:
        writer.begin(EncoderIdentity("clip", "sha256:1", 512))
        writer.append("images", [ImageRow(1, str(n), None, 1, 1, None, b"", 1, 1, None) for n in range(500)], images)
        writer.append("captions", [CaptionRow(str(n), None, None, None, "f", n) for n in range(500)], texts)
        writer.commit()
    report = indexed(tmp_path / "g", factory="IVF16,Flat", recall_target=0.01)  # the least effort: one list
    assert report.effort.nprobe == 1
    recall = {found.kind: found.mean or 0 for found in report.recall}
    assert recall["text"] < recall["image"]
