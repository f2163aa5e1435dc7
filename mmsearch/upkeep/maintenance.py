"""Changes of a gallery that encode nothing: `forget`, `relocate` and `compact`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from mmsearch.errors import SourceError
from mmsearch.gallery import (
    Gallery,
    GalleryWriter,
    open_writer,
    remove_unused,
    rewrite_wasteful,
)
from mmsearch.items import CAPTIONS, MACHINE, SKIPPED, kinds
from mmsearch.locations import Location, located
from mmsearch.names import composed
from mmsearch.sources import MEMBER
from mmsearch.stores import is_folder, real
from mmsearch.sync import require_apart
from mmsearch.versions import Root

__all__ = ["CompactReport", "ForgetReport", "RelocateReport", "compact", "forget", "relocate"]

GRACE = timedelta(days=1)
_Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What left a gallery.

    Attributes:
        unlinked: The number of captions that stay and name a picture which left.
    """

    gallery: Location
    forgotten: str
    images: int
    captions: int
    unlinked: int


@dataclass(frozen=True, slots=True)
class RelocateReport:
    """Where a root stands now."""

    gallery: Location
    old: Location
    new: Location


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What `compact` did.

    Attributes:
        shards_before: The number of shards before.
        shards_after: The number of shards after.
        removed_files: The number of files that were out of use.
        removed_bytes: Their size.
    """

    gallery: Location
    shards_before: int
    shards_after: int
    removed_files: int
    removed_bytes: int


def forget(root: _Path, *, gallery: _Path | None = None) -> ForgetReport:
    """Drop a root and its pictures, or a file of captions and its captions, from a gallery. No picture file is touched.

    With a root goes what models have said of its pictures. `machine:` alone, or with the name of a model, drops the
    captions that models, or that one, have written.
    Raises SourceError where the gallery has no such root, listing those that it has.
    """
    if os.fspath(root).startswith(MACHINE):
        return _forget_guesses(os.fspath(root), gallery)
    path = located(root)
    with open_writer(Gallery.open(gallery).path, command="forget") as writer:
        gallery_root = _find_root(writer, path)
        if gallery_root is None:
            source = writer.uri(real(path))
            member_prefix = f"{source}{MEMBER}"  # captions that stand beside pictures in a folder or an archive
            captions = [
                row_id
                for row_id, row in writer.gallery.all_captions()
                if row.source == source or row.source.startswith(member_prefix)
            ]
            if not captions:
                raise SourceError(_no_such_root(writer, path))
            writer.delete(CAPTIONS.name, captions)
            images = unlinked = 0
        else:
            own = [(row_id, row) for row_id, row in writer.gallery.all_captions() if row.root_id == gallery_root.id]
            captions = [row_id for row_id, row in own if row.guessed_by is not None]
            unlinked = len(own) - len(captions)
            writer.delete(CAPTIONS.name, captions)
            images = _delete_root(writer, gallery_root)
        writer.commit()
        return ForgetReport(writer.gallery.path, str(path), images, len(captions), unlinked)


def _forget_guesses(named: str, gallery: _Path | None) -> ForgetReport:
    """Drop the captions that models have written, all or those of one: `machine:`, `machine:hf:org/name`."""
    with open_writer(Gallery.open(gallery).path, command="forget") as writer:
        guesses = [(row_id, row) for row_id, row in writer.gallery.all_captions() if row.guessed_by is not None]
        captions = [row_id for row_id, row in guesses if named in (MACHINE, row.source, f"{MACHINE}{row.guessed_by}")]
        if not captions:
            sources = sorted({f"{MACHINE}{row.guessed_by}" for _, row in guesses})
            raise SourceError(
                f"{writer.gallery.path} has no captions of {named}; of models it has those of {_join_names(sources)}"
            )
        writer.delete(CAPTIONS.name, captions)
        writer.commit()
        return ForgetReport(writer.gallery.path, named, 0, len(captions), 0)


def _delete_root(writer: GalleryWriter, root: Root) -> int:
    deleted = 0
    for table in (*(kind.name for kind in kinds() if kind.files is not None), SKIPPED.name):
        rows = writer.gallery.files(table, root.id).row_ids
        writer.delete(table, rows)
        deleted += len(rows) if table != SKIPPED.name else 0
    writer.set_roots([other for other in writer.roots if other != root])
    return deleted


def relocate(root: _Path, new: _Path, *, gallery: _Path | None = None) -> RelocateReport:
    """Say that a root stands elsewhere now. Only its address changes: no row, no vector, no file.

    Raises SourceError: no such root, no such folder, or one that overlaps another root.
    """
    old_path, new_path = located(root), located(new)
    if not is_folder(new_path):
        raise SourceError(f"no such folder: {new}")
    with open_writer(Gallery.open(gallery).path, command="relocate") as writer:
        gallery_root = _find_root(writer, old_path)
        if gallery_root is None:
            raise SourceError(_no_such_root(writer, old_path))
        require_apart(writer, new_path, but=gallery_root)
        moved = replace(gallery_root, uri=writer.uri(new_path))
        writer.set_roots([moved if other == gallery_root else other for other in writer.roots])
        writer.commit()
        return RelocateReport(writer.gallery.path, writer.root_path(gallery_root), new_path)


def compact(gallery: _Path | None = None, *, grace: timedelta = GRACE) -> CompactReport:
    """Merge small shards, rewrite those that are largely dead, and remove files that have been out of use for `grace`.

    Row ids stay, so indexes do too. Raises GalleryBusy, StoreError.
    """
    with open_writer(Gallery.open(gallery).path, command="compact") as writer:
        before = _shard_count(writer.gallery)
        writer.rewrite(rewrite_wasteful)
        removed = remove_unused(writer.gallery.store, writer.manifest, grace_seconds=grace.total_seconds())
        return CompactReport(writer.gallery.path, before, _shard_count(writer.gallery), removed.files, removed.bytes)


def _shard_count(gallery: Gallery) -> int:
    return sum(len(shards) for shards in gallery.manifest.shards.values())


def _find_root(writer: GalleryWriter, path: Location) -> Root | None:
    by_name = [root for root in writer.roots if writer.root_path(root) == path]
    by_real_path = [root for root in writer.roots if real(writer.root_path(root)) == real(path)]
    alike = [root for root in writer.roots if composed(str(writer.root_path(root))) == composed(str(path))]
    return next(iter([*by_name, *by_real_path, *alike]), None)


def _no_such_root(writer: GalleryWriter, path: Location) -> str:
    sources = sorted({row.source for _, row in writer.gallery.all_captions()})
    return (
        f"{writer.gallery.path} has no root {path}. "
        f"It has {_join_names([str(writer.root_path(root)) for root in writer.roots])}"
        + (f" and captions from {_join_names(sources)}" if sources else "")
    )


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
