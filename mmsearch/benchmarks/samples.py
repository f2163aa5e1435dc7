"""Shards as data sets come in them, webdataset and Parquet: each picture with what stands beside it.

    shards = find_shards(located("wds_flickr8k"))
    for shard in shards.of_split("test"):
        for sample in read_shard(shards.root, shard): …

Read are the layouts of CLIP_benchmark (`test/0.tar`, `test/nshards.txt`; in a tar `s0000000.webp`, `.txt` with a
caption a line, `.cls` with the number of a class), any other webdataset, and the Parquet of Hugging Face datasets
(`data/test-00000-of-00001.parquet`, `default/test/0000.parquet`), on a disk or in an object store.
"""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmsearch.benchmarks.image_names import by_numbers, is_image_name, last_part
from mmsearch.benchmarks.text_lines import decode_lines
from mmsearch.errors import BenchmarkError, ImageError, SourceError
from mmsearch.locations import Location
from mmsearch.sources import (
    MEMBER,
    FolderWalk,
    Member,
    container_form,
    file_in,
    is_hidden,
    member_names,
    open_source_file,
)
from mmsearch.sources.parquet import IMAGE_PATH, PATH_COLUMNS, Unreadable, is_image_table, rows_beside_images
from mmsearch.stores import is_folder, local_copy, read_bytes

__all__ = ["SPLIT_NAMES", "Sample", "Shard", "Shards", "find_shards", "names_of_split", "read_shard"]

SPLIT_NAMES = (
    ("val", "dev", "valid", "validation"),
    ("train", "training"),
    ("test", "testing"),
)
"""Names of one split: Flickr8k's list says dev where everybody else says val. Karpathy's restval stays apart."""

_FORMS = ("tar", "zip", "parquet")
_COUNT = "nshards.txt"
_HUGGING_FACE = re.compile(r"(?P<split>\w[\w.]*?)-\d{5}-of-\d{5}")
_LEADING_WORD = re.compile(r"[a-z]+")
_MOST_BYTES = 1 << 22  # in one file beside a picture: more is neither a caption nor a record


@dataclass(frozen=True, slots=True)
class Shard:
    """One archive or table of a data set.

    Attributes:
        name: Relative to the root.
        split: The split that its folder or its name says; None where neither does.
    """

    name: str
    split: str | None


@dataclass(frozen=True, slots=True)
class Shards:
    """All shards of a data set, in the order of their numbers.

    Attributes:
        root: What their names are relative to.
    """

    root: Location
    shards: tuple[Shard, ...]

    def of_split(self, split: str | None) -> tuple[Shard, ...]:
        """Those to read for a split, those of no known split too; all of them for None, and where none is of it: a
        column of a table may say more."""
        if split is None:
            return self.shards
        wanted = {name for part in split.split("+") for name in names_of_split(part)}
        chosen = tuple(shard for shard in self.shards if shard.split is None or shard.split.lower() in wanted)
        return chosen or self.shards


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, and what stands beside it.

    Attributes:
        image: Where it is, relative to the root: "test/0.tar!/s0000000.jpg", "data/test-00000-of-00001.parquet!/17".
        name: What the data set calls it, with an ending: "s0000000.jpg", "1007129816.jpg"; the end of `image` where it
            has no name.
        where: For messages.
        split: Of the shard, or of a column called split.
        fields: By names in lower case. Of webdataset by the ending: "txt" and "caption" as lists of lines that are not
            blank, "json" as what it holds, "cls" as an int where it is one, "npy" as a list, other small files as text.
            Of Parquet the columns that hold neither bytes nor vectors.
    """

    image: str
    name: str
    where: str
    split: str | None
    fields: dict[str, Any] = field(default_factory=dict)


def names_of_split(split: str) -> tuple[str, ...]:
    """All names of a split, in lower case."""
    split = split.strip().lower()
    return next((names for names in SPLIT_NAMES if split in names), (split,))


def find_shards(place: Location) -> Shards | None:
    """The shards in a folder, or the one that a file is; None where there is none.

    Raises BenchmarkError where a `nshards.txt` says that some are missing, and OSError, StoreError.
    """
    if not is_folder(place):
        return Shards(place.parent, (Shard(place.name, _split_of(place.name)),)) if _is_shard(place.name) else None
    walk = FolderWalk(place, sidecars_too=True)
    names: list[str] = []
    counts: list[str] = []
    for file in walk:
        if last_part(file.name) == _COUNT:
            counts.append(file.name)
        elif _is_shard(file.name) and file.size is not None:
            names.append(file.name)
    for count in counts:
        _require_all(place, count, names)
    if not names:
        return None
    return Shards(place, tuple(Shard(name, _split_of(name)) for name in sorted(names, key=by_numbers)))


def read_shard(root: Location, shard: Shard) -> Iterator[Sample]:
    """The samples of a shard, in its order. Raises BenchmarkError where it cannot be read to its end."""
    place = root / shard.name
    reader = _read_table if container_form(shard.name) == "parquet" else _read_archive
    try:
        yield from reader(place, shard)
    except Unreadable as error:
        raise BenchmarkError(f"{place}: {error}") from error
    except (SourceError, ImageError) as error:
        raise BenchmarkError(str(error)) from error
    except OSError as error:
        raise BenchmarkError(f"{place} cannot be read: {error.strerror or error}") from error


def _is_shard(name: str) -> bool:
    return container_form(name) in _FORMS


def _split_of(name: str) -> str | None:
    """The split of a shard: as its file is called, or the innermost folder that is called like one."""
    *folders, file = name.split("/")
    if match := _HUGGING_FACE.match(file):
        return match["split"]
    known = {each for names in SPLIT_NAMES for each in names}
    word = _LEADING_WORD.match(file.lower())
    if word and word[0] in known:
        return word[0]
    return next((folder for folder in reversed(folders) if folder.lower() in known), None)


def _require_all(place: Location, count: str, names: list[str]) -> None:
    """Raise BenchmarkError where shards are missing of which a `nshards.txt` counts so many: 0.tar, 1.tar, …"""
    folder = count[: -len(_COUNT)]
    try:
        shards = int(read_bytes(place / count).split()[0])
    except (ValueError, IndexError, OSError):
        raise BenchmarkError(f"{place / count}: not the number of shards. Is the download complete?") from None
    missing = [name for name in (f"{folder}{number}.tar" for number in range(shards)) if name not in names]
    if missing:
        raise BenchmarkError(
            f"{place}: {len(missing):,} of the {shards:,} shards that {count} counts are missing "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}). Is the download complete?"
        )


def _read_archive(place: Location, shard: Shard) -> Iterator[Sample]:
    groups: dict[str, list[tuple[str, str, Member]]] = {}
    for name, member in member_names(file_in(place.parent, place)).items():
        if not is_hidden(name):
            key, ending = _key_and_ending(name)
            groups.setdefault(key, []).append((ending, name, member))
    for members in groups.values():
        pictures = [(name, member) for _, name, member in members if is_image_name(name)]
        if not pictures:
            continue
        fields = {
            ending: _field_value(ending, member)
            for ending, name, member in members
            if not is_image_name(name) and member.refused is None and (member.size or 0) <= _MOST_BYTES
        }
        name = pictures[0][0]
        image = f"{shard.name}{MEMBER}{name}"
        yield Sample(image, last_part(name), image, _text(fields.get("split")) or shard.split, fields)


def _key_and_ending(name: str) -> tuple[str, str]:
    """webdataset's rule: what has one path up to the first dot of its last part is one sample."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _field_value(ending: str, member: Member) -> Any:
    with open_source_file(member) as file:
        data = file.stream.read()
    if ending in ("txt", "caption"):
        return decode_lines(data)
    if ending == "npy":
        return _array(data, member)
    text = data.decode("utf-8", "replace").strip()
    if ending.endswith("json"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise BenchmarkError(f"{member.path}: not JSON") from None
    return int(text) if ending == "cls" and re.fullmatch(r"-?\d{1,18}", text) else text


def _array(data: bytes, member: Member) -> list[Any]:
    try:
        values: list[Any] = np.atleast_1d(np.load(io.BytesIO(data), allow_pickle=False)).tolist()
    except (ValueError, OSError, EOFError):
        raise BenchmarkError(f"{member.path}: not an array of NumPy") from None
    return values


def _read_table(place: Location, shard: Shard) -> Iterator[Sample]:
    local_path = str(local_copy(place))
    if not is_image_table(local_path):
        return
    for row, fields in rows_beside_images(local_path):
        path = fields.pop(IMAGE_PATH, None)
        names = (path, *(fields.get(column) for column in PATH_COLUMNS))
        name = next((last_part(each) for each in names if isinstance(each, str) and each.strip()), str(row))
        image = f"{shard.name}{MEMBER}{row}"
        yield Sample(image, name, image, _text(fields.get("split")) or shard.split, fields)


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
