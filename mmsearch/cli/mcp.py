"""`mmsearch mcp`"""

from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, say


def mcp(
    gallery: GalleryOption = None,
    paths: Annotated[
        bool,
        typer.Option("--paths", help="Tell the agent paths of files and folders. Default: row ids, and no paths."),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Where to load the gallery's model from now. Default: where it was then."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where queries are encoded.")] = "cpu",
) -> None:
    """Let an agent search the gallery: a server of the Model Context Protocol over stdin and stdout.

    The agent starts this command itself, as the guide agents shows, and ends it. It may describe the gallery, search,
    look at pictures of at most 1,024 pixels without EXIF, and count; nothing can be changed. It needs the extra mcp.
    """
    from mmsearch.agents.stdio import serve_stdio

    serve_stdio(gallery, paths=paths, encoder=model, device=device, announce=say)
