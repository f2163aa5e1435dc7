"""What has to score higher than what, for an example of a probe to be right; and how often chance alone gets there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import factorial
from typing import Literal, TypeAlias

__all__ = [
    "Comparison",
    "Figure",
    "Item",
    "chance",
    "both_of_each_image",
    "both_of_each_text",
    "group_of_two",
    "first_text_over_others",
    "first_text_over_second",
]

Item: TypeAlias = tuple[Literal["image", "text"], int]
"""A picture or a text of an example, by its place in it."""

_MOST_PAIRS = 16  # so many scores in one order: counting orders takes 2 to that power


@dataclass(frozen=True, slots=True)
class Comparison:
    """The score of `right` with `anchor` has to be higher than that of `wrong` with it."""

    anchor: Item
    right: Item
    wrong: Item


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a probe.

    Attributes:
        about: When an example is right, in words.
        comparisons: From the number of pictures and of texts of an example to what has to hold: all of it.
    """

    name: str
    about: str
    comparisons: Callable[[int, int], tuple[Comparison, ...]]


def first_text_over_others(images: int, texts: int) -> tuple[Comparison, ...]:
    """The first text fits the picture better than each of the others."""
    return tuple(Comparison(("image", 0), ("text", 0), ("text", other)) for other in range(1, texts))


def first_text_over_second(images: int, texts: int) -> tuple[Comparison, ...]:
    """The first text fits the picture better than the second, whatever others there are."""
    return (Comparison(("image", 0), ("text", 0), ("text", 1)),)


def both_of_each_image(images: int, texts: int) -> tuple[Comparison, ...]:
    """Each of two pictures prefers its own text (Winoground's text score)."""
    return tuple(Comparison(("image", own), ("text", own), ("text", 1 - own)) for own in (0, 1))


def both_of_each_text(images: int, texts: int) -> tuple[Comparison, ...]:
    """Each of two texts prefers its own picture (Winoground's image score)."""
    return tuple(Comparison(("text", own), ("image", own), ("image", 1 - own)) for own in (0, 1))


def group_of_two(images: int, texts: int) -> tuple[Comparison, ...]:
    """Both of these (Winoground's group score)."""
    return both_of_each_image(images, texts) + both_of_each_text(images, texts)


def chance(comparisons: Sequence[Comparison]) -> float:
    """How often scores in random order are right: the share of all orders in which every comparison holds.

    >>> chance(first_text_over_others(1, 4)), chance(both_of_each_image(2, 2)), round(chance(group_of_two(2, 2)), 4)
    (0.25, 0.25, 0.1667)
    """
    above = {(frozenset((each.anchor, each.right)), frozenset((each.anchor, each.wrong))) for each in comparisons}
    rights, wrongs = {right for right, _ in above}, {wrong for _, wrong in above}
    if len(rights) == 1 and not rights & wrongs:
        return 1 / (1 + len(wrongs))
    pairs = sorted(rights | wrongs, key=sorted)
    if len(pairs) > _MOST_PAIRS:
        raise ValueError(f"{len(pairs)} scores are compared; chance is counted for {_MOST_PAIRS} at most")
    places = {pair: place for place, pair in enumerate(pairs)}
    below = [0] * len(pairs)
    for right, wrong in above:
        below[places[right]] |= 1 << places[wrong]

    @cache
    def orders(placed: int) -> int:
        """In how many orders the scores of this set can come, the lowest first."""
        if not placed:
            return 1
        rest = [place for place in range(len(pairs)) if placed >> place & 1]
        # The highest of the set is one that none of the set has to be above.
        return sum(orders(placed & ~(1 << top)) for top in rest if not any(below[other] >> top & 1 for other in rest))

    return float(Fraction(orders((1 << len(pairs)) - 1), factorial(len(pairs))))
