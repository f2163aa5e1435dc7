"""Chooses frames of a film by their times, before any of them is decoded."""

import math

import numpy as np
from numpy.typing import NDArray

from mmsearch.films.frame_table import FrameTable
from mmsearch.frame_choice import FrameChoice

__all__ = ["GAP_SECONDS", "choose_frames"]

GAP_SECONDS = 2.0
"""No longer than this is a film left unseen, where nothing else is asked for."""
_SEEN_SECONDS = 0.1
"""Of the time that a chosen frame is shown, what does not count as unseen, at most. So key frames each 60 frames leave
no gap at 29.97 frames a second, where they stand 2.002 seconds apart; and a film of stills has each of them."""
_LEAST_SECONDS = 0.5
"""Key frames nearer than this to the one before are left out: some cameras store every frame whole."""
_ROUNDING = 1e-6  # seconds: times are quotients of whole numbers


def choose_frames(table: FrameTable, choice: FrameChoice) -> NDArray[np.intp]:
    """The rows of a table of frames that are chosen, ascending, each once.

    "auto" and "scenes" choose alike: the key frames that are half a second apart, and as few others as leave no gap of
    more than GAP_SECONDS.

    >>> table = FrameTable(np.arange(0, 7, 0.5), np.arange(14) % 10 == 0, 7.0)
    >>> [table.times[choose_frames(table, FrameChoice(rule, seconds, 2))].tolist()
    ...     for rule, seconds in (("auto", 0), ("keys", 0), ("every", 3.2), ("count", 0))]
    [[0.0, 1.5, 3.0, 5.0], [0.0, 5.0], [0.0, 3.0, 6.0], [1.5, 5.0]]
    """
    keys = np.flatnonzero(table.is_key)
    if choice.rule == "keys":
        return keys
    if choice.rule == "every":
        return _shown_at_multiples(table, choice.seconds)
    if choice.rule == "count":
        first = table.times[0]
        return _shown_at(table, first + (np.arange(choice.count) + 0.5) * (table.end - first) / choice.count)
    return _fill_gaps(table, _thinned(table, keys))


def _thinned(table: FrameTable, keys: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of some rows those that are at least _LEAST_SECONDS after the last one of them."""
    kept: list[int] = []
    earliest = -np.inf
    for row, seconds in zip(keys.tolist(), table.times[keys].tolist(), strict=True):
        if seconds >= earliest:
            kept.append(row)
            earliest = seconds + _LEAST_SECONDS - _ROUNDING
    return np.array(kept, np.intp)


def _shown_at(table: FrameTable, times: NDArray[np.float64]) -> NDArray[np.intp]:
    """What is seen at some times, ascending: a frame is shown until the next one."""
    rows = np.searchsorted(table.times, times + _ROUNDING, side="right") - 1
    return np.unique(np.maximum(rows, 0))


def _shown_at_multiples(table: FrameTable, seconds: float) -> NDArray[np.intp]:
    """What is seen at each multiple of some seconds, and the first frame. Asks of each frame whether a multiple falls
    into the time for which it is shown: a damaged film may say that it lasts for years."""
    until = np.minimum(np.append(table.times[1:], table.end), table.end)
    multiples = np.maximum(np.ceil((table.times - _ROUNDING) / seconds), 0) * seconds
    is_seen = multiples < until - _ROUNDING
    is_seen[0] = True
    return np.flatnonzero(is_seen)


def _fill_gaps(table: FrameTable, keys: NDArray[np.intp]) -> NDArray[np.intp]:
    """The key frames, and between them others. Where frames stand further apart than the gap there is nothing to fill:
    what a frame shows, it shows until the next."""
    chosen: list[int] = []
    borders = sorted({0, *keys.tolist()})
    for row, following in zip(borders, [*borders[1:], len(table.times)], strict=True):
        until = table.times[following] if following < len(table.times) else table.end
        chosen += _between(table.times[row:following], float(until), row)
    return np.array(chosen, np.intp)


def _between(times: NDArray[np.float64], until: float, first_row: int) -> list[int]:
    """The rows of frames of which each needs those before it: the first, and as few others as leave no gap.

    A frame costs what it takes to decode those before it. So the last one stands as early as the gap behind it
    allows, and the others at equal distances before it; one alone stands in the middle.
    """
    rows = [0]
    while (row := rows[-1]) + 1 < len(times):
        longest = GAP_SECONDS + min(float(times[row + 1] - times[row]), _SEEN_SECONDS)
        left = until - float(times[row])
        if left <= longest + _ROUNDING:
            break
        steps = math.ceil(left / longest - _ROUNDING)
        is_alone = row == 0 and steps == 2
        target = times[row] + (left / 2 if is_alone else (left - longest) / (steps - 1))
        at_target = int(np.searchsorted(times, target - _ROUNDING))
        last_allowed = int(np.searchsorted(times, times[row] + longest + _ROUNDING, side="right")) - 1
        rows.append(max(row + 1, min(at_target, last_allowed)))
    return [first_row + row for row in rows]
