"""`info`: what a gallery holds."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from mmsearch.ann import MeasuredRecall, open_index
from mmsearch.encoders.weight_licences import licence_of
from mmsearch.errors import AnnIndexError, GalleryError, StoreError
from mmsearch.gallery import Gallery, read_consistently, read_file_spans
from mmsearch.identity import EncoderIdentity
from mmsearch.items import CAPTIONS, IMAGES, SKIPPED, SkippedRow, kind, kinds
from mmsearch.locations import Location
from mmsearch.scoring import ScoresRecord, read_scores_record
from mmsearch.stores import is_folder
from mmsearch.versions import IndexEntry, Parity

__all__ = ["GalleryInfo", "IndexInfo", "RootInfo", "info", "skipped"]

_Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class RootInfo:
    """A root of a gallery.

    Attributes:
        present: Whether its folder is there now.
        whole: Whether all of it is mirrored, or named files only.
    """

    path: str
    images: int
    skipped: int
    present: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index and its state.

    Attributes:
        covered: Live rows that it answers for.
        beside: Live rows that are scored exactly beside it.
        dead: Rows that it holds and that are no longer live.
        damaged: Why it cannot be used (queries pass it by), or None.
        recall: As its record says; empty where it is damaged.
    """

    table: str
    factory: str
    rows: int
    covered: int
    beside: int
    dead: int
    damaged: str | None
    recall: tuple[MeasuredRecall, ...]


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """What a gallery holds.

    Attributes:
        licence: That of the model's weights, as its card says; None where nobody can say (`licence_of`).
        files: The number of files, or members of archives, that the images are of: a film is one.
        damaged: The number of images of which a part is missing in the file.
        before_facts: The number of dated images of earlier releases, of which camera, lens and keywords were not kept.
        shards: The number of shards of images and captions.
        bytes: The size of all files of this version.
        others: The number of live rows of each further kind that the gallery holds some of.
        scores: What is known of the scores of each table that was calibrated.
    """

    path: Location
    version: int
    created_at: str
    created_by: str
    encoder: EncoderIdentity
    dtype: str
    images: int
    files: int
    captions: int
    skipped: int
    damaged: int
    before_facts: int
    shards: int
    bytes: int
    roots: tuple[RootInfo, ...]
    indexes: tuple[IndexInfo, ...]
    parity: tuple[Parity, ...]
    others: Mapping[str, int] = field(default_factory=dict)
    scores: tuple[ScoresRecord, ...] = ()
    licence: str | None = None


def info(gallery: _Path | None = None) -> GalleryInfo:
    """What the gallery holds at this moment. Raises GalleryNotFound."""
    return read_consistently(Gallery.open(gallery), _describe_gallery)


def _describe_gallery(opened: Gallery) -> GalleryInfo:
    manifest = opened.manifest
    return GalleryInfo(
        path=opened.path,
        version=manifest.version,
        created_at=manifest.created_at,
        created_by=manifest.created_by,
        encoder=manifest.encoder,
        licence=licence_of(manifest.encoder.spec),
        dtype=manifest.dtype,
        images=opened.live_rows(IMAGES.name),
        files=_count_files(opened),
        captions=opened.live_rows(CAPTIONS.name),
        skipped=opened.live_rows(SKIPPED.name),
        damaged=opened.damaged_images(),
        before_facts=opened.images_without_source(),
        shards=sum(len(manifest.shards[kind.name]) for kind in kinds()),
        bytes=opened.data_bytes(),
        roots=tuple(_describe_roots(opened)),
        indexes=tuple(_describe_indexes(opened)),
        parity=manifest.parity,
        others={
            kind.name: rows
            for kind in kinds()
            if kind not in (IMAGES, CAPTIONS) and (rows := opened.live_rows(kind.name))
        },
        scores=tuple(_read_scores(opened)),
    )


def _count_files(gallery: Gallery) -> int:
    rows, spans = gallery.live_rows(IMAGES.name), read_file_spans(gallery, IMAGES.name)
    return rows if spans is None else spans.count_files(rows)


def skipped(gallery: _Path | None = None) -> list[tuple[str, SkippedRow]]:
    """Inputs that could not be embedded, each with the path of its root."""
    opened = Gallery.open(gallery)
    return [(str(opened.root_path(row.root_id)), row) for row in opened.skipped_rows()]


def _describe_roots(gallery: Gallery) -> list[RootInfo]:
    image_counts, skipped_counts = gallery.rows_per_root(IMAGES.name), gallery.rows_per_root(SKIPPED.name)
    infos = []
    for root in gallery.manifest.roots:
        path = gallery.root_path(root.id)
        present = path is not None and _is_present(path)
        infos.append(
            RootInfo(str(path), image_counts.get(root.id, 0), skipped_counts.get(root.id, 0), present, root.whole)
        )
    return infos


def _is_present(folder: Location) -> bool:
    try:
        return is_folder(folder)
    except StoreError:  # one that does not answer, or not to us
        return False


def _describe_indexes(gallery: Gallery) -> list[IndexInfo]:
    infos = []
    for table in (each.name for each in kinds()):
        if (entry := gallery.index_for(table)) is not None:
            beside = sum(len(rows) for rows in gallery.scan(table, [], skip=entry.covers))
            covered = gallery.live_rows(table) - beside
            damaged, recall = _read_index_state(gallery, entry)
            dead = entry.rows - covered
            infos.append(IndexInfo(table, entry.factory, entry.rows, covered, beside, dead, damaged, recall))
    return infos


def _read_index_state(gallery: Gallery, entry: IndexEntry) -> tuple[str | None, tuple[MeasuredRecall, ...]]:
    """Why an index cannot be used, or None; and its recall."""
    own = gallery.manifest.encoder
    side = kind(entry.table).side
    try:
        ann = open_index(gallery.index_folder(entry.name), fingerprint=own.of_side(side), dim=own.dim, entry=entry)
    except AnnIndexError as error:
        return str(error), ()
    return None, ann.record.recall


def _read_scores(gallery: Gallery) -> Iterator[ScoresRecord]:
    """What is known of scores, and of the index that is there; what is damaged is not, and queries say so."""
    own = gallery.manifest.encoder
    for entry in gallery.manifest.scores:
        folder = gallery.scores_folder(entry.name)
        with contextlib.suppress(GalleryError, FileNotFoundError):
            record = read_scores_record(folder, table=entry.table, fingerprint=own.fingerprint, dim=own.dim)
            tuned, index = record.through_index, gallery.index_for(entry.table)
            is_of_index = tuned is not None and index is not None and tuned.index == index.name
            yield record if is_of_index else replace(record, through_index=None)
