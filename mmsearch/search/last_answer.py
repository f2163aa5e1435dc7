"""The last answer of the command line, remembered so that its hits can be named by their ranks: `mmsearch show 3`.

One small file a terminal, in the user's cache folder. Without it nothing is lost but that.
"""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmsearch.cache import cache_dir
from mmsearch.errors import QueryError
from mmsearch.search.answers import Answer
from mmsearch.whole_files import whole_file

__all__ = ["LastAnswer", "last_answer", "remember_answer"]

_FOLDER = "answers"
_MOST = 1_000  # hits; nobody counts further
_MOST_BYTES = 1 << 24
_NO_TERMINAL = "no terminal"
_FIRST_ASK = 'no answer is remembered. Ask first: mmsearch query "a dog"'


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """An answer as it is remembered.

    Attributes:
        asked: the query, in words.
        files: the file of each hit by its rank, a file system string; None of what belongs to no file.
        server: the address of the server that answered, whose files may not be here; None where the gallery was here.
    """

    asked: str
    files: Mapping[int, str | None]
    server: str | None = None

    def file(self, rank: int) -> str:
        """The file of the hit of this rank. Raises QueryError where there is none."""
        if rank not in self.files:
            has = f"{len(self.files):,} hits" if len(self.files) != 1 else "one hit"
            raise QueryError(f"the last answer, to {self.asked!r}, has {has}: there is no hit {rank}")
        file = self.files[rank]
        if file is None:
            raise QueryError(
                f"hit {rank} of the last answer, to {self.asked!r}, is a caption that belongs to no picture"
            )
        return file


def remember_answer(answer: Answer, server: str | None = None) -> None:
    """Remember an answer as the last one of this terminal. Where the cache cannot be written, it is not remembered."""
    document = {
        "asked": answer.query.title,
        "hits": [{"rank": hit.rank, "file": hit.file} for hit in answer.hits[:_MOST]],
        "server": server,
    }
    folder = cache_dir() / _FOLDER
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what was looked for is nobody else's business
        with whole_file(folder / f"{_terminal()}.json") as partial:
            partial.write_text(json.dumps(document), "ascii")


def last_answer() -> LastAnswer:
    """The last answer of this terminal; where it had none, the newest of all. Raises QueryError where there is none."""
    folder = cache_dir() / _FOLDER
    own = folder / f"{_terminal()}.json"
    try:
        newest_first = sorted(folder.glob("[!.]*.json"), key=_age)
    except OSError:
        newest_first = []
    for file in (own, *newest_first):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):  # gone, or not ours: as good as none
            if file.stat().st_size <= _MOST_BYTES:
                document = json.loads(file.read_text("ascii"))
                files = {int(hit["rank"]): hit["file"] for hit in document["hits"]}
                return LastAnswer(str(document["asked"]), files, document["server"])
    raise QueryError(_FIRST_ASK)


def _age(file: Path) -> float:
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return float("inf")


def _terminal() -> str:
    """The terminal of this process, as the name of a file."""
    for stream in range(3):
        try:
            return os.ttyname(stream).removeprefix("/dev/").replace("/", "-")
        except (OSError, AttributeError):  # no terminal; Windows
            continue
    return _NO_TERMINAL
