"""The rows that a gallery holds of the files below one root."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import FileRows
from mmsearch.items import without_span
from mmsearch.sources import (
    JOINED,
    MEMBER,
    ContainerState,
    Member,
    SourceFile,
    cutting_of,
    is_clutter,
    is_hidden,
)

__all__ = ["KnownFiles"]


class KnownFiles:
    """The live rows of one table below one root, by name. Remembers which of them the run has seen again."""

    def __init__(self, rows: FileRows, *, apart: bool = False) -> None:
        """apart: whether the files of one picture are items of their own in this run."""
        self._rows = rows
        self._joined = () if apart else (JOINED,)
        self._index_of = {name: index for index, name in enumerate(rows.names)}
        self._seen = np.zeros(len(rows.row_ids), bool)
        self._members: dict[str, list[int]] | None = None
        self._pieces: dict[str, list[int]] | None = None
        self._beside_counts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, file: SourceFile, *, alone: bool = False) -> tuple[int | None, bool]:
        """The row id of a file, or None, and whether the file, with those beside it unless `alone`, is unchanged since
        then. Marks the row as seen."""
        index = self._index_of.get(file.name)
        if index is None:
            return None, False
        self._seen[index] = True
        return int(self._rows.row_ids[index]), self._is_same(file, index, alone=alone)

    def row_of(self, file: SourceFile) -> int | None:
        """The row id of a file, or None."""
        index = self._index_of.get(file.name)
        return None if index is None else int(self._rows.row_ids[index])

    def holds_unchanged(self, file: SourceFile) -> bool:
        """Whether there is a row of a file as it is now."""
        index = self._index_of.get(file.name)
        return index is not None and self._is_same(file, index, alone=True)

    def _is_same(self, file: SourceFile, index: int, *, alone: bool = False) -> bool:
        if not alone and self._rows.beside_states[index] != file.beside_state:
            return False
        if file.version is not None:
            return self._rows.etags[index] == file.version
        same = self._rows.sizes[index] == _or_minus_one(file.size) and self._rows.times[index] == _or_minus_one(
            file.mtime_ns
        )
        if same and file.etag is not None:
            stored_state, state = _state_of(self._rows.etags[index]), _state_of(file.etag)
            same = (stored_state.size, stored_state.cutting) == (state.size, state.cutting)
        return bool(same)

    def cuttings(self) -> set[str]:
        """The words by which files were cut of which pictures were made, see `mmsearch.cutting.cutting_word`."""
        etags = zip(self._rows.names, self._rows.etags, strict=True)
        return {_state_of(etag).cutting for name, etag in etags if etag is not None and MEMBER in name}

    def beside_names(self) -> list[str]:
        """The paths of all files that stand beside others."""
        return [path for paths in self._rows.beside.to_pylist() if paths for path in paths]

    def count_beside(self, container: SourceFile) -> int:
        """How many members of a container stand beside others."""
        if self._beside_counts is None:
            import pyarrow.compute as pc

            counts = pc.fill_null(pc.list_value_length(self._rows.beside), 0).to_numpy()
            self._beside_counts = np.asarray(counts, np.int64)
        return sum(int(self._beside_counts[index]) for index in self._member_indices(container))

    def member_names(self, container: SourceFile) -> list[str]:
        """The names of the members of a container, as within it."""
        mark = len(container.name) + len(MEMBER)
        return [self._rows.names[index][mark:] for index in self._member_indices(container)]

    def find_clutter(self) -> list[int]:
        """Row ids of what was not seen since nothing of its kind is looked at any more, see `is_clutter`."""
        indices = [int(index) for index in np.flatnonzero(~self._seen) if is_clutter(self._rows.names[index])]
        self._seen[indices] = True
        return [int(self._rows.row_ids[index]) for index in indices]

    def file_names(self) -> list[str]:
        """The names of all files, each once; of items in a container, the name of the container."""
        return list(dict.fromkeys(name.partition(MEMBER)[0] if MEMBER in name else name for name in self._rows.names))

    def count_etags(self, container: SourceFile, cutting: str | None = None) -> Counter[str]:
        """Count the rows of a container's items that were made of its present state, by etag.

        cutting: of a file of which pictures are made, in which way; its own row counts too, if it has one. Of an
        archive, what is made of its members is left out, see `count_pieces`."""
        own = self._index_of.get(container.name) if cutting is not None else None
        return Counter(
            etag
            for index in (*self._member_indices(container), *([] if own is None else [own]))
            if (etag := self._rows.etags[index]) is not None
            and self._is_current(container, index, cutting)
            and (cutting is not None or not _state_of(etag).within)
        )

    def names_uncut(self, archive: SourceFile) -> Iterator[str]:
        """The names of the members of an archive in its present state of which no pictures were made."""
        for index in self._member_indices(archive):
            etag = self._rows.etags[index]
            if etag is not None and not _state_of(etag).within and self._is_current(archive, index, None):
                yield self._rows.names[index]

    def count_pieces(self, archive: SourceFile) -> Counter[tuple[str, str]]:
        """Count the rows of pictures that were made of members of an archive in its present state, by the name of the
        member and the etag."""
        counts: Counter[tuple[str, str]] = Counter()
        for index in self._member_indices(archive):
            etag = self._rows.etags[index]
            if etag is not None and _state_of(etag).within and self._is_current(archive, index, None):
                counts[without_span(self._rows.names[index]), etag] += 1
        return counts

    def mark_members_seen(self, container: SourceFile, *, former: bool, cutting: str | None = None) -> int:
        """Mark the items of an unchanged container as seen, those of its former states too where `former`.

        cutting: see `count_etags`; the file itself is not marked. Returns how many are of the present state.
        """
        count = 0
        for index in self._member_indices(container):
            current = self._is_current(container, index, cutting)
            count += current
            if current or former:
                self._seen[index] = True
        return count

    def find_missing_members(self, container: SourceFile, *, hidden: bool) -> list[int]:
        """Row ids of the items of a container that were not seen in it; hidden ones only if `hidden`."""
        indices = [index for index in self._member_indices(container) if not self._seen[index]]
        return [int(self._rows.row_ids[index]) for index in indices if hidden or not is_hidden(self._rows.names[index])]

    def find_unseen_pieces(self, file: SourceFile) -> list[int]:
        """Row ids of a file, and of the pictures made of it, that were not seen. Marks them as seen."""
        own = self._index_of.get(file.name)
        indices = [*self._member_indices(file), *([] if own is None else [own])]
        unseen = [index for index in indices if not self._seen[index]]
        self._seen[unseen] = True
        return [int(self._rows.row_ids[index]) for index in unseen]

    def find_unseen(self, unknown: Sequence[str], *, hidden: bool) -> list[int]:
        """Row ids of what was not seen, except in `unknown` folders, and except hidden files unless `hidden`."""
        prefixes = tuple(f"{folder}/" if folder else "" for folder in unknown)
        for index in np.flatnonzero(~self._seen):
            name = self._rows.names[index]
            if name.startswith(prefixes) or (not hidden and is_hidden(name)):
                self._seen[index] = True
        return [int(row_id) for row_id in self._rows.row_ids[~self._seen]]

    def _member_indices(self, container: SourceFile) -> list[int]:
        if self._members is None or self._pieces is None:
            self._members, self._pieces = {}, {}
            for name, index in self._index_of.items():
                if MEMBER not in name:
                    continue
                file = name.partition(MEMBER)[0]
                self._members.setdefault(file, []).append(index)
                if (member := without_span(name)) not in (file, name):
                    self._pieces.setdefault(member, []).append(index)
        return (self._pieces if isinstance(container, Member) else self._members).get(container.name, [])

    def _is_current(self, container: SourceFile, index: int, cutting: str | None) -> bool:
        if self._rows.times[index] != _or_minus_one(container.mtime_ns):
            return False
        state = _state_of(self._rows.etags[index])
        if cutting is not None:
            return state.is_of(_state_size(container), (cutting,))
        cuttings = (cutting_of(container.name), *self._joined)
        return state.is_of(_state_size(container), (state.cutting,) if state.within else cuttings)


_state_of = lru_cache(4096)(ContainerState.of)  # thousands of items have the same


def _state_size(file: SourceFile) -> int | None:
    """The size by which it is told whether a file changed: of a member that of its archive."""
    return file.container.size if isinstance(file, Member) and file.container is not None else file.size


def _or_minus_one(value: int | None) -> int:
    return -1 if value is None else value
