"""`mmsearch forget`"""

from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, location, say


def forget(
    root: Annotated[
        str, typer.Argument(metavar="ROOT", parser=location, help="A root of the gallery, or a file of captions.")
    ],
    gallery: GalleryOption = None,
) -> None:
    """Drop a root and its pictures (or a file's captions) from the gallery. The files themselves are not touched."""
    from mmsearch.upkeep.maintenance import forget as run

    report = run(root, gallery=gallery)
    if report.unlinked:
        say(
            f"warning: {report.unlinked:,} captions that stay name these pictures; should the pictures come back, run "
            "mmsearch embed --captions FILE again to link them"
        )
    print(f"{report.forgotten}: {report.images:,} pictures and {report.captions:,} captions left {report.gallery}")
