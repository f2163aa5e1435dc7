"""What an index is asked to measure it: rows and texts, with their exact neighbours from one pass over the shards."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.ann import MeasuredRecall, QueryKind
from mmsearch.cache import cache_dir
from mmsearch.encoders import Encoder
from mmsearch.errors import MmsearchError
from mmsearch.exact import Neighbours, VectorBlock, exact_search
from mmsearch.gallery import Gallery
from mmsearch.items import CAPTIONS, IMAGES, AnyKind
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.versions import Coverage
from mmsearch.whole_files import whole_file

__all__ = [
    "ASKING",
    "GENERAL",
    "NEW_ROWS",
    "EncoderChoice",
    "Questions",
    "expected_queries",
    "general_captions",
    "questions",
    "sample",
    "without_own",
]

# The standard error of a recall near .95 is then under half a percentage point.
TEXT_QUERIES = 1000
IMAGE_QUERIES = 500
# With fewer captions than this the general ones ask; with fewer than the least of all, nobody does.
ENOUGH_CAPTIONS = 200
LEAST_QUERIES = 30
ASKING = (IMAGES, CAPTIONS)
"""The kinds whose items ask, the ones as pictures and the others as texts."""
GENERAL = "general captions"
NEW_ROWS = "new rows"

EncoderChoice: TypeAlias = str | Encoder | None


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries of one kind with their exact answers.

    source: what they are. vectors: (n, dim). own: (n,) row ids that may not be found, -1 for none. answers: the k best.
    """

    kind: QueryKind
    source: str
    vectors: NDArray[np.float32]
    own: NDArray[np.int64]
    answers: Neighbours

    def halves(self) -> tuple["Questions", "Questions"]:
        """Queries for tuning and others to judge it by; the same ones twice where there are too few to split."""
        if len(self.vectors) < 2 * LEAST_QUERIES:
            return self, self
        return self._some(slice(0, None, 2)), self._some(slice(1, None, 2))

    def _some(self, rows: slice) -> "Questions":
        answers = Neighbours(self.answers.row_ids[rows], self.answers.scores[rows])
        return replace(self, vectors=self.vectors[rows], own=self.own[rows], answers=answers)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Queries before their answers are known."""

    kind: QueryKind
    source: str
    vectors: NDArray[np.float32]
    own: NDArray[np.int64]


def questions(
    gallery: Gallery,
    table: str,
    k: int,
    rng: np.random.Generator,
    *,
    general: bool,
    encoder: EncoderChoice = None,
    fresh: Coverage | None = None,
    progress: ProgressCallback,
) -> tuple[list[Questions], list[MeasuredRecall]]:
    """Image and text queries with their exact neighbours in a table; and for a kind that cannot be asked, why not.

    general: ask with the general captions where the gallery has too few of its own. fresh: what an index covered; rows
    outside of it ask too, as NEW_ROWS.
    """
    asked = [
        _rows(gallery, table, IMAGES, IMAGE_QUERIES, k, rng),
        _texts(gallery, table, k, rng, general, encoder),
    ]
    if fresh is not None:
        ids, new = sample(gallery, table, IMAGE_QUERIES // 2, rng, skip=fresh)
        asked += [_Asked("image", NEW_ROWS, new, ids)] if len(ids) else []
    missing = [part for part in asked if isinstance(part, MeasuredRecall)]
    there = [part for part in asked if isinstance(part, _Asked)]
    if not there:
        return [], missing
    vectors = np.concatenate([part.vectors for part in there])
    blocks = gallery.vector_blocks(table)
    found = exact_search(_watched(blocks, gallery.live_rows(table), progress), vectors, k + 1)
    answered, start = [], 0
    for part in there:
        rows = slice(start, start + len(part.vectors))
        answers = without_own(Neighbours(found.row_ids[rows], found.scores[rows]), part.own, k)
        answered.append(Questions(part.kind, part.source, part.vectors, part.own, answers))
        start = rows.stop
    return answered, missing


def _watched(blocks: Iterable[VectorBlock], rows: int, progress: ProgressCallback) -> Iterator[VectorBlock]:
    done = 0
    for block in blocks:
        yield block
        done += len(block.row_ids)
        progress(Progress("exact neighbours", done, rows))


def _rows(
    gallery: Gallery, table: str, asking: AnyKind, count: int, k: int, rng: np.random.Generator
) -> _Asked | MeasuredRecall:
    kind, source = asking.side, asking.name
    rows = gallery.live_rows(source)
    if rows < LEAST_QUERIES:
        why = f"{kind} recall unmeasured: the gallery holds {rows} {source}, and {LEAST_QUERIES} are needed"
        return MeasuredRecall(kind, k, 0, None, why)
    ids, vectors = sample(gallery, source, count, rng)
    order = rng.permutation(len(ids))  # halves are to be alike, though a gallery's rows come in order
    own = ids if source == table else np.full(len(ids), -1, np.int64)
    return _Asked(kind, source, vectors[order], own[order])


def _texts(
    gallery: Gallery, table: str, k: int, rng: np.random.Generator, general: bool, encoder: EncoderChoice
) -> _Asked | MeasuredRecall:
    own = gallery.live_rows(CAPTIONS.name)
    if own >= ENOUGH_CAPTIONS or (own >= LEAST_QUERIES and not general):
        return _rows(gallery, table, CAPTIONS, TEXT_QUERIES, k, rng)
    why = f"the gallery holds {own} captions"
    if general:
        try:
            vectors = _general_vectors(gallery, encoder)
            return _Asked("text", GENERAL, vectors, np.full(len(vectors), -1, np.int64))
        except MmsearchError as error:
            why += f", and its text tower could not be loaded ({str(error).splitlines()[0]})"
    if own >= LEAST_QUERIES:
        return _rows(gallery, table, CAPTIONS, TEXT_QUERIES, k, rng)
    return MeasuredRecall("text", k, 0, None, f"text recall unmeasured: {why}")


def expected_queries(gallery: Gallery, *, general: bool) -> int:
    """How many `questions` will ask, where a text side can be loaded if one is needed."""
    rows, own = gallery.live_rows(IMAGES.name), gallery.live_rows(CAPTIONS.name)
    images = min(IMAGE_QUERIES, rows) if rows >= LEAST_QUERIES else 0
    if own < ENOUGH_CAPTIONS and general and not gallery.manifest.encoder.declared:
        return images + len(general_captions())
    return images + (min(TEXT_QUERIES, own) if own >= LEAST_QUERIES else 0)


def general_captions() -> list[str]:
    """About a thousand captions of pictures of every kind, written for measuring with."""
    text = files("mmsearch.indexing").joinpath("general_captions.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line]


def _general_vectors(gallery: Gallery, encoder: EncoderChoice) -> NDArray[np.float32]:
    """The general captions as the gallery's own text tower sees them, kept in the cache. Raises MmsearchError."""
    captions = general_captions()
    own = gallery.manifest.encoder
    digest = hashlib.blake2b("\n".join([own.fingerprint, *captions]).encode(), digest_size=16).hexdigest()
    kept = cache_dir() / "general_captions" / f"{digest}.npy"
    try:
        vectors: NDArray[np.float32] = np.load(kept, allow_pickle=False)
        if vectors.shape == (len(captions), own.dim) and vectors.dtype == np.float32:
            return vectors
    except (OSError, ValueError):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = encoders.open(encoder, ["text"], device="cpu", precision="fp32", for_gallery=gallery)
        vectors = opened.text.encode(captions).vectors
    _keep(vectors, kept)
    return vectors


def _keep(vectors: NDArray[np.float32], file: Path) -> None:
    """Put vectors into the cache; a cache that cannot be written is no reason to stop."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            np.save(partial, vectors)


def sample(
    gallery: Gallery, table: str, count: int, rng: np.random.Generator, *, skip: Coverage = ()
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row ids and vectors of `count` live rows outside `skip` at random (all, where there are fewer), in one pass."""
    rows = gallery.live_rows(table) if not skip else sum(len(part) for part in gallery.scan(table, [], skip=skip))
    chosen = np.sort(rng.choice(rows, size=min(count, rows), replace=False))
    ids = np.empty(len(chosen), np.int64)
    vectors = np.empty((len(chosen), gallery.manifest.encoder.dim), np.float32)
    passed = filled = 0
    for block in gallery.vector_blocks(table, skip=skip):
        past = passed + len(block.row_ids)
        inside = chosen[np.searchsorted(chosen, passed) : np.searchsorted(chosen, past)] - passed
        into = slice(filled, filled + len(inside))
        ids[into], vectors[into] = block.row_ids[inside], block.vectors[inside]
        passed, filled = past, into.stop
    return ids, vectors


def without_own(found: Neighbours, own: NDArray[np.int64], k: int) -> Neighbours:
    """k + 1 hits a query -> k, without the query itself."""
    keep = found.row_ids != own[:, None]
    # The row itself is among the hits unless k + 1 others score as much: then the last goes in its place.
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(keep, order, axis=1)
    return Neighbours(
        np.where(kept, np.take_along_axis(found.row_ids, order, axis=1), -1),
        np.where(kept, np.take_along_axis(found.scores, order, axis=1), -np.inf),
    )
