"""Manifests: a version of a gallery as JSON, the newest one, and the commit of the next.

`manifests/00000042.json` is created if absent and never changed; the highest number that parses is the gallery.
"""

import json
import re
import warnings
from collections.abc import Callable, Container
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from mmsearch.content_hashes import DEFAULT_HASH, FIRST_HASH, content_hasher
from mmsearch.errors import CommitConflict, GalleryError, MmsearchWarning
from mmsearch.identity import EncoderIdentity
from mmsearch.items import IMAGES, table_names
from mmsearch.stores import NameTaken, Store
from mmsearch.version import __version__
from mmsearch.versions import (
    Agreement,
    Coverage,
    Disagreement,
    IndexEntry,
    Manifest,
    Parity,
    Provenance,
    Root,
    RowIdFile,
    ScoresEntry,
    Shard,
)

__all__ = [
    "FOLDER",
    "FORMAT_VERSION",
    "commit",
    "conflict_error",
    "make_first",
    "file_name",
    "named_files",
    "read_newest",
    "read_version",
    "list_versions",
]

FORMAT_VERSION = 2
"""Written is 1 where the content hash is the first one. What reads that alone would take every file of another for
changed, and leave out the hash's name from the versions that it commits."""
FOLDER = "manifests"
_FILE_NAME = re.compile(r"(\d{8,})\.json")
# Each lost race means that another writer has committed; more than this in a row is not a race but a loop.
_MOST_REPLAYS = 50


def file_name(version: int) -> str:
    """The file name of a version, in FOLDER."""
    return f"{version:08d}.json"


def _path_of(version: int) -> str:
    return f"{FOLDER}/{file_name(version)}"


def list_versions(store: Store) -> list[int]:
    """List the numbers of the versions that are there, ascending."""
    return sorted(int(match[1]) for name in store.names(FOLDER) if (match := _FILE_NAME.fullmatch(name)))


def make_first(encoder: EncoderIdentity, dtype: str, command: str) -> Manifest:
    """Make version 0: the manifest of a gallery before its first commit. It is never written."""
    return Manifest(
        version=0,
        created_at=_timestamp(),
        created_by=command,
        dtype=dtype,
        encoder=encoder,
        roots=(),
        next_root_id=1,
        next_row_ids=dict.fromkeys(table_names(), 0),
        shards=dict.fromkeys(table_names(), ()),
        deletes=dict.fromkeys(table_names(), ()),
        indexes=(),
        content_hash=DEFAULT_HASH,
    )


def read_version(store: Store, version: int) -> Manifest:
    """Read a version. Raises FileNotFoundError, GalleryError (another format), ValueError (torn: no complete JSON)."""
    document = json.loads(store.read(_path_of(version)))
    if not isinstance(document, dict) or "format_version" not in document:
        raise GalleryError(f"{store.location / _path_of(version)} is not a manifest of a gallery")
    if document["format_version"] not in (1, FORMAT_VERSION):
        raise GalleryError(
            f"{store.location} has gallery format {document['format_version']}; this mmsearch reads formats "
            f"1 to {FORMAT_VERSION}. Install the mmsearch that wrote it ({document.get('created_by', 'unknown')}), "
            "or embed into a new gallery with --gallery."
        )
    try:
        return _from_document(document, version)
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(
            f"{store.location / _path_of(version)} is damaged ({error!r}); restore it from a backup, or delete it to "
            "go back to the version before"
        ) from error


def read_newest(store: Store) -> Manifest | None:
    """Read the newest version; None where nothing was ever committed.

    A torn manifest (a crash on a file system without hard links) is of a commit that never returned; the one before it
    counts.
    """
    for version in reversed(list_versions(store)):
        try:
            return read_version(store, version)
        except FileNotFoundError:  # `compact` has removed it since it was listed, so a newer one exists
            return read_newest(store)
        except ValueError:
            warnings.warn(
                f"{store.location / _path_of(version)} is incomplete (an interrupted commit) and is passed over",
                MmsearchWarning,
                stacklevel=2,
            )
    if present := list_versions(store):
        raise GalleryError(
            f"none of the {len(present)} versions of {store.location} can be read; restore its folder manifests from a "
            "backup. Its shards are still there: do not begin a new gallery in the same place."
        )
    return None


def commit(
    store: Store,
    base: Manifest,
    change: Callable[[Manifest], Manifest],
    *,
    command: str,
    onto_any: bool = False,
    sweeps: bool = False,
) -> Manifest:
    """Commit `change(base)` as the next version and return it.

    All files that the new manifest names must be durable already. Where another writer has committed first, the change
    is applied to the newest version instead: if only indexes or scores were added since, or, with `onto_any`, in any
    case. Else raises CommitConflict. sweeps: whether the caller removes files after this commit.

    Also raises CommitConflict where files were removed after `base`: this writer's files may be among them. Raises
    GalleryError where the gallery is another one, which only bears the number of `base`.
    """
    for _ in range(_MOST_REPLAYS):
        present = list_versions(store)
        if present and present[-1] != base.version:
            current = read_newest(store)
            if current is not None and current.version != base.version:
                swept = current.swept > base.version
                if swept or (not onto_any and _comparable(current) != _comparable(base)):
                    raise conflict_error(store, base, current)
                base = current
        elif present and _is_another(store, base):
            raise GalleryError(f"{store.location} was removed and made anew meanwhile; run the same command again")
        version = (present[-1] if present else 0) + 1
        proposed = replace(change(base), version=version, created_at=_timestamp(), created_by=_signature(command))
        proposed = replace(proposed, swept=version) if sweeps else proposed
        try:
            store.create_if_absent(_path_of(version), _to_bytes(proposed))
        except NameTaken:
            continue
        _require_valid(store, base, proposed)
        return proposed
    raise CommitConflict(
        f"{store.location} is being changed faster than a commit can follow; run the same command again."
    )


def _is_another(store: Store, base: Manifest) -> bool:
    """Whether the version of this number is not this one: then the gallery was removed and made anew."""
    try:
        return read_version(store, base.version).created_at != base.created_at
    except FileNotFoundError:  # removed by `compact`: there is a higher one by now, and its number is taken
        return False


def conflict_error(store: Store, base: Manifest, current: Manifest) -> CommitConflict:
    """The error for a writer whose base version was replaced by another writer's."""
    return CommitConflict(
        f"{store.location} was changed by another writer (version {current.version}: {current.created_by}) while this "
        f"one worked on version {base.version}. Nothing is damaged; run the same command again."
    )


def _require_valid(store: Store, base: Manifest, proposed: Manifest) -> None:
    """Raise CommitConflict where the commit has created a number again that `compact` had freed: it does not count."""
    current = read_newest(store)
    if current is None or current.swept <= proposed.version:
        return
    new = named_files(proposed) - named_files(base)
    if not new or not new <= named_files(current):
        raise CommitConflict(
            f"{store.location} was compacted while this commit was under way (version {current.version}). "
            "Nothing is damaged; run the same command again."
        )


def named_files(manifest: Manifest) -> set[str]:
    """Every file and index folder that a manifest names, relative to the gallery."""
    names = {f"{table}/{shard.name}" for table, shards in manifest.shards.items() for shard in shards}
    names |= {f"deletes/{file.name}" for lists in manifest.deletes.values() for file in lists}
    names |= {f"index/{index.name}" for index in manifest.indexes}
    return names | {f"scores/{scores.name}" for scores in manifest.scores}


def _comparable(manifest: Manifest) -> Manifest:
    # What two versions must agree in not to conflict: all but indexes, the lists of rows that only these still hold,
    # and scores.
    deletes = {table: tuple(file for file in lists if file.in_shards) for table, lists in manifest.deletes.items()}
    return replace(manifest, version=0, created_at="", created_by="", indexes=(), scores=(), deletes=deletes)


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _signature(command: str) -> str:
    return f"mmsearch {__version__} {command}"


def _to_bytes(manifest: Manifest) -> bytes:
    document = {"format_version": FORMAT_VERSION, **asdict(manifest)}
    if manifest.content_hash == FIRST_HASH:
        document["format_version"] = 1
        del document["content_hash"]
    if manifest.encoder.image_of is None:
        del document["encoder"]["image_of"]  # which releases before it do not read
    for parity in document["parity"]:
        if not parity["disagreements"]:
            del parity["disagreements"]  # which releases before it do not read
    for shards in document["shards"].values():
        for shard in shards:
            del shard["has_spans"]  # which releases before it do not read
    document["shards_with_spans"] = [
        shard.name for shards in manifest.shards.values() for shard in shards if shard.has_spans
    ]
    promised = document.pop("promised")
    document["promised"] = promised.pop(IMAGES.name, ())  # the first releases promised ids of images alone
    if promised:
        document["promised_of_others"] = promised
    return json.dumps(document, indent=1).encode()


def _from_document(document: dict[str, Any], version: int) -> Manifest:
    shards, deletes, next_row_ids = document["shards"], document["deletes"], document["next_row_ids"]
    # Tables of kinds that are not known here are kept as they are; kinds that are newer than the gallery have no rows.
    names = dict.fromkeys((*table_names(), *shards))
    with_spans = frozenset(document.get("shards_with_spans", ()))
    return Manifest(
        version=version,
        created_at=document["created_at"],
        created_by=document["created_by"],
        dtype=document["dtype"],
        encoder=EncoderIdentity(**document["encoder"]),
        roots=tuple(Root(**root) for root in document["roots"]),
        next_root_id=document["next_root_id"],
        next_row_ids={table: int(next_row_ids.get(table, 0)) for table in names},
        shards={table: tuple(_read_shard(one, with_spans) for one in shards.get(table, ())) for table in names},
        deletes={table: tuple(RowIdFile(**file) for file in deletes.get(table, ())) for table in names},
        indexes=tuple(_read_index(fields, names) for fields in document["indexes"]),
        parity=tuple(map(_read_parity, document.get("parity", []))),
        promised=_read_promised(document),
        swept=int(document.get("swept", 0)),
        scores=tuple(ScoresEntry(**fields) for fields in document.get("scores", [])),
        content_hash=_known_hash(document.get("content_hash", FIRST_HASH)),
    )


def _known_hash(name: str) -> str:
    content_hasher(name)
    return name


def _read_shard(fields: dict[str, Any], with_spans: Container[str]) -> Shard:
    provenance = fields.pop("provenance", None)
    has_spans = fields["name"] in with_spans
    return Shard(**fields, provenance=Provenance(**provenance) if provenance else None, has_spans=has_spans)


def _read_parity(fields: dict[str, Any]) -> Parity:
    agreements = tuple(Agreement(**agreement) for agreement in fields.pop("agreements"))
    disagreements = tuple(
        Disagreement(**{**disagreement, "examples": tuple(disagreement["examples"])})
        for disagreement in fields.pop("disagreements", [])
    )
    return Parity(**fields, agreements=agreements, disagreements=disagreements)


def _read_promised(document: dict[str, Any]) -> dict[str, Coverage]:
    by_table = {IMAGES.name: document.get("promised", []), **document.get("promised_of_others", {})}
    return {table: ranges for table, pairs in by_table.items() if (ranges := _to_ranges(pairs))}


def _to_ranges(pairs: list[list[int]]) -> Coverage:
    return tuple((int(low), int(high)) for low, high in pairs)


def _read_index(fields: dict[str, Any], tables: Container[str]) -> IndexEntry:
    covers = _to_ranges(fields.pop("covers"))
    if fields["table"] not in tables:
        raise ValueError(f"index of unknown table {fields['table']!r}")
    return IndexEntry(**fields, covers=covers)
