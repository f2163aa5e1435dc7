"""Captions made wrong in one respect: pure functions of a text, in English."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from mmsearch.evaluation.probes.layouts import NUMBERS

__all__ = ["ALTERATIONS", "Alteration"]

Alter: TypeAlias = Callable[[str, Random], str | None]
"""A caption and chance -> the caption made wrong; None where it says nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Alteration:
    """A way to make captions wrong."""

    name: str
    about: str
    alter: Alter


_CLASSES = (
    "red/scarlet/crimson orange yellow/golden green blue purple/violet pink brown black white grey/gray/silver",
    "big/large/huge/giant small/little/tiny tall/long short",
    "old/ancient young/new/modern",
    "wooden metal stone brick glass plastic paper leather",
    "round square striped spotted plain furry",
    "empty full open closed wet dry clean dirty",
)
"""Attributes that can be said of two things: words of a line can change places, but for those of one meaning."""
_MEANING = {word: words for line in _CLASSES for words in line.split() for word in words.split("/")}
_OF_CLASS = [re.compile(rf"\b({'|'.join(re.split('[ /]', line))})\b", re.IGNORECASE) for line in _CLASSES]

_OPPOSITES = (
    ("left", "right"),
    ("above", "below"),
    ("in front of", "behind"),
    ("inside", "outside"),
    ("on top of", "underneath"),
    ("over", "under"),
)
_OPPOSITE = {one: other for pair in _OPPOSITES for one, other in (pair, pair[::-1])}
_SIDES = re.compile(rf"\b({'|'.join(_OPPOSITE)})\b", re.IGNORECASE)
_NUMBER = re.compile(rf"\b({'|'.join(NUMBERS)}|[2-9]|10)\b", re.IGNORECASE)
_SOME = re.compile(rf"\b(an?|one|some|several|many|{'|'.join(NUMBERS)})\b", re.IGNORECASE)
_LEAST_WORDS = 4


def swap_attributes(text: str, chance: Random) -> str | None:
    """>>> swap_attributes("A red car and a Blue kite", Random(0))
    'A blue car and a Red kite'
    """
    for words in _OF_CLASS:
        found = list(words.finditer(text))
        other = next((each for each in found[1:] if _meaning(each) != _meaning(found[0])), None)
        if other is not None:
            first, between = found[0], text[found[0].end() : other.start()]
            before, after = text[: first.start()], text[other.end() :]
            return f"{before}{_written_as(other[0], first[0])}{between}{_written_as(first[0], other[0])}{after}"
    return None


def _meaning(found: re.Match[str]) -> str:
    return _MEANING[found[0].lower()]


def swap_sides(text: str, chance: Random) -> str | None:
    """>>> swap_sides("A dog left of a cat, in front of a house", Random(0))
    'A dog right of a cat, behind a house'
    """
    swapped = _SIDES.sub(lambda found: _written_as(_OPPOSITE[found[0].lower()], found[0]), text)
    return swapped if swapped != text else None


def shuffle_words(text: str, chance: Random) -> str | None:
    """The same words in another order, by lot."""
    words = text.split()
    if len(words) < _LEAST_WORDS:
        return None
    shuffled = chance.sample(words, len(words))
    return " ".join(shuffled) if shuffled != words else None


def negate(text: str, chance: Random) -> str | None:
    """>>> negate("A dog on a beach", Random(0))
    'No dog on a beach'
    """
    found = _SOME.search(text)
    return None if found is None else f"{text[: found.start()]}{_written_as('no', found[0])}{text[found.end() :]}"


def change_count(text: str, chance: Random) -> str | None:
    """Another number from two to ten in the place of the first, written as it is: 2 becomes 3, two becomes three."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    in_digits = found[0].isdigit()
    number = int(found[0]) if in_digits else NUMBERS.index(found[0].lower()) + 2
    other = chance.choice([each for each in range(2, 11) if each != number])
    written = str(other) if in_digits else _written_as(NUMBERS[other - 2], found[0])
    return f"{text[: found.start()]}{written}{text[found.end() :]}"


def _written_as(word: str, model: str) -> str:
    """A word with a capital where the model has one."""
    return word.capitalize() if model[0].isupper() else word.lower()


ALTERATIONS = (
    Alteration("attributes", "two colours, sizes or the like have changed places", swap_attributes),
    Alteration("sides", "left for right, above for below, behind for in front of", swap_sides),
    Alteration("order", "the same words in another order", shuffle_words),
    Alteration("negation", "the first thing that is named is denied", negate),
    Alteration("count", "another number, from two to ten", change_count),
)
