"""What was trained and whether it helped, in words: a model card in Markdown."""

import json
from collections.abc import Iterator

from mmsearch.training.records import Comparison, FinetuneReport
from mmsearch.version import __version__

__all__ = ["model_card"]


def model_card(report: FinetuneReport, *, data: str, licence: str | None) -> str:
    """The card of a model. data: where its pairs come from, for people. licence: that of the model that it was made
    from, as its card states it; None where that is not known. It goes on to models that are made of this one."""
    return "\n".join(_lines(report, data, licence)) + "\n"


def _lines(report: FinetuneReport, data: str, licence: str | None) -> Iterator[str]:
    if licence is not None:
        yield from ("---", f"license: {json.dumps(licence)}", "---", "")  # YAML, which hubs read
    yield "# A model that was fine-tuned with mmsearch"
    yield ""
    yield f"Made from `{report.base.spec}` (`{report.base.fingerprint}`) by mmsearch {__version__}."
    if report.keeps_images:
        yield "Only its text side was trained: its vectors of pictures are those of the model that it was made from."
    yield ""
    yield f"**{report.verdict.capitalize()}** than before on held-out pairs."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| trained | {report.method} |"
    yield f"| kept | {report.share_kept}, chosen on validation pairs |"
    yield f"| data | {data} |"
    stated = "unknown; see the base model" if licence is None else f"{licence}: that of the base model, by its card"
    yield f"| licence | {stated} |"
    for name, (images, texts) in report.counts.items():
        yield f"| {name.replace('_', '-')} pairs | {images:,} pictures, {texts:,} texts |"
    for name, value in report.settings.items():
        yield f"| {name.replace('_', ' ')} | {value} |"
    yield ""
    for comparison in (report.held_out, report.retention):
        if comparison is not None:
            yield from _table(comparison)
    for problem in report.problems:
        yield f"- {problem}"


def _table(comparison: Comparison) -> Iterator[str]:
    yield f"## {comparison.what[0].upper()}{comparison.what[1:]}"
    yield ""
    yield f"{comparison.images:,} pictures, {comparison.texts:,} texts; only they are searched. In per cent; 95 % "
    yield "intervals of the change by the bootstrap over pictures."
    yield ""
    yield "| | before | after | change | 95 % from | to |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, change in comparison.shown.items():
        low, high = change.interval.low, change.interval.high
        values = (change.first, change.second, change.value, low, high)
        yield f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |"
    yield ""
