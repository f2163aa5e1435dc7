"""What the correction of scores costs, on one gallery, measured in one run: times beside those of the plain search.

    python -m scripts.bench_scores [--rows 1000000] [--texts 500] [--runs 7] [--json out.json]
    python -m scripts.bench_scores --gallery PATH …      the same on any gallery that captions can correct

Without --gallery one of seeded synthetic vectors is made, whose captions say what its images show
(scripts/synthetic_gallery.py), so that `mmsearch calibrate` chooses the correction as it does for anybody. A gallery
that has an index keeps it. Measured are: `calibrate` in a process of its own, watched for its anonymous memory; exact
search of the vectors held in memory, as a server does, and read from the shards, as the command line does; search
through the index, at the efforts that plain and corrected searches were tuned to and at the quickest at which it finds
as much of the corrected exact neighbours as the plain search finds of the plain ones; and a first query from the start
of a process to its end.
Plain and corrected searches take turns; medians. Texts are such as neither index nor correction was fitted to.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import Effort
from mmsearch.exact import Neighbours
from mmsearch.gallery import Gallery
from mmsearch.indexing import index
from mmsearch.metrics import ann_recall_at_k
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.retrieval import EXACT, Retriever, SearchOptions
from scripts.bench_index import fresh_queries
from scripts.measuring import circumstances, python, seconds_and_work, watched
from scripts.synthetic_gallery import write_gallery

K = 10
TOGETHER = 32
CAPTIONS = 5000
HELD_BYTES = 8 << 30

CALIBRATE = """
import json, sys
from dataclasses import asdict
from mmsearch.calibration import calibrate
report = calibrate(sys.argv[1])
images = report.tables[0].record
print(json.dumps({"seconds": report.seconds, "correction": asdict(images.correction)}))
"""

ASK = r"""
import re, sys
from pathlib import Path
import numpy as np
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.retrieval import SearchOptions
gallery, query, way, how = sys.argv[1:]
retriever = open_gallery(gallery).retriever
alpha = retriever.scores("images").record.correction.alpha if how == "corrected" else 0.0
retriever.search(np.load(query), k=10, table="images", options=SearchOptions(exact=way == "exact"), alpha=alpha)
print(re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
"""

Pair = dict[str, float]
AS_TUNED = SearchOptions()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, help="measure this one; it is calibrated anew")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the synthetic one")
    parser.add_argument("--texts", type=int, default=500, help="that measure recall")
    parser.add_argument("--runs", type=int, default=7, help="of each; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.gallery or Path(name) / "gallery"
        if options.gallery is None:
            write_gallery(folder, options.rows, captions=CAPTIONS, linked=True)
        figures = bench(folder, Path(name), options.texts, options.runs)
    if options.json:
        options.json.write_text(json.dumps({**circumstances(), **figures}, indent=1) + "\n")


def bench(folder: Path, scratch: Path, count: int, runs: int) -> dict[str, Any]:
    """Measure everything on a gallery, and print a line for each."""
    gallery = Gallery.open(folder)
    texts = fresh_queries(gallery)[0][:count]
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    rows = gallery.live_rows("images")
    print(f"{rows:,} x {texts.shape[1]} vectors; k {K}; medians of {runs}, plain and corrected in turn")
    figures: dict[str, Any] = {"rows": rows}
    if gallery.index_for("images") is None:
        index(folder)
    figures["calibrate"] = bench_calibrate(folder)
    if not figures["calibrate"]["correction"]["alpha"]:
        raise SystemExit("calibrate saw no gain, so nothing is corrected and nothing can be compared")
    for way, held in (("held in memory", HELD_BYTES), ("read from shards", 0)):
        retriever = open_gallery(folder, hold=held).retriever
        for together in (1, TOGETHER):
            name = f"exact, {way}, {together} at once"
            figures[name] = compare(name, in_turn(retriever, texts, together, runs, EXACT))
    figures["index"] = bench_index(open_gallery(folder, hold=HELD_BYTES).retriever, texts)
    np.save(scratch / "query.npy", texts[:1])
    for way in ("exact", "index"):
        figures[f"a process, {way}"] = bench_process(folder, scratch / "query.npy", way, runs)
    return figures


def bench_calibrate(folder: Path) -> dict[str, Any]:
    """What `calibrate` takes, and what it leaves on the disk."""
    found, peak = watched([CALIBRATE, str(folder)])
    gallery, of = Gallery.open(folder), found["correction"]
    entry = gallery.scores_for("images")
    assert entry is not None
    stored = sum(file.stat().st_size for file in gallery.scores_folder(entry.name).iterdir())
    print(f"calibrate: {found['seconds']:.1f} s, {peak / 2**20:,.0f} MiB at most, {stored / 2**20:.1f} MiB on disk")
    print(f"  alpha {of['alpha']:g}, k {of['k']}; {of['why']}")
    return {**found, "peak": peak, "stored": stored}


def alpha_of(retriever: Retriever) -> float:
    """As `calibrate` chose it."""
    scores = retriever.scores("images")
    assert scores is not None
    return scores.record.correction.alpha


def searches(retriever: Retriever, options: SearchOptions) -> list[Callable[[NDArray[np.float32]], Neighbours]]:
    """The plain search and the corrected one."""

    def search(queries: NDArray[np.float32], alpha: float) -> Neighbours:
        return retriever.search(queries, k=K, table="images", options=options, alpha=alpha)

    alpha = alpha_of(retriever)
    return [lambda queries: search(queries, 0.0), lambda queries: search(queries, alpha)]


def in_turn(
    retriever: Retriever, texts: NDArray[np.float32], together: int, runs: int, *options: SearchOptions
) -> tuple[list[float], list[float]]:
    """Seconds of plain and of corrected searches. options: of both, or of each."""
    plain, corrected = searches(retriever, options[0])[0], searches(retriever, options[-1])[1]
    spent: tuple[list[float], list[float]] = [], []
    for run in range(runs + 1):
        queries = texts[np.arange(run * together, (run + 1) * together) % len(texts)]
        for search, times in zip((plain, corrected), spent, strict=True):
            began = time.perf_counter()
            search(queries)
            times.append(time.perf_counter() - began)
    return spent[0][1:], spent[1][1:]  # the first read what stays


def compare(name: str, spent: tuple[Sequence[float], Sequence[float]], more: str = "") -> Pair:
    """Print the medians and their ratio."""
    plain, corrected = (statistics.median(times) for times in spent)
    ratio = corrected / plain
    print(
        f"{name}: plain {1000 * plain:.2f} ms, corrected {1000 * corrected:.2f} ms, {ratio:.2f} times{more}", flush=True
    )
    return {"plain_ms": 1000 * plain, "corrected_ms": 1000 * corrected, "ratio": ratio}


def bench_index(retriever: Retriever, texts: NDArray[np.float32]) -> dict[str, Any]:
    """Recall of plain and corrected searches, each against its own exact neighbours, and what they take."""
    truths = [search(texts) for search in searches(retriever, EXACT)]
    opened, scores = retriever._index(retriever.gallery, "images"), retriever.scores("images")
    assert opened is not None
    assert scores is not None
    tuned = scores.record.through_index
    assert tuned is not None

    def recall(which: int) -> float:
        found, truth = searches(retriever, AS_TUNED)[which](texts), truths[which]
        return ann_recall_at_k(found.row_ids, found.ranking, truth.row_ids, truth.ranking, K)

    def compared(what: str) -> dict[str, Pair]:
        return {
            f"{together} at once": compare(
                f"index, {what}, {together} at once", in_turn(retriever, texts, together, runs, AS_TUNED)
            )
            for together, runs in ((1, len(texts)), (TOGETHER, 40))
        }

    plain, corrected = recall(0), recall(1)
    both = zip(truths[0].row_ids, truths[1].row_ids, strict=True)
    shared = float(np.mean([len(np.intersect1d(*row_ids)) / K for row_ids in both]))
    print(f"index {opened.record.factory}: recall plain {plain:.4f} with {opened.record.effort},")
    print(f"  corrected {corrected:.4f} with {tuned.effort}")
    print(f"  {100 * shared:.0f} % of the corrected exact neighbours are plain ones too")
    figures: dict[str, Any] = {
        "factory": opened.record.factory,
        "plain_effort": asdict(opened.record.effort),
        "plain_recall": plain,
        "corrected_effort": asdict(tuned.effort),
        "corrected_recall": corrected,
        "shared": shared,
        "as tuned": compared("as tuned"),
    }

    def search_with(effort: Effort) -> None:
        scores.record = replace(scores.record, through_index=replace(tuned, effort=effort))

    equal: dict[Effort, float] = {}
    for width in opened.widths():
        if not 0.5 <= (width.nprobe or 1) / (tuned.effort.nprobe or 1) <= 4:
            continue
        for factor in opened.factors(K):
            search_with(replace(width, k_factor=factor))
            if (reached := recall(1)) >= plain:
                equal[replace(width, k_factor=factor)] = reached
                break  # more candidates take longer
    if not equal:
        print("index: no effort finds as much of the corrected neighbours")
        return figures
    for together, which in ((1, "one"), (TOGETHER, "many")):
        effort = quickest(retriever, texts, together, list(equal), search_with)
        print(f"index, quickest {together} at once: corrected {equal[effort]:.4f} with {effort}")
        search_with(effort)
        found = compared("at equal recall")
        figures[f"equal recall, {which}"] = {"recall": equal[effort], "effort": asdict(effort), **found}
    search_with(tuned.effort)
    return figures


def quickest(
    retriever: Retriever,
    texts: NDArray[np.float32],
    together: int,
    efforts: Sequence[Effort],
    search_with: Callable[[Effort], None],
) -> Effort:
    """Of efforts the one whose corrected searches take the least; they take turns."""
    search = searches(retriever, AS_TUNED)[1]
    spent: dict[Effort, list[float]] = {effort: [] for effort in efforts}
    for turn in range(20):
        queries = texts[np.arange(turn * together, (turn + 1) * together) % len(texts)]
        for effort, times in spent.items():
            search_with(effort)
            began = time.perf_counter()
            search(queries)
            times.append(time.perf_counter() - began)
    return min(spent, key=lambda effort: statistics.median(spent[effort]))


def bench_process(folder: Path, query: Path, way: str, runs: int) -> dict[str, Any]:
    """A first query: the whole process, and the anonymous memory that it holds at its end."""
    spent: tuple[list[float], list[float]] = [], []
    for _ in range(runs):
        for how, times in zip(("plain", "corrected"), spent, strict=True):
            times.append(seconds_and_work([sys.executable, "-c", ASK, folder, query, way, how])[0])
    held = [int(python(ASK, folder, query, way, how)) / 1024 for how in ("plain", "corrected")]
    figures: dict[str, Any] = compare(
        f"a process that asks one query, {way}", spent, f"; holds {held[0]:.0f} and {held[1]:.0f} MiB"
    )
    return figures | {"plain_mib": held[0], "corrected_mib": held[1]}


if __name__ == "__main__":
    main()
