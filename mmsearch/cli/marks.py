"""Marks as they are typed, and queries that are kept under a name."""

import re
from collections.abc import Sequence

import typer

__all__ = ["kept_name", "marked_files"]

_KEPT = re.compile(r"@([^\s@]\S*)")
# "3", "1,4" and "2-5": ranks of the last answer. A file of such a name is written "./3".
_RANKS = re.compile(r"\d{1,4}(?:-\d{1,4})?(?:,\d{1,4}(?:-\d{1,4})?)*")


def kept_name(text: str | None) -> str | None:
    """The name of the kept query that a text asks for; None where it asks with its words.

    >>> kept_name("@red-doors"), kept_name("red doors"), kept_name("@home and away")
    ('red-doors', None, None)
    """
    match = None if text is None else _KEPT.fullmatch(text)
    return None if match is None else match[1]


def marked_files(typed: Sequence[str], option: str) -> list[str]:
    """Which items are marked: paths as they are, ranks as the files of these hits of the last answer.

    Raises BadParameter for ranks that are none; QueryError where the last answer has no such hit.
    """
    files: list[str] = []
    for each in typed:
        if not _RANKS.fullmatch(each):
            files.append(each)
            continue
        from mmsearch.search.last_answer import last_answer

        ranks = _ranks(each, option)
        files += map(last_answer().file, ranks)
    return list(dict.fromkeys(files))


def _ranks(typed: str, option: str) -> list[int]:
    """The ranks of "1,4" and "2-5"."""
    ranks: list[int] = []
    for span in typed.split(","):
        first, _, last = span.partition("-")
        if not 0 < int(first) <= int(last or first):
            raise typer.BadParameter(f"{span} is no rank and no span of ranks; as in 1,4 or 2-5", param_hint=option)
        ranks += range(int(first), int(last or first) + 1)
    return ranks
