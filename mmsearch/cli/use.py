"""`mmsearch use`"""

import os
from typing import Annotated

import typer

from mmsearch.cli.options import location, say
from mmsearch.names import printable


def use(
    gallery: Annotated[
        str | None,
        typer.Argument(
            metavar="[GALLERY]", parser=location, help="The gallery to use from now on. None: say which one is in use."
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Use none any more. The gallery itself is not touched.")] = False,
) -> None:
    """Name the gallery that answers from anywhere, or say which one it is.

    It answers where nothing else is meant: --gallery comes first, then MMSEARCH_GALLERY, then .mmsearch in the current
    folder or the nearest parent, then the gallery in use. Pictures that mmsearch embed is given never go into it
    unless it is named.
    """
    from mmsearch.gallery import find_gallery, gallery_in_use, use_gallery, use_no_gallery

    if none:
        if gallery is not None:
            raise typer.BadParameter("names no gallery; leave one of the two out", param_hint="--none")
        before = use_no_gallery()
        print("in use    none" + (f"; it was {printable(before)}" if before is not None else ""))
        return
    place = use_gallery(gallery) if gallery is not None else gallery_in_use()
    if place is None:
        print("in use    none (mmsearch use GALLERY names one)")
    else:
        gone = "" if find_gallery(place) is not None else "  NOT THERE (mmsearch use GALLERY, or --none)"
        print(f"in use    {printable(place)}{gone}")
    nearer = find_gallery()
    if nearer is not None and nearer != place:
        why = "MMSEARCH_GALLERY names it" if os.environ.get("MMSEARCH_GALLERY") else "it is nearer"
        say(f"here {nearer} answers: {why}")
