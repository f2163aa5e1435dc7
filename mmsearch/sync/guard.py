"""An unmounted disk must not erase a gallery: what has to be said aloud before much is deleted."""

from collections.abc import Container, Sequence

from mmsearch.errors import PruneRefused
from mmsearch.gallery import Gallery
from mmsearch.locations import Location

__all__ = ["check_prune", "count_lost", "suspicious"]

# More deletes than both of these need --prune.
PRUNE_ITEMS = 100
PRUNE_SHARE = 0.2


def suspicious(deletes: int, live: int) -> bool:
    """Whether a run that deletes so many of a root's images has to be told that it is meant."""
    return deletes > PRUNE_ITEMS and deletes > PRUNE_SHARE * live


def count_lost(gallery: Gallery, table: str, vanished: Sequence[int], written: Container[bytes] = frozenset()) -> int:
    """How many of some rows of a table have a content that no other live row has, nor any in `written`; the others were
    moved."""
    gone = frozenset(vanished)
    kept: set[bytes] = set()
    missing: list[bytes] = []
    for row_ids, hashes in gallery.hashes(table):
        for row_id, content_hash in zip(row_ids.tolist(), hashes, strict=True):
            if row_id in gone:
                missing.append(content_hash)
            else:
                kept.add(content_hash)
    return sum(content_hash not in kept and content_hash not in written for content_hash in missing)


def check_prune(folder: Location, deletes: int, live: int) -> None:
    """Raise PruneRefused where a run would delete suspiciously much of what a root holds."""
    if suspicious(deletes, live):
        raise PruneRefused(
            f"{deletes:,} of the {live:,} pictures below {folder} are gone or broken. If they are meant to leave the "
            "gallery, run the same command with --prune; if a disk is not mounted, mount it. Nothing was deleted."
        )
