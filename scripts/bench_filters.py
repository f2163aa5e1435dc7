"""What filters cost and find through an index, beside scoring all that they admit, in one run.

    python -m scripts.bench_filters [--rows 1000000] [--gallery PATH] [--texts 30] [--json out.json]

Without --gallery one of seeded synthetic vectors is made (scripts/synthetic_gallery.py) and indexed. Filters admit the
shares below of its rows, chosen in three ways: independent of the vectors; aligned with them (what is nearest to one
text, which a third of the queries asks for); against them (what is furthest from what the queries ask for). For each:
the recall of the index against the exact neighbours among what is admitted, what both ways take for a single query, and
which one `query` takes. Then whole searches with an SQL filter: as `--exact` does them, the first of a filter, and the
next. Medians of single queries on one thread.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import faiss
import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, RowSelection
from mmsearch.blas import one_thread
from mmsearch.exact import Neighbours, VectorBlock, exact_search
from mmsearch.gallery import Gallery
from mmsearch.indexing import index
from mmsearch.metrics import ann_recall_at_k
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.retrieval import EXACT, Retriever, SearchOptions
from scripts.bench_index import fresh_queries
from scripts.measuring import circumstances
from scripts.synthetic_gallery import write_gallery

K = 10
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001, 1e-4, 1e-5)
AS_TUNED = SearchOptions()
HELD_BYTES = 8 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, help="measure this one, which has an index")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the synthetic one")
    parser.add_argument("--texts", type=int, default=30, help="that ask")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.gallery or Path(name) / "gallery"
        if options.gallery is None:
            write_gallery(folder, options.rows)
            index(folder)
        figures = bench(folder, options.texts)
    if options.json:
        options.json.write_text(json.dumps({**circumstances(), **figures}, indent=1) + "\n")


def bench(folder: Path, count: int) -> dict[str, Any]:
    """Measure everything on a gallery that has an index, and print a line for each."""
    gallery = Gallery.open(folder)
    texts = fresh_queries(gallery)[0][:count]
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    retriever = open_gallery(folder, hold=HELD_BYTES).retriever
    retriever.search(texts[:1], k=K, table="images")
    opened = retriever._index(retriever.gallery, "images")
    assert opened is not None
    opened.select(opened.row_ids[:1])
    faiss.omp_set_num_threads(1)
    print(f"{opened.record.rows:,} x {texts.shape[1]}; {opened.record.factory}, {opened.record.effort}; k {K}")
    plain = milliseconds(lambda text: retriever.search(text, k=K, table="images"), texts)
    tuned = [round(each.mean, 3) for each in opened.record.recall if each.mean is not None]
    print(f"without a filter: {plain:.1f} ms; recall as it was tuned {tuned}")
    print(f"{'share':>8} {'chosen':12} {'recall':>7} {'exact ms':>9} {'index ms':>9} {'query ms':>9}  of the better")
    rows = [
        bench_selection(opened, texts, share, how, ids)
        for how, order in orders(opened, texts).items()
        for share in SHARES
        for ids in [np.sort(opened.row_ids[order[: max(1, round(share * len(order)))]])]
    ]
    with_sql = [bench_sql(retriever, texts, share) for share in (0.5, 0.1, 0.01, 0.001, 1e-5)]
    return {"rows": opened.record.rows, "plain_ms": plain, "selections": rows, "sql": with_sql}


def orders(opened: AnnIndex, texts: NDArray[np.float32]) -> dict[str, NDArray[np.int64]]:
    """Positions of the index, in the order in which filters admit them. A third of `texts` is made to ask for what the
    aligned one admits."""
    rng, vectors = np.random.default_rng(0), opened.vectors
    assert vectors is not None
    for_one = texts[0] + 0.5 * rng.normal(size=(len(texts) // 3, texts.shape[1])) / np.sqrt(texts.shape[1])
    texts[: len(for_one)] = for_one / np.linalg.norm(for_one, axis=1, keepdims=True)
    directions = np.stack([texts[0], texts.mean(axis=0)], axis=1)
    scores = np.concatenate([vectors[start : start + 65_536] @ directions for start in range(0, len(vectors), 65_536)])
    return {
        "independent": rng.permutation(len(vectors)),
        "aligned": np.argsort(-scores[:, 0]),
        "against": np.argsort(scores[:, 1]),
    }


def bench_selection(
    opened: AnnIndex, texts: NDArray[np.float32], share: float, how: str, ids: NDArray[np.int64]
) -> dict[str, Any]:
    selection = opened.select(ids)
    exact = exact_among(opened, texts, selection)

    def search(text: NDArray[np.float32]) -> Neighbours:
        return opened.neighbours_among(text, K, selection)

    with mock.patch.object(AnnIndex, "scores_all", return_value=True):
        all_ms = milliseconds(search, texts[:10] if len(ids) > 100_000 else texts)
    with mock.patch.object(AnnIndex, "scores_all", return_value=False):
        index_ms = milliseconds(search, texts)
        found = merged([search(text[None]) for text in texts])
    scores_all = opened.scores_all(1, K, selection)
    chosen_ms = milliseconds(search, texts[:10] if scores_all and len(ids) > 100_000 else texts)
    n = min(K, len(ids))
    recall = ann_recall_at_k(found.row_ids[:, :n], found.ranking[:, :n], exact.row_ids[:, :n], exact.ranking[:, :n], n)
    chosen = "exact" if scores_all else "index"
    ratio = chosen_ms / min(all_ms, index_ms)
    print(
        f"{share:8g} {how:12} {recall:7.4f} {all_ms:9.1f} {index_ms:9.1f} {chosen_ms:9.1f}  {ratio:.2f} {chosen}",
        flush=True,
    )
    times = {"exact_ms": all_ms, "index_ms": index_ms, "chosen_ms": chosen_ms}
    return {"share": share, "how": how, "recall_through_index": recall, **times, "chosen": chosen}


def exact_among(opened: AnnIndex, texts: NDArray[np.float32], selection: RowSelection) -> Neighbours:
    vectors = opened.vectors
    assert vectors is not None
    starts = range(0, len(selection), 65_536)
    parts = [selection.positions[start : start + 65_536] for start in starts]
    return exact_search((VectorBlock(opened.row_ids[part], vectors[part]) for part in parts), texts, K)


def merged(found: list[Neighbours]) -> Neighbours:
    return Neighbours(np.concatenate([each.row_ids for each in found]), np.concatenate([each.scores for each in found]))


def bench_sql(retriever: Retriever, texts: NDArray[np.float32], share: float) -> dict[str, Any]:
    """A search with a filter in SQL, which the gallery in memory is asked."""
    where = f"row_id % {round(1 / share)} = 0"

    def search(text: NDArray[np.float32], options: SearchOptions = AS_TUNED) -> Neighbours:
        return retriever.search(text, k=K, table="images", where=where, options=options)

    exact = milliseconds(lambda text: search(text, EXACT), texts[:5])
    began = time.perf_counter()
    search(texts[:1])
    first = 1000 * (time.perf_counter() - began)
    following = milliseconds(search, texts)
    print(f"{where:24} exact {exact:7.1f} ms, first {first:6.1f} ms, next {following:6.1f} ms; {exact / following:.1f}")
    return {"where": where, "exact_ms": exact, "first_ms": first, "next_ms": following}


def milliseconds(search: Callable[[NDArray[np.float32]], object], texts: NDArray[np.float32]) -> float:
    """Median of single queries; the first is not counted."""
    spent = []
    with one_thread():
        for text in texts[[0, *range(len(texts))]]:
            began = time.perf_counter()
            search(text[None])
            spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent[1:])


if __name__ == "__main__":
    main()
