"""Tables of figures: a row a language, a length of captions, a fold; the same columns in each row."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.identity import EncoderIdentity
from mmsearch.metrics import Interval, wilson_interval

__all__ = ["FigureName", "FigureRow", "FigureTable", "FigureReport", "mean_row", "table_row", "figures_to_json"]

FigureName: TypeAlias = tuple[str, str]
"""What is measured, mostly a direction, and the figure: ("text_to_image", "R@1")."""


@dataclass(frozen=True, slots=True, eq=False)
class FigureRow:
    """One row.

    Attributes:
        counts: How many there are of what, "images" and "captions" mostly; none of a mean.
        figures: Name -> value, from 0 to 1.
        intervals: Name -> 95 % interval, of those that have one.
        resampled: Name -> the values of the bootstrap samples, which a mean of rows is resampled by.
    """

    name: str
    counts: Mapping[str, int]
    figures: Mapping[FigureName, float]
    intervals: Mapping[FigureName, Interval]
    resampled: Mapping[FigureName, NDArray[np.float64]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class FigureTable:
    """The rows of one encoder."""

    encoder: EncoderIdentity
    device: str
    precision: str
    rows: tuple[FigureRow, ...]


@dataclass(frozen=True, slots=True)
class FigureReport:
    """Tables of several encoders with the same rows and columns.

    Attributes:
        rows_are: What a row is: "language", "words", "fold", …
        headline: The name of the row and the figure that count most.
        source: The kind of annotation files, in words.
        protocol: What the figures are.
        problems: What was wrong with the annotations.
    """

    benchmark: str
    title: str
    rows_are: str
    headline: tuple[str, FigureName]
    source: str
    protocol: str
    tables: tuple[FigureTable, ...]
    problems: tuple[str, ...]
    versions: dict[str, str]
    hardware: dict[str, str]

    @property
    def columns(self) -> tuple[FigureName, ...]:
        """The figures that some row has, in the order of the rows."""
        return tuple(dict.fromkeys(name for table in self.tables for row in table.rows for name in row.figures))


def table_row(
    name: str,
    counts: Mapping[str, int],
    values: Mapping[FigureName, NDArray[np.float64]],
    resampled: Mapping[FigureName, NDArray[np.float64]],
    draws: int,
) -> FigureRow:
    """A row of figures that are means over queries.

    values: (n_queries,) each. resampled: the means in the bootstrap samples. draws: of how many independent queries the
    shares are, for Wilson's interval where all agree.
    """
    means = {figure: float(np.mean(value)) for figure, value in values.items()}
    around = {
        figure: wilson_interval(mean, draws) if mean in (0, 1) else Interval.of(resampled[figure])
        for figure, mean in means.items()
    }
    return FigureRow(name, counts, means, around, resampled)


def mean_row(name: str, rows: Sequence[FigureRow]) -> FigureRow:
    """The mean of rows, each of one weight, with the interval of that mean where all rows have drawn the samples."""
    columns = [figure for figure in rows[0].figures if all(figure in row.figures for row in rows)]
    means = {figure: float(np.mean([row.figures[figure] for row in rows])) for figure in columns}
    drawn = {
        figure: np.mean([row.resampled[figure] for row in rows], axis=0)
        for figure in columns
        if all(figure in row.resampled for row in rows)
    }
    around = {figure: Interval.of(values) for figure, values in drawn.items() if means[figure] not in (0, 1)}
    return FigureRow(name, {}, means, around, drawn)


def figures_to_json(report: FigureReport) -> dict[str, Any]:
    """The report as a document: figures as {"text_to_image": {"R@1": 0.5}}, intervals likewise."""
    return {
        "benchmark": report.benchmark,
        "title": report.title,
        "rows_are": report.rows_are,
        "headline": {"row": report.headline[0], "figure": " ".join(report.headline[1]).strip()},
        "source": report.source,
        "protocol": report.protocol,
        "tables": [
            {
                "encoder": asdict(table.encoder),
                "device": table.device,
                "precision": table.precision,
                "rows": [
                    {
                        "name": row.name,
                        "counts": dict(row.counts),
                        "figures": _nested(row.figures),
                        "intervals": _nested({name: asdict(around) for name, around in row.intervals.items()}),
                    }
                    for row in table.rows
                ],
            }
            for table in report.tables
        ],
        "problems": list(report.problems),
        "versions": report.versions,
        "hardware": report.hardware,
    }


def _nested(values: Mapping[FigureName, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for (group, name), value in values.items():
        nested.setdefault(group, {})[name] = value
    return nested
