"""What an evaluation leaves behind: JSON, Markdown, a page with pictures, plots, TREC's runs and qrels.

plots      recall against k, rank histograms, score distributions, the gap in two dimensions (matplotlib)
tables     figures as Markdown
page       one HTML file with everything, plots and pictures within
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmsearch.errors import StoreError
from mmsearch.locations import expanded
from mmsearch.metrics import Ranking, Vectors, scores_of
from mmsearch.pipeline.evaluate import EvaluationReport, to_json
from mmsearch.pipeline.reports.page import page
from mmsearch.pipeline.reports.plots import plots
from mmsearch.pipeline.reports.tables import markdown
from mmsearch.runs import run_lines, write_qrels, write_run
from mmsearch.strict_json import json_text

__all__ = ["markdown", "page", "plots", "require_place", "write_report"]

_Path = str | os.PathLike[str]
_KINDS = (".json", ".md", ".html")


def require_place(target: _Path) -> Path:
    """Where a report will be written: a .json, .md or .html file, or a folder for everything.

    Raises StoreError where it cannot be, before any work is done.
    """
    place = expanded(target).absolute()
    if place.suffix.lower() in _KINDS and not place.is_dir():
        if not place.parent.is_dir():
            raise StoreError(f"the report cannot be written: no folder {place.parent}")
    elif place.suffix and not place.is_dir():
        raise StoreError(f"the report {place.name}: name a .json, .md or .html file, or a folder for everything")
    elif place.is_file():
        raise StoreError(f"the report cannot be written: {place} is a file, not a folder")
    return place


def write_report(report: EvaluationReport, target: _Path, *, per_query: bool = False) -> tuple[Path, ...]:
    """Write a report where `require_place` says; returns the files. per_query: ranks of each query in the JSON.

    A folder gets report.json, report.md, report.html, plots/*.svg, and as TREC has them a run for each system and
    direction, and qrels for each direction. Raises StoreError.
    """
    place = require_place(target)
    if place.suffix.lower() in _KINDS and not place.is_dir():
        return (_write(place, _text(report, place.suffix.lower(), per_query)),)
    try:
        (place / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {place}: {error.strerror or error}") from error
    drawn = plots(report)
    files = [_write(place / f"report{kind}", _text(report, kind, per_query)) for kind in (".json", ".md")]
    files.append(_write(place / "report.html", page(report, drawn)))
    files += [_write(place / "plots" / f"{name}.svg", svg) for name, svg in drawn.items()]
    return (*files, *_trec(report, place))


def _text(report: EvaluationReport, kind: str, per_query: bool) -> str:
    if kind == ".md":
        return markdown(report)
    if kind == ".html":
        return page(report)
    return json_text(to_json(report, per_query=per_query), default=str, indent=1) + "\n"


def _write(file: Path, text: str) -> Path:
    try:
        file.write_text(text, "utf-8", errors="backslashreplace")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
    return file


def _trec(report: EvaluationReport, place: Path) -> Iterator[Path]:
    items = report.items
    captions = tuple(items.caption_ids[n] for n in items.asking_captions.tolist())
    images = tuple(items.images[n] for n in items.asking_images.tolist())
    relevance = {"text_to_image": items.images_of_caption, "image_to_text": items.captions_of_image}
    sides = {"text_to_image": (captions, items.images), "image_to_text": (images, items.caption_ids)}
    for direction, (asking, returned) in sides.items():
        relevant = relevance[direction]
        query = np.repeat(np.arange(len(relevant)), relevant.counts)
        file = place / f"{direction}.qrels"
        pairs = zip(query.tolist(), relevant.positions.tolist(), strict=True)
        write_qrels(file, ((asking[q], returned[item]) for q, item in pairs))
        yield file
        for number, system in enumerate(report.systems):
            evidence = system.evidence
            vectors = {"text_to_image": (evidence.captions, evidence.images)}.get(
                direction, (evidence.images, evidence.captions)
            )
            asked = items.asking_captions if direction == "text_to_image" else items.asking_images
            ranking: Ranking = getattr(evidence, direction)
            file = place / (f"{direction}.run" if len(report.systems) == 1 else f"{direction}.{number + 1}.run")
            write_run(
                file, _lines(ranking, vectors[0][asked], vectors[1], asking, returned, tag=f"mmsearch{number + 1}")
            )
            yield file


def _lines(
    ranking: Ranking, queries: Vectors, gallery: Vectors, asking: tuple[str, ...], returned: tuple[str, ...], tag: str
) -> Iterator[str]:
    width = int((ranking.top >= 0).sum(axis=1).min())
    top = ranking.top[:, :width]
    query = np.repeat(np.arange(len(top)), width)
    scores = scores_of(queries, query, gallery, top.ravel()).reshape(top.shape)
    return run_lines(asking, [[returned[item] for item in items] for items in top.tolist()], scores, tag=tag)
