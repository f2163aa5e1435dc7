"""`mmsearch cache`"""

import time
from typing import Annotated

import typer


def cache(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help="Folders of the cache. None: all of them.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what was not used for a while.")] = False,
    unused: Annotated[float, typer.Option(metavar="DAYS", min=0, help="How long a while is; 0 for everything.")] = 30.0,
) -> None:
    """Show what mmsearch keeps to be quick: benchmarks and texts that were encoded, fingerprints, and their kin.

    All of it can be computed again. MMSEARCH_CACHE names another place than the platform's own.
    """
    from mmsearch.cache import cache_dir
    from mmsearch.upkeep.cached import cached, prune_cache

    kinds_of_cache = prune_cache(kinds or (), unused_days=unused) if prune else cached(kinds or ())
    print(f"cache     {cache_dir()}")
    verb = "removed " if prune else ""
    for kind in kinds_of_cache:
        used = f", last used {time.strftime('%Y-%m-%d', time.localtime(kind.used))}" if kind.entries else ""
        print(f"{kind.name:20}{verb}{kind.entries:,} entries, {kind.bytes / 1e6:,.1f} MB{used}")
