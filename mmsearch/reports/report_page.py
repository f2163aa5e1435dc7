"""A report as one HTML file: figures, plots, and the worst failures as pictures. It needs no network and no other
file."""

import base64
import html
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import ImageOps

from mmsearch import images
from mmsearch.errors import ImageError
from mmsearch.evaluation import EvaluationReport, SystemResult
from mmsearch.exact import scores_of_record
from mmsearch.metrics import Ids
from mmsearch.names import shown
from mmsearch.reports.markdown import (
    Table,
    comparison_rows,
    health_rows,
    other_rows,
    published_rows,
    recall_rows,
)
from mmsearch.reports.plots import plots

__all__ = ["page"]

_FAILURES = 12
_RETURNED = 5
_SIDE = 168  # pixels of a thumbnail

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; background: #faf9f6; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } .faint { color: #5f6368 }
.scroll { overflow-x: auto; margin: .8rem 0 }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid #e1e0dc } th { font-weight: 600 }
td:first-child { min-width: 10rem; overflow-wrap: anywhere }
small { white-space: nowrap }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } .plots svg { max-width: 100%; height: auto; background: #fff }
.failure { background: #fff; border: 1px solid #e1e0dc; border-radius: 8px; padding: .8rem; margin: .8rem 0 }
.row { display: flex; flex-wrap: wrap; gap: .7rem } figure { margin: 0; width: 168px }
figure img, figure .none { width: 168px; height: 168px; object-fit: contain; background: #eeede9; border-radius: 4px }
figure.right img, figure.right .none { outline: 3px solid #2e7d32 } .none { display: flex; align-items: center;
  justify-content: center; text-align: center; color: #5f6368; font-size: .8rem }
figcaption { font-size: .8rem; overflow-wrap: anywhere } ol { margin: .2rem 0 }
.warn { color: #a03020; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  body { color: #e4e3df; background: #1d1e20 } .faint { color: #a3a7ac } th, td { border-color: #3a3c40 }
  .failure { background: #26282b; border-color: #3a3c40 } figure img, figure .none { background: #313337 }
  .warn { color: #ff9c86 } .none { color: #a3a7ac } .plots svg { border-radius: 6px }
}
"""


def page(report: EvaluationReport, drawn: Mapping[str, str] | None = None) -> str:
    """The whole report as HTML. drawn: its `plots`, where they are drawn already."""
    first = report.systems[0]
    parts = [f"<h1>{_escape(report.title)}</h1>", *_notes_html(report)]
    parts += ["<h2>Retrieval</h2>", "<p class=faint>Shares in percent; below them their 95 % intervals.</p>"]
    parts += [_table_html(recall_rows(report)), _table_html(other_rows(report))]
    for heading, table in (
        ("Compared on the same queries", comparison_rows(report)),
        ("Beside published figures", published_rows(report)),
    ):
        if table[1]:
            parts += [f"<h2>{heading}</h2>", _table_html(table)]
    svgs = plots(report) if drawn is None else drawn
    parts += ["<h2>Plots</h2>", "<div class=plots>", *svgs.values(), "</div>"]
    parts += ["<h2>Health of the space</h2>", _table_html(health_rows(report))]
    of_model = f" of {_escape(first.name)}" if len(report.systems) > 1 else ""
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
        f"<p>{_escape(report.protocol)}</p>",
        f"<p class=faint>{_escape(', '.join(f'{name} {version}' for name, version in report.versions.items()))}; "
        f"{_escape(', '.join(report.hardware.values()))} cores. Benchmark {_escape(report.benchmark_hash)}.</p>",
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_escape(report.title)}</title><style>{_CSS}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _notes_html(report: EvaluationReport) -> Iterator[str]:
    for system in report.systems:
        if system.encoder is not None:
            templates = ", ".join(repr(template) for template in system.templates[:3])
            prompted = f"; {len(system.templates)} templates: {templates}" if templates else ""
            cut = f"; {system.truncated:,} texts truncated" if system.truncated else ""
            yield (
                f"<p><b>{_escape(system.name)}</b> on {_escape(system.device or '')}, {system.precision}, "
                f"{system.preprocessing} preprocessing{_escape(prompted)}{cut}. "
                f"<span class=faint>{_escape(system.encoder.fingerprint)}</span></p>"
            )
        if system.health.collapsed:
            kinds = " and ".join(system.health.collapsed)
            yield f"<p class=warn>{_escape(system.name)}: the space of {kinds} is collapsed; ranks in it are noise.</p>"
    if report.departures:
        yield f"<p class=warn>Not comparable with published figures: {_escape('; '.join(report.departures))}.</p>"
    if report.problems:
        yield "<ul>" + "".join(f"<li>{_escape(problem)}</li>" for problem in report.problems) + "</ul>"


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
        figures = [_figure_html(report, shown_images[0], f"meant: rank {ranks[query]:,}, {scores[0]:.3f}", right=True)]
        figures += [
            _figure_html(report, image, f"{rank}. {score:.3f}")
            for rank, (image, score) in enumerate(zip(shown_images[1:], scores[1:], strict=True), 1)
        ]
        yield (
            f"<div class=failure><p><b>{_escape(items.captions[caption])}</b></p>"
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
            f"<li>{_escape(items.captions[n])} <span class=faint>{s:.3f}</span></li>"
            for n, s in zip([*own_captions, *returned_captions], scores, strict=True)
        ]
        yield (
            f"<div class=failure><div class=row>{_figure_html(report, image, f'best caption at rank {ranks[query]:,}')}"
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


def _figure_html(report: EvaluationReport, image: int, words: str, *, right: bool = False) -> str:
    name = report.items.images[image]
    thumbnail = _thumbnail_uri(report.items.files[image])
    content = (
        f'<img alt="{_escape(name)}" src="{thumbnail}">' if thumbnail else f"<div class=none>{_escape(name)}</div>"
    )
    kind = ' class="right"' if right else ""
    caption = f"{_escape(words)}<br><span class=faint>{_escape(name)}</span>"
    return f"<figure{kind}>{content}<figcaption>{caption}</figcaption></figure>"


def _thumbnail_uri(file: str | None) -> str | None:
    """The picture as a data URI; None where there is none to show."""
    if file is None:
        return None
    try:
        image = images.make_thumbnail(Path(file).read_bytes(), 2 * _SIDE)
    except (OSError, ImageError):
        return None
    buffer = io.BytesIO()
    ImageOps.contain(image, (2 * _SIDE, 2 * _SIDE)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _table_html(table: Table) -> str:
    header, rows = table
    head = "".join(f"<th>{_escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _cell_html(words: str) -> str:
    """A figure's interval goes below it."""
    value, bracket, interval = words.partition(" [")
    below_value = "<br>".join(map(_escape, interval.removesuffix("]").split("; ")))
    return f"{_escape(value)}<br><small class=faint>{below_value}</small>" if bracket else _escape(words)


def _escape(words: str) -> str:
    return html.escape(shown(words))
