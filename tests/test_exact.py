"""Exact search answers as a float64 argsort of everything would, whatever the blocks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch import exact
from mmsearch.exact import (
    Neighbours,
    VectorBlock,
    Vectors,
    best_of_queries,
    exact_search,
    highest_scores,
    merge,
    rescore,
)
from tests.vectors import random_unit_vectors, unit_vectors


def blocks_of(row_ids: NDArray[np.int64], vectors: Vectors, sizes: list[int]) -> list[VectorBlock]:
    """Blocks of the given sizes in turn, the last one again and again; row ids ascend in each."""
    blocks, start = [], 0
    while start < len(row_ids):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        some = np.arange(start, min(start + size, len(row_ids)))
        some = some[np.argsort(row_ids[some])]
        blocks.append(VectorBlock(row_ids[some], vectors[some]))
        start += size
    return blocks


def argsort_oracle(row_ids: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The k best row ids of a full (n_queries, rows) float64 matrix; of equal scores the lower id."""
    order = np.stack([np.lexsort((row_ids, -line)) for line in scores])
    return row_ids[order[:, :k]]


@st.composite
def searches(draw: st.DrawFn) -> tuple[NDArray[np.int64], Vectors, NDArray[np.float32], list[int], int]:
    """Few distinct vectors of small integers / 64: many exact duplicates, and float64 sums without any rounding,
    so that a matrix product is an oracle to the last bit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, dim, n_queries = draw(st.integers(1, 60)), draw(st.integers(1, 9)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    distinct = rng.integers(-8, 9, (draw(st.integers(1, rows)), dim)) / 64
    vectors = distinct[rng.integers(0, len(distinct), rows)].astype(dtype)
    queries = (rng.integers(-8, 9, (n_queries, dim)) / 64).astype(np.float32)
    row_ids = rng.permutation(rows * 3)[:rows].astype(np.int64)
    sizes = draw(st.lists(st.integers(1, 17), min_size=1, max_size=4))
    return row_ids, vectors, queries, sizes, draw(st.integers(1, 70))


@settings(deadline=None, max_examples=300)
@given(searches(), st.integers(1, 40), st.integers(1, 40))
def test_equals_float64_argsort_with_duplicates(
    search: tuple[NDArray[np.int64], Vectors, NDArray[np.float32], list[int], int], tile: int, slab: int
) -> None:
    """Ties are where implementations differ: ids must be equal, not only scores. Bounds on memory must not show."""
    row_ids, vectors, queries, sizes, k = search
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_TILE_ELEMENTS", tile)
        patch.setattr(exact, "_SLAB_SCORES", slab)
        patch.setattr(exact, "_PAIR_ELEMENTS", tile)
        found = exact_search(blocks_of(row_ids, vectors, sizes), queries, k)
    full = queries.astype(np.float64) @ vectors.astype(np.float64).T
    assert np.array_equal(found.row_ids, argsort_oracle(row_ids, full, k))
    assert np.array_equal(found.scores, -np.sort(-full, axis=1)[:, :k])


def near_ties(rng: np.random.Generator, rows: int, dim: int, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows whose scores with the query differ by about 1e-8: float32 cannot order them."""
    noise = rng.standard_normal((rows, dim))
    across = noise - np.outer(noise @ query, query) / (query @ query)
    along = 0.5 + rng.standard_normal((rows, 1)) * 1e-8
    vectors = along * query + np.sqrt(0.75) * across / np.linalg.norm(across, axis=1, keepdims=True)
    return np.asarray(vectors, np.float32)


def test_near_ties_are_ordered_by_float64() -> None:
    """Scores 1e-8 apart: the float32 pass alone gives another order, so this fails without the second scoring."""
    rng = np.random.default_rng(0)
    query = random_unit_vectors(rng, 256)
    vectors = near_ties(rng, 3000, 256, query)
    full = np.array([[float(row.astype(np.longdouble) @ query.astype(np.longdouble)) for row in vectors]])
    assert len(np.unique((vectors @ query).round(9))) < len(vectors)  # the trap is set
    found = exact_search(blocks_of(np.arange(3000), vectors, [700]), query[None], k=20)
    assert np.array_equal(found.row_ids, argsort_oracle(np.arange(3000), full, 20))


def test_equal_vectors_have_equal_scores_wherever_they_stand() -> None:
    """A copied photo must tie with its original to the last bit, or "lower row id first" would be left to chance."""
    rng = np.random.default_rng(1)
    one = rng.standard_normal(512)
    vectors = np.repeat((one / np.linalg.norm(one)).astype(np.float16)[None], 5003, axis=0)
    queries = rng.standard_normal((7, 512)).astype(np.float32) / np.float32(23)
    found = exact_search(blocks_of(np.arange(5003), vectors, [1, 3, 997]), queries, k=5003)
    assert np.array_equal(found.row_ids, np.tile(np.arange(5003), (7, 1)))
    assert (found.scores == found.scores[:, :1]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_agrees_with_argsort_on_unit_vectors(dtype: type) -> None:
    """Realistic sizes and both storage types; thousands of rows pass through several slabs and sorts."""
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((20_000, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)
    queries = rng.standard_normal((300, 64)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    full = queries.astype(np.float64) @ vectors.astype(np.float64).T
    found = exact_search(blocks_of(np.arange(20_000), vectors, [4096]), queries, k=25)
    assert np.array_equal(found.row_ids, argsort_oracle(np.arange(20_000), full, 25))
    assert np.abs(found.scores - -np.sort(-full, axis=1)[:, :25]).max() < 1e-14


def test_every_finite_half_is_widened_exactly() -> None:
    """The conversion moves bits by hand: all 63,488 finite halves, subnormal and negative ones too, must be right."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][:, None]
    wide = exact._widen(halves, np.empty(halves.shape, np.int32)) * np.float32(2.0**112)
    assert np.array_equal(wide, halves.astype(np.float32))


def test_agrees_with_argsort_on_real_clip_vectors(shared_data: Path) -> None:
    """Real text queries: scores crowd in a narrow band (the modality gap), where rounding matters most."""
    images, texts = np.load(shared_data / "modality_gap_clip_vitb16_coco500" / "features_clip.npy")
    stored = images.astype(np.float16)
    full = texts.astype(np.float64) @ stored.astype(np.float64).T
    found = exact_search(blocks_of(np.arange(500), stored, [128]), texts, k=10)
    assert np.array_equal(found.row_ids, argsort_oracle(np.arange(500), full, 10))


def test_no_rows_no_hits() -> None:
    """A gallery whose items were all deleted is searched like any other."""
    query = np.ones((2, 4), np.float32)
    empty = VectorBlock(np.empty(0, np.int64), np.empty((0, 4), np.float16))
    for blocks in ([], [empty]):
        assert exact_search(blocks, query, k=3).row_ids.shape == (2, 0)


def test_no_queries_no_lists() -> None:
    """A batch may be empty."""
    block = VectorBlock(np.arange(3), np.eye(3, dtype=np.float16))
    assert exact_search([block], np.empty((0, 3), np.float32), k=2).row_ids.shape[0] == 0


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k: int) -> None:
    """k = 0 is a mistake of the caller, not a question with an empty answer."""
    with pytest.raises(ValueError, match="at least 1"):
        exact_search([], np.ones((1, 4), np.float32), k)


def test_queries_must_be_a_float32_matrix() -> None:
    """float64 queries would give other scores of record than the same query stored as float32."""
    with pytest.raises(ValueError, match="float32"):
        exact_search([], np.ones((1, 4)), 1)  # type: ignore[arg-type] # this is the mistake
    with pytest.raises(ValueError, match="float32"):
        exact_search([], np.ones(4, np.float32), 1)


def test_merge_by_hand() -> None:
    """Best first over all parts, padding dropped, ties by lower id, as wide as the longest list."""
    index = Neighbours(np.array([[5, 9, -1], [4, -1, -1]]), np.array([[0.9, 0.4, -np.inf], [0.2, -np.inf, -np.inf]]))
    rest = Neighbours(np.array([[2], [-1]]), np.array([[0.9], [-np.inf]]))
    found = merge([index, rest], k=10)
    assert found.row_ids.tolist() == [[2, 5, 9], [4, -1, -1]]
    assert found.scores.tolist() == [[0.9, 0.9, 0.4], [0.2, -np.inf, -np.inf]]
    assert merge([index, rest], k=1).row_ids.tolist() == [[2], [4]]


def test_merge_refuses_parts_of_other_queries() -> None:
    """Lists of different queries laid side by side would be nonsense without an error."""
    with pytest.raises(ValueError, match="same queries"):
        merge([Neighbours(np.zeros((n, 1), np.int64), np.zeros((n, 1))) for n in (1, 2)], k=1)


@settings(deadline=None, max_examples=50)
@given(searches(), st.integers(0, 60))
def test_searching_in_parts_and_merging_changes_nothing(
    search: tuple[NDArray[np.int64], Vectors, NDArray[np.float32], list[int], int], cut: int
) -> None:
    """What an index covers and what it does not are searched apart: the seam must not be seen."""
    row_ids, vectors, queries, sizes, k = search
    parts = [
        exact_search(blocks_of(row_ids[some], vectors[some], list(sizes)), queries, k)
        for some in (slice(cut), slice(cut, None))
    ]
    whole = exact_search(blocks_of(row_ids, vectors, list(sizes)), queries, k)
    merged = merge(parts, k)
    assert np.array_equal(merged.row_ids, whole.row_ids)
    assert np.array_equal(merged.scores, whole.scores)


@pytest.mark.parametrize("lowers", [False, True])
def test_the_best_by_any_of_several_queries_are_those_of_all_scores(lowers: bool) -> None:
    """Rows that several of them like, equal scores, and padded lists make no difference, at any depth."""
    rng = np.random.default_rng(4)
    vectors = rng.integers(-2, 3, (60, 3)).astype(np.float16)
    queries = rng.integers(-2, 3, (5, 3)).astype(np.float32)
    lowered = rng.integers(0, 3, 60).astype(np.float64) if lowers else None
    every = vectors.astype(np.float64) @ queries.astype(np.float64).T
    ranking = every.max(axis=1) - (0 if lowered is None else lowered)
    for k in (1, 7, 60, 99):
        best = best_of_queries(exact_search([VectorBlock(np.arange(60), vectors, None, lowered)], queries, k), k)
        order = np.lexsort((np.arange(60), -ranking))[:k]
        assert best.row_ids.tolist() == [order.tolist()]
        assert best.ranking[0].tolist() == ranking[order].tolist()
        assert best.scores[0].tolist() == every.max(axis=1)[order].tolist()
    assert highest_scores(queries, vectors).tolist() == every.max(axis=1).tolist()
    padded = Neighbours(np.array([[3, -1], [-1, -1]]), np.array([[0.5, -np.inf], [-np.inf, -np.inf]]))
    assert best_of_queries(padded, 5).row_ids.tolist() == [[3]]
    assert best_of_queries(Neighbours(np.full((2, 0), -1), np.empty((2, 0))), 5).row_ids.shape == (1, 0)


def test_the_highest_score_is_a_score_of_record() -> None:
    """To the last bit that which exact search gives, which a product of matrices is not."""
    rng = np.random.default_rng(5)
    vectors = unit_vectors(rng.standard_normal((500, 64))).astype(np.float16)
    queries = unit_vectors(rng.standard_normal((9, 64))).astype(np.float32)
    found = best_of_queries(exact_search([VectorBlock(np.arange(500), vectors)], queries, 500), 500)
    assert np.array_equal(highest_scores(queries, vectors)[found.row_ids[0]], found.scores[0])


@pytest.mark.parametrize("at_once", [3, 1 << 16])
def test_rescore_orders_candidates_by_the_score_of_record(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index returns rounded scores and ragged lists: after scoring again they are as exact search has them."""
    monkeypatch.setattr(exact, "_RESCORE_ROWS", at_once)
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((50, 8)).astype(np.float16)
    queries = rng.standard_normal((4, 8)).astype(np.float32)
    everything = exact_search([VectorBlock(np.arange(50), vectors)], queries, k=50)
    candidates = np.stack([rng.permutation(50) for _ in queries])
    candidates[1, 30:] = -1
    asked: list[int] = []

    def fetch(row_ids: NDArray[np.int64]) -> Vectors:
        assert (np.diff(row_ids) > 0).all()
        asked.append(len(row_ids))
        return vectors[row_ids]

    found = rescore(queries, candidates, fetch, k=40)
    assert np.array_equal(found.row_ids[0], everything.row_ids[0, :40])
    assert np.array_equal(found.scores[0], everything.scores[0, :40])
    assert (found.row_ids[1] >= 0).sum() == 30
    assert set(found.row_ids[1, :30]) == set(candidates[1, :30])
    assert len(asked) == (4 if at_once == 3 else 1)


def test_rescore_of_nothing() -> None:
    """No candidates for any query: no fetch, no hits."""

    def fetch(row_ids: NDArray[np.int64]) -> Vectors:
        raise AssertionError("nothing to fetch")

    assert rescore(np.ones((2, 3), np.float32), np.full((2, 4), -1), fetch, k=5).row_ids.shape == (2, 0)
