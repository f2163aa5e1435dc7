"""What a gallery knows of the files below one root."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmsearch.gallery import FileRows
from mmsearch.sources import MEMBER, ContainerState, SourceFile, cutting_of, is_hidden

__all__ = ["KnownFiles"]


class KnownFiles:
    """The live rows of one table below one root, by name. Remembers which of them were found again."""

    def __init__(self, rows: FileRows) -> None:
        self._rows = rows
        self._places = {name: place for place, name in enumerate(rows.names)}
        self._seen = np.zeros(len(rows.row_ids), bool)
        self._members: dict[str, list[int]] | None = None

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, file: SourceFile) -> tuple[int | None, bool]:
        """The row id of a file, and whether the file is as it was then."""
        place = self._places.get(file.name)
        if place is None:
            return None, False
        self._seen[place] = True
        if file.version is not None:
            return int(self._rows.row_ids[place]), self._rows.etags[place] == file.version
        same = self._rows.sizes[place] == _number(file.size) and self._rows.times[place] == _number(file.mtime_ns)
        if same and file.etag is not None:
            was, now = ContainerState.of(self._rows.etags[place]), ContainerState.of(file.etag)
            same = (was.size, was.cutting) == (now.size, now.cutting)
        return int(self._rows.row_ids[place]), bool(same)

    def files(self) -> list[str]:
        """The names of all files, containers in the place of their items; each once."""
        return list(dict.fromkeys(name.partition(MEMBER)[0] if MEMBER in name else name for name in self._rows.names))

    def etags(self, container: SourceFile) -> Counter[str]:
        """How many rows of a container's items were made of it in its present state, by etag."""
        return Counter(
            etag
            for place in self._of(container)
            if (etag := self._rows.etags[place]) is not None and self._current(container, place)
        )

    def keep_members(self, container: SourceFile, *, former: bool) -> int:
        """Take the items of an unchanged container as found, of its `former` states too; how many are of this one."""
        count = 0
        for place in self._of(container):
            current = self._current(container, place)
            count += current
            if current or former:
                self._seen[place] = True
        return count

    def missing_members(self, container: SourceFile, *, hidden: bool) -> list[int]:
        """Row ids of the items of a container that were not found in it, hidden ones only if `hidden`."""
        places = [place for place in self._of(container) if not self._seen[place]]
        return [int(self._rows.row_ids[place]) for place in places if hidden or not is_hidden(self._rows.names[place])]

    def unseen(self, unknown: Sequence[str], *, hidden: bool) -> list[int]:
        """Row ids of what was not found, but for what lies in `unknown` folders, and hidden files unless `hidden`."""
        prefixes = tuple(f"{folder}/" if folder else "" for folder in unknown)
        for place in np.flatnonzero(~self._seen):
            name = self._rows.names[place]
            if name.startswith(prefixes) or (not hidden and is_hidden(name)):
                self._seen[place] = True
        return [int(row_id) for row_id in self._rows.row_ids[~self._seen]]

    def _of(self, container: SourceFile) -> list[int]:
        if self._members is None:
            self._members = {}
            for name, place in self._places.items():
                if MEMBER in name:
                    self._members.setdefault(name.partition(MEMBER)[0], []).append(place)
        return self._members.get(container.name, [])

    def _current(self, container: SourceFile, place: int) -> bool:
        return bool(
            self._rows.times[place] == _number(container.mtime_ns)
            and ContainerState.of(self._rows.etags[place]).is_of(container.size, cutting_of(container.name))
        )


def _number(value: int | None) -> int:
    return -1 if value is None else value
