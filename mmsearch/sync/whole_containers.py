"""Which containers are as they were when all of their items were embedded: they are not opened again."""

import os
from collections import Counter
from collections.abc import Collection

from mmsearch.cutting import cutting_word, why_missing
from mmsearch.images import CutOptions
from mmsearch.items import DEFAULT_KIND, kind_of_file
from mmsearch.sources import ContainerState, SourceFile, container_form
from mmsearch.sync.known_files import KnownFiles

__all__ = ["WholeContainers"]


class WholeContainers:
    """By what the gallery knows of their items.

    tables: the rows of each kind, and those that were skipped. cuts: how pictures are made of files now. identified:
    whether items of the root have names of their own, so that none is cut.
    """

    def __init__(self, tables: Collection[KnownFiles], cuts: CutOptions, *, identified: bool) -> None:
        self._tables, self._cuts, self._identified = tables, cuts, identified
        self._cutting_of_suffix: dict[str, str] = {}

    def count_pictures(self, file: SourceFile, cutting: str) -> int | None:
        """How many pictures a file was cut into, where it is unchanged since and all were embedded; else None."""
        rows = sum((known.count_etags(file, cutting) for known in self._tables), Counter[str]())
        states = ((ContainerState.of(etag), count) for etag, count in rows.items())
        return next((count for state, count in states if state.members == str(count)), None)

    def state_of(self, file: SourceFile) -> ContainerState | None:
        """The state in which all items of a container were embedded, which it still has; None where there is none.

        A member of an archive that is cut counts where all of its pictures are there, and it is cut as it would be now.
        """
        rows = sum((known.count_etags(file) for known in self._tables), Counter[str]())
        pieces = sum((known.count_pieces(file) for known in self._tables), Counter[tuple[str, str]]())
        is_archive = container_form(file.name) in ("tar", "zip")
        if is_archive and any(self._is_uncut(file, known) for known in self._tables):
            return None
        counts = {state: count for etag, count in rows.items() if not (state := ContainerState.of(etag)).within}
        cut: Counter[tuple[str, bool]] = Counter()
        for (name, etag), count in pieces.items():
            state = ContainerState.of(etag)
            if state.members == str(count) and state.cutting == self._member_cutting(name):
                cut[state.within, state.complete] += 1
        for members, complete in cut:
            if not any((state.members, state.complete) == (members, complete) for state in counts):
                counts[ContainerState(str(file.size), members, "", complete)] = 0  # all of its members are cut
        return next(
            (
                state
                for state, count in counts.items()
                if state.members == str(count + cut[state.members, state.complete])
            ),
            None,
        )

    def _is_uncut(self, file: SourceFile, known: KnownFiles) -> bool:
        """Whether a member of an archive was taken as it is, of which pictures would be made now."""
        return any(self._member_cutting(name) for name in known.names_uncut(file))

    def _member_cutting(self, name: str) -> str:
        """The word for how pictures are made of a member of an archive, by its name; empty where none can be."""
        suffix = os.path.splitext(name)[1]  # noqa: PTH122 - asked of every member of every archive
        if suffix not in self._cutting_of_suffix:
            is_cut = not self._identified and kind_of_file(name) is DEFAULT_KIND
            word = cutting_word(name, self._cuts) if is_cut else ""
            self._cutting_of_suffix[suffix] = "" if why_missing(name, self._cuts) is not None else word
        return self._cutting_of_suffix[suffix]
