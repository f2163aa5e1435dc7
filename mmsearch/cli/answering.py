"""Who answers a query: a gallery that is opened here, or a server."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.options import say

if TYPE_CHECKING:
    from mmsearch.gallery import Gallery
    from mmsearch.progress import ProgressCallback
    from mmsearch.search.answers import Answer
    from mmsearch.search.query import Query
    from mmsearch.search.retrieval import SearchOptions

__all__ = ["Answering", "answering", "require_nothing_else"]


@dataclass(frozen=True, slots=True)
class Answering:
    """one: answers a query. many: answers some, in their order. plan: lines that say how a query is searched for.
    gallery: that answers. explain: adds the regions of its pictures to an answer, as a preview or not. find: adds what
    a detector finds in them. All four are None where a server decides."""

    one: "Callable[[Query], Answer]"
    many: "Callable[[Sequence[Query]], Iterator[Answer]]"
    plan: "Callable[[Query], Sequence[str]] | None" = None
    gallery: "Gallery | None" = None
    explain: "Callable[[Answer, ProgressCallback, bool], Answer] | None" = None
    find: "Callable[[Answer, str, ProgressCallback], Answer] | None" = None


@contextmanager
def answering(
    server: str | None, gallery: str | None, *, model: str | None, device: str, options: "SearchOptions"
) -> Iterator[Answering]:
    """The server at an address; where there is none, the gallery, searched by the options."""
    if server is not None:
        from mmsearch.serve.client import Server

        with Server(server, token=os.environ.get("MMSEARCH_TOKEN")) as remote:
            yield Answering(remote.ask, remote.answer_in_batches)
        return
    from mmsearch.search.open_gallery import open_gallery
    from mmsearch.search.query_files import answer_in_batches

    opened = open_gallery(gallery, encoder=model, device=device, announce=say)
    for line in _without_effect(opened.gallery, options):
        say(line)
    yield Answering(
        partial(opened.ask, options=options),
        partial(answer_in_batches, opened, options=options),
        partial(opened.plan, options=options),
        opened.gallery,
        lambda answer, progress, quick: opened.explain(answer, progress, quick=quick),
        opened.find,
    )


def _without_effect(gallery: "Gallery", options: "SearchOptions") -> Iterator[str]:
    """What is said of options for a kind of index that the gallery does not have."""
    factories = [entry.factory for entry in gallery.manifest.indexes]
    for option, value, kind in (("--nprobe", options.nprobe, "IVF"), ("--ef-search", options.ef_search, "HNSW")):
        if value is not None and not any(kind in factory for factory in factories):
            has = f"has {', '.join(factories)}" if factories else "has none: mmsearch index makes one"
            yield f"{option} does nothing here: it is for an {kind} index, and the gallery {has}"


def require_nothing_else(ctx: typer.Context, model: str | None, device: str, options: "SearchOptions") -> None:
    """Raise BadParameter where a server is asked and told what it decides by itself."""
    from mmsearch.search.retrieval import SearchOptions

    if model or device != "cpu" or options != SearchOptions():
        raise typer.BadParameter("the server decides how it searches and encodes", param_hint="--server")
    named = ctx.get_parameter_source("gallery")
    if named is not None and named.name == "COMMANDLINE":  # and not in the environment
        raise typer.BadParameter("the server answers for its own gallery; leave --gallery out", param_hint="--server")
