"""TREC's files: qrels (what is relevant) and runs (what was returned), a line a pair, as trec_eval and ir_measures read
them.

    qrels   caption17 0 dogs/1.jpg 1
    run     caption17 Q0 dogs/1.jpg 1 0.3127 mmsearch

Names may not hold white space there: it and % are percent-encoded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import BenchmarkError, StoreError
from mmsearch.stores import read_lines

__all__ = ["read_qrels", "run_lines", "strictly_descending", "write_qrels", "write_run"]


def write_qrels(file: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """(query, item) that are relevant. Raises StoreError."""
    _write(file, (f"{_token(query)} 0 {_token(item)} 1\n" for query, item in pairs))


def write_run(file: Path, lines: Iterable[str]) -> None:
    """What `run_lines` gives, of one query or of many. Raises StoreError."""
    _write(file, (f"{line}\n" for line in lines))


def run_lines(
    queries: Sequence[str], items: Sequence[Sequence[str]], scores: NDArray[np.float64], *, tag: str = "mmsearch"
) -> Iterator[str]:
    """The lines of a run: of each query its items, best first.

    items, scores: (n_queries, k), in the same order. Names must be unique among the items of a query. Scores are those
    given, but lowered by last bits where they would tie for trec_eval (see `strictly_descending`).

    >>> list(run_lines(["q 1"], [["a.jpg", "b.jpg"]], np.array([[0.5, 0.5]])))
    ['q%201 Q0 a.jpg 1 0.5 mmsearch', 'q%201 Q0 b.jpg 2 0.49999997 mmsearch']
    """
    lowered = strictly_descending(scores)
    untouched = scores.astype(np.float32) == lowered
    name = _token(tag) or "mmsearch"
    for place, query in enumerate(queries):
        asked = _token(query)
        columns = zip(items[place], scores[place].tolist(), lowered[place].tolist(), untouched[place], strict=True)
        for rank, (item, score, below, kept) in enumerate(columns, 1):
            yield f"{asked} Q0 {_token(item)} {rank} {score if kept else format(below, '.9g')} {name}"


def strictly_descending(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scores for a run, (n_queries, k), best first: as float32, and lowered by last bits where they would tie.

    trec_eval ranks by score alone, in float32, and ties by name: without this it would rank otherwise than the run.

    >>> strictly_descending(np.array([[0.5, 0.5, 0.25]])).tolist()
    [[0.5, 0.4999999701976776, 0.25]]
    """
    lowered = scores.astype(np.float32)
    for place in range(1, lowered.shape[1]):
        below = np.nextafter(lowered[:, place - 1], np.float32(-np.inf))
        lowered[:, place] = np.minimum(lowered[:, place], below)
    return lowered


def read_qrels(file: Path) -> list[tuple[str, str]]:
    """The pairs (query, item) that a file calls relevant, of relevance above 0. Raises BenchmarkError."""
    try:
        lines = read_lines(file)
    except OSError as error:
        raise BenchmarkError(f"qrels: {file} cannot be read: {error.strerror or error}") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 4 or not re.fullmatch(r"[+-]?\d+", cells[3]):
            raise BenchmarkError(f"qrels: {file}, line {number}: not 'query 0 item relevance': {line[:80]!r}")
        if int(cells[3]) > 0:
            pairs.append((unquote(cells[0]), unquote(cells[2])))
    if not pairs:
        raise BenchmarkError(f"qrels: {file} calls nothing relevant")
    return pairs


def _token(name: str) -> str:
    return re.sub(r"[\s%]", lambda found: quote(found[0]), name)


def _write(file: Path, lines: Iterable[str]) -> None:
    try:
        with file.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.writelines(lines)
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
