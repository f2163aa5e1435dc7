"""Which frames of a film, or of an animation, become items: what `--frames` says."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mmsearch.errors import MmsearchError

__all__ = ["AUTO_FRAMES", "FrameChoice", "FrameRule", "parse_frames"]

FrameRule: TypeAlias = Literal["auto", "scenes", "keys", "every", "count"]

_EVERY = re.compile(r"every=(\d+(?:\.\d*)?|\.\d+)(ms|s|m|min)?\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, None: 1.0}
_LEAST_SECONDS, _MOST_SECONDS = 0.01, 86_400.0
_MOST_FRAMES = 10_000


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """Which frames become items.

    Attributes:
        rule: "auto": those that show something new, none further from the next than the film allows. "scenes": one a
            scene. "keys": those that the film stores whole. "every": one at each multiple of `seconds`. "count":
            `count` at equal distances.
        seconds: of "every".
        count: of "count".
    """

    rule: FrameRule = "auto"
    seconds: float = 0.0
    count: int = 0

    def __str__(self) -> str:
        """As it is written behind `--frames`."""
        if self.rule == "every":
            return f"every={self.seconds:g}s"
        return str(self.count) if self.rule == "count" else self.rule


AUTO_FRAMES = FrameChoice()


def parse_frames(text: str) -> FrameChoice:
    """What a text behind `--frames` asks for. Raises MmsearchError.

    >>> parse_frames("every=1s"), parse_frames("12").count, str(parse_frames("every=500ms"))
    (FrameChoice(rule='every', seconds=1.0, count=0), 12, 'every=0.5s')
    """
    said = text.strip().lower()
    match said:
        case "auto" | "scenes" | "keys":
            return FrameChoice(said)
    if said.isascii() and said.isdigit() and 1 <= int(said[:9]) <= _MOST_FRAMES:
        return FrameChoice("count", count=int(said[:9]))
    every = _EVERY.match(said)
    if every is not None:
        seconds = float(every[1]) * _SECONDS[every[2]]
        if _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
            return FrameChoice("every", seconds=seconds)
    raise MmsearchError(
        f"--frames {text!r} is none of: auto, scenes, keys, every=1s (every=500ms, every=2min; from 10 ms to a day), "
        f"or how many of each film, from 1 to {_MOST_FRAMES:,}"
    )
