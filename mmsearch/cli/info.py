"""`mmsearch info`"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.agreement import agreement, disagreements
from mmsearch.cli.options import GalleryOption
from mmsearch.names import printable
from mmsearch.strict_json import json_text

if TYPE_CHECKING:
    from mmsearch.upkeep.summary import GalleryInfo


def info(
    gallery: GalleryOption = None,
    output: Annotated[Literal["text", "json"], typer.Option("--format", help="For people or for programs.")] = "text",
    skipped: Annotated[
        bool, typer.Option("--skipped", help="List the files that could not be embedded, and why.")
    ] = False,
) -> None:
    """Say what a gallery holds: its encoder, its counts and size, its roots, its index and the state of it."""
    from mmsearch.upkeep.summary import info as run
    from mmsearch.upkeep.summary import skipped as list_skipped

    if skipped:
        for root, row in list_skipped(gallery):
            if output == "json":
                print(json.dumps({"root": root, "path": row.path, "stage": row.stage, "reason": row.reason}))
            else:
                print(printable(f"{root}/{row.path}"), row.stage, row.reason, sep="\t")
        return
    found = run(gallery)
    if output == "json":
        print(json_text(asdict(found), default=str, indent=1))
    else:
        _print(found)


def _print(found: "GalleryInfo") -> None:
    print(f"gallery   {printable(found.path)}")
    print(f"version   {found.version}, {found.created_at}, by {found.created_by}")
    print(f"encoder   {found.encoder.spec}, dim {found.encoder.dim}, {found.dtype}")
    print(f"          {found.encoder.fingerprint}" + (" (imported, never checked)" if found.encoder.declared else ""))
    print(f"holds     {found.images:,} images, {found.captions:,} captions; {found.skipped:,} files skipped")
    if found.damaged:
        print(f"damaged   {found.damaged:,} of the images: their files end too early (query … --where damaged)")
    print(f"size      {found.bytes / 1e6:,.1f} MB in {found.shards:,} shards and {len(found.indexes)} indexes")
    for parity in found.parity:
        print(f"agrees    on {parity.device} in {parity.precision}, {agreement(parity)}")
        for line in disagreements(parity):
            print(f"exact     {line}")
    for root in found.roots:
        missing = "" if root.present else "  NOT THERE (mmsearch relocate, or forget)"
        named = "" if root.whole else " of the files that were named"
        print(f"root      {printable(root.path)}: {root.images:,} images, {root.skipped:,} skipped{named}{missing}")
    for index in found.indexes:
        print(
            f"index     {index.table}: {index.factory}, {index.rows:,} rows; covers {index.covered:,} live rows, "
            f"{index.beside:,} are scored beside it, {index.dead:,} of its rows are dead"
        )
        for recall in index.recall:
            if recall.mean is not None:
                best = "" if recall.best is None else f", {recall.best:.4f} at 1"
                print(f"          recall {recall.mean:.4f} at {recall.k}{best} on {recall.kind} queries")
        if index.damaged:
            print(f"          DAMAGED, queries pass it by: {index.damaged}")
    if not found.indexes:
        print("index     none; every query scores every row (mmsearch index)")
