"""A report as one HTML file: figures, plots, and the worst failures as pictures. It needs no network and no other
file."""

from collections.abc import Iterator, Mapping

import numpy as np

from mmsearch.evaluation import EvaluationReport, SystemResult
from mmsearch.exact import scores_of_record
from mmsearch.metrics import Ids
from mmsearch.reports.markdown import (
    calibration_rows,
    comparison_rows,
    corrected_rows,
    health_rows,
    other_rows,
    published_rows,
    recall_rows,
    reranked_rows,
)
from mmsearch.reports.page_parts import document, escape, table_html
from mmsearch.reports.pictures import figure_html
from mmsearch.reports.plots import plots
from mmsearch.reports.size_curves import size_plots
from mmsearch.reports.size_tables import size_notes, size_rows

__all__ = ["page"]

_FAILURES = 12
_RETURNED = 5


def page(report: EvaluationReport, drawn: Mapping[str, str] | None = None) -> str:
    """The whole report as HTML. drawn: its `plots`, where they are drawn already."""
    first = report.systems[0]
    parts = [f"<h1>{escape(report.title)}</h1>", *_notes_html(report)]
    parts += [
        "<h2>Retrieval</h2>",
        "<p class=faint>Shares in percent; below them their 95 % intervals, Wilson's where all ",
    ]
    parts[-1] += "queries agree. R@k is the share of queries with at least one relevant item among the k best.</p>"
    parts += [table_html(recall_rows(report)), table_html(other_rows(report))]
    for heading, table in (
        ("Corrected for hubs", corrected_rows(report)),
        ("Re-ranked", reranked_rows(report)),
        ("Is there what was asked for?", calibration_rows(report)),
        ("Compared on the same queries", comparison_rows(report)),
        ("Beside published figures", published_rows(report)),
    ):
        if table[1]:
            parts += [f"<h2>{heading}</h2>", table_html(table)]
    if notes := size_notes(report):
        parts += ["<h2>R@k against the size of the gallery</h2>", table_html(size_rows(report))]
        parts += [f"<p class=faint>{escape(' '.join(notes))}</p>"]
    svgs = {**plots(report), **size_plots(report)} if drawn is None else drawn
    parts += ["<h2>Plots</h2>", "<div class=plots>", *svgs.values(), "</div>"]
    parts += ["<h2>Health of the space</h2>", table_html(health_rows(report))]
    of_model = f" of {escape(first.name)}" if len(report.systems) > 1 else ""
    parts += [
        f"<h2>Worst failures{of_model}: text_to_image</h2>",
        "<p class=faint>The captions whose image comes last, one an image; the image that was meant, then what was "
        "returned instead.</p>",
        *_text_failures(report, first),
        f"<h2>Worst failures{of_model}: image_to_text</h2>",
        "<p class=faint>The images whose best caption comes last, with their captions and those that were returned "
        "instead.</p>",
        *_image_failures(report, first),
        "<h2>Protocol</h2>",
        f"<p>{escape(report.protocol)}</p>",
        f"<p class=faint>{escape(', '.join(f'{name} {version}' for name, version in report.versions.items()))}; "
        f"{escape(', '.join(report.hardware.values()))} cores. Benchmark {escape(report.benchmark_hash)}.</p>",
    ]
    return document(report.title, parts)


def _notes_html(report: EvaluationReport) -> Iterator[str]:
    for system in report.systems:
        if system.encoder is not None:
            templates = ", ".join(repr(template) for template in system.templates[:3])
            prompted = f"; {len(system.templates)} templates: {templates}" if templates else ""
            cut = f"; {system.truncated:,} texts truncated" if system.truncated else ""
            yield (
                f"<p><b>{escape(system.name)}</b> on {escape(system.device or '')}, {system.precision}, "
                f"{system.preprocessing} preprocessing{escape(prompted)}{cut}. "
                f"<span class=faint>{escape(system.encoder.fingerprint)}</span></p>"
            )
        if system.health.collapsed:
            kinds = " and ".join(system.health.collapsed)
            yield f"<p class=warn>{escape(system.name)}: the space of {kinds} is collapsed; ranks in it are noise.</p>"
    if report.departures:
        yield f"<p class=warn>Not comparable with published figures: {escape('; '.join(report.departures))}.</p>"
    if report.problems:
        yield "<ul>" + "".join(f"<li>{escape(problem)}</li>" for problem in report.problems) + "</ul>"


def _text_failures(report: EvaluationReport, system: SystemResult) -> Iterator[str]:
    items, evidence = report.items, system.evidence
    ranks = evidence.text_to_image.bounds.ranks
    for query in _worst_queries(ranks, items.image_of_caption):
        caption = int(items.query_captions[query])
        relevant = items.images_of_caption.of(np.array([query])).positions
        returned_images = [n for n in evidence.text_to_image.top[query, :_RETURNED].tolist() if n >= 0]
        shown_images = [int(relevant[0]), *returned_images]
        scores = scores_of_record(
            evidence.captions, np.full(len(shown_images), caption), evidence.images, np.array(shown_images)
        ).tolist()
        figures = [figure_html(report, shown_images[0], f"meant: rank {ranks[query]:,}, {scores[0]:.3f}", right=True)]
        figures += [
            figure_html(report, image, f"{rank}. {score:.3f}")
            for rank, (image, score) in enumerate(zip(shown_images[1:], scores[1:], strict=True), 1)
        ]
        yield (
            f"<div class=failure><p><b>{escape(items.captions[caption])}</b></p>"
            f"<div class=row>{''.join(figures)}</div></div>"
        )


def _image_failures(report: EvaluationReport, system: SystemResult) -> Iterator[str]:
    items, evidence = report.items, system.evidence
    ranks = evidence.image_to_text.bounds.ranks
    for query in _worst_queries(ranks, np.arange(len(ranks))):
        image = int(items.query_images[query])
        own_captions = items.captions_of_image.of(np.array([query])).positions.tolist()
        returned_captions = [n for n in evidence.image_to_text.top[query, :_RETURNED].tolist() if n >= 0]
        scores = scores_of_record(
            evidence.images,
            np.full(len(own_captions) + len(returned_captions), image),
            evidence.captions,
            np.array([*own_captions, *returned_captions]),
        ).tolist()
        lines = [
            f"<li>{escape(items.captions[n])} <span class=faint>{s:.3f}</span></li>"
            for n, s in zip([*own_captions, *returned_captions], scores, strict=True)
        ]
        yield (
            f"<div class=failure><div class=row>{figure_html(report, image, f'best caption at rank {ranks[query]:,}')}"
            f"<div><p>Its captions</p><ul>{''.join(lines[: len(own_captions)])}</ul></div>"
            f"<div><p>Returned instead</p><ol>{''.join(lines[len(own_captions) :])}</ol></div></div></div>"
        )


def _worst_queries(ranks: Ids, image_of_query: Ids) -> Iterator[int]:
    """The queries with the worst ranks, at most one an image; those with rank 1 are no failures."""
    seen: set[int] = set()
    for query in np.argsort(-ranks, kind="stable").tolist():
        image = int(image_of_query[query])
        if ranks[query] == 1 or len(seen) == _FAILURES:
            return
        if image not in seen:
            seen.add(image)
            yield query
