"""Reader of classes in shards, beside the pictures: webdataset as CLIP_benchmark exports it, and Parquet."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmsearch.benchmarks.model import LabelledImage, LabelledImages
from mmsearch.benchmarks.samples import Sample, Shard, Shards, names_of_split, read_shard
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location
from mmsearch.sources import container_form
from mmsearch.sources.parquet import Unreadable, class_names
from mmsearch.stores import local_copy, read_bytes

__all__ = ["read_labelled_shards"]

_LABELS = ("cls", "npy", "label", "labels", "fine_label", "class", "classes", "class_label", "category", "target")
"""Endings and columns that hold the class of a picture, preferred first."""
_NAMES = "classnames.txt"
_TEMPLATES = "zeroshot_classification_templates.txt"
_TYPE = "dataset_type.txt"


def read_labelled_shards(shards: Shards, split: str | None, column: str | None) -> LabelledImages:
    """The pictures of the shards of a split with their classes.

    A class is its number, from 0, or a text; of several classes a list of numbers or texts, or in CLIP_benchmark's
    multi-label shards an array with 1 or 0 for each. column: what holds it, where it is called otherwise. Names of the
    numbers are those of `classnames.txt` or of a `ClassLabel`. Raises BenchmarkError.
    """
    chosen = shards.of_split(split)
    flags = _read_lines(shards.root / _TYPE)[:1] == ("multilabel",)
    reader = _LabelReader(column, flags=flags)
    splits: set[str] = set()
    images: list[LabelledImage] = []
    for shard in chosen:
        for sample in read_shard(shards.root, shard):
            splits.add(sample.split or "")
            if split is None or sample.split is None or sample.split.lower() in names_of_split(split):
                images.append(LabelledImage(sample.image, reader.classes_of(sample)))
    if not images:
        there = ", ".join(sorted(splits - {""})) or "none"
        raise BenchmarkError(
            f"{shards.root}: no pictures of the split {split} in its shards; the splits there: {there}"
        )
    names = _names_of_numbers(shards.root, chosen, reader.key) if reader.numbers else ()
    labels = {label for image in images for label in image.classes}
    if reader.numbers:
        count = max((int(label) for label in labels), default=-1) + 1
        if names and count > len(names):
            raise BenchmarkError(f"{shards.root}: class {count - 1}, and names of {len(names):,} classes only")
        ordered = tuple(map(str, range(len(names) or count)))
    else:
        ordered = tuple(sorted(labels))
    return LabelledImages(
        folder=shards.root,
        layout=_describe(chosen),
        images=tuple(images),
        labels=ordered,
        multilabel=reader.several,
        numbered=reader.numbers,
        names=names,
        templates=tuple(line.replace("{c}", "{}") for line in _read_lines(shards.root / _TEMPLATES)),
    )


class _LabelReader:
    """Reads the classes of samples, which have to be alike in all.

    Attributes:
        key: The ending or column that holds them.
        numbers: Whether classes are numbers.
        several: Whether a picture has any number of classes.
    """

    def __init__(self, column: str | None, *, flags: bool) -> None:
        self._column, self._flags = column, flags
        self.key = ""
        self.numbers = False
        self.several = flags

    def classes_of(self, sample: Sample) -> tuple[str, ...]:
        """Raises BenchmarkError."""
        if not self.key:
            self.key = self._find_key(sample)
        value = sample.fields.get(self.key)
        if isinstance(value, list):
            self.several = True
            if self._flags or self.key == "npy":
                value = [index for index, flag in enumerate(value) if flag]
        values = value if isinstance(value, list) else [value]
        if any(isinstance(each, bool) or not isinstance(each, (int, str)) for each in values):
            raise BenchmarkError(f"{sample.where}: {self.key} is {value!r:.60}, not a class")
        numbers = {isinstance(each, int) for each in values}
        if any(isinstance(each, int) and each < 0 for each in values):
            raise BenchmarkError(f"{sample.where}: class {value}; the classes of this split were not given out")
        self.numbers = self.numbers or True in numbers
        if self.numbers and False in numbers:
            raise BenchmarkError(f"{sample.where}: {self.key} is {value!r:.60}, and elsewhere a number")
        return tuple(dict.fromkeys(map(str, values)))

    def _find_key(self, sample: Sample) -> str:
        wanted = (self._column.lower(),) if self._column else _LABELS
        for key in wanted:
            if key in sample.fields:
                return key
        raise BenchmarkError(
            f"no class beside {sample.where} (looked for {', '.join(wanted)}); beside it stands "
            f"{', '.join(sample.fields) or 'nothing'}. --label-column names it"
        )


def _names_of_numbers(root: Location, chosen: Sequence[Shard], key: str) -> tuple[str, ...]:
    if lines := _read_lines(root / _NAMES):
        return lines
    named: Mapping[str, tuple[str, ...]] = {}
    if container_form(chosen[0].name) == "parquet":
        try:
            named = class_names(str(local_copy(root / chosen[0].name)))
        except Unreadable as error:
            raise BenchmarkError(f"{root / chosen[0].name}: {error}") from error
    return named.get(key, ())


def _read_lines(place: Any) -> tuple[str, ...]:
    """The lines of a small file of the data set; nothing where it has none. A name may be empty, the last is not."""
    try:
        text = read_bytes(place).decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line.strip() for line in text.rstrip().splitlines()) if text.strip() else ()


def _describe(shards: Sequence[Shard]) -> str:
    kind = "Parquet" if container_form(shards[0].name) == "parquet" else "webdataset"
    return f"{kind} with classes, {len(shards):,} shard{'' if len(shards) == 1 else 's'}"
