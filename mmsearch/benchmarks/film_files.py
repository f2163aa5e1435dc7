"""Annotations of films: captions of whole films, as of MSR-VTT, and of their moments, as of QVHighlights.

Read are, by what they hold:

    MSRVTT_JSFUSION_test.csv   the 1,000 films of 1k-A, one caption each: columns video_id and sentence
    a list in JSON             records with video (or video_id) and caption (or sentence), one or a list of them
    videodatainfo.json         `videos` with their splits, and `sentences`
    JSON lines of moments      records with qid, query, vid and relevant_windows (in seconds): QVHighlights
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmsearch.benchmarks.annotation_files import read_bytes
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location

__all__ = ["FilmCaptions", "FilmMoments", "MomentQuery", "load_film_captions", "load_film_moments"]

_FILM_KEYS = ("video_id", "video", "vid", "clip_name", "name")
_TEXT_KEYS = ("sentence", "caption", "captions", "query", "text")


@dataclass(frozen=True, slots=True)
class FilmCaptions:
    """Captions of films.

    Attributes:
        source: The kind of the file, in words.
        pairs: The name of a film, without folder and suffix or with them, and a caption of it.
        problems: What was passed over.
    """

    source: str
    pairs: tuple[tuple[str, str], ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MomentQuery:
    """What is looked for in a film. windows: when it is seen, (from, to) in seconds."""

    text: str
    film: str
    windows: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class FilmMoments:
    """Queries with the moments that are meant. problems: what was passed over."""

    source: str
    queries: tuple[MomentQuery, ...]
    problems: tuple[str, ...] = ()


def load_film_captions(annotations: Location, split: str = "test") -> FilmCaptions:
    """Read captions of films. split: of videodatainfo.json; other files are one split. Raises BenchmarkError."""
    text = _read_text(annotations)
    if text.lstrip()[:1] in ("[", "{"):
        source, rows = _read_json(text, annotations, split)
    else:
        source, rows = "CSV with a caption a line", _read_csv(text, annotations)
    pairs: list[tuple[str, str]] = []
    wrong: list[str] = []
    for where, film, captions in rows:
        if not film or not captions or not all(isinstance(each, str) and each.strip() for each in captions):
            wrong.append(where)
        else:
            pairs += [(film, each.strip()) for each in captions]
    if not pairs:
        raise BenchmarkError(f"{annotations}: no caption of a film was found in it ({source})")
    return FilmCaptions(source, tuple(pairs), _passed_over(wrong))


def load_film_moments(annotations: Location) -> FilmMoments:
    """Read queries with the moments that are meant, a JSON object a line. Raises BenchmarkError: what has no windows,
    as QVHighlights' test split, cannot be measured here."""
    queries: list[MomentQuery] = []
    wrong: list[str] = []
    hidden = 0
    for number, line in enumerate(_read_text(annotations).splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            wrong.append(where)
            continue
        if not isinstance(record, dict):
            wrong.append(where)
            continue
        hidden += "relevant_windows" not in record
        query = _moment_query(record)
        if query is None:
            wrong.append(where)
        else:
            queries.append(query)
    if not queries:
        why = "its windows are not given out; the split val has them" if hidden else "see mmsearch guide benchmarks"
        raise BenchmarkError(f"{annotations}: no line has a query, a vid and relevant_windows: {why}")
    return FilmMoments("JSON lines with relevant_windows (QVHighlights)", tuple(queries), _passed_over(wrong))


def _moment_query(record: dict[str, Any]) -> MomentQuery | None:
    text, film, windows = record.get("query"), record.get("vid"), record.get("relevant_windows")
    if not (isinstance(text, str) and text.strip() and isinstance(film, str) and film.strip()):
        return None
    if not isinstance(windows, list) or not windows:
        return None
    times: list[tuple[float, float]] = []
    for window in windows:
        match window:
            case [int() | float() as begins, int() | float() as ends] if 0 <= begins <= ends < float("inf"):
                times.append((float(begins), float(ends)))
            case _:
                return None
    return MomentQuery(text.strip(), film.strip(), tuple(times))


def _read_text(annotations: Location) -> str:
    try:
        return read_bytes(annotations, "annotations").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{annotations}: byte {error.start:,} is not UTF-8 text") from None


_Row = tuple[str, str, list[Any]]
"""Where it stands, the film, its captions; "" and none where they are missing."""


def _read_csv(text: str, annotations: Location) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = reader.fieldnames or []
    if not (_first_of(names, _FILM_KEYS) and _first_of(names, _TEXT_KEYS)):
        raise BenchmarkError(
            f"{annotations}: neither JSON nor a CSV with the columns video_id and sentence; its first line has "
            f"{', '.join(map(repr, names[:6])) or 'nothing'}"
        )
    try:
        for record in reader:
            yield _row(f"line {reader.line_num}", record)
    except csv.Error as error:
        raise BenchmarkError(f"{annotations}, line {reader.line_num}: {error}") from None


def _read_json(text: str, annotations: Location, split: str) -> tuple[str, Iterator[_Row]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{annotations}: no JSON that can be read ({error})") from None
    if isinstance(data, list):
        return "JSON, a list of records", (_row(f"record {n}", each) for n, each in enumerate(data))
    videos, sentences = data.get("videos"), data.get("sentences")
    if not isinstance(videos, list) or not isinstance(sentences, list):
        raise BenchmarkError(f"{annotations}: JSON, but neither a list of records nor `videos` with `sentences`")
    splits = {each["video_id"]: each.get("split") for each in videos if isinstance(each, dict) and "video_id" in each}
    if split not in splits.values():
        known = ", ".join(sorted({str(each) for each in splits.values()})) or "none"
        raise BenchmarkError(f"{annotations}: there is no split {split!r}; it has {known}")
    chosen = (each for each in sentences if isinstance(each, dict) and splits.get(each.get("video_id")) == split)
    return f"videodatainfo, split {split}", (_row(f"sentence {n}", each) for n, each in enumerate(chosen))


def _row(where: str, record: Any) -> _Row:
    if not isinstance(record, dict):
        return where, "", []
    film, text = (record.get(_first_of([*record], keys) or "") for keys in (_FILM_KEYS, _TEXT_KEYS))
    captions = text if isinstance(text, list) else [] if text is None else [text]
    return where, film.strip() if isinstance(film, str) else "", captions


def _first_of(names: Any, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in names), None)


def _passed_over(wrong: list[str]) -> tuple[str, ...]:
    if not wrong:
        return ()
    more = f" and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
    return (f"{len(wrong):,} records are not as they should be and were left out: {', '.join(wrong[:3])}{more}",)
