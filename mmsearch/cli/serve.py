"""`mmsearch serve`"""

import os
from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.opening import open_address
from mmsearch.cli.options import GalleryOption, path, say
from mmsearch.errors import MmsearchError

_WHO, _HOW = "Who may ask", "How it answers"


def serve(
    gallery: GalleryOption = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where to listen. Any address that others reach, such as 0.0.0.0, needs a token.",
            rich_help_panel=_WHO,
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.", rich_help_panel=_WHO)] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MMSEARCH_TOKEN",
            metavar="TOKEN",
            help="What every request must bring. Made, and printed, where one is needed and none is given. Others on "
            "this machine see what is typed here: better set MMSEARCH_TOKEN, or --token-file.",
            show_default=False,
            rich_help_panel=_WHO,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path, help="Read the token from a file.", rich_help_panel=_WHO),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name by which others reach this server, as it stands in their address bar. Repeatable.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel=_HOW)] = False,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Write a line for each request to stderr.", rich_help_panel=_HOW)
    ] = False,
    hold: Annotated[
        float,
        typer.Option(
            metavar="GIB", min=0, help="How much of the gallery may stay in memory, in GiB.", rich_help_panel=_HOW
        ),
    ] = 2.0,
    rerank: Annotated[
        str,
        typer.Option(
            metavar="RERANKER",
            help="A re-ranker that queries may ask for, as for query --rerank. Default: none.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Where to load the gallery's model from now. Default: where it was then.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where queries are encoded.", rich_help_panel=_HOW)
    ] = "cpu",
) -> None:
    """Serve the gallery: a page to search with in the browser, and a JSON API for programs.

    It prints the address of the page. The API is described at /api/openapi.json, and answered by it:
    mmsearch query "beach" --server http://127.0.0.1:8765. Agents ask at /mcp (mmsearch guide agents). A gallery that is
    embedded, indexed or compacted meanwhile is followed. Ctrl-C ends it, when what is being answered is answered.

    Only this machine is let in, unless --host says otherwise; then every request needs the token. One that
    is made stands in the address that is printed; one that was given does not: the page asks for it. The browser keeps
    it as a cookie. There is no encryption: across networks that you do not
    trust, put it behind a proxy that speaks HTTPS, or use ssh -L.
    """
    # Before numpy is loaded. Queries are answered beside each other, each on one thread: with BLAS's own threads,
    # which wait for each other by spinning, a text took 460 ms of the processors on a busy machine instead of 55, and
    # limiting them later (see `mmsearch.blas`) was seen to fail in threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from mmsearch.agents.http import HttpDoor
    from mmsearch.serve.running import ServeOptions, read_token, serve_gallery

    if token is not None and token_file is not None:
        raise typer.BadParameter("goes without --token", param_hint="--token-file")

    given = token if token_file is None else read_token(token_file)

    def ready(address: str) -> None:
        print(address, flush=True)
        if show:
            try:
                open_address(address if given is None else f"{address}?token={given}")
            except MmsearchError as error:
                say(f"warning: {error}")

    options = ServeOptions(
        host=host,
        port=port,
        token=given,
        allow_hosts=allow_host or (),
        hold_bytes=int(hold * (1 << 30)),
        access_log=access_log,
        rerank=rerank,
    )
    doors = {"/mcp": HttpDoor}
    serve_gallery(gallery, options=options, encoder=model, device=device, doors=doors, announce=say, ready=ready)
