"""What a gallery holds, to leaf through where nothing is asked: by month, by facet and by folder, over all pictures or
over those that a filter admits. A file that holds several, as a film, counts once: its first stands for it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import IMAGES
from mmsearch.names import composed, composed_column
from mmsearch.search.open_gallery import OpenGallery

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FACETS",
    "Facet",
    "FolderCount",
    "MonthCount",
    "Place",
    "Timeline",
    "WorldBox",
    "count_facet",
    "count_folders",
    "count_places",
    "make_timeline",
]

_DATE = "taken_at"
_SUFFIX = r"\.(?P<suffix>[a-z0-9]{1,5})(?:!/[a-z_]+=[^/]*)?$"
"""Of a path in small letters: that of the file, also where the item is a piece of it, as in `trip.mp4!/t=12.48`."""
_FIRST_FOLDER = "^(?P<folder>[^/]+)/"
_SPAN = "!/[a-z_]+=[^/]*$"
"""Of a path that is a piece of a file, what follows the file, which is no folder."""


@dataclass(frozen=True, slots=True)
class MonthCount:
    """How many pictures were taken in a month, as "2024-05"; None: those whose date is not known."""

    month: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Pictures in the order of their dates, newest first; those without a date come last.

    Attributes:
        row_ids: int64 (n,).
        months: in the order of the pictures. Months without any are left out.
        version: of the gallery.
    """

    row_ids: NDArray[np.int64]
    months: Sequence[MonthCount]
    version: int


def make_timeline(opened: OpenGallery, where: str | None = None) -> Timeline:
    """The timeline of what a filter admits, from one pass over one column. Raises FilterError."""

    def read(now: Gallery) -> Timeline:
        ids, dates = [np.empty(0, np.int64)], [np.empty(0, "datetime64[us]")]
        for rows in _admitted(opened, now, [_DATE], where):
            ids.append(rows.column("row_id").to_numpy())
            dates.append(rows.column(_DATE).to_numpy().astype("datetime64[us]"))
        return _in_order(np.concatenate(ids), np.concatenate(dates), now.manifest.version)

    return read_consistently(opened.gallery, read)


def _in_order(row_ids: NDArray[np.int64], dates: NDArray[np.datetime64], version: int) -> Timeline:
    undated = np.isnat(dates)
    age = np.where(undated, np.iinfo(np.int64).max, -dates.astype(np.int64))
    order = np.lexsort((row_ids, age))  # those of one moment in the order in which they came
    months = dates[order][: len(dates) - int(undated.sum())].astype("datetime64[M]")
    starts = np.flatnonzero(np.r_[True, months[1:] != months[:-1]]) if len(months) else np.empty(0, np.int64)
    counts = np.diff(np.r_[starts, len(months)])
    counted = [MonthCount(str(months[start]), int(count)) for start, count in zip(starts, counts, strict=True)]
    if undated.any():
        counted.append(MonthCount(None, int(undated.sum())))
    return Timeline(row_ids[order], counted, version)


@dataclass(frozen=True, slots=True)
class Facet:
    """A way to tell pictures apart. column: of the images. value: what of the column; by default all of it."""

    column: str
    value: "Callable[[pa.ChunkedArray], pa.ChunkedArray]" = lambda column: column


def _year(dates: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow.compute as pc

    return pc.year(dates)


def _suffix(paths: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow.compute as pc

    return pc.struct_field(pc.extract_regex(pc.utf8_lower(paths), _SUFFIX), "suffix")


FACETS: Mapping[str, Facet] = MappingProxyType(
    {
        "year": Facet(_DATE, _year),
        "suffix": Facet("path", _suffix),
        "camera": Facet("camera"),
        "lens": Facet("lens"),
        "country": Facet("country"),
        "city": Facet("city"),
        "rating": Facet("rating"),
    }
)
"""By name. Those whose column a gallery does not have, or has no values in, have no values."""


def count_facet(opened: OpenGallery, facet: str, where: str | None = None) -> list[tuple[str, int]]:
    """The values of a facet as text, and how many of the pictures that a filter admits have each; the most frequent
    first. Raises FilterError."""
    import pyarrow.compute as pc

    wanted = FACETS[facet]

    def count(now: Gallery) -> "Counter[str]":
        counts: Counter[str] = Counter()
        if wanted.column not in now.schema(IMAGES.name).names:
            return counts
        for rows in _admitted(opened, now, [wanted.column], where):
            for each in pc.value_counts(wanted.value(rows.column(wanted.column))).to_pylist():
                if each["values"] is not None and each["values"] != "":
                    counts[str(each["values"])] += each["counts"]
        return counts

    return sorted(read_consistently(opened.gallery, count).items(), key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True, slots=True)
class FolderCount:
    """A folder, and how many pictures lie in it and below it. root: its id. path: relative to the root, "" for it."""

    root: int
    path: str
    count: int


def count_folders(
    opened: OpenGallery, root: int | None = None, path: str = "", where: str | None = None
) -> list[FolderCount]:
    """The folders right below one, in the order of their names; without a root, the roots. Only those that hold some
    of what a filter admits. Raises FilterError."""
    import pyarrow.compute as pc

    def count(now: Gallery) -> "Counter[tuple[int, str]]":
        counts: Counter[tuple[int, str]] = Counter()
        for rows in _admitted(opened, now, ["root_id"] if root is None else ["root_id", "path"], where):
            if root is None:
                for each in pc.value_counts(rows.column("root_id")).to_pylist():
                    counts[each["values"], ""] += each["counts"]
                continue
            # As filters see them: a folder that a Mac spells otherwise is the same to a person.
            paths, inside = composed_column(rows.column("path")), f"{composed(path)}/" if path else ""
            below = pc.and_(pc.equal(rows.column("root_id"), root), pc.starts_with(paths, inside))
            rest = pc.utf8_slice_codeunits(paths.filter(below), start=len(inside))
            files = pc.replace_substring_regex(rest, _SPAN, "")
            names = pc.struct_field(pc.extract_regex(files, _FIRST_FOLDER), "folder")
            for each in pc.value_counts(names.drop_null()).to_pylist():
                counts[root, inside + each["values"]] += each["counts"]
        return counts

    found = read_consistently(opened.gallery, count)
    return [FolderCount(*key, found[key]) for key in sorted(found)]


@dataclass(frozen=True, slots=True)
class WorldBox:
    """A part of the world, in degrees."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Place:
    """Pictures that were taken near to each other.

    Attributes:
        lat, lon: the middle of where they were taken, in degrees.
        count: how many they are.
        row_id: of one of them.
        box: that all of them lie in.
    """

    lat: float
    lon: float
    count: int
    row_id: int
    box: WorldBox


def count_places(opened: OpenGallery, box: WorldBox, across: int, down: int, where: str | None = None) -> list[Place]:
    """Where pictures of a part of the world were taken: those of one cell are a place, the largest first. across, down:
    cells. Raises FilterError."""

    def read(now: Gallery) -> list[NDArray[np.float64]]:
        found = []
        for rows in _admitted(opened, now, ["lat", "lon"], where):
            table = rows.drop_null()
            found.append(np.stack([table.column(name).to_numpy() for name in ("row_id", "lat", "lon")]).astype(float))
        return found

    row_ids, lat, lon = np.concatenate([np.empty((3, 0)), *read_consistently(opened.gallery, read)], axis=1)
    inside = (lat >= box.south) & (lat <= box.north) & (lon >= box.west) & (lon <= box.east)
    row_ids, lat, lon = row_ids[inside], lat[inside], lon[inside]
    column = np.floor((lon - box.west) / max(box.east - box.west, 1e-9) * across).clip(0, across - 1)
    line = np.floor((lat - box.south) / max(box.north - box.south, 1e-9) * down).clip(0, down - 1)
    cells, members, counts = np.unique(line * across + column, return_inverse=True, return_counts=True)
    if not len(cells):
        return []
    order = np.argsort(members, kind="stable")
    starts = np.r_[0, np.cumsum(counts)[:-1]]
    row_ids, lat, lon = row_ids[order], lat[order], lon[order]
    lowest, highest, total = np.minimum.reduceat, np.maximum.reduceat, np.add.reduceat
    middles = np.stack([total(lat, starts) / counts, total(lon, starts) / counts], axis=1).tolist()
    sides = np.stack([lowest(lat, starts), lowest(lon, starts), highest(lat, starts), highest(lon, starts)], axis=1)
    first = lowest(row_ids, starts).astype(int).tolist()
    places = [
        Place(middle[0], middle[1], count, row_id, WorldBox(*box))
        for middle, count, row_id, box in zip(middles, counts.tolist(), first, sides.tolist(), strict=True)
    ]
    return sorted(places, key=lambda place: -place.count)


def _admitted(opened: OpenGallery, now: Gallery, columns: Sequence[str], where: str | None) -> "Iterator[pa.Table]":
    """The live pictures of a version that a filter admits, with `row_id` and these columns, piece by piece: of
    each file the first."""
    admitted = None if where is None else opened.retriever.admitted(now, IMAGES.name, where)
    spans = opened.retriever.file_spans(IMAGES.name)
    seen = np.empty(0, np.int64)
    for rows in now.scan(IMAGES.name, columns):
        if admitted is not None:
            rows = rows.filter(np.isin(rows.column("row_id").to_numpy(), admitted, assume_unique=True))
        if spans is not None:
            files = spans.files_of(rows.column("row_id").to_numpy())
            names, firsts = np.unique(files, return_index=True)
            rows = rows.take(np.sort(firsts[~np.isin(names, seen)]))
            seen = np.concatenate([seen, names[names >= 0]])  # what shares no file is met once
        yield rows
