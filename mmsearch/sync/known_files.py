"""The rows that a gallery holds of the files below one root."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmsearch.gallery import FileRows
from mmsearch.sources import MEMBER, ContainerState, SourceFile, cutting_of, is_hidden

__all__ = ["KnownFiles"]


class KnownFiles:
    """The live rows of one table below one root, by name. Remembers which of them the run has seen again."""

    def __init__(self, rows: FileRows) -> None:
        self._rows = rows
        self._index_of = {name: index for index, name in enumerate(rows.names)}
        self._seen = np.zeros(len(rows.row_ids), bool)
        self._members: dict[str, list[int]] | None = None

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, file: SourceFile) -> tuple[int | None, bool]:
        """The row id of a file, or None, and whether the file is unchanged since then. Marks the row as seen."""
        index = self._index_of.get(file.name)
        if index is None:
            return None, False
        self._seen[index] = True
        if file.version is not None:
            return int(self._rows.row_ids[index]), self._rows.etags[index] == file.version
        same = self._rows.sizes[index] == _or_minus_one(file.size) and self._rows.times[index] == _or_minus_one(
            file.mtime_ns
        )
        if same and file.etag is not None:
            stored_state, state = ContainerState.of(self._rows.etags[index]), ContainerState.of(file.etag)
            same = (stored_state.size, stored_state.cutting) == (state.size, state.cutting)
        return int(self._rows.row_ids[index]), bool(same)

    def file_names(self) -> list[str]:
        """The names of all files, each once; of items in a container, the name of the container."""
        return list(dict.fromkeys(name.partition(MEMBER)[0] if MEMBER in name else name for name in self._rows.names))

    def count_etags(self, container: SourceFile) -> Counter[str]:
        """Count the rows of a container's items that were made of its present state, by etag."""
        return Counter(
            etag
            for index in self._member_indices(container)
            if (etag := self._rows.etags[index]) is not None and self._is_current(container, index)
        )

    def mark_members_seen(self, container: SourceFile, *, former: bool) -> int:
        """Mark the items of an unchanged container as seen, those of its former states too where `former`.

        Returns how many are of the present state.
        """
        count = 0
        for index in self._member_indices(container):
            current = self._is_current(container, index)
            count += current
            if current or former:
                self._seen[index] = True
        return count

    def find_missing_members(self, container: SourceFile, *, hidden: bool) -> list[int]:
        """Row ids of the items of a container that were not seen in it; hidden ones only if `hidden`."""
        indices = [index for index in self._member_indices(container) if not self._seen[index]]
        return [int(self._rows.row_ids[index]) for index in indices if hidden or not is_hidden(self._rows.names[index])]

    def find_unseen(self, unknown: Sequence[str], *, hidden: bool) -> list[int]:
        """Row ids of what was not seen, except in `unknown` folders, and except hidden files unless `hidden`."""
        prefixes = tuple(f"{folder}/" if folder else "" for folder in unknown)
        for index in np.flatnonzero(~self._seen):
            name = self._rows.names[index]
            if name.startswith(prefixes) or (not hidden and is_hidden(name)):
                self._seen[index] = True
        return [int(row_id) for row_id in self._rows.row_ids[~self._seen]]

    def _member_indices(self, container: SourceFile) -> list[int]:
        if self._members is None:
            self._members = {}
            for name, index in self._index_of.items():
                if MEMBER in name:
                    self._members.setdefault(name.partition(MEMBER)[0], []).append(index)
        return self._members.get(container.name, [])

    def _is_current(self, container: SourceFile, index: int) -> bool:
        return bool(
            self._rows.times[index] == _or_minus_one(container.mtime_ns)
            and ContainerState.of(self._rows.etags[index]).is_of(container.size, cutting_of(container.name))
        )


def _or_minus_one(value: int | None) -> int:
    return -1 if value is None else value
