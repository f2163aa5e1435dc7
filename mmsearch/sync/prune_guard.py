"""Guards against large deletes: an unmounted disk must not erase a gallery, so these need --prune."""

from collections.abc import Container, Sequence

from mmsearch.errors import PruneRefused
from mmsearch.gallery import Gallery
from mmsearch.locations import Location

__all__ = ["check_prune", "find_leaving", "count_lost", "needs_prune"]

# More deletes than both of these need --prune.
PRUNE_ITEMS = 100
PRUNE_SHARE = 0.2


def needs_prune(deletes: int, live: int) -> bool:
    """Whether a run may delete so many of a root's live items only with --prune."""
    return deletes > PRUNE_ITEMS and deletes > PRUNE_SHARE * live


def count_lost(gallery: Gallery, table: str, vanished: Sequence[int], written: Container[bytes] = frozenset()) -> int:
    """Count the vanished rows of a table whose content no other live row has and that is not in `written`.

    The other vanished rows are of files that were moved.
    """
    vanished_ids = frozenset(vanished)
    live_hashes: set[bytes] = set()
    vanished_hashes: list[bytes] = []
    for row_ids, hashes in gallery.hashes(table):
        for row_id, content_hash in zip(row_ids.tolist(), hashes, strict=True):
            if row_id in vanished_ids:
                vanished_hashes.append(content_hash)
            else:
                live_hashes.add(content_hash)
    return sum(content_hash not in live_hashes and content_hash not in written for content_hash in vanished_hashes)


def find_leaving(gallery: Gallery, table: str, vanished: Sequence[Sequence[int]]) -> dict[bytes, list[int]]:
    """The vanished rows of a table by their content: a new file of the same content is one of them, moved.

    vanished: row ids, a list a root.
    """
    vanished_ids = frozenset(row_id for row_ids in vanished for row_id in row_ids)
    if not vanished_ids:
        return {}
    leaving: dict[bytes, list[int]] = {}
    for row_ids, hashes in gallery.hashes(table):
        for row_id, content_hash in zip(row_ids.tolist(), hashes, strict=True):
            if row_id in vanished_ids:
                leaving.setdefault(content_hash, []).append(row_id)
    return leaving


def check_prune(folder: Location, deletes: int, live: int) -> None:
    """Raise PruneRefused where a run would delete suspiciously much of what a root holds."""
    if needs_prune(deletes, live):
        raise PruneRefused(
            f"{deletes:,} of the {live:,} pictures below {folder} are gone or broken. If they are meant to leave the "
            "gallery, run the same command with --prune; if a disk is not mounted, mount it. Nothing was deleted."
        )
