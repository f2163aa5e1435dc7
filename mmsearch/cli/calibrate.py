"""`mmsearch calibrate`"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import GalleryOption, say
from mmsearch.cli.progress import display

if TYPE_CHECKING:
    from mmsearch.ann import Effort
    from mmsearch.calibration import CalibrationReport
    from mmsearch.scoring import CorrectedEffort, ScoresRecord


def calibrate(
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Where to load the gallery's model from now. Default: where it was then."),
    ] = None,
    gallery: GalleryOption = None,
) -> None:
    """Find out what the gallery's scores mean: correct them for hubs, pictures that many queries find.

    Whether a correction helps is judged by captions whose picture is known; where that is not seen, nothing is
    corrected. `mmsearch index` does this too. Rows that come later are corrected when they are searched.
    """
    from mmsearch.calibration import CalibrateOptions
    from mmsearch.calibration import calibrate as run

    with display(interrupted="the gallery is as it was") as shown:
        report = run(gallery, options=CalibrateOptions(model), progress=shown.progress)
    print_report(report)


def print_report(report: "CalibrationReport") -> None:
    """A line or two for each table."""
    for table in report.tables:
        if table.record is None:
            print(f"scores    {table.table}: {table.outcome}; {table.why}")
            continue
        print(f"scores    {table.table}: {describe_correction(table.record)}")
        if table.outcome != "kept":
            print(f"          {table.why}")
        if (tuned := table.record.through_index) is not None:
            print(f"          {describe_through_index(tuned)}")
            if not tuned.reached and table.outcome != "kept":
                say(
                    f"warning: corrected searches through the index do not reach its target of "
                    f"{tuned.recall_target:g}; try another --factory of mmsearch index, or query --exact"
                )


def describe_through_index(tuned: "CorrectedEffort") -> str:
    """What corrected searches find through an index, in a line."""
    recall, effort = tuned.recall, describe_effort(tuned.effort)
    if recall.mean is None or recall.low is None:
        return "through the index: not measured"
    return (
        f"through the index: recall {recall.mean:.4f} (surely {recall.low:.4f}) at {recall.k} of the corrected exact "
        f"neighbours{f', {effort}' if effort else ''}; {tuned.milliseconds:.2f} ms"
    )


def describe_correction(record: "ScoresRecord") -> str:
    """How the scores of a table are corrected, in a line."""
    of = record.correction
    bank = f"{of.bank:,} {of.source}"
    if not of.alpha:
        return f"not corrected (bank: {bank})"
    asked = "" if of.measured else "; unmeasured, applied with --correct general"
    return f"corrected by {of.alpha:g} times the mean of the {of.k} best scores with {bank}{asked}"


def describe_effort(effort: "Effort") -> str:
    """The settings of a search that there are, in words; empty where there is none."""
    return ", ".join(f"{name} {value}" for name, value in asdict(effort).items() if value is not None)
