"""What so many pictures take: GPU-hours, wall time, storage, memory and queries, each with the formula behind it.

    python scripts/plan_capacity.py [10M 100M 1B 10B] [--embed embed.json] [--ray ray.json] [--sync sync.json]
                                    [--query query.json] [--index index.json] [--nodes 1 8 64] [--gpus 8] …

The JSON files are what the benches write: bench_embed.py, bench_ray.py, bench_sync.py and bench_query.py with --json,
and `python -m scripts.bench_index --json`. What they hold counts as measured, with their machine and command; what no
file gives is assumed, and says so. Figures are arithmetic on those rates: nothing of this size was run.
"""

import argparse
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mmsearch.indexing.memory import format_bytes
from mmsearch.indexing.planning import operations as operations_of
from mmsearch.indexing.planning import plan_index

QUESTIONS = 1_500  # texts and images that an index is measured with
UNITS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class Given:
    """A rate that the arithmetic starts from. source: "measured: …" or "assumed: …"."""

    value: float
    source: str = "assumed"


@dataclass(frozen=True)
class Rates:
    """Everything that the figures are made of; what each is stands in MEANING."""

    encode: Given = Given(1500, "assumed: what clip-retrieval reports of ViT-B/32 on an RTX 3080; never run here")
    decode: Given = Given(150, "assumed: JPEGs of 1024 x 768 on a slow core")
    encode_core: Given = Given(7, "assumed: ViT-B-32 in fp32 on a slow core")
    together: Given = Given(0.85, "assumed: a guess")
    efficiency: Given = Given(0.9, "assumed: a guess")
    picture: Given = Given(340_000, "assumed: JPEGs of 1024 x 768")
    metadata: Given = Given(100, "assumed: a path, a hash and some numbers, compressed")
    known: Given = Given(750, "assumed: names, sizes, times and hashes are held")
    look: Given = Given(1e-5, "assumed: a local disk")
    scan: Given = Given(1.5e-6, "assumed: 512 dimensions in float16, on two cores")
    query: Given = Given(1.2, "assumed: files in the page cache")
    build: Given = Given(2.3e10, "assumed: two busy cores")


MEANING = {
    "encode": "images/s that a GPU encodes",
    "decode": "images/s that a core reads, decodes and resizes",
    "encode_core": "images/s that a core encodes, where there is no GPU",
    "together": "share of what decoding and encoding allow that a run reaches",
    "efficiency": "what a further worker adds, of what one does alone",
    "picture": "bytes of a picture",
    "metadata": "bytes of a row beside its vector",
    "known": "bytes of memory for each file of a run",
    "look": "seconds to look at an unchanged file",
    "scan": "seconds to score a row exactly",
    "query": "ms of a text query through the index of 1,000,000 rows",
    "build": "floating point operations/s while an index is built",
}


@dataclass(frozen=True)
class Fleet:
    """What it is to run on. gallery_rows: the most pictures that one gallery should hold."""

    nodes: tuple[int, ...] = (1, 8, 64)
    gpus: int = 8
    cores: int = 96
    dim: int = 512
    gallery_rows: int = 100_000_000
    memory: int = 256 << 30


@dataclass(frozen=True)
class Figure:
    """One line of the table. text: for people."""

    name: str
    value: float
    text: str
    formula: str


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "images", nargs="*", type=number, default=[number(text) for text in ("10M", "100M", "1B", "10B")]
    )
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, metavar="JSON", help=f"what bench_{name}.py wrote")
    parser.add_argument("--encode", type=float, metavar="RATE", help="images/s that a GPU encodes")
    parser.add_argument("--picture", type=number, metavar="BYTES", help="of a picture")
    parser.add_argument("--nodes", type=int, nargs="+", default=list(Fleet.nodes))
    parser.add_argument("--gpus", type=int, default=Fleet.gpus, help="of a node")
    parser.add_argument("--cores", type=int, default=Fleet.cores, help="of a node")
    parser.add_argument("--dim", type=int, default=Fleet.dim)
    parser.add_argument("--gallery-rows", type=number, default=Fleet.gallery_rows, help="the most that a gallery holds")
    asked = parser.parse_args(arguments)
    rates = Rates()
    for name, read in READERS.items():
        if (file := getattr(asked, name)) is not None:
            rates = read(rates, json.loads(file.read_text()))
    for name in ("encode", "picture"):
        if (value := getattr(asked, name)) is not None:
            rates = replace(rates, **{name: Given(value, f"assumed: --{name}")})
    fleet = Fleet(tuple(asked.nodes), asked.gpus, asked.cores, asked.dim, asked.gallery_rows)
    print(table(asked.images, rates, fleet))
    print()
    print(inputs(rates, fleet))


def number(text: str) -> int:
    """ "10M" -> 10,000,000. Also k and B."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMB]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 500000, 10M or 1B")
    return round(float(found[1]) * UNITS[found[2]])


# --- rates that were measured -----------------------------------------------------------------------------------------


def measured(value: float, facts: dict[str, Any], device: str | None = None) -> Given:
    where = device or f"{facts.get('processor', 'unknown processor')}, {facts.get('cores', '?')} cores"
    return Given(value, f"measured: {where}; {facts.get('command', 'unknown command')}")


def from_embed(rates: Rates, document: list[dict[str, Any]]) -> Rates:
    """Of the first size that was measured; on GPUs how quick they encode, else how quick a core does."""
    facts = document[0]
    rate, cores = facts["images_per_s"], facts["cores"]
    rates = replace(
        rates,
        decode=measured(rate["decode"] / cores, facts),
        together=measured(facts["ratios"]["mmsearch / bound"], facts),
        picture=measured(facts["kilobytes"] * 1000, facts),
    )
    if facts["device"] == "cpu":
        return replace(rates, encode_core=measured(rate["encode"] / cores, facts))
    found = re.match(r"\w+: (\d+) x ", facts["device"])
    return replace(rates, encode=measured(rate["encode"] / int(found[1] if found else 1), facts, facts["device"]))


def from_ray(rates: Rates, document: dict[str, Any]) -> Rates:
    return replace(rates, efficiency=measured(document["ratios"]["2 workers x 1 / 1 worker x 1"] - 1, document))


def from_sync(rates: Rates, document: dict[str, Any]) -> Rates:
    """What a first run of so many files holds, and how long one over unchanged files takes."""
    files = document["files"]
    return replace(
        rates,
        known=measured(document["first"]["peak"] * 1e6 / files, document),
        look=measured(document["again"]["seconds"] / files, document),
    )


def from_query(rates: Rates, document: dict[str, Any]) -> Rates:
    """From two galleries, so that what a process costs by itself does not count."""
    seconds = document["large"]["mmsearch_s"] - document["text"]["mmsearch_s"]
    return replace(rates, scan=measured(seconds / (document["large_rows"] - document["rows"]), document))


def from_index(rates: Rates, document: list[dict[str, Any]]) -> Rates:
    """Of the first kind that was measured, taken to 1,000,000 rows as the figures take it from there."""
    facts = document[0]
    rows = facts["report"]["rows"]
    return replace(
        rates,
        query=measured(facts["chosen"]["text"]["ms"] / query_growth(rows), facts),
        build=measured(operations(rows, facts["report"]["plan"]["dim"]) / facts["build_s"], facts),
    )


READERS: dict[str, Callable[[Rates, Any], Rates]] = {
    "embed": from_embed,
    "ray": from_ray,
    "sync": from_sync,
    "query": from_query,
    "index": from_index,
}


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def query_growth(rows: int) -> float:
    """How many times as long a query takes as over a million rows: lists are as many as they are long, sqrt(rows); and
    ten times the rows want twice the lists for the same recall, as between 1 and 10 million."""
    millions = rows / 1e6
    return math.sqrt(millions) * 2 ** math.log10(millions)


def operations(rows: int, dim: int, memory: int | None = None) -> float:
    """Floating point operations that building an index takes, with what measuring its recall does."""
    return operations_of(plan_index(rows, dim, memory=memory), QUESTIONS)


def figures(images: int, rates: Rates, fleet: Fleet) -> list[Figure]:
    """All lines of the table for so many images."""
    node = min(fleet.gpus * rates.encode.value, fleet.cores * rates.decode.value) * rates.together.value
    limit = "GPUs" if fleet.gpus * rates.encode.value <= fleet.cores * rates.decode.value else "cores"
    found = [
        hours("GPU-hours to encode", images / rates.encode.value, "images / encode"),
        hours("core-hours to read, decode and resize", images / rates.decode.value, "images / decode"),
        hours(
            "core-hours with no GPU at all",
            images * (1 / rates.decode.value + 1 / rates.encode_core.value) / rates.together.value,
            "images * (1 / decode + 1 / encode_core) / together",
        ),
        Figure(
            "images/s a node",
            node,
            f"{node:,.0f} (limit: {limit})",
            f"min({fleet.gpus} GPUs * encode, {fleet.cores} cores * decode) * together",
        ),
    ]
    for nodes in fleet.nodes:
        seconds = images / (node * (1 + (nodes - 1) * rates.efficiency.value))
        formula = (
            f"images / (images/s a node * (1 + {nodes - 1} * efficiency))"
            if nodes > 1
            else "images / (images/s a node)"
        )
        found.append(Figure(f"wall time, {nodes} node{'s' if nodes > 1 else ''}", seconds, duration(seconds), formula))
    reading = node * rates.picture.value
    found.append(Figure("read from the source, a node", reading, f"{amount(reading)}/s", "images/s a node * picture"))
    stored = images * rates.picture.value
    found.append(Figure("pictures", stored, amount(stored), "images * picture"))
    rows = images * (2 * fleet.dim + rates.metadata.value)
    found.append(Figure("galleries on disk", rows, amount(rows), f"images * (2 * {fleet.dim} + metadata)"))
    return found + by_gallery(images, rates, fleet)


def by_gallery(images: int, rates: Rates, fleet: Fleet) -> list[Figure]:
    """What depends on how many pictures stand in one gallery."""
    count = math.ceil(images / fleet.gallery_rows)
    rows = math.ceil(images / count)
    index = plan_index(rows, fleet.dim, memory=fleet.memory)
    held = rows * rates.known.value
    exact, indexed = rows * rates.scan.value, rates.query.value * query_growth(rows) / 1e3
    building = operations(rows, fleet.dim, fleet.memory) / rates.build.value
    return [
        Figure("galleries", count, f"{count} of {rows:,}", f"images / {fleet.gallery_rows:,} at most"),
        Figure("memory of a run, a gallery", held, format_bytes(held), "images of a gallery * known"),
        Figure(
            "sync with nothing new, a gallery",
            rows * rates.look.value,
            duration(rows * rates.look.value),
            "images * look",
        ),
        Figure("index", 0, f"`{index.factory}`", "mmsearch index --dry-run"),
        Figure(
            "index: memory to search, a gallery", index.search_memory, format_bytes(index.search_memory), "likewise"
        ),
        Figure("index: memory to build, a gallery", index.build_memory, format_bytes(index.build_memory), "likewise"),
        Figure("index: on disk, all", count * index.disk, amount(count * index.disk), "likewise * galleries"),
        Figure(
            "index: time to build, a gallery",
            building,
            duration(building),
            "operations of mmsearch index --dry-run / build",
        ),
        Figure("exact query, a gallery", exact, duration(exact), "rows of a gallery * scan"),
        Figure(
            "query through the index, a gallery",
            indexed,
            duration(indexed),
            "query * sqrt(millions of rows) * 2 ^ log10(millions of rows)",
        ),
    ]


# --- for people -------------------------------------------------------------------------------------------------------


def hours(name: str, seconds: float, formula: str) -> Figure:
    value = seconds / 3600
    return Figure(name, value, f"{value:,.1f}" if value < 100 else f"{value:,.0f}", f"{formula} / 3600")


def duration(seconds: float) -> str:
    for unit, length in (("years", 365 * 86400), ("days", 2 * 86400), ("h", 7200), ("min", 120), ("s", 2)):
        if seconds >= length:
            return f"{seconds / {'years': 365 * 86400, 'days': 86400, 'h': 3600, 'min': 60, 's': 1}[unit]:,.1f} {unit}"
    return f"{seconds * 1e3:,.1f} ms"


def amount(size: float) -> str:
    for unit, length in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if size >= length:
            return f"{size / length:,.1f} {unit}"
    return f"{size / 1e6:,.0f} MB"


def shown(images: int) -> str:
    for unit in ("B", "M", "k"):
        if images >= UNITS[unit]:
            return f"{images / UNITS[unit]:g} {unit}"
    return str(images)


def table(images: Sequence[int], rates: Rates, fleet: Fleet) -> str:
    columns = [figures(each, rates, fleet) for each in images]
    lines = ["| images | " + " | ".join(map(shown, images)) + " | formula |", "|---" * (len(images) + 2) + "|"]
    for row in zip(*columns, strict=True):
        cells = " | ".join(figure.text for figure in row)
        lines.append(f"| {row[0].name} | {cells} | {row[0].formula} |")
    return "\n".join(lines)


def inputs(rates: Rates, fleet: Fleet) -> str:
    lines = ["| input | value | | from |", "|---|---|---|---|"]
    for each in fields(rates):
        rate: Given = getattr(rates, each.name)
        lines.append(f"| `{each.name}` | {rate.value:,.6g} | {MEANING[each.name]} | {rate.source} |")
    node = f"{fleet.gpus} GPUs, {fleet.cores} cores; {format_bytes(fleet.memory)} for an index"
    return "\n".join([*lines, f"| a node | | {node} | assumed |"])


if __name__ == "__main__":
    main()
