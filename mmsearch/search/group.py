"""The stage that shows hits of one file together: the best frame of a film, page of a document, tile of a picture."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.search.candidates import Candidates, Stage, StageContext

if TYPE_CHECKING:
    from mmsearch.search.film_moments import Films

__all__ = ["group_by_file"]


def group_by_file(context: StageContext) -> Stage | None:
    """Of the hits of one file the best stays, and none of a file that the query asks with a piece of.

    Where each is wanted, pages and tiles all stay, and of a film the best frame of each moment. With `per_video` "mean"
    films are ranked by the mean of what ranks their frames: no film that is missing exceeds the bound by it, since its
    best frame does not. None where no file of the table has several items.
    """
    films, query = context.films, context.query
    if films is None:
        return None
    own_files = films.spans.files_of(context.own_rows)
    if query.each:
        return lambda candidates: _each_moment(candidates, films, context.own_rows)
    means = films.means(context.lowered) if query.per_video == "mean" else None

    def group(candidates: Candidates) -> Candidates:
        files = films.spans.files_of(candidates.row_ids)
        is_first = _first_of_each(files)
        all_seen = int(np.count_nonzero(is_first)) == films.file_count
        best = candidates.kept(is_first & ~np.isin(files, own_files), bound=-np.inf if all_seen else None)
        return best if means is None else _by_mean(best, films, means)

    return group


def _first_of_each(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some numbers (n,) stand there for the first time."""
    order = np.argsort(numbers, kind="stable")  # np.unique would load numpy.ma, which takes as long as a query
    in_order = numbers[order]
    first = np.zeros(len(numbers), bool)
    first[order] = np.concatenate([[True], in_order[1:] != in_order[:-1]])[: len(numbers)]
    return first


def _each_moment(candidates: Candidates, films: "Films", own_rows: NDArray[np.int64]) -> Candidates:
    moments = films.moments_of(np.concatenate([own_rows, candidates.row_ids]))
    known = {tuple(moment) for moment in moments[: len(own_rows)].tolist()}
    keep = np.zeros(len(candidates), bool)
    for place, (file, number) in enumerate(moments[len(own_rows) :].tolist()):
        keep[place] = number >= 0 and (file, number) not in known
        known.add((file, number))
    return candidates.kept(keep)


def _by_mean(candidates: Candidates, films: "Films", means: NDArray[np.float64]) -> Candidates:
    """Candidates, one a file, in the order of the means of films and of what ranks all others."""
    files, frames = films.spans.files_of(candidates.row_ids), films.spans.are_frames(candidates.row_ids)
    values = candidates.ranking.copy()
    values[frames] = means[files[frames]]
    return candidates.reordered("mean", values, bound=candidates.bound)
