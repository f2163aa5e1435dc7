"""A hit, and how programs are told of it: on the command line and by the server alike."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mmsearch.detectors.records import Found, found_record
from mmsearch.explaining.records import Region, region_record
from mmsearch.items import NUMBERS, AnyKind, without_span
from mmsearch.names import shown

__all__ = ["Hit", "base64_text", "clock", "columns", "record", "shown_file", "where_in_file"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One returned row.

    Attributes:
        rank: from 1.
        score: cosine, the float64 dot product of query and stored vector.
        row_id: in the table of its kind.
        kind: of item.
        row: what the gallery holds of it, as a record of `kind.row`: `hit.row.width`, `hit.row.caption`.
        root: the folder that `path` is relative to.
        file: where to open it, a file system string. Of a kind that belongs to another one (a caption), path and file
            are those of the item that it belongs to, if any.
        gone: the file was not there any more when the answer was given. Object stores are not asked.
        corrected: the score less what hubs lose, which ranks go by; None where it was not corrected.
        probability: the chance that it is relevant; None where that is not known.
        z: its standard score (`mmsearch.scoring.moments`), which ranks go by among items of several kinds; else None.
        from_s, to_s: when the moment that it is the best frame of is seen, in seconds of its film; None of what is no
            frame.
        mean: the mean of what ranks the frames of its film, which ranks go by; None where nobody asked for it.
        rerank: how well a re-ranker finds that it fits, which ranks go by; None where it was not looked at. Those come
            after those that were.
        regions: where in its picture what was asked is seen; empty where nobody asked to explain it.
        found: what a detector found in its picture, one a phrase; empty where none was asked.
    """

    rank: int
    score: float
    row_id: int
    kind: AnyKind
    row: Any
    root: str | None = None
    file: str | None = None
    gone: bool = False
    corrected: float | None = None
    probability: float | None = None
    z: float | None = None
    rerank: float | None = None
    regions: Sequence[Region] = ()
    found: Sequence[Found] = ()
    from_s: float | None = None
    to_s: float | None = None
    mean: float | None = None

    @property
    def ranking(self) -> float:
        """What its rank goes by."""
        ranked_by = (self.rerank, self.z, self.mean, self.corrected, self.score)
        return next(value for value in ranked_by if value is not None)

    @property
    def path(self) -> str | None:
        """Relative to `root`, as valid text."""
        path: str | None = self.row.path
        return path

    @property
    def whole_file(self) -> str | None:
        """The file that holds it: of a frame the film, of a page the document, of a tile the picture; else `file`, as
        of what is shown in words, whose piece is a text of its own."""
        return self._without_span(self.file)

    @property
    def whole_path(self) -> str | None:
        """The path of `whole_file`, as `path`."""
        return self._without_span(self.path)

    @property
    def box(self) -> list[float] | None:
        """Of a tile, where it is in its picture: left, top, right and bottom in shares of it upright; else None."""
        return getattr(self.row, "box", None)

    def _without_span(self, name: str | None) -> str | None:
        is_span = any(getattr(self.row, number, None) is not None for number in NUMBERS)
        if name is None or not is_span or self.kind.text is not None:
            return name
        return without_span(name)

    @property
    def text(self) -> str | None:
        """What is shown of it in words; None of what is shown as a picture."""
        return None if self.kind.text is None else getattr(self.row, self.kind.text)


def columns(kind: AnyKind) -> list[str]:
    """What programs are told of every hit of a kind. path_bytes, file_bytes: base64 of the real name where `path` or
    `file` is not it, since it is no UTF-8."""
    return ["rank", "score", "row_id", *kind.told]


def record(hit: Hit) -> dict[str, object]:
    """A hit as programs are given it: the object of a JSON line. What is known only of some comes last."""
    file = shown_file(hit)
    of_hit = {
        "rank": hit.rank,
        "score": hit.score,
        "row_id": hit.row_id,
        "file": file,
        "file_bytes": base64_text(None if hit.file is None or file == hit.file else os.fsencode(hit.file)),
        "gone": hit.gone,
    }
    told = {name: of_hit[name] if name in of_hit else _plain(getattr(hit.row, name)) for name in columns(hit.kind)}
    kind_name = None if hit.z is None else hit.kind.name  # where it stands among others, a hit says what it is
    regions = [region_record(region) for region in hit.regions] or None
    of_some = {
        **{name: _plain(getattr(hit.row, name, None)) for name in NUMBERS if name not in told},
        "from_s": hit.from_s,
        "to_s": hit.to_s,
        "corrected": hit.corrected,
        "probability": hit.probability,
        "mean": hit.mean,
        "z": hit.z,
        "rerank": hit.rerank,
        "table": kind_name,
        "regions": regions,
        "found": [found_record(found) for found in hit.found] or None,
    }
    return told | {name: value for name, value in of_some.items() if value is not None}


def _plain(value: object) -> object:
    """A column's value as JSON holds it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return base64_text(value) if isinstance(value, bytes) else value


def shown_file(hit: Hit) -> str | None:
    """The file as valid text; undecodable bytes as escapes."""
    return None if hit.file is None else shown(hit.file)


def where_in_file(hit: Hit) -> str:
    """Where in its file a hit stands, for people: "0:12-0:19" of a film, "page 2" of a document; "" of all others."""
    if hit.from_s is not None and hit.to_s is not None:
        return f"{clock(math.floor(hit.from_s))}-{clock(math.ceil(hit.to_s))}"
    page = getattr(hit.row, "page", None)
    return "" if page is None else f"page {page:,}"


def clock(seconds: int) -> str:
    """A time as players show it.

    >>> clock(72), clock(3_725)
    ('1:12', '1:02:05')
    """
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def base64_text(name: bytes | None) -> str | None:
    """How programs are given a name that is no text: in base64, since JSON holds nothing but text."""
    import base64  # late: most names are text

    return None if name is None else base64.b64encode(name).decode("ascii")
