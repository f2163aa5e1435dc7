"""A page of the queries that one of two systems answers and the other does not, with what each returned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.evaluation import Comparison, EvaluationReport, SystemResult
from mmsearch.metrics import Difference, Ids
from mmsearch.reports.markdown import Table
from mmsearch.reports.page_parts import document, escape, table_html
from mmsearch.reports.pictures import figure_html
from mmsearch.reports.plots import file_names
from mmsearch.reports.query_sides import QuerySide, query_sides

__all__ = ["Disagreement", "disagreement_table", "disagreements", "find_disagreements"]

_SHOWN = 20  # queries of a kind; the files of queries have them all
_RETURNED = 4
_PIXELS = 168  # of a thumbnail: a page holds some hundreds


@dataclass(frozen=True, slots=True, eq=False)
class Disagreement:
    """The queries of one direction that two systems answer: with a relevant item among the k best.

    Attributes:
        both, neither: How many of them both answer, or none of the two.
        only_first, only_second: Rows of those that one alone answers, the furthest apart first, by the ratio of ranks;
            of equal ones the first in the order of the queries.
    """

    k: int
    both: int
    neither: int
    only_first: Ids
    only_second: Ids


def find_disagreements(first: Ids, second: Ids, k: int) -> Disagreement:
    """first, second: int64 (n_queries,), the rank of the best relevant item of each query with two systems.

    >>> found = find_disagreements(np.array([1, 1, 9, 2]), np.array([3, 8, 1, 2]), 1)
    >>> found.only_first.tolist(), found.only_second.tolist(), found.both, found.neither
    ([1, 0], [2], 0, 1)
    """
    answered, also = first <= k, second <= k
    distance = np.abs(np.log(first) - np.log(second))
    order = np.argsort(-distance, kind="stable")
    return Disagreement(
        k=k,
        both=int(np.count_nonzero(answered & also)),
        neither=int(np.count_nonzero(~answered & ~also)),
        only_first=order[(answered & ~also)[order]],
        only_second=order[(also & ~answered)[order]],
    )


def disagreements(report: EvaluationReport) -> dict[str, str]:
    """File name -> page, one for each two systems that the report compares."""
    named = dict(zip((system.name for system in report.systems), file_names(report), strict=True))
    pairs = list(dict.fromkeys((comparison.first, comparison.second) for comparison in report.comparisons))
    pages = {}
    for first, second in pairs:
        ending = f".{named[second]}" if len(pairs) > 1 else ""
        pages[f"disagreements{ending}.html"] = _page(report, _system(report, first), _system(report, second))
    return pages


def _system(report: EvaluationReport, name: str) -> SystemResult:
    return next(system for system in report.systems if system.name == name)


def disagreement_table(report: EvaluationReport, first: SystemResult, second: SystemResult) -> Table:
    """A row a direction and k: how many queries both answer, one alone, none; and the paired difference of R@k."""
    header = ["direction", "k", "queries", "both", f"only {first.name}", f"only {second.name}", "neither"]
    header.append("R@k, second minus first")
    rows = []
    for side in query_sides(report):
        differences = _comparison(report, side, first, second).differences
        for k in first.text_to_image.recall:
            found = _find(side, first, second, k)
            counts = (found.both, len(found.only_first), len(found.only_second), found.neither)
            row = [side.direction, str(k), f"{len(side.queries):,}", *(f"{count:,}" for count in counts)]
            rows.append([*row, _format(differences[f"R@{k}"])])
    return header, rows


def _comparison(report: EvaluationReport, side: QuerySide, first: SystemResult, second: SystemResult) -> Comparison:
    wanted = first.name, second.name, side.direction
    return next(each for each in report.comparisons if (each.first, each.second, each.direction) == wanted)


def _find(side: QuerySide, first: SystemResult, second: SystemResult, k: int) -> Disagreement:
    return find_disagreements(side.ranking(first).bounds.ranks, side.ranking(second).bounds.ranks, k)


def _format(difference: Difference) -> str:
    low, high = 100 * difference.interval.low, 100 * difference.interval.high
    return f"{100 * difference.value:+.2f} [{low:+.2f}, {high:+.2f}; p {difference.p:.4f}]"


def _page(report: EvaluationReport, first: SystemResult, second: SystemResult) -> str:
    k = min(first.text_to_image.recall)
    title = f"{first.name} and {second.name}: where they disagree"
    sections = [
        (f"{side.direction}-{number}", side, alone, rows)
        for side in query_sides(report)
        for found in (_find(side, first, second, k),)
        for number, alone, rows in ((1, first, found.only_first), (2, second, found.only_second))
    ]
    links = " · ".join(
        f'<a href="#{name}">{side.direction}, only {escape(alone.name)}: {len(rows):,}</a>'
        for name, side, alone, rows in sections
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(report.title)}</p>",
        table_html(disagreement_table(report, first, second)),
        "<p class=faint>A system answers a query where at least one relevant item is among its k best. Under the "
        "difference of R@k, in points, stand its 95 % interval and the p of a paired randomisation test "
        f"(2,000 samples and 10,000 swaps of images, seed 0; p is not corrected for the number of tests). Below "
        f"are queries that one answers at k = {k} and the other does not: those first whose ranks are furthest "
        "apart, as a ratio; a caption an image. Relevant pictures have a green frame, relevant captions are bold.</p>",
        f"<p>{links}</p>",
    ]
    for name, side, alone, rows in sections:
        parts += [f'<h2 id="{name}">{side.direction}: only {escape(alone.name)} answers</h2>']
        parts += _section(report, side, (first, second), rows)
    return document(title, parts)


def _section(
    report: EvaluationReport, side: QuerySide, systems: tuple[SystemResult, SystemResult], rows: Ids
) -> Iterator[str]:
    if not len(rows):
        yield "<p class=faint>No query.</p>"
        return
    chosen = _one_an_image(rows.tolist(), side.image_of_query)
    if len(chosen) < len(rows):
        yield f"<p class=faint>{len(chosen):,} of {len(rows):,}; the files of queries have them all.</p>"
    draw = _text_query if side.direction == "text_to_image" else _image_query
    for row in chosen:
        yield f"<div class=failure>{draw(report, side, systems, row)}</div>"


def _one_an_image(rows: Sequence[int], image_of_query: Ids) -> list[int]:
    """The first rows, of each image one, at most as many as a section shows."""
    chosen: dict[int, int] = {}
    for row in rows:
        chosen.setdefault(int(image_of_query[row]), row)
        if len(chosen) == _SHOWN:
            break
    return list(chosen.values())


def _text_query(report: EvaluationReport, side: QuerySide, systems: tuple[SystemResult, SystemResult], row: int) -> str:
    parts = [f"<p><b>{escape(side.queries[row])}</b></p>"]
    for system in systems:
        relevant = set(side.relevant(system, row).tolist())
        hits, scores = side.hits(system, row, _RETURNED)
        figures = [
            figure_html(report, image, f"{rank}. {score:.3f}", right=image in relevant, pixels=_PIXELS)
            for rank, (image, score) in enumerate(zip(hits.tolist(), scores.tolist(), strict=True), 1)
        ]
        # What was meant stands last where it is not among those shown.
        rank = int(side.ranking(system).bounds.ranks[row])
        if rank > len(hits):
            figures.append(figure_html(report, min(relevant), f"rank {rank:,}", right=True, pixels=_PIXELS))
        parts += [_heading(system, rank), f"<div class=row>{''.join(figures)}</div>"]
    return "".join(parts)


def _image_query(
    report: EvaluationReport, side: QuerySide, systems: tuple[SystemResult, SystemResult], row: int
) -> str:
    columns = [figure_html(report, int(side.image_of_query[row]), "asks", pixels=_PIXELS)]
    for system in systems:
        relevant = set(side.relevant(system, row).tolist())
        hits, scores = side.hits(system, row, _RETURNED)
        lines = []
        for caption, score in zip(hits.tolist(), scores.tolist(), strict=True):
            text = escape(report.items.captions[caption])
            named = f"<b>{text}</b>" if caption in relevant else text
            lines.append(f"<li>{named} <span class=faint>{score:.3f}</span></li>")
        heading = _heading(system, int(side.ranking(system).bounds.ranks[row]))
        columns.append(f'<div style="flex: 1 1 20rem">{heading}<ol>{"".join(lines)}</ol></div>')
    return f"<div class=row>{''.join(columns)}</div>"


def _heading(system: SystemResult, rank: int) -> str:
    return f"<p class=faint>{escape(system.name)}: rank {rank:,}</p>"
