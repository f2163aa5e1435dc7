"""Moments: neighbouring frames of a film that answer a query, joined.

A moment is a function of the query and of the film alone, whatever else the gallery holds and however it is searched:
all frames of the film are scored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Vectors
from mmsearch.gallery import FileSpans, Frames

__all__ = ["FilmMoment", "Films", "moment_end", "moment_numbers"]

_HALF = 0.5
_ROWS_AT_A_TIME = 8_192


@dataclass(frozen=True, slots=True)
class FilmMoment:
    """When in a film something is seen, in seconds. from_s: the first of its frames begins; to_s: the last one ends."""

    from_s: float
    to_s: float


def moment_numbers(scores: NDArray[np.float64], lowest: float = -np.inf) -> NDArray[np.int64]:
    """Which moment each frame of a film belongs to, by the scores (n,) of its frames in the order of their times.

    A frame answers where it scores at least as much as the middle between the best and the median of the film, and
    `lowest`; neighbours that answer are one moment. Returns int64 (n,), moments counted from 0; -1 where a frame does
    not answer. A score of -inf: of a frame that may not answer.

    >>> moment_numbers(np.array([0.1, 0.3, 0.28, 0.1, 0.1, 0.25, 0.1])).tolist()
    [-1, 0, 0, -1, -1, 1, -1]
    """
    there = scores[scores > -np.inf]
    if not len(there):
        return np.full(len(scores), -1)
    best, median = there.max(), np.median(there)
    answers = scores >= max(median + _HALF * (best - median), lowest)
    begins = answers & ~np.concatenate([[False], answers[:-1]])
    return np.where(answers, np.cumsum(begins) - 1, -1)


@dataclass(frozen=True, slots=True, eq=False)
class _ScoredFilm:
    """frames: of a film. scores: float64 (n,), the cosine of each. numbers: see `moment_numbers`."""

    frames: Frames
    scores: NDArray[np.float64]
    numbers: NDArray[np.int64]


class Films:
    """The films of a table as one query sees them.

    spans: of the table. fetch: row ids -> their vectors. vectors: (n, dim), of the query: the score of a frame is the
    highest with any of them. live_rows: of the table. lowest: frames that score less do not answer. admitted: gives the
    rows that may answer, ascending; None for all.
    """

    def __init__(
        self,
        spans: FileSpans,
        fetch: Callable[[NDArray[np.int64]], Vectors],
        vectors: NDArray[np.float32],
        *,
        live_rows: int,
        lowest: float = -np.inf,
        admitted: Callable[[], NDArray[np.int64]] | None = None,
    ) -> None:
        self.spans = spans
        self._fetch, self._vectors, self._lowest = fetch, vectors.astype(np.float64), lowest
        self._live_rows, self._admitted = live_rows, admitted
        self._scored: dict[int, _ScoredFilm] = {}

    @cached_property
    def file_count(self) -> int:
        """How many files may answer."""
        return self.spans.count_files(self._live_rows, None if self._admitted is None else self._admitted())

    def moment_at(self, row_id: int) -> FilmMoment | None:
        """The moment of a frame; the frame alone where it is in none. None for what is no frame."""
        rows = np.array([row_id], np.int64)
        if not self.spans.are_frames(rows)[0]:
            return None
        film = self._film(int(self.spans.files_of(rows)[0]))
        frames = film.frames
        place = int(np.flatnonzero(frames.row_ids == row_id)[0])
        number = film.numbers[place]
        of_moment = np.flatnonzero(film.numbers == number) if number >= 0 else np.array([place])
        return FilmMoment(float(frames.start_s[of_moment[0]]), moment_end(frames, int(of_moment[-1])))

    def moments_of(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 2): the file and the number of the moment in it for each row; -1 where a frame does not answer, and 0
        for what is no frame: its file is then its own."""
        files, frames = self.spans.files_of(row_ids), self.spans.are_frames(row_ids)
        found = np.stack([np.where(frames, files, -1 - row_ids), np.zeros(len(row_ids), np.int64)], axis=1)
        for file in set(files[frames].tolist()):
            film = self._film(file)
            number_of = dict(zip(film.frames.row_ids.tolist(), film.numbers.tolist(), strict=True))
            for place in np.flatnonzero(frames & (files == file)).tolist():
                found[place, 1] = number_of[int(row_ids[place])]
        return found

    def means(self, lowered: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None) -> NDArray[np.float64]:
        """The mean score of the frames of each film that may answer, by the number of its file; -inf of other files.

        lowered: row ids -> what each score loses. All frames are scored in one pass: the mean of a film says nothing of
        its best frame, so that hardly any film can be left out.
        """
        row_ids = self.spans.frame_rows()
        if self._admitted is not None:
            row_ids = row_ids[np.isin(row_ids, self._admitted())]
        scores = [np.empty(0)]
        for start in range(0, len(row_ids), _ROWS_AT_A_TIME):
            some = row_ids[start : start + _ROWS_AT_A_TIME]
            lost = 0.0 if lowered is None else lowered(some)
            scores.append(self._score(some) - lost)
        files = self.spans.files_of(row_ids)
        sums = np.bincount(files, np.concatenate(scores))
        counts = np.bincount(files)
        means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(sums), -np.inf), where=counts > 0)
        return means

    def _score(self, row_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = (np.asarray(self._fetch(row_ids), np.float64) @ self._vectors.T).max(axis=1)
        return scores

    def _film(self, file: int) -> _ScoredFilm:
        if file not in self._scored:
            frames = self.spans.frames_of(file)
            scores = self._score(frames.row_ids)
            if self._admitted is not None:
                scores[~np.isin(frames.row_ids, self._admitted())] = -np.inf
            self._scored[file] = _ScoredFilm(frames, scores, moment_numbers(scores, self._lowest))
        return self._scored[file]


def moment_end(frames: Frames, place: int) -> float:
    """When a frame ends: as its row says, or where the next begins; the last one of those that do not say it is seen
    for no time."""
    ends = frames.end_s[place]
    if np.isnan(ends):
        ends = frames.start_s[min(place + 1, len(frames.start_s) - 1)]
    return float(ends)
