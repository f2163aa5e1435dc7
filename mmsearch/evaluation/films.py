"""`evaluate_films`, `evaluate_moments`: films of galleries found by captions, and moments in them by queries."""

import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks import FilmCaptions, MomentQuery, load_film_captions, load_film_moments
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_plain_texts
from mmsearch.evaluation.figure_tables import FigureName, FigureReport, FigureRow, FigureTable, table_row
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.gallery import Frames
from mmsearch.items import IMAGES, MEMBER
from mmsearch.locations import located
from mmsearch.metrics import AP_OVERLAPS, resampled_means, window_average_precision, window_overlaps
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.search.film_moments import moment_end, moment_numbers
from mmsearch.search.open_gallery import OpenGallery, open_gallery

__all__ = ["evaluate_films", "evaluate_moments"]

_Path = str | os.PathLike[str]

_POOLING = ("max", "mean", "mean vector")
_LENGTHS = {"all": (0.0, np.inf), "short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, 150.0)}
_MOST_WINDOWS = 10
_NAMED = 3

_OF_FILMS = (
    "A film is scored by the best of its frames (max), by the mean of their scores (mean, as query --per-video mean), "
    "or by the cosine with the mean of their vectors (mean vector, as CLIP was published on MSR-VTT). Frames are those "
    "of the gallery. text_to_image R@k is the share of captions whose film is among the k best of all films of the "
    "annotations; image_to_text R@k the share of films with a caption of theirs among the k best captions. Of equal "
    "scores the film, or the caption, that the annotations name first comes first. Captions as they are. Intervals are "
    "the middle 95 % of 2,000 bootstrap samples of films."
)
_OF_MOMENTS = (
    "Each query is asked of its own film, whose moments are ranked by their best frames; the ten best count. R1@.5 and "
    "R1@.7 are the share of queries whose best moment has at least that intersection over union with some window that "
    "is meant, mAP@.5 and mAP@.75 the mean over queries of the average precision at that overlap, mAP the mean over "
    "the overlaps .5, .55, …, .95: as the authors of QVHighlights evaluate moments. short, middle and long are queries "
    "with windows of up to 10, 30 and 150 seconds, and these windows alone. Intervals are the middle 95 % of 2,000 "
    "bootstrap samples of films."
)


@dataclass(frozen=True, slots=True, eq=False)
class _FilmsOf:
    """The films of a gallery. frames: the name of a film's file, and that without its suffix -> its frames.
    ambiguous: those names that several have."""

    opened: OpenGallery
    name: str
    frames: Mapping[str, Frames]
    ambiguous: Set[str]

    def vectors(self, film: str) -> NDArray[np.float64]:
        """(n_frames, dim), in the order of their times."""
        return np.asarray(self.opened.gallery.vectors(IMAGES.name, self.frames[film].row_ids), np.float64)


def evaluate_films(
    galleries: Sequence[_Path | None],
    *,
    annotations: _Path,
    split: str = "test",
    ks: Sequence[int] = (1, 5, 10),
    allow_missing: bool = False,
    encoder: str | Encoder | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure how well captions find films, and films captions, on MSR-VTT and its kin: a row a gallery and pooling.

    galleries: of the same films, embedded in different ways; None for the one that is found here. annotations: see
    `mmsearch.benchmarks.film_files`. encoder: where to load the galleries' model from now. Raises BenchmarkError,
    GalleryError, EncoderError.
    """
    captions = load_film_captions(located(annotations), split)
    named = tuple(dict.fromkeys(film for film, _ in captions.pairs))
    opened = [_open(gallery, galleries, encoder, announce) for gallery in galleries]
    there, problems = _present(named, opened, captions.problems, allow_missing=allow_missing)
    pairs = [(film, text) for film, text in captions.pairs if film in set(there)]
    problems = (*problems, *_unlike_official(captions, there))

    def rows(films: _FilmsOf) -> list[FigureRow]:
        texts = _encode(films, [text for _, text in pairs], progress)
        place = {film: number for number, film in enumerate(there)}
        owner = np.array([place[film] for film, _ in pairs])
        scores = _pooled(films, there, texts, progress)
        frames = sum(len(films.frames[film].row_ids) for film in there)
        counts = {"films": len(there), "captions": len(pairs), "frames": frames}
        return [
            _film_row(_row_name(films, pooling, opened), counts, scores[pooling], owner, ks) for pooling in _POOLING
        ]

    title = f"{len(there):,} films, {len(pairs):,} captions"
    headline = (_row_name(opened[0], "mean vector", opened), ("text_to_image", f"R@{min(ks)}"))
    return _report("films", title, "pooling", headline, captions.source, _OF_FILMS, opened, rows, problems)


def evaluate_moments(
    galleries: Sequence[_Path | None],
    *,
    annotations: _Path,
    allow_missing: bool = False,
    encoder: str | Encoder | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure how well queries find moments in their films, as QVHighlights does: a row a gallery and length.

    galleries, encoder: as of `evaluate_films`. annotations: JSON lines with query, vid and relevant_windows. Raises
    BenchmarkError, GalleryError, EncoderError.
    """
    moments = load_film_moments(located(annotations))
    opened = [_open(gallery, galleries, encoder, announce) for gallery in galleries]
    named = tuple(dict.fromkeys(query.film for query in moments.queries))
    there, problems = _present(named, opened, moments.problems, allow_missing=allow_missing)
    queries = [query for query in moments.queries if query.film in set(there)]

    def rows(films: _FilmsOf) -> list[FigureRow]:
        texts = _encode(films, [query.text for query in queries], progress)
        found = _found_windows(films, queries, texts, progress)
        return [
            row
            for name, (above, up_to) in _LENGTHS.items()
            if (row := _moment_row(_row_name(films, name, opened), queries, found, above, up_to)) is not None
        ]

    title = f"{len(queries):,} queries, {len(there):,} films"
    headline = (_row_name(opened[0], "all", opened), ("", "mAP"))
    return _report("moments", title, "windows", headline, moments.source, _OF_MOMENTS, opened, rows, problems)


def _open(
    gallery: _Path | None,
    galleries: Sequence[_Path | None],
    encoder: str | Encoder | None,
    announce: Callable[[str], None],
) -> _FilmsOf:
    opened = open_gallery(gallery, encoder=encoder, announce=announce)
    spans = opened.retriever.file_spans(IMAGES.name)
    frames: dict[str, Frames] = {}
    ambiguous: set[str] = set()
    for film in [] if spans is None else spans.films():
        paths = opened.gallery.rows(IMAGES.name, film.row_ids[:1], ["path"]).column("path").to_pylist()
        name = PurePosixPath(paths[0].rpartition(MEMBER)[0]).name
        for each in {name, PurePosixPath(name).stem}:
            if each in frames:
                ambiguous.add(each)
            frames[each] = film
    if not frames:
        raise BenchmarkError(f"{opened.gallery.path} holds no films. Add some: mmsearch embed FILMS")
    name = "" if len(galleries) == 1 else str(gallery or opened.gallery.path)
    return _FilmsOf(opened, name, frames, ambiguous)


def _present(
    named: Sequence[str], opened: Sequence[_FilmsOf], problems: Sequence[str], *, allow_missing: bool
) -> tuple[list[str], tuple[str, ...]]:
    """The films of the annotations that every gallery holds, and what is to be said. Raises BenchmarkError."""
    for films in opened:
        if (film := next((film for film in named if film in films.ambiguous), None)) is not None:
            raise BenchmarkError(f"{films.opened.gallery.path} holds several films called {film}")
    missing = [film for film in named if not all(film in films.frames for films in opened)]
    there = [film for film in named if film not in set(missing)]
    if not missing:
        return there, tuple(problems)
    some = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else "")
    what = f"{len(missing):,} of {len(named):,} films of the annotations are not in the gallery: {some}"
    if not there or not allow_missing:
        raise BenchmarkError(f"{what}. Figures of the others alone are not comparable; --allow-missing gives them")
    return there, (*problems, f"{what}. The figures are of the others alone, and not comparable with published ones")


def _unlike_official(captions: FilmCaptions, there: Sequence[str]) -> list[str]:
    if len(there) == len(captions.pairs) == 1_000:
        return []
    return ["1k-A of MSR-VTT has 1,000 films with one caption each: this is another benchmark"]


def _encode(films: _FilmsOf, texts: Sequence[str], progress: ProgressCallback) -> NDArray[np.float64]:
    vectors, _ = encode_plain_texts(films.opened.encoders.encoder("text"), texts, progress)
    return vectors.astype(np.float64)


def _row_name(films: _FilmsOf, name: str, opened: Sequence[_FilmsOf]) -> str:
    return name if len(opened) == 1 else f"{films.name}: {name}"


def _report(
    benchmark: str,
    title: str,
    rows_are: str,
    headline: tuple[str, FigureName],
    source: str,
    protocol: str,
    opened: Sequence[_FilmsOf],
    rows: Callable[[_FilmsOf], list[FigureRow]],
    problems: Sequence[str],
) -> FigureReport:
    """Galleries of one encoder share a table."""
    tables: dict[str, FigureTable] = {}
    for films in opened:
        manifest = films.opened.gallery.manifest
        before = tables.get(manifest.encoder.fingerprint)
        earlier = () if before is None else before.rows
        tables[manifest.encoder.fingerprint] = FigureTable(
            manifest.encoder, "cpu", f"vectors in {manifest.dtype}", (*earlier, *rows(films))
        )
    return FigureReport(
        benchmark=benchmark,
        title=title,
        rows_are=rows_are,
        headline=headline,
        source=source,
        protocol=protocol,
        tables=tuple(tables.values()),
        problems=tuple(problems),
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def _pooled(
    films: _FilmsOf, names: Sequence[str], texts: NDArray[np.float64], progress: ProgressCallback
) -> dict[str, NDArray[np.float64]]:
    """Pooling -> (n_texts, n_films): the score of each film for each text."""
    scores = {pooling: np.empty((len(texts), len(names))) for pooling in _POOLING}
    for number, name in enumerate(names):
        progress(Progress("scoring films", number, len(names)))
        vectors = films.vectors(name)
        of_frames = texts @ vectors.T
        mean = vectors.mean(axis=0)
        scores["max"][:, number] = of_frames.max(axis=1)
        scores["mean"][:, number] = of_frames.mean(axis=1)
        scores["mean vector"][:, number] = texts @ (mean / max(float(np.linalg.norm(mean)), np.finfo(np.float32).tiny))
    progress(Progress("scoring films", len(names), len(names)))
    return scores


def _film_row(
    name: str, counts: Mapping[str, int], scores: NDArray[np.float64], owner: NDArray[np.int64], ks: Sequence[int]
) -> FigureRow:
    """scores: (n_texts, n_films). owner: (n_texts,), the film of each."""
    n_films = scores.shape[1]
    text_ranks = _ranks(scores, owner[:, None] == np.arange(n_films))
    film_ranks = _ranks(scores.T, owner[None, :] == np.arange(n_films)[:, None])
    values: dict[FigureName, NDArray[np.float64]] = {}
    resampled: dict[FigureName, NDArray[np.float64]] = {}
    for direction, ranks, film_of in (
        ("text_to_image", text_ranks, owner),
        ("image_to_text", film_ranks, np.arange(n_films)),
    ):
        figures = {f"R@{k}": (ranks <= k).astype(np.float64) for k in ks} | {"MRR": 1 / ranks}
        drawn = resampled_means(figures, film_of, n_films)
        for figure, value in figures.items():
            values[direction, figure] = value
            resampled[direction, figure] = drawn[figure]
    return table_row(name, counts, values, resampled, n_films)


def _ranks(scores: NDArray[np.float64], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The rank, from 1, of the first relevant column of each row; of equal scores the first column comes first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks: NDArray[np.int64] = np.argmax(np.take_along_axis(relevant, order, axis=1), axis=1) + 1
    return ranks


def _found_windows(
    films: _FilmsOf, queries: Sequence[MomentQuery], texts: NDArray[np.float64], progress: ProgressCallback
) -> list[NDArray[np.float64]]:
    """(n, 2) of each query: the moments of its film, best first, at most ten."""
    found: list[NDArray[np.float64]] = []
    vectors: dict[str, NDArray[np.float64]] = {}
    for number, (query, text) in enumerate(zip(queries, texts, strict=True)):
        progress(Progress("finding moments", number, len(queries)))
        if query.film not in vectors:
            vectors = {query.film: films.vectors(query.film)}  # queries of one film mostly stand together
        frames, scores = films.frames[query.film], vectors[query.film] @ text
        numbers = moment_numbers(scores)
        runs = [np.flatnonzero(numbers == moment) for moment in range(int(numbers.max()) + 1)]
        runs.sort(key=lambda run: -float(scores[run].max()))
        windows = [(frames.start_s[run[0]], moment_end(frames, int(run[-1]))) for run in runs[:_MOST_WINDOWS]]
        found.append(np.array(windows, np.float64).reshape(-1, 2))
    progress(Progress("finding moments", len(queries), len(queries)))
    return found


def _moment_row(
    name: str, queries: Sequence[MomentQuery], found: Sequence[NDArray[np.float64]], above: float, up_to: float
) -> FigureRow | None:
    """A row of the queries with windows of such a length, in seconds; None where there is no such query."""
    film_numbers = {film: number for number, film in enumerate(dict.fromkeys(query.film for query in queries))}
    best: list[float] = []
    precisions: list[NDArray[np.float64]] = []
    film_of: list[int] = []
    for query, windows in zip(queries, found, strict=True):
        whole = up_to == np.inf
        meant = np.array([(a, b) for a, b in query.windows if whole or above < b - a <= up_to], np.float64)
        if len(meant):
            best.append(float(window_overlaps(windows[:1], meant).max()))
            precisions.append(window_average_precision(windows, meant))
            film_of.append(film_numbers[query.film])
    if not best:
        return None
    overlap, precision = np.array(best), np.stack(precisions)
    at = {f"{overlap:g}".lstrip("0"): place for place, overlap in enumerate(AP_OVERLAPS)}
    figures = {
        "R1@.5": (overlap >= 0.5).astype(np.float64),
        "R1@.7": (overlap >= 0.7).astype(np.float64),
        "mAP@.5": precision[:, at[".5"]],
        "mAP@.75": precision[:, at[".75"]],
        "mAP": precision.mean(axis=1),
    }
    drawn = resampled_means(figures, np.array(film_of), len(film_numbers))
    counts = {"queries": len(best), "films": len(set(film_of))}
    values = {("", figure): value for figure, value in figures.items()}
    return table_row(name, counts, values, {("", figure): drawn[figure] for figure in figures}, len(set(film_of)))
