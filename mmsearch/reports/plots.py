"""Plots of an evaluation, as SVG. Drawn with matplotlib, which is imported when something is drawn."""

import io
import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation import EvaluationReport, PresenceCalibration, SystemResult
from mmsearch.exact import scores_of_record
from mmsearch.metrics import Ids, RankBounds, Vectors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "draw_legend_below", "draw_svg", "draw_svg_and_pdf", "file_names", "plots"]

COLOURS = ("#20639b", "#d1495b", "#3caea3", "#edae49", "#6d597a", "#173f5f")
_STYLE: Any = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # letters as such: journals refuse the other kind
    "svg.hashsalt": "mmsearch",  # the same report gives the same bytes
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e4df",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_POINTS = 1_500
"""Of each kind in the picture of the gap, and pairs in the distributions: more cannot be told apart."""
_PAIRS = 200_000


def plots(report: EvaluationReport) -> dict[str, str]:
    """Name -> SVG: recall against k and ranks for all systems together, scores, gap and calibration for each."""
    svgs = {
        "recall": draw_svg(partial(_draw_recall, report=report), panels=2),
        "ranks": draw_svg(partial(_draw_ranks, report=report), panels=2),
    }
    for name, system in zip(file_names(report), report.systems, strict=True):
        ending = f".{name}" if len(report.systems) > 1 else ""
        svgs[f"scores{ending}"] = draw_svg(partial(_draw_scores, system=system, report=report), panels=1)
        svgs[f"gap{ending}"] = draw_svg(partial(_draw_gap, system=system), panels=1)
        if system.calibration is not None:
            draw = partial(_draw_calibration, presence=system.calibration)
            svgs[f"calibration{ending}"] = draw_svg(draw, panels=2)
    return svgs


def file_names(report: EvaluationReport) -> list[str]:
    """A name for each system's files: its own, without what file systems and TREC do not take; all different."""
    names: list[str] = []
    for system in report.systems:
        base = name = re.sub(r"[^\w.+-]+", "_", system.name, flags=re.ASCII).strip("._")[-80:] or "system"
        while name in names:
            name = f"{base}_{len(names) + 1}"
        names.append(name)
    return names


def draw_svg(draw: "Callable[[list[Axes]], None]", panels: int, panel_size: tuple[float, float] = (4.6, 3.3)) -> str:
    """Draw so many panels side by side. panel_size: inches. The same calls of `draw` give the same text."""
    return _drawn(draw, panels, panel_size, ("svg",))[0].decode()


def draw_svg_and_pdf(
    draw: "Callable[[list[Axes]], None]", panels: int, panel_size: tuple[float, float] = (4.6, 3.3)
) -> tuple[str, bytes]:
    """The same, and as a PDF too, which is what goes into a paper."""
    svg, pdf = _drawn(draw, panels, panel_size, ("svg", "pdf"))
    return svg.decode(), pdf


def _drawn(
    draw: "Callable[[list[Axes]], None]", panels: int, panel_size: tuple[float, float], kinds: tuple[str, ...]
) -> list[bytes]:
    # No pyplot: it keeps state, and looks for a display.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(panel_size[0] * panels, panel_size[1]), layout="constrained")
        FigureCanvasAgg(figure)
        axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
        draw(axes)
        drawn = []
        for kind in kinds:
            out = io.BytesIO()
            # No time of day: the same report gives the same bytes.
            figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"CreationDate": None})
            drawn.append(out.getvalue()[out.getvalue().index(b"<svg") :] if kind == "svg" else out.getvalue())
    return drawn


def _directions(report: EvaluationReport) -> "list[tuple[str, Callable[[SystemResult], RankBounds], int]]":
    first = report.systems[0]
    return [
        ("text_to_image", lambda system: system.evidence.text_to_image.bounds, first.text_to_image.gallery),
        ("image_to_text", lambda system: system.evidence.image_to_text.bounds, first.image_to_text.gallery),
    ]


def _draw_recall(axes: "list[Axes]", report: EvaluationReport) -> None:
    for panel, (direction, bounds, gallery) in zip(axes, _directions(report), strict=True):
        k = np.unique(np.geomspace(1, gallery, 200).round().astype(np.int64))
        for system, colour in zip(report.systems, COLOURS * 9, strict=False):
            ranks = np.sort(bounds(system).ranks)
            curve = np.searchsorted(ranks, k, side="right") / len(ranks)
            panel.plot(k, 100 * curve, color=colour, label=_shorten(system.name), linewidth=1.8)
        panel.plot(k, 100 * k / gallery, color="#999999", linestyle=":", linewidth=1, label="k / gallery")
        panel.set(xscale="log", ylim=(0, 101), xlabel="k", ylabel="R@k, %", title=direction)
    draw_legend_below(axes[0])


def _draw_ranks(axes: "list[Axes]", report: EvaluationReport) -> None:
    for panel, (direction, bounds, gallery) in zip(axes, _directions(report), strict=True):
        edges = [1.0, 2, 3, 4, 6, 11]
        while edges[-1] < gallery:
            edges.append(edges[-1] * 2 - 1)
        labels = [f"{int(a)}" if b - a == 1 else f"{int(a)}-{int(b) - 1}" for a, b in pairwise(edges)]
        width = 0.8 / len(report.systems)
        for number, (system, colour) in enumerate(zip(report.systems, COLOURS * 9, strict=False)):
            ranks = bounds(system).ranks
            counts = np.histogram(ranks, [*edges[:-1], edges[-1] + 1])[0] / len(ranks)
            panel.bar(
                np.arange(len(counts)) + number * width, 100 * counts, width, color=colour, label=_shorten(system.name)
            )
        panel.set_xticks(np.arange(len(labels)) + 0.4 - width / 2, labels, rotation=60, fontsize=7)
        panel.set(xlabel="rank of the best relevant item", ylabel="share of queries, %", title=direction)
    if len(report.systems) > 1:
        draw_legend_below(axes[0])


def _draw_scores(panels: "list[Axes]", system: SystemResult, report: EvaluationReport) -> None:
    (axes,) = panels
    items, evidence = report.items, system.evidence
    rng = np.random.default_rng(0)
    relevant = items.images_of_caption
    query = items.query_captions[np.repeat(np.arange(len(relevant)), relevant.counts)]
    sampled = rng.permutation(len(query))[:_PAIRS]
    matched = scores_of_record(evidence.captions, query[sampled], evidence.images, relevant.positions[sampled])
    random_queries: Ids = rng.integers(len(relevant), size=_PAIRS)
    random_images: Ids = rng.integers(len(evidence.images), size=_PAIRS)
    is_unmatched = ~relevant.are_relevant(random_queries, random_images)
    unmatched = scores_of_record(
        evidence.captions,
        items.query_captions[random_queries[is_unmatched]],
        evidence.images,
        random_images[is_unmatched],
    )
    scores = np.concatenate([matched, unmatched])
    if len(scores) == 0:
        return
    edges = np.linspace(scores.min(), scores.max() + 1e-9, 80).tolist()
    for values, colour, label in (
        (unmatched, COLOURS[5], "do not belong together"),
        (matched, COLOURS[1], "belong together"),
    ):
        if len(values):
            axes.hist(values, edges, density=True, color=colour, alpha=0.6, label=label)
    axes.set(xlabel="score of a caption and an image", ylabel="density", title=_shorten(system.name))
    draw_legend_below(axes)


def _draw_gap(panels: "list[Axes]", system: SystemResult) -> None:
    (axes,) = panels
    rng = np.random.default_rng(0)
    images, texts = (_sample(vectors, rng) for vectors in (system.evidence.images, system.evidence.captions))
    vectors = np.concatenate([images, texts])
    centred = vectors - vectors.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    projected = np.zeros((len(vectors), 2))
    projected[:, : len(directions[:2])] = centred @ directions[:2].T
    shares = np.zeros(2)
    shares[: len(singular[:2])] = singular[:2] ** 2 / max(float(np.sum(singular**2)), 1e-300)
    for points, colour, label in (
        (projected[: len(images)], COLOURS[0], "images"),
        (projected[len(images) :], COLOURS[3], "texts"),
    ):
        axes.scatter(
            points[:, 0], points[:, 1], s=4, color=colour, alpha=0.5, linewidths=0, label=label, rasterized=True
        )
    axes.set(
        xlabel=f"first principal component ({100 * shares[0]:.0f} % of the variance)",
        ylabel=f"second ({100 * shares[1]:.0f} %)",
        title=f"modality gap {system.health.modality_gap:.2f}",
    )
    draw_legend_below(axes, markerscale=3)


def _draw_calibration(panels: "list[Axes]", presence: PresenceCalibration) -> None:
    reliability, risk = panels
    reliability.plot([0, 100], [0, 100], color="#999999", linestyle=":", linewidth=1)
    forms = {"score": presence.plain}
    if presence.corrected is not presence.plain:
        forms["corrected"] = presence.corrected
    for (name, judged), colour in zip(forms.items(), COLOURS, strict=False):
        shares = np.array([each.relevant.value for each in judged.bins])
        ends = np.array([[each.relevant.interval.low, each.relevant.interval.high] for each in judged.bins])
        chances = np.array([each.predicted for each in judged.bins])
        # Of a skewed bootstrap the share itself may lie outside.
        around = np.maximum(0, np.stack([shares - ends[:, 0], ends[:, 1] - shares]))
        reliability.errorbar(
            100 * chances, 100 * shares, 100 * around, color=colour, marker="o", markersize=4, linewidth=1.2
        )
        risk.plot(100 * np.array(judged.coverage), 100 * np.array(judged.risk), color=colour, label=name, linewidth=1.8)
    reliability.set(xlim=(0, 100), ylim=(0, 100), xlabel="chance that it is there, %", title="reliability")
    reliability.set_ylabel("captions whose image is there, %")
    risk.set(xlim=(0, 100), ylim=(0, None), xlabel="captions that are answered, the surest first, %")
    risk.set_ylabel("of them without their image, %")
    risk.set_title("risk and coverage")
    draw_legend_below(risk)


def draw_legend_below(axes: "Axes", markerscale: float = 1) -> None:
    """One legend for all panels, below them: within, it covers what it explains."""
    handles, labels = axes.get_legend_handles_labels()
    figure: Any = axes.figure
    columns = max(1, min(len(labels), int(100 * len(figure.axes) / (max(map(len, labels)) + 8) / 1.6)))
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, markerscale=markerscale
    )
    # Each row of the legend makes the picture taller, instead of the panels flatter.
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * -(-len(labels) // columns))


def _sample(vectors: Vectors, rng: np.random.Generator) -> NDArray[np.float64]:
    rows = np.sort(rng.permutation(len(vectors))[:_POINTS])
    return np.asarray(vectors[rows], np.float64)


def _shorten(name: str) -> str:
    return name if len(name) <= 44 else f"{name[:14]}…{name[-29:]}"
