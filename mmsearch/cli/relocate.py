"""`mmsearch relocate`"""

from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, location


def relocate(
    root: Annotated[str, typer.Argument(metavar="ROOT", parser=location, help="Where the root was.")],
    new: Annotated[str, typer.Argument(metavar="NEW", parser=location, help="Where it is now.")],
    gallery: GalleryOption = None,
) -> None:
    """Say that a folder of pictures was moved. Nothing is encoded again."""
    from mmsearch.upkeep.maintenance import relocate as run

    report = run(root, new, gallery=gallery)
    print(f"{report.gallery}: {report.old} is now {report.new}")
