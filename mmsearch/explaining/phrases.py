"""A text cut into the phrases that can be seen apart: "a red boat" and "two tents" of "A red boat near two tents".

By a short list of English words; what is in no such list stays in one piece, so that a text of another language is one
phrase, and whoever asks may name the phrases instead.
"""

import re
from dataclasses import dataclass

__all__ = ["Phrase", "phrases_in", "text_without"]

_WORD = re.compile(r"[^\s,;:.!?()\"]+|[,;:.!?()\"]")
_MARKS = frozenset(',;:.!?()"')
# Words between two phrases, which belong to neither.
# fmt: off
_BETWEEN = frozenset((
    "and", "or", "with", "without", "beside", "besides", "near", "next", "to", "by", "at", "in", "on", "of",
    "over", "under", "above", "below", "beneath", "behind", "before", "between", "among", "amid", "across",
    "along", "through", "during", "while", "as", "from", "into", "onto", "inside", "outside", "around", "against",
    "toward", "towards", "after", "for", "is", "are", "was", "were", "be", "being", "there", "here", "that",
    "which", "who", "whose", "where", "when", "this",
))
# fmt: on
_ARTICLES = frozenset(("a", "an", "the", "some", "his", "her", "its", "their", "my", "our"))
# "on the left" says where the thing before it stands, and is no thing.
_PLACE_NOUNS = frozenset(("left", "right", "middle", "centre", "center", "side", "foreground", "background", "front"))
# What a picture is called says nothing of what is seen in it.
_PICTURE_NOUNS = frozenset(("picture", "photo", "photograph", "image", "view", "postcard", "painting", "drawing"))
_GROUPS = frozenset(("pair", "group", "flock", "lot", "couple", "bunch", "field", "bowl", "cup", "glass", "piece"))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of a text: text[start:end]."""

    text: str
    start: int
    end: int


def phrases_in(text: str) -> list[Phrase]:
    """The phrases of a text, in their order; the whole text where nothing cuts it.

    >>> [phrase.text for phrase in phrases_in("A red boat on the left, two tents and a flock of birds at sunset.")]
    ['A red boat on the left', 'two tents', 'a flock of birds', 'sunset']
    >>> [phrase.text for phrase in phrases_in("ein rotes Boot")]
    ['ein rotes Boot']
    """
    runs = _runs(text)
    kept: list[list[re.Match[str]]] = []
    for between, run in runs:
        words = {each[0].lower() for each in run} - _ARTICLES
        if not words:
            continue
        joins_group = between == ["of"] and kept and (_GROUPS & {each[0].lower() for each in kept[-1][-1:]})
        is_place = bool(words & _PLACE_NOUNS) and words <= _PLACE_NOUNS | {"far", "very"} and bool(between)
        if kept and (joins_group or is_place):
            kept[-1] = [*kept[-1], *run]
        elif not (words & _PICTURE_NOUNS and len(words) == 1):
            kept.append(run)
    found = [Phrase(text[run[0].start() : run[-1].end()], run[0].start(), run[-1].end()) for run in kept]
    whole = text.strip()
    return found or [Phrase(whole, text.index(whole), text.index(whole) + len(whole))]


def text_without(text: str, phrase: Phrase) -> str:
    """The text without one of its phrases, and without the words and commas that would hang in the air.

    >>> text_without("a red boat and a kite at sunset", Phrase("a kite", 15, 21))
    'a red boat at sunset'
    """
    before, after = text[: phrase.start].split(), text[phrase.end :].split()
    while before and before[-1].lower().strip(",;:") in _BETWEEN:
        before.pop()
    if not before:
        while after and after[0].lower().strip(",;:") in _BETWEEN | {""}:
            after.pop(0)
    if before:
        before[-1] = before[-1].rstrip(",;:")
    return " ".join([*before, *after]).lstrip(",;:. ")


def _runs(text: str) -> list[tuple[list[str], list[re.Match[str]]]]:
    """(the words between, lower case; the words of a phrase), in order. A comma cuts but is no word between."""
    runs: list[tuple[list[str], list[re.Match[str]]]] = []
    between: list[str] = []
    run: list[re.Match[str]] = []
    for match in _WORD.finditer(text):
        word = match[0].lower()
        if word not in _MARKS and word not in _BETWEEN:
            run.append(match)
            continue
        if run:
            runs.append((between, run))
            between, run = [], []
        if word not in _MARKS:
            between.append(word)
    return [*runs, (between, run)] if run else runs
