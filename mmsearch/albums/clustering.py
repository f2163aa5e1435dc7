"""`clusters`: a gallery in albums of pictures that are like each other, each with a name. Nothing is changed.

Albums are made of a sample, in which of near-duplicates one counts (a burst of fifty is no subject of its own), and
then every picture is put where it belongs, block by block: memory does not grow with the gallery but for some numbers a
picture.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.albums.grouping import (
    Grouping,
    GroupSums,
    candidate_ks,
    center,
    choose_grouping,
    least_silhouette,
    silhouettes,
    without_twins,
)
from mmsearch.albums.naming import name_albums
from mmsearch.albums.records import Album, AlbumWord, ClustersReport
from mmsearch.albums.vocabulary import general_words, read_words
from mmsearch.encoders import Encoder
from mmsearch.errors import EncoderError, QueryError
from mmsearch.exact import Neighbours, VectorBlock
from mmsearch.gallery import FileSpans, Gallery, read_consistently, sample_rows
from mmsearch.items import IMAGES
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.search.hits import Hit
from mmsearch.search.kept_texts import kept_text_vectors
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.pending import require_items
from mmsearch.search.picture_filter import filter_pictures
from mmsearch.search.query import NEAR_DUPLICATE

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["album_hits", "clusters"]

_Path = str | os.PathLike[str]

LEAST_PICTURES = 10
OTHER = "other"
_SAMPLED = 4_096
_TYPICAL = 12
_LOOKED_AT = 60  # of which the typical ones are taken, near-duplicates left out
_TEMPLATE = "a photo of {}"
_BLOCK = 16_384
_SEED = 0


def clusters(
    gallery: _Path | None = None,
    *,
    where: str | None = None,
    near: str | None = None,
    k: int | None = None,
    words: _Path | None = None,
    encoder: str | Encoder | None = None,
    seed: int = _SEED,
    progress: ProgressCallback = quiet,
) -> ClustersReport:
    """Group the pictures of a gallery into albums, and name these. The same gallery and seed give the same albums.

    where: an SQL expression; then only pictures that it admits. near: only those taken near a place, as "Lisbon 20km".
    k: how many albums; None for as many as suit best, see `mmsearch.albums.grouping`. words: a file of names to choose
    from, one a line; None for some 1,100 everyday words. encoder: for the words; by default the one that the gallery
    names. Where that is not there, albums have numbers, unless words were given.

    Raises GalleryError, QueryError (fewer than ten different pictures, more albums than pictures), FilterError,
    EncoderError, StoreError.
    """
    own_words = None if words is None else read_words(words)
    if k is not None and k < 1:
        raise QueryError(f"{k} albums: ask for one or more (-k), or leave it out to have the number chosen")
    opened = open_gallery(gallery)
    require_items(opened.gallery, IMAGES.name)
    where = filter_pictures(opened, where, near)
    return read_consistently(
        opened.gallery, lambda now: _clusters(opened, now, _Wish(where, k, own_words, encoder, seed, progress))
    )


def album_hits(opened: OpenGallery, album: Album, start: int = 0, stop: int | None = None) -> list[Hit]:
    """The pictures of an album from one place to another, the most typical first, as hits ranked from 1."""
    some = slice(start, stop)
    found = Neighbours(album.row_ids[None, some], album.scores[None, some])
    hits = opened.hits(found, IMAGES.name)[0] if found.row_ids.size else []
    return [replace(hit, rank=hit.rank + start) for hit in hits]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked for. words: None for those that come along."""

    where: str | None
    k: int | None
    words: list[str] | None
    encoder: str | Encoder | None
    seed: int
    progress: ProgressCallback


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """Where every picture belongs, (n,) each, ascending by row id.

    Attributes:
        labels: -1 for nowhere.
        scores: With the mean vector of its album.
    """

    row_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


def _clusters(opened: OpenGallery, gallery: Gallery, wish: _Wish) -> ClustersReport:
    admitted = None if wish.where is None else opened.retriever.admitted(gallery, IMAGES.name, wish.where)
    if admitted is not None and not len(admitted):
        live = gallery.live_rows(IMAGES.name)
        raise QueryError(f"the filter admits none of the {live:,} images: {wish.where}")
    sample = _take_sample(gallery, admitted, wish.seed)
    _require_enough(sample, wish.k)
    ks = candidate_ks(len(sample.vectors)) if wish.k is None else [wish.k]
    grouping = choose_grouping(sample.centred, ks, wish.seed, wish.progress)
    k = len(grouping.centres)
    least = least_silhouette(grouping.silhouettes) if k > 1 else -1.0
    placed = _place(gallery, admitted, sample, grouping, least, wish.progress)
    named, nameless = _name(gallery, sample, np.where(grouping.silhouettes < least, -1, grouping.labels), k, wish)
    spans = opened.retriever.file_spans(IMAGES.name)
    albums, other = _make_albums(opened, gallery, placed, named, spans)
    return ClustersReport(
        str(gallery.path),
        albums,
        other,
        len(placed.row_ids) if spans is None else spans.count_files(0, placed.row_ids),
        _why(grouping, len(sample.vectors), wish.k),
        grouping.tried,
        nameless,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Pictures of which no two are near-duplicates.

    Attributes:
        row_ids: (n,), ascending.
        vectors: (n, dim), as stored.
        mean: (dim,), of the vectors.
        centred: (n, dim), see `center`.
        looked_at: of how many pictures these were taken.
    """

    row_ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    mean: NDArray[np.float64]
    centred: NDArray[np.float32]
    looked_at: int


def _take_sample(gallery: Gallery, admitted: NDArray[np.int64] | None, seed: int) -> _Sample:
    rng = np.random.default_rng([seed, 0])
    if admitted is None:
        row_ids, vectors = sample_rows(gallery, IMAGES.name, _SAMPLED, rng)
        order = np.argsort(row_ids)
        row_ids, vectors = row_ids[order], vectors[order]
    else:
        row_ids = np.sort(rng.choice(admitted, min(_SAMPLED, len(admitted)), replace=False))
        vectors = gallery.vectors(IMAGES.name, row_ids).astype(np.float32)
    keep = without_twins(vectors, NEAR_DUPLICATE)
    row_ids, vectors, looked_at = row_ids[keep], vectors[keep], len(row_ids)
    mean = vectors.mean(axis=0, dtype=np.float64)
    return _Sample(row_ids, vectors, mean, center(vectors, mean), looked_at)


def _require_enough(sample: _Sample, k: int | None) -> None:
    """Raise QueryError where there are too few pictures to group."""
    different = len(sample.vectors)
    if different < LEAST_PICTURES:
        twins = "" if sample.looked_at == different else f" that are not near-duplicates (of {sample.looked_at:,})"
        raise QueryError(
            f"{different:,} picture{'' if different == 1 else 's'}{twins}: that is too few for albums, which take "
            f"{LEAST_PICTURES} or more"
        )
    if k is not None and k > different:
        raise QueryError(f"{k:,} albums of {different:,} different pictures: ask for fewer (-k)")


def _place(
    gallery: Gallery,
    admitted: NDArray[np.int64] | None,
    sample: _Sample,
    grouping: Grouping,
    least: float,
    progress: ProgressCallback,
) -> _Placed:
    """Put every picture into the album whose centre is nearest, or, where its silhouette is too small, into none."""
    k = len(grouping.centres)
    groups = GroupSums.of(sample.centred, grouping.labels, k)
    means = GroupSums.of(sample.vectors, grouping.labels, k).sums
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    nowhere = (sample.mean / max(float(np.linalg.norm(sample.mean)), 1e-6)).astype(np.float32)
    ids, labels, scores = [], [], []
    total = gallery.live_rows(IMAGES.name) if admitted is None else len(admitted)
    done = 0
    for block in _blocks(gallery, admitted):
        vectors = np.asarray(block.vectors, np.float32)
        centred = center(vectors, sample.mean)
        nearest = np.argmax(centred @ grouping.centres.T, axis=1)
        is_sampled = _is_among(block.row_ids, sample.row_ids)
        if k > 1:
            is_out = silhouettes(centred, nearest, groups, is_sampled) < least
        else:
            is_out = np.zeros(len(vectors), np.bool_)
        own = np.einsum("nd,nd->n", vectors, means[nearest])
        scores.append(np.where(is_out, vectors @ nowhere, own))
        labels.append(np.where(is_out, -1, nearest))
        ids.append(block.row_ids)
        done += len(block.row_ids)
        progress(Progress("putting pictures into albums", done, total))
    row_ids = np.concatenate(ids)
    order = np.argsort(row_ids)
    return _Placed(row_ids[order], np.concatenate(labels)[order], np.concatenate(scores)[order])


def _blocks(gallery: Gallery, admitted: NDArray[np.int64] | None) -> Iterator[VectorBlock]:
    blocks = gallery.vector_blocks(IMAGES.name) if admitted is None else gallery.blocks_of(IMAGES.name, admitted)
    for block in blocks:
        for start in range(0, len(block.row_ids), _BLOCK):
            some = slice(start, start + _BLOCK)
            yield VectorBlock(block.row_ids[some], block.vectors[some])


def _is_among(row_ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which row ids are in `wanted`, ascending and not empty."""
    places = np.minimum(np.searchsorted(wanted, row_ids), len(wanted) - 1)
    result: NDArray[np.bool_] = wanted[places] == row_ids
    return result


def _name(
    gallery: Gallery, sample: _Sample, labels: NDArray[np.int64], k: int, wish: _Wish
) -> tuple[Sequence[tuple[AlbumWord, ...]], str | None]:
    """The words of each album, and why there are none."""
    words = general_words() if wish.words is None else wish.words
    texts = [_TEMPLATE.format(word) for word in words]
    try:
        vectors = kept_text_vectors(gallery, wish.encoder, texts, "album_words", wish.progress)
    except EncoderError as error:
        if wish.words is not None or wish.encoder is not None:
            raise
        return [()] * k, f"albums have numbers instead of names, since there is no text encoder: {error}"
    reserved = {OTHER, *(_numbered(number) for number in range(1, k + 1))}
    return name_albums(sample.vectors @ vectors.T, labels, k, words, reserved), None


def _numbered(number: int) -> str:
    return f"album {number}"


def _make_albums(
    opened: OpenGallery,
    gallery: Gallery,
    placed: _Placed,
    named: Sequence[tuple[AlbumWord, ...]],
    spans: FileSpans | None,
) -> tuple[tuple[Album, ...], Album | None]:
    taken = _taken_at(gallery, placed.row_ids)

    def members(label: int) -> NDArray[np.intp]:
        """The places of an album's pictures, the most typical first, and of a film, document or tiled picture one."""
        (rows,) = np.nonzero(placed.labels == label)
        rows = rows[np.lexsort((placed.row_ids[rows], -placed.scores[rows]))]
        if spans is None:
            return rows
        return rows[np.sort(np.unique(spans.files_of(placed.row_ids[rows]), return_index=True)[1])]

    members_of = [members(label) for label in range(len(named))]
    order = [
        label for label in sorted(range(len(named)), key=lambda each: -len(members_of[each])) if len(members_of[label])
    ]

    def make(number: int, label: int, words: tuple[AlbumWord, ...], name: str) -> Album:
        rows = members_of[label] if label >= 0 else members(label)
        row_ids, scores = placed.row_ids[rows], placed.scores[rows].astype(np.float64)
        days = taken[rows]
        days = days[~np.isnat(days)]
        first, last = (days.min().astype(datetime), days.max().astype(datetime)) if len(days) else (None, None)
        return Album(number, name, words, row_ids, scores, first, last, _typical(opened, gallery, row_ids, scores))

    albums = tuple(
        make(number, label, named[label], named[label][0].word if named[label] else _numbered(number))
        for number, label in enumerate(order, 1)
    )
    other = make(len(order) + 1, -1, (), OTHER) if (placed.labels < 0).any() else None
    return albums, other


def _typical(
    opened: OpenGallery, gallery: Gallery, row_ids: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[Hit, ...]:
    """Those of the most typical that are not near-duplicates of each other."""
    first = row_ids[:_LOOKED_AT]
    vectors = gallery.vectors(IMAGES.name, first).astype(np.float32)
    (kept,) = np.nonzero(without_twins(vectors, NEAR_DUPLICATE))
    kept = kept[:_TYPICAL]
    return tuple(opened.hits(Neighbours(first[None, kept], scores[None, kept]), IMAGES.name)[0])


def _taken_at(gallery: Gallery, row_ids: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """When each picture was taken, (n,), not-a-time where that is unknown. row_ids: ascending."""
    taken = np.full(len(row_ids), np.datetime64("NaT", "us"))
    for rows in gallery.scan(IMAGES.name, ["taken_at"]):
        ids = rows.column("row_id").to_numpy()
        is_wanted = _is_among(ids, row_ids)
        taken[np.searchsorted(row_ids, ids[is_wanted])] = _times(rows)[is_wanted]
    return taken


def _times(rows: "pa.Table") -> NDArray[np.datetime64]:
    times: NDArray[np.datetime64] = rows.column("taken_at").to_numpy().astype("datetime64[us]")
    return times


def _why(grouping: Grouping, sampled: int, asked: int | None) -> str:
    k = len(grouping.centres)
    if asked is not None:
        return f"{k:,} album{'' if k == 1 else 's'}, as asked"
    ks = [each.k for each in grouping.tried]
    if ks == [1]:
        return f"1 album: {sampled:,} different pictures are too few to tell several apart"
    if len(ks) == 1:
        return f"{k} albums: {sampled:,} different pictures are too few to tell more apart"
    chosen = next(each for each in grouping.tried if each.k == k)
    top = max(grouping.tried, key=lambda each: each.silhouette)
    found = f"{k} albums: their silhouette, {chosen.silhouette:.3f}, "
    if chosen is top:
        found += f"is the highest of those of {len(ks)} numbers from {ks[0]} to {ks[-1]}"
    else:
        found += (
            f"is within one standard error ({top.error:.3f}) of the highest, {top.silhouette:.3f} of {top.k}, "
            f"among {len(ks)} numbers from {ks[0]} to {ks[-1]}"
        )
    return f"{found} (on {sampled:,} pictures)"
