"""`mmsearch eval shift`: how far a gallery lies from a reference gallery."""

from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, location
from mmsearch.cli.probe import Reports, print_tabled, write_reports
from mmsearch.cli.progress import display

__all__ = ["shift"]


def shift(
    reference: Annotated[
        str,
        typer.Option(
            metavar="DIR", parser=location, help="The gallery that figures were measured on, of the same model."
        ),
    ],
    gallery: GalleryOption = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn by lot.")] = 0,
    report: Reports = None,
) -> None:
    """Measure how far a gallery's pictures lie from those of a reference, on which figures were measured.

    Fréchet distance, MMD and the share of outliers, with intervals, and the pictures that are farthest. Nothing is
    encoded.
    """
    from mmsearch.evaluation.shift import ShiftOptions, evaluate_shift
    from mmsearch.reports import TABLED_KINDS, require_target, shift_report

    for place in report or []:
        require_target(place, TABLED_KINDS)
    with display(interrupted="nothing was written") as shown:
        measured = evaluate_shift(gallery, reference=reference, options=ShiftOptions(seed), progress=shown.progress)
    tabled = shift_report(measured)
    print_tabled(tabled)
    write_reports(tabled, report)
