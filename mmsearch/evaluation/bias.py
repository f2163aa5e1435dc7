"""Whether answers hold groups, which the user labels, in other shares than there are."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.errors import BenchmarkError, MmsearchError
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.evaluation.probes.entries import entries_of_file
from mmsearch.gallery import Gallery
from mmsearch.identity import EncoderIdentity
from mmsearch.items import IMAGES
from mmsearch.locations import expanded, joined
from mmsearch.metrics import Difference, Estimate, Ids, Interval, differences, intervals, max_skew_at_k, ndkl_at_k
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.scoring import open_scores
from mmsearch.stores import read_lines

__all__ = ["BiasOptions", "BiasReport", "GroupShare", "QueryBias", "evaluate_bias"]

_LOTS = 1_000
_LEVEL = 0.05
_NOT_CALIBRATED = "the gallery is not calibrated; mmsearch calibrate measures whether correcting helps"
_PROTOCOL = (
    "Only labelled pictures are ranked, by cosine, of equal scores the lower row id first. MaxSkew@k: the largest "
    "ln(share in the first k / share that it should have) of all groups; NDKL@k: the divergence (Kullback-Leibler) of "
    "the shares in the first 1 … k from those they should have, weighted by 1 / log2(i + 1) (Geyik, Ambler and "
    "Kenthapadi 2019; natural logarithms, the first k instead of the whole list). 0 is best, and both are above 0 by "
    "chance alone: 'by lot' is the mean over 1,000 random orders, and p the share of these that are at least as "
    "skewed. Intervals of means are the middle 95 % of 2,000 bootstrap samples of queries (seed 0). Answers are called "
    "skewed where the interval lies above 'by lot' and fewer than 5 % of the means of as many random orders as there "
    "are queries are as large. Corrected: ranked by scores corrected for hubs, as mmsearch calibrate measured."
)


@dataclass(frozen=True, slots=True)
class BiasOptions:
    """How to measure.

    Attributes:
        ks: Of so many first answers, each.
        equal: Each group should have the same share; else that which it has of the labelled pictures.
    """

    ks: tuple[int, ...] = (10, 50)
    equal: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GroupShare:
    """A group.

    Attributes:
        pictures: How many there are.
        desired: The share that it should have.
        shown: k -> its mean share of the first k, over queries, by plain scores.
        shown_corrected: The same by corrected scores; empty where nothing is corrected.
    """

    name: str
    pictures: int
    desired: float
    shown: dict[int, float]
    shown_corrected: dict[int, float]


@dataclass(frozen=True, slots=True)
class QueryBias:
    """One query.

    Attributes:
        skew: "MaxSkew@k" and "NDKL@k" -> value.
        p: The same -> the share of random orders that are at least as skewed.
        corrected: As skew, by corrected scores; empty where nothing is corrected.
    """

    query: str
    skew: dict[str, float]
    p: dict[str, float]
    corrected: dict[str, float]


@dataclass(frozen=True, slots=True)
class BiasReport:
    """Whether a gallery's answers are skewed.

    Attributes:
        means: Figure -> mean over queries.
        by_lot: Figure -> mean over random orders.
        differences: Figure -> corrected minus plain; empty where nothing is corrected.
        why_not_corrected: Why nothing is corrected; "" where it is.
        advice: What to do, a sentence each.
    """

    title: str
    gallery: str
    encoder: EncoderIdentity
    groups: tuple[GroupShare, ...]
    queries: tuple[QueryBias, ...]
    means: dict[str, Estimate]
    by_lot: dict[str, float]
    differences: dict[str, Difference]
    why_not_corrected: str
    verdict: str
    advice: tuple[str, ...]
    problems: tuple[str, ...]
    protocol: str
    versions: dict[str, str]
    hardware: dict[str, str]


def evaluate_bias(
    gallery: str | os.PathLike[str] | None = None,
    *,
    groups: str | os.PathLike[str],
    queries: str | os.PathLike[str] | Sequence[str],
    encoder: str | encoders.Encoder | None = None,
    options: BiasOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> BiasReport:
    """Measure whether the first answers hold groups in other shares than there are, plain and corrected for hubs.

    groups: a table (CSV, JSON, Parquet) with the name of a picture (path, image, file) and its group (group, label) in
    each row. queries: a file with a query a line, or the queries. encoder: as of `evaluate_gallery_probe`. Raises
    BenchmarkError, which names file and line, EncoderError, GalleryError.
    """
    options = options or BiasOptions()
    if not options.ks or min(options.ks) < 1:
        raise BenchmarkError(f"k is {options.ks}: at least 1")
    opened = Gallery.open(gallery)
    asked = _read_queries(queries)
    row_ids, names, group_of_row, problems = _read_groups(opened, Path(expanded(groups)))
    vectors = np.asarray(opened.vectors(IMAGES.name, row_ids), np.float32)
    model = encoders.open(encoder, ["text"], device="cpu", precision="fp32", for_gallery=opened, announce=announce)
    query_vectors = model.text.encode(asked).vectors.astype(np.float64)
    scores = query_vectors @ vectors.astype(np.float64).T
    lowered, why = _lowered(opened, row_ids, vectors)
    counts = np.bincount(group_of_row, minlength=len(names))
    desired = np.full(len(names), 1 / len(names)) if options.equal else counts / counts.sum()
    plain = _ranked(scores, group_of_row)
    corrected = None if lowered is None else _ranked(scores - lowered, group_of_row)
    lots = _lots(group_of_row, desired, options, progress)
    figures = _figures(plain, desired, options.ks)
    figures_corrected = {} if corrected is None else _figures(corrected, desired, options.ks)
    around = intervals(figures, np.arange(len(asked)), len(asked))
    means = {name: Estimate(float(values.mean()), around[name]) for name, values in figures.items()}
    by_lot = {name: float(values.mean()) for name, values in lots.items()}
    changes = differences(figures, figures_corrected, np.arange(len(asked)), len(asked)) if figures_corrected else {}
    shares = tuple(
        GroupShare(
            name=name,
            pictures=int(counts[number]),
            desired=float(desired[number]),
            shown=_shown(plain, number, options.ks),
            shown_corrected={} if corrected is None else _shown(corrected, number, options.ks),
        )
        for number, name in enumerate(names)
    )
    name = f"MaxSkew@{min(options.ks)}"
    p = _p_of_mean(lots[name], means[name].value, len(asked), options.seed)
    verdict, advice = _advise(shares, means, by_lot, p, changes, why)
    return BiasReport(
        title=f"bias of {opened.path}: {len(asked):,} queries, {len(row_ids):,} pictures in {len(names):,} groups",
        gallery=str(opened.path),
        encoder=opened.manifest.encoder,
        groups=shares,
        queries=tuple(
            QueryBias(
                query=query,
                skew={name: float(values[number]) for name, values in figures.items()},
                p={name: _p(lots[name], float(values[number])) for name, values in figures.items()},
                corrected={name: float(values[number]) for name, values in figures_corrected.items()},
            )
            for number, query in enumerate(asked)
        ),
        means=means,
        by_lot=by_lot,
        differences=changes,
        why_not_corrected=why,
        verdict=verdict,
        advice=advice,
        problems=tuple(problems),
        protocol=_PROTOCOL,
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def _read_queries(queries: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    if isinstance(queries, str | os.PathLike):
        file = Path(expanded(queries))
        try:
            lines = [line.strip() for line in read_lines(file)]
        except OSError as error:
            raise BenchmarkError(f"queries: {file} cannot be read: {error.strerror or error}") from None
    else:
        lines = [query.strip() for query in queries]
    found = [line for line in lines if line]
    if not found:
        raise BenchmarkError("queries: there is none; write one a line")
    return found


def _read_groups(gallery: Gallery, file: Path) -> tuple[NDArray[np.int64], list[str], Ids, list[str]]:
    """Row ids, ascending; the names of groups; the group of each row; and what does not count."""
    rows_by_name: dict[str, list[int]] = {}
    for row_id, root_id, name in gallery.image_names():
        rows_by_name.setdefault(name, []).append(row_id)
        rows_by_name.setdefault(str(root / name) if (root := gallery.root_path(root_id)) else name, []).append(row_id)
    folder = str(file.absolute().parent)
    group_of: dict[int, str] = {}
    unknown: list[str] = []
    for entry in entries_of_file(file, "groups"):
        name, label = entry.text("path", "image", "file", "filename", "file_name").strip(), entry.get("group", "label")
        if isinstance(label, str) and not label.strip():
            continue  # a row that was left blank says nothing of its picture
        group = entry.text("group", "label").strip()
        rows = next((sorted(set(rows_by_name[form])) for form in _forms(name, folder) if form in rows_by_name), [])
        if not rows:
            is_of_windows = PureWindowsPath(name).is_absolute() and not Path(name).is_absolute()
            remark = ", a path of Windows, which leads nowhere here" if is_of_windows else ""
            unknown.append(f"{entry.where}: {name}{remark}")
        elif len(rows) > 1:
            raise entry.fail(f"{name} is in several folders of the gallery; write its whole path")
        elif group_of.setdefault(rows[0], group) != group:
            raise entry.fail(f"{name} is {group!r} here and {group_of[rows[0]]!r} before")
    names = sorted(set(group_of.values()))
    if len(names) < 2:
        hint = f"; {len(unknown):,} rows name no picture of it, such as {unknown[0]}" if unknown else ""
        raise BenchmarkError(
            f"{file}: {len(group_of):,} pictures of {gallery.path} in {len(names)} groups; there have to be "
            f"two groups{hint}. A picture is named by its path in the gallery, from the file's folder, or whole"
        )
    row_ids = np.array(sorted(group_of))
    numbers = {name: number for number, name in enumerate(names)}
    problems = [f"{len(unknown):,} labels name no picture of the gallery, such as {unknown[0]}"] if unknown else []
    if unlabelled := gallery.live_rows(IMAGES.name) - len(row_ids):
        problems.append(f"{unlabelled:,} pictures of the gallery have no label and are not ranked")
    return row_ids, names, np.array([numbers[group_of[row]] for row in row_ids.tolist()]), problems


def _forms(name: str, folder: str) -> Iterator[str]:
    """What a picture that is named so in a file of a folder may be called in the gallery, as it stands first."""
    if (of_windows := PureWindowsPath(name)).is_absolute():  # a drive is no folder beside the file, on any system
        yield from (name, str(of_windows), of_windows.as_posix())
        return
    for written in (name, name.replace("\\", "/")):
        yield from (written, joined(folder, written))


def _lowered(
    gallery: Gallery, row_ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float64] | None, str]:
    """What the gallery's correction takes from each row; None, and why, where it has none that was seen to help."""
    entry, own = gallery.scores_for(IMAGES.name), gallery.manifest.encoder
    if entry is None:
        return None, _NOT_CALIBRATED
    try:
        folder = gallery.scores_folder(entry.name)
        scores = open_scores(folder, table=IMAGES.name, fingerprint=own.fingerprint, dim=own.dim)
    except (MmsearchError, FileNotFoundError) as error:
        return None, f"the calibration cannot be read: {error}"
    correction = scores.record.correction
    if not correction.alpha:
        return None, correction.why.removeprefix("no correction: ")
    return scores.lowered(row_ids, lambda rows: vectors[rows], alpha=correction.alpha), ""


def _ranked(scores: NDArray[np.float64], group_of_row: Ids) -> Ids:
    """(queries, pictures): the groups of the answers, best first; rows ascend, so that ties keep that order."""
    return group_of_row[np.argsort(-scores, axis=1, kind="stable")]


def _figures(ranked: Ids, desired: NDArray[np.float64], ks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    figures = {}
    for name, measure in (("MaxSkew", max_skew_at_k), ("NDKL", ndkl_at_k)):
        for k in ks:
            figures[f"{name}@{k}"] = np.array([measure(row, desired, k) for row in ranked])
    return figures


def _lots(
    group_of_row: Ids, desired: NDArray[np.float64], options: BiasOptions, progress: ProgressCallback
) -> dict[str, NDArray[np.float64]]:
    """What random orders get."""
    rng = np.random.default_rng(options.seed)
    most = max(options.ks)
    orders = []
    for done in range(_LOTS):
        orders.append(rng.permutation(group_of_row)[:most])
        if done % 100 == 99:
            progress(Progress("random orders", done + 1, _LOTS))
    return _figures(np.array(orders), desired, options.ks)


def _p(lots: NDArray[np.float64], value: float) -> float:
    return float((1 + np.count_nonzero(lots >= value - 1e-12)) / (1 + len(lots)))


def _p_of_mean(lots: NDArray[np.float64], value: float, queries: int, seed: int) -> float:
    """The share of means over as many random orders as there are queries that are at least as large. It holds for few
    queries too, and for one, which a bootstrap of queries does not."""
    rng = np.random.default_rng(seed)
    return _p(np.array([rng.choice(lots, queries).mean() for _ in range(_LOTS)]), value)


def _shown(ranked: Ids, group: int, ks: Sequence[int]) -> dict[int, float]:
    return {k: float((ranked[:, :k] == group).mean()) for k in ks}


def _advise(
    groups: Sequence[GroupShare],
    means: dict[str, Estimate],
    by_lot: dict[str, float],
    p: float,
    changes: dict[str, Difference],
    why_not_corrected: str,
) -> tuple[str, tuple[str, ...]]:
    """What was seen, and what helps."""
    k = min(groups[0].shown)
    name = f"MaxSkew@{k}"
    found, lot = means[name], by_lot[name]
    around = f"{name} {found.value:.3f} [{found.interval.low:.3f}, {found.interval.high:.3f}], by lot {lot:.3f}"
    if _holds(found.interval, lot) or found.value <= lot or p >= _LEVEL:
        return f"No more skewed than by lot, as far as these queries show: {around} (p {p:.3f}).", (
            "More queries make the interval narrower; so few labelled pictures or queries cannot show a small skew.",
        )
    most = max(groups, key=lambda group: group.shown[k] / group.desired)
    least = min(groups, key=lambda group: group.shown[k] / group.desired)
    verdict = (
        f"Skewed: {around}. {most.name} has {100 * most.shown[k]:.1f} % of the first {k} and should have "
        f"{100 * most.desired:.1f} %; {least.name} has {100 * least.shown[k]:.1f} % and should have "
        f"{100 * least.desired:.1f} %."
    )
    advice = [
        "Look at the queries whose p is small, and say in them what is meant. Where the group is not what is asked "
        f'for, ask for each group by itself ("{least.name} …", "{most.name} …") and take from each.'
    ]
    if (change := changes.get(name)) is None:
        if why_not_corrected == _NOT_CALIBRATED:
            advice.append("Calibrate the gallery and measure again: hubs, which all queries find, skew answers too.")
    elif change.interval.high < 0:
        advice.append(f"Correcting for hubs helps here ({change.value:+.3f}): leave it on, as it is by default.")
    elif change.interval.low > 0:
        advice.append(f"Correcting for hubs makes it worse here ({change.value:+.3f}): ask with --no-correct.")
    else:
        advice.append(f"Correcting for hubs changes nothing that could be seen ({change.value:+.3f}).")
    advice.append(
        "Compare another model: embed the same pictures with it and measure its gallery. No answer is changed here; "
        "labels are read for this report alone and kept nowhere."
    )
    return verdict, tuple(advice)


def _holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high
