"""`mmsearch forget`"""

from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, location, say


def forget(
    root: Annotated[
        str,
        typer.Argument(
            metavar="ROOT",
            parser=location,
            help="A root of the gallery, a file of captions, or machine:MODEL: what a model has said of the pictures.",
        ),
    ],
    gallery: GalleryOption = None,
) -> None:
    """Drop a root and its pictures (or the captions of a file or a model) from the gallery. No file is touched."""
    from mmsearch.upkeep.maintenance import forget as run

    report = run(root, gallery=gallery)
    if report.unlinked:
        say(
            f"warning: {report.unlinked:,} captions that stay name these pictures; should the pictures come back, run "
            "mmsearch embed --captions FILE again to link them"
        )
    print(f"{report.forgotten}: {report.images:,} pictures and {report.captions:,} captions left {report.gallery}")
