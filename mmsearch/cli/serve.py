"""`mmsearch serve`"""

from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, say


def serve(
    gallery: GalleryOption = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen. Any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MMSEARCH_TOKEN", metavar="TOKEN", help="What every request must bring. Made where it is needed."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which others reach this server. Repeatable."),
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="A line a request on stderr.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where to load the gallery's model from now.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where queries are encoded.")] = "cpu",
) -> None:
    """Serve the gallery as a page in the browser and a JSON API."""
    from mmsearch.serve import ServeOptions, serve_gallery

    def ready(address: str) -> None:
        print(address, flush=True)
        if show:
            import webbrowser

            webbrowser.open(address)

    options = ServeOptions(host=host, port=port, token=token, allow_hosts=allow_host or (), access_log=access_log)
    serve_gallery(gallery, options=options, encoder=model, device=device, announce=say, ready=ready)
