"""What an index of a kind would cost, tried in a moment on a few rows and codes: before anything is built."""

import re
import time
from dataclasses import dataclass
from typing import Any

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
_TRIES = 3  # of which the fastest counts: at first threads are started, and another program may have the processor
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
    learned_from = min(training_rows, _ROWS_A_VALUE * max((codes.ksub for codes in _codes_of(index)), default=0))
    longer = max((codes.cp.niter / _ROUNDS for codes in _codes_of(index)), default=1.0)
    more = longer * max(1, learned_from / len(short))
    with faiss_errors(factory):
        tries = [_try_codes(make_index(learned, dim // parts), short, few) for _ in range(_TRIES)]
    training, adding, searching = (min(times) for times in zip(*tries, strict=True))
    return CodeCosts(
        training=0.0 if needed == 0 else training * parts * rounds * more,
        row=adding * parts / len(short),
        look=searching * parts / len(short[:1024]) / len(short),
    )


def _try_codes(index: Any, vectors: NDArray[np.float32], probe: int) -> tuple[float, float, float]:
    """The seconds of learning from vectors, of adding them all, and of searching with 1,024 of them."""
    for codes in _codes_of(index):
        codes.cp.niter = _ROUNDS
    began = time.perf_counter()
    if not index.is_trained:
        prepare_training(index, seed=0)
        index.train(vectors)
    trained = time.perf_counter()
    index.add(vectors)
    added = time.perf_counter()
    index.search(vectors[:1024], 10, params=search_parameters(index, None, Effort(nprobe=probe), 10))
    return trained - began, added - trained, time.perf_counter() - added


def _codes_of(index: Any) -> list[Any]:
    return [part.pq for part in parts_of(index) if hasattr(part, "pq")]
