"""What an index of a kind would cost, tried in a moment on a few rows and codes: before anything is built."""

import re
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.building import count_lists, faiss_errors, make_index, prepare_training
from mmsearch.ann.parts import parts_of, search_parameters
from mmsearch.ann.records import Effort, IndexRecord
from mmsearch.ann.searching import AnnIndex

__all__ = ["CodeCosts", "code_costs", "unbuilt"]

_LISTS = re.compile(r"IVF\d+(_HNSW\d+)?(\([^)]*\))?")
_ROTATION = re.compile(r"^OPQ\d+(_\d+)?,")
# Codes of pieces of a vector, each learned by itself: a part of the pieces takes as small a part of the time.
_PIECES = re.compile(r"(IVF\d+,)?PQ(\d+)(x\d+)?(fsr?)?")
_PARTS = (32, 16, 8, 4, 2)
_ROUNDS = 5  # of learning, instead of FAISS's 25
# Rounds in which a rotation learns the codes anew, in units of learning them once.
_ROTATION_ROUNDS = 10
# FAISS learns a code from at most so many rows for each of its values.
_ROWS_A_VALUE = 256


@dataclass(frozen=True, slots=True)
class CodeCosts:
    """Seconds that codes take. training: to learn them, lists apart. row: to code one. look: a query at one of them."""

    training: float
    row: float
    look: float


def unbuilt(factory: str, dim: int) -> AnnIndex:
    """An index without rows: it says which efforts there are, and how many candidates each takes."""
    record = IndexRecord("", "", "", dim, 0, True, factory, 0, 0.0, "", 0)
    return AnnIndex(make_index(factory, dim), np.empty(0, np.int64), record)


def code_costs(factory: str, dim: int, vectors: NDArray[np.float32], *, rows: int, training_rows: int) -> CodeCosts:
    """What the codes of a kind of index cost, by building a small one of some vectors, (n, dim), at least one.

    rows, training_rows: of the index that is meant. Raises AnnIndexError as `build` does.
    """
    lists = count_lists(factory, dim)
    few = max(1, round(len(vectors) * lists / rows))  # lists as long as they will be
    learned = _LISTS.sub(f"IVF{few}", factory)
    rounds = _ROTATION_ROUNDS if _ROTATION.match(learned) else 1
    learned = _ROTATION.sub("", learned)
    pieces = _PIECES.fullmatch(learned)
    parts = next((n for n in _PARTS if pieces and dim % n == 0 and int(pieces[2]) % (2 * n) == 0), 1)
    if pieces and parts > 1:
        learned = learned.replace(f"PQ{pieces[2]}", f"PQ{int(pieces[2]) // parts}")
    index = make_index(learned, dim // parts)
    needed = 0 if index.is_trained else prepare_training(index, seed=0)[0]
    short = np.ascontiguousarray(np.resize(vectors[:, : dim // parts], (max(len(vectors), needed), dim // parts)))
    more = 1.0
    for part in parts_of(index):
        if (codes := getattr(part, "pq", None)) is not None:
            more = codes.cp.niter / _ROUNDS * max(1.0, min(training_rows, _ROWS_A_VALUE * codes.ksub) / len(short))
            codes.cp.niter = _ROUNDS

    with faiss_errors(factory):
        began = time.perf_counter()
        if not index.is_trained:
            index.train(short)
        trained = time.perf_counter()
        index.add(short)
        added = time.perf_counter()
        index.search(short[:1024], 10, params=search_parameters(index, None, Effort(nprobe=few), 10))
        searched = time.perf_counter()
    return CodeCosts(
        training=0.0 if needed == 0 else (trained - began) * parts * rounds * more,
        row=(added - trained) * parts / len(short),
        look=(searched - added) * parts / len(short[:1024]) / len(short),
    )
