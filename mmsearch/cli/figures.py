"""Prints what an evaluation found, for people."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from mmsearch.cli.options import say

if TYPE_CHECKING:
    from mmsearch.ann import Effort
    from mmsearch.evaluation import (
        Comparison,
        Corrected,
        EvaluationReport,
        GallerySizes,
        PresenceCalibration,
        Reranked,
        SystemResult,
        ViaIndex,
    )
    from mmsearch.metrics import Difference, DirectionResult, Estimate

__all__ = ["print_differences", "print_evaluation"]

_SIZES = 5
"""Sizes of the gallery that are printed of each figure; reports have them all."""
_MOST = 10
"""Problems of a kind that are printed; reports have them all."""


def print_evaluation(report: "EvaluationReport", *, compare: bool) -> None:
    """Figures with their counts and intervals, then what else is to be known of them."""
    print(report.title)
    print(f"annotations read as {report.source}")
    for system in report.systems:
        _print_system(system)
        if compare:
            _print_published(system, report)
    for comparison in report.comparisons:
        _print_comparison(comparison)
    print(f"\n{report.protocol}")
    if report.departures:
        say(f"warning: not comparable with published figures: {'; '.join(report.departures)}")
    for problem in report.problems:
        say(f"note: {problem}")


def _print_system(system: "SystemResult") -> None:
    where = f" on {system.device}, {system.precision}" if system.device else ""
    print(f"\n{system.name}{where}")
    _print_header(system)
    for direction in system.directions:
        _print_direction(direction)
    for part in system.via_index:
        _print_via_index(part)
    around = system.mean_recall_interval
    low, high = 100 * around.low, 100 * around.high
    whose = "Wilson's " if system.mean_recall in (0, 1) else ""
    print(
        f"mean recall    {100 * system.mean_recall:8.2f}   {whose}95 % interval {low:.2f} to {high:.2f}; of R@1, "
        "R@5 and R@10 of both directions"
    )
    health, hubs = system.health, system.hubness["text_to_image"]
    print(
        f"space          modality gap {health.modality_gap:.3f}; mean cosine image-image {health.within_images:.3f}, "
        f"text-text {health.within_texts:.3f}, image-text {health.across:.3f}, matched {health.matched:.3f}"
    )
    directions = f"{health.effective_rank_images:.1f} of images, {health.effective_rank_texts:.1f} of texts"
    answered = f"the top 1 % of images answer {100 * hubs.top_percent_share:.1f} % of queries"
    print(f"{'':15}effective rank {directions}; hubness {hubs.skewness:.2f}, {answered}")
    if system.sizes is not None:
        _print_sizes(system.sizes)
    _print_corrected(system, system.corrected)
    if system.reranked is not None:
        _print_reranked(system, system.reranked)
    if system.corrected.measured:
        _print_presence(system.calibration)
    if health.collapsed:
        say(f"warning: {system.name}: {' and '.join(health.collapsed)} are collapsed into one spot; ranks are noise")
    if system.truncated:
        say(f"warning: {system.truncated:,} captions are longer than the model reads; their ends were cut")


def _print_sizes(sizes: "GallerySizes") -> None:
    """R@k among fewer items, and what the law says of more."""
    if not sizes.curves:
        print("gallery sizes  too few images tell something")
        return
    seeds = ", ".join(map(str, sizes.seeds))
    print(
        f"\nR@k among fewer images, the mean of {len(sizes.seeds)} draws (seeds {seeds}), and what a law says of more"
    )
    for curve in sizes.curves:
        best = curve.fitted[0]
        every = max(1, -(-len(curve.points) // _SIZES))
        points = (*curve.points[::every][:-1], curve.points[-1])
        measured = ", ".join(f"{point.gallery:,}: {100 * point.recall:.1f}" for point in points)
        ahead = f", {100 * best.ahead:.1f} ahead by a factor of four" if best.ahead is not None else ""
        print(f"{curve.direction:15}R@{curve.k:<3} measured      {measured}")
        print(
            f"{'':15}{best.law.name} law, a = {best.law.a:.3g}, b = {best.law.b:.3g}; off by "
            f"{100 * best.error:.1f} points{ahead}"
        )
        shares = ", ".join(
            f"{each.gallery:,}: {100 * each.recall:.1f} ({100 * each.low:.1f} to {100 * each.high:.1f})"
            for each in curve.extrapolated
        )
        print(f"{'':15}EXTRAPOLATED  {shares}")


def _print_header(system: "SystemResult") -> None:
    header = "".join(f"{f'R@{k}':>8}" for k in system.text_to_image.recall)
    header += f"{'median':>9}{'mean rank':>11}{'MRR':>8}{'mAP@10':>8}{'nDCG@10':>9}{'queries':>9}{'gallery':>9}"
    print(f"{'':15}{header}")


def _print_corrected(system: "SystemResult", corrected: "Corrected") -> None:
    """The same queries with scores that are corrected for hubs, and what that changes."""
    if not corrected.measured:
        print("corrected      not measured, nor what best scores tell (--no-correct)")
        return
    if not any(each.alpha for each in corrected.directions):
        for each in corrected.directions:
            print(f"corrected      {each.result.direction}: {each.why}")
        return
    print(f"\n{system.name}, scores corrected for hubs")
    _print_header(system)
    for each in corrected.directions:
        if not each.alpha:
            print(f"{each.result.direction:15}{each.why}")
            continue
        _print_direction(each.result)
        print(f"{'':15}alpha {each.alpha:g}, k {each.k}; bank: {each.bank:,} vectors, {each.source}")
        print_differences(each.differences)
    print()


def _print_reranked(system: "SystemResult", reranked: "Reranked") -> None:
    """The same queries with their best candidates re-ranked, and what that changes."""
    by = "" if reranked.by == "logit" else f" by {reranked.by}"
    print(f"\n{system.name}, the best {reranked.depth:,} re-ranked with {reranked.spec}{by} on {reranked.device}")
    _print_header(system)
    for each in reranked.directions:
        _print_direction(each.result)
        low, high = 100 * each.candidate_interval.low, 100 * each.candidate_interval.high
        print(
            f"{'':15}candidates: {100 * each.candidate_recall:.2f} % of queries [{low:.2f}, {high:.2f}] have a "
            f"relevant item among them, and no R@k up to {reranked.depth:,} can be higher"
        )
        print_differences(each.differences)
    rate = reranked.pairs / reranked.seconds
    print(f"{'':15}{reranked.pairs:,} pairs in {reranked.seconds:,.1f} s, {rate:,.0f} a second\n")


def _print_presence(presence: "PresenceCalibration | None") -> None:
    if presence is None:
        print("calibration    not measured: captions ask for too few images")
        return
    asked = f"{presence.queries:,} captions asked with their images among {presence.searched:,}, and without them"
    print(f"calibration    is there what was asked for? {asked}")
    forms = {"by score": presence.plain}
    if presence.corrected is not presence.plain:
        forms["by corrected"] = presence.corrected
    for name, judged in forms.items():
        figures = f"AUROC {_estimate(judged.auroc)}, ECE {_estimate(judged.error)}, Brier {_estimate(judged.brier)}"
        print(f"  {name:13}{figures}, area of risk and coverage {_estimate(judged.risk_area)}")


def _estimate(estimate: "Estimate") -> str:
    return f"{estimate.value:.3f} [{estimate.interval.low:.3f}, {estimate.interval.high:.3f}]"


def _print_direction(direction: "DirectionResult") -> None:
    cells = "".join(f"{100 * value:8.2f}" for value in direction.recall.values())
    print(
        f"{direction.direction:15}{cells}{direction.median_rank:9.1f}{direction.mean_rank:11.1f}"
        f"{100 * direction.mean_reciprocal_rank:8.2f}{100 * direction.mean_average_precision:8.2f}"
        f"{100 * direction.ndcg:9.2f}{direction.queries:9,}{direction.gallery:9,}"
    )
    intervals = [direction.intervals[f"R@{k}"] for k in direction.recall]
    for name, ends in (("from", [i.low for i in intervals]), ("to", [i.high for i in intervals])):
        label = f"  95 % {name}" if name == "from" else f"  {'to':>9}"
        print(f"{label:15}" + "".join(f"{100 * value:8.2f}" for value in ends))
    if any(interval.low == interval.high for interval in intervals):
        wilson = [direction.wilson[k] for k in direction.recall]
        for name, ends in (("Wilson from", [i.low for i in wilson]), ("to", [i.high for i in wilson])):
            print(f"  {name:>11}  " + "".join(f"{100 * value:8.2f}" for value in ends))
    if any(value != direction.relevant_recall[k] for k, value in direction.recall.items()):
        shares = "".join(f"{100 * value:8.2f}" for value in direction.relevant_recall.values())
        print(f"{'  TREC recall':15}{shares}")
    if direction.tied_queries:
        low = ", ".join(f"{100 * value:.2f}" for value in direction.recall_pessimistic.values())
        high = ", ".join(f"{100 * value:.2f}" for value in direction.recall_optimistic.values())
        print(f"{'':15}  {direction.tied_queries} queries hang on ties: {low} at worst, {high} at best")


def _print_via_index(part: "ViaIndex") -> None:
    cells = "".join(f"{100 * value:8.2f}" for value in part.recall.values())
    effort = ", ".join(f"{name} {value}" for name, value in _effort(part.effort).items())
    measured = "; ".join(
        f"ann_recall@{recall.k} of {recall.kind} queries {recall.mean:.4f}"
        if recall.mean is not None
        else str(recall.unmeasured)
        for recall in part.ann
    )
    print(f"{part.direction:15}{cells}   via {part.factory}{', ' if effort else ''}{effort}")
    print(f"{'':15}{part.milliseconds:.3f} ms a query in one batch; {measured}")


def _effort(effort: "Effort") -> dict[str, int]:
    return {name: value for name, value in asdict(effort).items() if value is not None}


def _print_published(system: "SystemResult", report: "EvaluationReport") -> None:
    if not system.published:
        print(f"published      nothing that the project knows of for {_spec(system)} on {report.benchmark}")
        return
    for (model, source, differing), figures in groupby(
        system.published, key=lambda figure: (figure.model, figure.source, figure.differing)
    ):
        for figure in figures:
            where = "inside" if figure.inside else "OUTSIDE"
            print(
                f"published      {figure.direction} R@{figure.k:<3}{100 * figure.published:7.2f}, here "
                f"{100 * figure.ours:.2f}: {where} the interval"
            )
        print(f"{'':15}{model}: {source}")
        print(f"{'':15}differs in: {'; '.join(differing) or 'nothing known'}")


def _spec(system: "SystemResult") -> str:
    return system.encoder.spec if system.encoder else system.name


def _print_comparison(comparison: "Comparison") -> None:
    print(f"\n{comparison.second} against {comparison.first}, {comparison.direction}")
    print_differences(comparison.differences)


def print_differences(differences: "Mapping[str, Difference]") -> None:
    """A column a figure: the difference, its interval and p below each other."""
    shown = {name: difference for name, difference in differences.items() if not name.startswith("relevant_recall")}
    scales = {name: 1 if name == "mean_rank" else 100 for name in shown}
    print(f"{'':15}" + "".join(f"{name:>10}" for name in shown))
    rows = {
        "difference": [f"{scales[name] * difference.value:+.2f}" for name, difference in shown.items()],
        "  95 % from": [f"{scales[name] * difference.interval.low:+.2f}" for name, difference in shown.items()],
        f"  {'to':>9}": [f"{scales[name] * difference.interval.high:+.2f}" for name, difference in shown.items()],
        "p": [f"{difference.p:.4f}" for difference in shown.values()],
    }
    for label, cells in rows.items():
        print(f"{label:15}" + "".join(f"{cell:>10}" for cell in cells))
