"""What a gallery knows of the files below one root."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmsearch.gallery import FileRows
from mmsearch.sources import MEMBER, SourceFile, is_hidden

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
            same = _archive_size(self._rows.etags[place]) == _archive_size(file.etag)
        return int(self._rows.row_ids[place]), bool(same)

    def files(self) -> list[str]:
        """The names of all files, archives in the place of their members; each once."""
        return list(dict.fromkeys(name.partition(MEMBER)[0] if MEMBER in name else name for name in self._rows.names))

    def etags(self, archive: SourceFile) -> Counter[str]:
        """How many rows of an archive's members were made of it in its present state, by etag."""
        return Counter(
            etag
            for place in self._of(archive)
            if (etag := self._rows.etags[place]) is not None and self._current(archive, place)
        )

    def keep_members(self, archive: SourceFile, *, former: bool) -> int:
        """Take the members of an unchanged archive as found, of its `former` states too; how many are of this one."""
        count = 0
        for place in self._of(archive):
            current = self._current(archive, place)
            count += current
            if current or former:
                self._seen[place] = True
        return count

    def missing_members(self, archive: SourceFile, *, hidden: bool) -> list[int]:
        """Row ids of the members of an archive that were not found in it, hidden ones only if `hidden`."""
        places = [place for place in self._of(archive) if not self._seen[place]]
        return [int(self._rows.row_ids[place]) for place in places if hidden or not is_hidden(self._rows.names[place])]

    def unseen(self, unknown: Sequence[str], *, hidden: bool) -> list[int]:
        """Row ids of what was not found, but for what lies in `unknown` folders, and hidden files unless `hidden`."""
        prefixes = tuple(f"{folder}/" if folder else "" for folder in unknown)
        for place in np.flatnonzero(~self._seen):
            name = self._rows.names[place]
            if name.startswith(prefixes) or (not hidden and is_hidden(name)):
                self._seen[place] = True
        return [int(row_id) for row_id in self._rows.row_ids[~self._seen]]

    def _of(self, archive: SourceFile) -> list[int]:
        if self._members is None:
            self._members = {}
            for name, place in self._places.items():
                if MEMBER in name:
                    self._members.setdefault(name.partition(MEMBER)[0], []).append(place)
        return self._members.get(archive.name, [])

    def _current(self, archive: SourceFile, place: int) -> bool:
        return bool(
            self._rows.times[place] == _number(archive.mtime_ns)
            and _archive_size(self._rows.etags[place]) == str(archive.size)
        )


def _archive_size(etag: str | None) -> str:
    return (etag or "").partition(":")[0]


def _number(value: int | None) -> int:
    return -1 if value is None else value
