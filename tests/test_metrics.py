"""Metrics, against matrices that can be read by eye, a full float64 argsort, ir_measures, and real CLIP vectors."""

import doctest
from collections.abc import Callable
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch import metrics
from mmsearch.metrics import (
    NOT_FOUND,
    Ranking,
    Relevance,
    ann_recall_at_k,
    approximate,
    average_precision_at_k,
    calibration,
    differences,
    figures,
    first_found_ranks,
    first_relevant_ranks,
    health,
    hubness,
    intervals,
    mean_rank,
    median_rank,
    ndcg_at_k,
    rank_both,
    rank_bounds,
    ranking,
    recall_at_k,
    relevance,
    relevant_recall_at_k,
    space_health,
    summarize,
    uncertainty,
)
from mmsearch.metrics.relevance import Vectors
from tests.vectors import unit_vectors

CLIP_VECTORS = Path(__file__).parents[2] / "shared" / "data" / "modality_gap_clip_vitb16_coco500" / "features_clip.npy"


@pytest.fixture
def clip_vectors() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not CLIP_VECTORS.is_file():
        pytest.skip(f"no real CLIP vectors: {CLIP_VECTORS} is absent")
    images, texts = np.load(CLIP_VECTORS)
    return images, texts


def test_docstrings_tell_the_truth() -> None:
    """Every example in the module gives what it says."""
    parts = [metrics, approximate, calibration, figures, health, ranking, relevance, uncertainty]
    tried = [doctest.testmod(part) for part in parts]
    assert all(one.attempted for one in tried)
    assert not any(one.failed for one in tried)


# Scores that can be read: with the unit vectors as gallery, a query is its own row of scores.
#            item: 0    1    2    3    4    5    6    7
SCORES = [
    [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],  # 0 is first
    [0.1, 0.3, 0.9, 0.8, 0.7, 0.2, 0.0, 0.4],  # 1 is fifth
    [0.1, 0.2, 0.8, 0.9, 0.0, 0.3, 0.4, 0.5],  # 2 is second
    [0.7, 0.6, 0.5, 0.0, 0.1, 0.2, 0.3, 0.4],  # 3 is last
]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ranks_of_a_matrix_read_by_eye(dtype: type[np.floating]) -> None:
    ranks = first_relevant_ranks(np.array(SCORES, dtype), np.eye(8, dtype=dtype), Relevance.one_each(np.arange(4)))
    assert ranks.tolist() == [1, 5, 2, 8]
    assert ranks.dtype == np.int64
    assert [recall_at_k(ranks, k) for k in (1, 2, 5, 7, 8)] == [0.25, 0.5, 0.75, 0.75, 1.0]
    assert median_rank(ranks) == 3.5
    assert mean_rank(ranks) == 4.0


def test_one_relevant_hit_is_enough_for_recall_but_not_for_relevant_recall() -> None:
    """The two meanings of recall differ as soon as a query has more than one relevant item."""
    relevant = Relevance.lists([[0, 6], [1, 2, 3], [2, 3], [0, 7]])
    vectors = np.array(SCORES, np.float32)
    ranks = first_relevant_ranks(vectors, np.eye(8, dtype=np.float32), relevant)
    assert ranks.tolist() == [1, 1, 1, 1]
    assert recall_at_k(ranks, 1) == 1.0
    ordered = np.argsort(-vectors, axis=1, kind="stable")
    assert relevant_recall_at_k(ordered, relevant, 1) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4, abs=1e-15)
    assert relevant_recall_at_k(ordered, relevant, 8) == 1.0


def test_ties_go_to_the_lower_position_and_bounds_say_what_else_was_possible() -> None:
    gallery = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0]], np.float16)  # 0, 2, 3 and 4 are equal
    queries = np.array([[1, 0], [1, 0], [0, 1]], np.float16)
    bounds = rank_bounds(queries, gallery, Relevance.lists([[3], [2, 3], [1]]))
    assert bounds.ranks.tolist() == [3, 2, 1]
    assert bounds.optimistic.tolist() == [1, 1, 1]
    assert bounds.pessimistic.tolist() == [4, 3, 1]  # of the four equal ones, one or two are relevant themselves
    assert bounds.tied_queries == 2
    (ranked, _) = rank_both(queries, gallery, Relevance.lists([[3], [2, 3], [1]]), None, depth=10**15)
    assert ranked is not None
    assert ranked.top.tolist() == [[0, 2, 3, 4, 1]] * 2 + [
        [1, 0, 2, 3, 4]
    ]  # no longer than the gallery, whatever was asked
    result = summarize("text_to_image", ranked, gallery=5, ks=(1, 3))
    assert (result.queries, result.gallery, result.tied_queries) == (3, 5, 2)
    assert result.recall == {1: 1 / 3, 3: 1.0}
    assert result.recall_optimistic == {1: 1.0, 3: 1.0}
    assert result.recall_pessimistic == {1: 1 / 3, 3: 2 / 3}
    assert (result.median_rank, result.mean_rank) == (2.0, 2.0)


def test_float32_cannot_tell_but_the_ranks_can() -> None:
    """Scores 6e-8 apart: equal or swapped in a float32 product of 512 terms, yet different in float64."""
    rng = np.random.default_rng(0)
    query = rng.standard_normal((1, 512)).astype(np.float16)
    query /= np.linalg.norm(query.astype(np.float64)).astype(np.float16)
    gallery = np.repeat(rng.standard_normal((1, 512)).astype(np.float16) / np.float16(22), 64, axis=0)
    smallest = int(np.argmin(np.where(query[0] > 0, query[0], 1)))
    gallery[:, smallest] = (np.arange(64) * 2.0**-14).astype(np.float16)
    relevant = Relevance.lists([[20]])
    expected = _argsort_ranks(query, gallery, [[20]])
    gaps = np.diff(np.sort((query.astype(np.float64) @ gallery.astype(np.float64).T)[0]))
    assert 0 < gaps.max() < 1e-6
    assert first_relevant_ranks(query, gallery, relevant).tolist() == expected == [64 - 20]


def test_top_lists_are_exact_where_float32_sees_only_ties() -> None:
    """Sixty-four scores from 0.5 to 0.5 + 6.4e-8, which is one step of float32, in both directions."""
    steps = np.random.default_rng(1).permutation(64)
    one = np.array([[1, 1e-4]], np.float32)
    many = np.stack([np.full(64, 0.5), steps * 1e-5], axis=1).astype(np.float32)
    exact = np.argsort(-steps, kind="stable")[:12].tolist()
    (forward, _) = rank_both(one, many, Relevance.lists([[0]]), None, depth=12)
    (_, backward) = rank_both(many, one, None, Relevance.lists([[0]]), depth=12)
    assert forward is not None
    assert backward is not None
    assert forward.top.tolist() == backward.top.tolist() == [exact]


@st.composite
def small_benchmarks(draw: st.DrawFn) -> tuple[NDArray[np.float16], NDArray[np.float16], list[list[int]]]:
    """Queries, gallery and relevance where exact ties (copied vectors) and near ties (one last bit apart) abound."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_queries, n_items, dim = draw(st.integers(1, 7)), draw(st.integers(1, 30)), draw(st.sampled_from([1, 3, 16, 64]))
    gallery = unit_vectors(rng.standard_normal((n_items, dim))).astype(np.float16)
    for copy, of in draw(st.lists(st.tuples(st.integers(0, n_items - 1), st.integers(0, n_items - 1)), max_size=12)):
        gallery[copy] = gallery[of]
        if draw(st.booleans()):
            component = int(rng.integers(dim))
            gallery[copy, component] = np.nextafter(gallery[copy, component], np.float16(2))
    queries = unit_vectors(rng.standard_normal((n_queries, dim))).astype(np.float16)
    items = st.sets(st.integers(0, n_items - 1), min_size=1, max_size=min(5, n_items))
    relevant = [sorted(draw(items)) for _ in range(n_queries)]
    return queries, gallery, relevant


def _argsort_ranks(queries: NDArray[np.float16], gallery: NDArray[np.float16], relevant: list[list[int]]) -> list[int]:
    """The definition, word for word. The products of float16 and their sum are exact in float64, so ties are ties."""
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")
    return [min(order[q].tolist().index(item) for item in items) + 1 for q, items in enumerate(relevant)]


@given(small_benchmarks(), st.sampled_from([1, 100, 64 << 20]))
@settings(deadline=None, max_examples=150)
def test_ranks_equal_a_full_float64_argsort(
    drawn: tuple[NDArray[np.float16], NDArray[np.float16], list[list[int]]], block_bytes: int
) -> None:
    """Whatever the ties and near ties, and however small the blocks."""
    queries, gallery, relevant = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_BYTES", block_bytes)
        bounds = rank_bounds(queries, gallery, Relevance.lists(relevant))
    assert bounds.ranks.tolist() == _argsort_ranks(queries, gallery, relevant)
    assert (bounds.optimistic <= bounds.ranks).all()
    assert (bounds.ranks <= bounds.pessimistic).all()


def both(
    captions: Vectors,
    images: Vectors,
    images_of_caption: Relevance,
    captions_of_image: Relevance,
    *,
    depth: int = 10,
) -> tuple[Ranking, Ranking]:
    forward, backward = rank_both(captions, images, images_of_caption, captions_of_image, depth=depth)
    assert forward is not None
    assert backward is not None
    return forward, backward


@given(small_benchmarks(), st.sampled_from([4, 100, 1000, 64 << 20]), st.sampled_from([1, 3, 10, 40]))
@settings(deadline=None, max_examples=150)
def test_one_pass_for_both_directions_equals_two_full_argsorts(
    drawn: tuple[NDArray[np.float16], NDArray[np.float16], list[list[int]]], block_bytes: int, depth: int
) -> None:
    """Ranks and top lists, in blocks of one score, of one row, of part of a row, and of everything."""
    queries, gallery, relevant = drawn
    answered = sorted({item for items in relevant for item in items})
    gallery = gallery[answered]
    lists = [[answered.index(item) for item in items] for items in relevant]
    inverse = [[q for q, items in enumerate(lists) if place in items] for place in range(len(answered))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_BYTES", block_bytes)
        found = both(queries, gallery, Relevance.lists(lists), Relevance.lists(inverse), depth=depth)
    for part, (asked, held, judged) in zip(
        found, [(queries, gallery, lists), (gallery, queries, inverse)], strict=True
    ):
        assert part.bounds.ranks.tolist() == _argsort_ranks(asked, held, judged)
        order = np.argsort(-(asked.astype(np.float64) @ held.astype(np.float64).T), axis=1, kind="stable")
        assert part.top.tolist() == order[:, :depth].tolist()


@given(small_benchmarks())
@settings(deadline=None, max_examples=60)
def test_bounds_are_the_extremes_over_all_orders_of_the_gallery(
    drawn: tuple[NDArray[np.float16], NDArray[np.float16], list[list[int]]],
) -> None:
    """Relevant items first in the gallery: optimistic ranks; last: pessimistic ones. R@k grows, and ends at 1."""
    queries, gallery, relevant = drawn
    bounds = rank_bounds(queries, gallery, Relevance.lists(relevant))
    for q, items in enumerate(relevant):
        others = [item for item in range(len(gallery)) if item not in items]
        one = queries[q : q + 1]
        first = first_relevant_ranks(one, gallery[items + others], Relevance.lists([range(len(items))]))
        last = first_relevant_ranks(one, gallery[others + items], Relevance.lists([range(len(others), len(gallery))]))
        assert (first[0], last[0]) == (bounds.optimistic[q], bounds.pessimistic[q])
    curve = [recall_at_k(bounds.ranks, k) for k in range(1, len(gallery) + 1)]
    assert curve == sorted(curve)
    assert curve[-1] == 1.0


def test_permuting_the_gallery_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    queries, gallery = (
        unit_vectors(rng.standard_normal((40, 32))).astype(np.float16),
        unit_vectors(rng.standard_normal((200, 32))).astype(np.float16),
    )
    answer = rng.integers(0, 200, 40)
    bounds = rank_bounds(queries, gallery, Relevance.one_each(answer))
    assert bounds.tied_queries == 0
    order = rng.permutation(200)
    moved = first_relevant_ranks(queries, gallery[order], Relevance.one_each(np.argsort(order)[answer]))
    assert moved.tolist() == bounds.ranks.tolist()


def test_vectors_longer_than_one_widen_the_margin() -> None:
    """A margin fixed at 1e-5 is too narrow for scores in the thousands, where float32 is off by more than that."""
    rng = np.random.default_rng(2)
    gallery = (rng.standard_normal((400, 256)) * 30).astype(np.float32)
    gallery[1::2] = gallery[::2]
    gallery[1::2, 0] = np.nextafter(gallery[::2, 0], np.float32(np.inf))
    queries = (np.abs(rng.standard_normal((60, 256))) * 30).astype(np.float32)
    answer = rng.integers(0, 400, 60)
    scores = np.array(
        [[np.einsum("d,d", q, g) for g in gallery.astype(np.float64)] for q in queries.astype(np.float64)]
    )
    expected = np.array([np.flatnonzero(np.argsort(-scores[q], kind="stable") == answer[q])[0] + 1 for q in range(60)])
    assert first_relevant_ranks(queries, gallery, Relevance.one_each(answer)).tolist() == expected.tolist()


def test_success_of_ir_measures_agrees() -> None:
    """A second oracle, by other authors: recall_at_k is their Success@k, relevant_recall_at_k their Recall@k."""
    rng = np.random.default_rng(3)
    queries, gallery = (
        unit_vectors(rng.standard_normal((50, 8))).astype(np.float16),
        unit_vectors(rng.standard_normal((60, 8))).astype(np.float16),
    )
    lists = [sorted(rng.choice(60, size=rng.integers(1, 6), replace=False).tolist()) for _ in range(50)]
    relevant = Relevance.lists(lists)
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    qrels = [ir_measures.Qrel(f"q{q}", f"d{item}", 1) for q, items in enumerate(lists) for item in items]
    run = [ir_measures.ScoredDoc(f"q{q}", f"d{d}", float(scores[q, d])) for q in range(50) for d in range(60)]
    ks = (1, 5, 10)
    others = [ir_measures.parse_measure(name) for name in ("AP@10", "nDCG@10", "RR")]
    success = [ir_measures.parse_measure(f"Success@{k}") for k in ks]
    recall = [ir_measures.parse_measure(f"R@{k}") for k in ks]
    theirs = ir_measures.calc_aggregate(success + recall + others, qrels, run)
    ranks = first_relevant_ranks(queries, gallery, relevant)
    ordered = np.argsort(-scores, axis=1, kind="stable")
    for k, success_at_k, recall_at_k_of_theirs in zip(ks, success, recall, strict=True):
        assert recall_at_k(ranks, k) == pytest.approx(theirs[success_at_k], abs=1e-12)
        assert relevant_recall_at_k(ordered, relevant, k) == pytest.approx(theirs[recall_at_k_of_theirs], abs=1e-12)
        assert recall_at_k(first_found_ranks(ordered[:, :10], relevant), k) == recall_at_k(ranks, k)
    (ranked, _) = rank_both(queries, gallery, relevant, None)
    assert ranked is not None
    result = summarize("text_to_image", ranked, 60)
    ours = result.mean_average_precision, result.ndcg, result.mean_reciprocal_rank
    assert ours == pytest.approx([theirs[measure] for measure in others], abs=1e-12)


def test_real_clip_vectors_give_the_known_recall(
    clip_vectors: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    images, texts = clip_vectors
    pairs = Relevance.one_each(np.arange(500))
    forward, backward = both(texts, images, pairs, pairs)
    text_to_image = summarize("text_to_image", forward, gallery=500)
    image_to_text = summarize("image_to_text", backward, gallery=500)
    assert text_to_image.recall == {1: 0.506, 5: 0.764, 10: 0.862}
    assert image_to_text.recall == {1: 0.552, 5: 0.808, 10: 0.892}


def test_relevance_of_both_directions_comes_from_one_array() -> None:
    caption_image = np.array([2, 0, 0, 1, 2])
    assert Relevance.one_each(caption_image).positions.tolist() == [2, 0, 0, 1, 2]
    inverse = Relevance.inverse(caption_image, 3)
    assert (inverse.offsets.tolist(), inverse.positions.tolist()) == ([0, 2, 3, 5], [1, 2, 3, 0, 4])
    assert inverse.counts.tolist() == [2, 1, 2]
    assert len(inverse) == 3
    many = np.random.default_rng(4).integers(0, 7, 1000)  # enough for a sort that is not stable to show
    assert Relevance.inverse(many, 7).positions.tolist() == [i for q in range(7) for i in np.flatnonzero(many == q)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Relevance.lists([]), "no queries"),
        (lambda: Relevance.lists([[1], []]), "query 1 has no relevant item"),
        (lambda: Relevance.inverse(np.array([0, 0]), 2), "query 1 has no relevant item"),
        (lambda: Relevance.inverse(np.array([0, 5]), 2), "query 5 is named"),
        (lambda: Relevance(np.array([0, 2]), np.array([3, 3])), "ascending"),
        (lambda: Relevance(np.array([0, 1]), np.array([-1])), "negative"),
        (lambda: Relevance(np.array([0, 3]), np.array([1])), "offsets"),
    ],
)
def test_relevance_that_would_give_wrong_figures_is_refused(make: Callable[[], Relevance], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_arrays_are_refused() -> None:
    """Vectors that are not finite would compare false with everything, and so rank first."""
    eye = np.eye(3, dtype=np.float32)
    broken = eye.copy()
    broken[2, 2] = np.nan
    one = Relevance.one_each(np.arange(3))
    for queries, gallery, relevant, message in [
        (broken, eye, one, "queries: not all"),
        (eye, broken, one, "gallery: not all"),
        (eye[:, :2], eye, one, "one dim"),
        (eye[:2], eye, one, "relevance for 3 queries, but 2"),
        (eye, eye, Relevance.one_each(np.array([0, 1, 3])), "position 3 in a gallery of 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            rank_bounds(queries, gallery, relevant)
    with pytest.raises(ValueError, match="k must be at least 1"):
        recall_at_k(np.array([1]), 0)
    with pytest.raises(ValueError, match="no ranks"):
        recall_at_k(np.array([], np.int64), 1)


def test_a_query_without_a_relevant_hit_counts_as_missed() -> None:
    """In lists cut off at m, a rank beyond them is unknown; it must not be small, nor padding be taken for item -1."""
    ranks = first_found_ranks(np.array([[4, 2], [1, -1], [-1, -1]]), Relevance.lists([[2], [0], [3]]))
    assert ranks.tolist() == [2, NOT_FOUND, NOT_FOUND]
    assert recall_at_k(ranks, 2) == pytest.approx(1 / 3)
    # Padding is one less than the first position of a query, which is the last position of the query before.
    assert first_found_ranks(np.array([[3], [-1]]), Relevance.lists([[3], [0]])).tolist() == [1, NOT_FOUND]
    assert first_found_ranks(np.empty((1, 0), np.int64), Relevance.lists([[0]])).tolist() == [NOT_FOUND]


def test_ann_recall_forgives_ties_and_nothing_else() -> None:
    exact_ids = np.array([[5, 1, 2, 3], [5, 1, 2, 3]])
    exact_scores = np.array([[0.9, 0.5, 0.5, 0.4], [0.9, 0.5, 0.5, 0.4]])
    found_ids = np.array([[2, 5], [5, 3]])  # first: 2 ties with 1. second: 3 does not
    found_scores = np.array([[0.5, 0.9], [0.9, 0.4]])
    assert ann_recall_at_k(found_ids, found_scores, exact_ids, exact_scores, 2) == 0.75
    assert ann_recall_at_k(exact_ids, exact_scores, exact_ids, exact_scores, 4) == 1.0


def test_ann_recall_with_padding_repetition_and_small_galleries() -> None:
    exact_ids, exact_scores = np.array([[5, 1, -1]]), np.array([[0.9, 0.5, -np.inf]])
    nothing = np.array([[-1, -1, -1]]), np.full((1, 3), -np.inf)
    assert ann_recall_at_k(*nothing, exact_ids, exact_scores, 3) == 0.0
    twice = np.array([[5, 5, -1]]), np.array([[0.9, 0.9, -np.inf]])
    assert ann_recall_at_k(*twice, exact_ids, exact_scores, 3) == 0.5
    assert ann_recall_at_k(exact_ids, exact_scores, exact_ids, exact_scores, 10) == 1.0  # k beyond a gallery of two
    assert ann_recall_at_k(exact_ids, exact_scores, *nothing, 3) == 1.0  # nothing to find
    with pytest.raises(ValueError, match="1 lists of hits for 2 queries"):
        ann_recall_at_k(exact_ids, exact_scores, exact_ids.repeat(2, 0), exact_scores.repeat(2, 0), 1)


# --- figures of a query, intervals and tests ------------------------------------------------------------------------


def test_precision_and_gain_by_hand() -> None:
    found = np.array([[3, 0, 5, 1]])
    relevant = Relevance.lists([[0, 1, 9]])  # at ranks 2 and 4; 9 is not returned
    assert average_precision_at_k(found, relevant, 4).tolist() == pytest.approx([(1 / 2 + 2 / 4) / 3], abs=1e-15)
    assert average_precision_at_k(found, relevant, 3).tolist() == pytest.approx([(1 / 2) / 3], abs=1e-15)
    gain = 1 / np.log2(3) + 1 / np.log2(5)
    assert ndcg_at_k(found, relevant, 4).tolist() == pytest.approx([gain / (1 + 1 / np.log2(3) + 1 / 2)], abs=1e-15)


def test_intervals_cover_the_truth_as_often_as_they_say_and_know_that_captions_of_an_image_agree() -> None:
    """Figures that all five captions of an image share are as uncertain as one caption an image, not as five."""
    rng = np.random.default_rng(0)
    image_of_query = np.repeat(np.arange(200), 5)
    covered = 0
    for _ in range(100):
        hits = (rng.random(200) < 0.4).astype(np.float64)
        interval = intervals({"R@1": hits[image_of_query]}, image_of_query, 200, resamples=400)["R@1"]
        covered += 0.4 in interval
        width = interval.high - interval.low
        assert width == pytest.approx(4 * np.sqrt(0.24 / 200), rel=0.25)
    assert 88 <= covered <= 100


def test_a_resample_weighs_an_image_by_its_captions() -> None:
    """Image 0 has three captions that hit, image 1 one that misses: whole images are drawn, means are over captions."""
    interval = intervals({"R@1": np.array([1.0, 1, 1, 0])}, np.array([0, 0, 0, 1]), 2)["R@1"]
    assert (interval.low, interval.high) == (0.0, 1.0)
    three = intervals({"R@1": np.array([1.0, 1, 1, 0])}, np.array([0, 0, 0, 1]), 9)["R@1"]
    assert three == interval  # images without a query are not drawn


def test_paired_tests_find_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    image_of_query = np.repeat(np.arange(300), 2)
    first = {"R@1": (rng.random(600) < 0.5).astype(np.float64), "MRR": rng.random(600)}
    better = {"R@1": np.maximum(first["R@1"], rng.random(600) < 0.2), "MRR": rng.permutation(first["MRR"])}
    found = differences(first, better, image_of_query, 300)
    assert found["R@1"].value == pytest.approx(np.mean(better["R@1"]) - np.mean(first["R@1"]), abs=1e-12)
    assert found["R@1"].interval.low > 0
    assert found["R@1"].p == 1 / 10_001
    assert found["MRR"].p > 0.05
    assert 0 in found["MRR"].interval


def test_a_paired_test_equals_the_count_over_all_assignments() -> None:
    """Of 2**8 ways to swap, as many as the definition counts."""
    import itertools

    rng = np.random.default_rng(2)
    first, second = {"MRR": rng.random(8)}, {"MRR": rng.random(8)}
    change = second["MRR"] - first["MRR"]
    sums = [
        abs(sum(s * d for s, d in zip(signs, change, strict=True))) for signs in itertools.product((1, -1), repeat=8)
    ]
    exact = np.mean(np.array(sums) >= abs(change.sum()) - 1e-9)
    assert differences(first, second, np.arange(8), 8)["MRR"].p == pytest.approx(exact, abs=0.02)


# --- health -----------------------------------------------------------------------------------------------------------


def test_health_equals_its_definitions_over_all_pairs() -> None:
    rng = np.random.default_rng(3)
    images = rng.standard_normal((30, 6)) + 0.5
    texts = rng.standard_normal((60, 6)) - 0.5
    images, texts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, texts))
    of_image = np.repeat(np.arange(30), 2)
    found = space_health(images, texts, np.arange(60), of_image)
    among = ~np.eye(30, dtype=bool)
    matched = of_image[:, None] == np.arange(30)
    distances = ((images[:, None] - images[None]) ** 2).sum(axis=2)
    singular = np.linalg.svd(texts - texts.mean(axis=0), compute_uv=False)
    shares = singular / singular.sum()
    for name, expected in {
        "modality_gap": np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)),
        "within_images": (images @ images.T)[among].mean(),
        "across": (texts @ images.T).mean(),
        "matched": (texts @ images.T)[matched].mean(),
        "unmatched": (texts @ images.T)[~matched].mean(),
        "alignment": ((texts - images[of_image]) ** 2).sum(axis=1).mean(),
        "effective_rank_texts": np.exp(-(shares * np.log(shares)).sum()),
    }.items():
        assert getattr(found, name) == pytest.approx(expected, abs=1e-9), name
    assert found.uniformity_images == pytest.approx(np.log(np.exp(-2 * distances)[among].mean()), abs=1e-5)
    assert found.collapsed == ()


def test_a_collapsed_space_is_called_so() -> None:
    rng = np.random.default_rng(4)
    spread = rng.standard_normal((50, 16))
    cone = 1 + 0.01 * spread
    spread, cone = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (spread, cone))
    assert space_health(cone, spread, np.arange(50), np.arange(50)).collapsed == ("images",)
    line = np.outer(rng.standard_normal(50), spread[0])
    line /= np.linalg.norm(line, axis=1, keepdims=True)
    assert space_health(spread, line, np.arange(50), np.arange(50)).collapsed == ("texts",)
    same = np.repeat(spread[:1], 50, axis=0)
    assert space_health(same, same, np.arange(50), np.arange(50)).collapsed == ("images", "texts")


def test_a_hub_shows() -> None:
    even = hubness(np.arange(200)[:, None], 200, k=1)
    assert (even.skewness, even.top_percent_share, even.never) == (0.0, 0.01, 0.0)
    hub = hubness(np.where(np.arange(200) % 2, np.arange(200), 7)[:, None], 200, k=1)
    assert hub.skewness > 10
    assert hub.top_percent_share == pytest.approx(0.51)
    assert hub.never == pytest.approx(0.5)
