"""Writes a report of an evaluation: one file in the form that its suffix says, or a folder with everything."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmsearch.errors import StoreError
from mmsearch.evaluation import CorrectedRanking, EvaluationReport, SystemResult, to_json
from mmsearch.exact import scores_of_record
from mmsearch.locations import expanded
from mmsearch.metrics import Ranking
from mmsearch.reports.disagreements import disagreements
from mmsearch.reports.markdown import markdown
from mmsearch.reports.plots import file_names, plots
from mmsearch.reports.query_rows import write_queries_jsonl, write_queries_parquet
from mmsearch.reports.query_sides import QuerySide, query_sides
from mmsearch.reports.report_page import page
from mmsearch.reports.size_curves import size_plots, sizes_csv
from mmsearch.reports.spreadsheets import figures_csv, figures_latex
from mmsearch.runs import run_lines, write_qrels, write_run
from mmsearch.strict_json import json_text

__all__ = ["require_target", "write_report", "write_text"]

_Path = str | os.PathLike[str]
_KINDS = (".json", ".md", ".html", ".csv", ".tex", ".jsonl", ".parquet")
_SIDE_BY_SIDE = ".wide"  # before the suffix of a file of queries
_ONE_OF = "name a .json, .md or .html file, a .csv or .tex for the table, a .jsonl or .parquet for every query"


def require_target(target: _Path, kinds: Sequence[str] = _KINDS) -> Path:
    """Where a report will be written: a file of one of the kinds that there are of it, or a folder for everything.

    kinds: suffixes; by default those that `write_report` knows.

    Raises StoreError where it cannot be, before any work is done.
    """
    path = expanded(target).absolute()
    if path.suffix.lower() in kinds and not path.is_dir():
        if not path.parent.is_dir():
            raise StoreError(f"the report cannot be written: no folder {path.parent}")
    elif path.suffix and not path.is_dir():
        one_of = _ONE_OF if kinds is _KINDS else f"name a {', '.join(kinds[:-1])} or {kinds[-1]} file"
        raise StoreError(f"the report {path.name}: {one_of}, or a folder for everything")
    elif path.is_file():
        raise StoreError(f"the report cannot be written: {path} is a file, not a folder")
    return path


def write_report(report: EvaluationReport, target: _Path, *, per_query: bool = False) -> tuple[Path, ...]:
    """Write a report where `require_target` says; returns the files. per_query: ranks of each query in the JSON.

    .json, .md and .html hold the whole report, .csv and .tex the table of its figures, .jsonl and .parquet a row a
    query and system with its hits (see `query_rows`); .wide.jsonl and .wide.parquet a row a query, with the systems
    side by side. A folder gets report.json, report.md, report.html, figures.csv, figures.tex, queries.parquet,
    queries.wide.parquet, plots/*.svg, gallery_sizes.csv where that was measured, of two systems that are compared a
    page with the queries that one answers and the other does not, and as TREC has them a run for each system and
    direction, by corrected scores too where they help, and qrels for each direction. Raises StoreError.
    """
    path = require_target(target)
    if path.suffix.lower() in _KINDS and not path.is_dir():
        return (_write_kind(report, path, per_query),)
    try:
        (path / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {error.strerror or error}") from error
    svgs = {**plots(report), **size_plots(report)}
    names = ("report.json", "report.md", "figures.csv", "figures.tex", "queries.parquet", "queries.wide.parquet")
    files = [_write_kind(report, path / name, per_query) for name in names]
    files.append(write_text(path / "report.html", page(report, svgs)))
    files += [write_text(path / name, text) for name, text in disagreements(report).items()]
    if any(system.sizes for system in report.systems):
        files.append(write_text(path / "gallery_sizes.csv", sizes_csv(report)))
    files += [write_text(path / "plots" / f"{name}.svg", svg) for name, svg in svgs.items()]
    return (*files, *_write_trec(report, path))


def _write_kind(report: EvaluationReport, file: Path, per_query: bool) -> Path:
    """A report in the form that the suffix of the file says."""
    kind = file.suffix.lower()
    queries = {".jsonl": write_queries_jsonl, ".parquet": write_queries_parquet}
    if kind in queries:
        try:
            queries[kind](report, file, side_by_side=file.stem.lower().endswith(_SIDE_BY_SIDE))
        except OSError as error:
            raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
        return file
    if kind == ".json":
        return write_text(file, json_text(to_json(report, per_query=per_query), default=str, indent=1) + "\n")
    texts = {".md": markdown, ".html": page, ".csv": figures_csv, ".tex": figures_latex}
    return write_text(file, texts[kind](report))


def write_text(file: Path, text: str) -> Path:
    """Write a text, whatever names it holds; returns the file. Raises StoreError."""
    try:
        file.write_text(text, "utf-8", errors="backslashreplace")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
    return file


def _write_trec(report: EvaluationReport, folder: Path) -> Iterator[Path]:
    for side in query_sides(report):
        relevant = side.ranking(report.systems[0]).relevant
        query = np.repeat(np.arange(len(relevant)), relevant.counts)
        file = folder / f"{side.direction}.qrels"
        pairs = zip(query.tolist(), relevant.positions.tolist(), strict=True)
        write_qrels(file, ((side.query_ids[q], side.gallery_ids[item]) for q, item in pairs))
        yield file
        for name, system in zip(file_names(report), report.systems, strict=True):
            file = folder / f"{side.direction}.{name}.run"
            write_run(file, _trec_lines(side, system, side.ranking(system), None, tag=name))
            yield file
            if (corrected := side.corrected(system)) is not None:
                file = folder / f"{side.direction}.{name}.corrected.run"
                write_run(file, _trec_lines(side, system, corrected.ranking, corrected, tag=f"{name}.corrected"))
                yield file


def _trec_lines(
    side: QuerySide, system: SystemResult, ranking: Ranking, corrected: CorrectedRanking | None, tag: str
) -> Iterator[str]:
    width = int((ranking.top >= 0).sum(axis=1).min())
    top = ranking.top[:, :width]
    query = np.repeat(np.arange(len(top)), width)
    queries, gallery = side.vectors(system)
    scores = scores_of_record(queries, side.positions[query], gallery, top.ravel())
    if corrected is not None:
        scores = scores - corrected.taken[top.ravel(), corrected.folds[query]]
    names = [[side.gallery_ids[item] for item in items] for items in top.tolist()]
    return run_lines(side.query_ids, names, scores.reshape(top.shape), tag=tag)
