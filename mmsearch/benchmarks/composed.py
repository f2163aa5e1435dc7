"""Composed queries, a picture and words that change it: CIRR and FashionIQ as their authors give them out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch.benchmarks.annotation_files import read_bytes
from mmsearch.benchmarks.image_folder import ImageFolder
from mmsearch.benchmarks.image_names import last_part
from mmsearch.benchmarks.model import DraftImage
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location
from mmsearch.sources import FolderWalk
from mmsearch.stores import is_folder

__all__ = ["COMPOSED_SETS", "ComposedBenchmark", "ComposedGroup", "ComposedQuery", "ComposedSet", "load_composed"]


@dataclass(frozen=True, slots=True)
class ComposedSet:
    """What the files of one data set look like, and how it is measured.

    Attributes:
        about: What it is, in a line.
        captions: The name of the file of queries, with {group} and {split}.
        images: The name of the file that lists what is searched; an object from a name to a path, or a list of names.
        groups: What is searched by itself; one without a name where all is one.
        reference, target: The keys of the picture and of the right answer.
        words: The key of the words, a text or a list of them.
        endings: What names of images lack, in the order in which they are tried.
        leaves_out_reference: Whether the picture that asks is left out of the answer.
        ks: The k of R@k.
        subset_ks: The k of R@k within the few images that a query names; none where it names none.
    """

    about: str
    captions: str
    images: str
    groups: tuple[str, ...]
    reference: str
    target: str
    words: str
    endings: tuple[str, ...]
    leaves_out_reference: bool
    ks: tuple[int, ...]
    subset_ks: tuple[int, ...] = ()


COMPOSED_SETS = {
    "cirr": ComposedSet(
        about="CIRR: photos changed by words; what asks is left out.",
        captions="cap.rc2.{split}.json",
        images="split.rc2.{split}.json",
        groups=("",),
        reference="reference",
        target="target_hard",
        words="caption",
        endings=("", ".png"),
        leaves_out_reference=True,
        ks=(1, 5, 10, 50),
        subset_ks=(1, 2, 3),
    ),
    "fashioniq": ComposedSet(
        about="FashionIQ: clothes changed by words, by category.",
        captions="cap.{group}.{split}.json",
        images="split.{group}.{split}.json",
        groups=("dress", "shirt", "toptee"),
        reference="candidate",
        target="target",
        words="captions",
        endings=(".png", ".jpg"),
        leaves_out_reference=False,
        ks=(10, 50),
    ),
}
"""By name."""


@dataclass(frozen=True, slots=True)
class ComposedQuery:
    """A picture, words, and the right answer.

    Attributes:
        reference, target: Positions in the images of the benchmark.
        subset: Positions of the few images among which the answer is looked for as well, the target among them and the
            reference not; none where the query names none.
    """

    reference: int
    target: int
    words: str
    subset: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ComposedGroup:
    """What is searched by itself.

    Attributes:
        gallery: Positions in the images of the benchmark, in the order of the file.
    """

    name: str
    gallery: tuple[int, ...]
    queries: tuple[ComposedQuery, ...]


@dataclass(frozen=True, slots=True)
class ComposedBenchmark:
    """One split of a data set.

    Attributes:
        root: What images are relative to.
        images: All of them, unique.
        problems: What was left out, in words.
    """

    name: str
    split: str
    root: Location
    images: tuple[str, ...]
    groups: tuple[ComposedGroup, ...]
    problems: tuple[str, ...]


def load_composed(
    name: str, *, images: Location, annotations: Location, split: str = "val", allow_missing: bool = False
) -> ComposedBenchmark:
    """The queries of a split, in the files of a folder.

    images: a folder or an archive. annotations: the folder that holds `captions` and `image_splits`. allow_missing:
    leave out images that are not there, with the queries that need them; otherwise they are an error. Raises
    BenchmarkError.
    """
    if name not in COMPOSED_SETS:
        raise BenchmarkError(f"no data set of composed queries {name!r}: choose one of {', '.join(COMPOSED_SETS)}")
    if not is_folder(annotations):
        raise BenchmarkError(f"annotations: {annotations} is not a folder; give the one with the files of {name}")
    loader = _Loader(COMPOSED_SETS[name], ImageFolder(images), annotations, split)
    groups = tuple(loader.load_group(group) for group in loader.known.groups)
    if loader.missing and not (allow_missing and any(group.queries for group in groups)):
        missing = sorted(loader.missing)
        raise BenchmarkError(
            f"images: {len(missing):,} of {len(missing) + len(loader.images):,} are not in {images} "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}). --allow-missing goes on without them and "
            "their queries; the result is then not the benchmark's."
        )
    return ComposedBenchmark(name, split, loader.folder.root, tuple(loader.images), groups, tuple(loader.problems()))


class _Loader:
    """Collects the images of all groups. images: path -> position. missing: names of those without a file."""

    def __init__(self, known: ComposedSet, folder: ImageFolder, annotations: Location, split: str) -> None:
        self.known, self.folder, self.annotations, self.split = known, folder, annotations, split
        self.images: dict[str, int] = {}
        self.missing: set[str] = set()
        self._positions: dict[str, int | None] = {}
        self._files = [file.name for file in FolderWalk(annotations, sidecars_too=True)]
        self._left_out = 0

    def problems(self) -> Iterator[str]:
        if self.missing:
            yield f"{len(self.missing):,} MISSING IMAGES LEFT OUT, with {self._left_out:,} queries that need them"

    def load_group(self, group: str) -> ComposedGroup:
        listed = self._read(self.known.images.format(group=group, split=self.split))
        if not isinstance(listed, dict | list):
            raise BenchmarkError(f"{self.annotations}: the list of images is neither an object nor a list")
        paths = listed if isinstance(listed, dict) else dict.fromkeys(map(str, listed))
        gallery = [self._position(name, path) for name, path in paths.items()]
        file = self.known.captions.format(group=group, split=self.split)
        records = self._read(file)
        if not isinstance(records, list):
            raise BenchmarkError(f"{self.annotations}: {file} is not a list of queries")
        queries = [
            query
            for number, record in enumerate(records)
            if (query := self._query(f"{file}[{number}]", record, paths)) is not None
        ]
        return ComposedGroup(group, tuple(each for each in gallery if each is not None), tuple(queries))

    def _query(self, where: str, record: Any, paths: Mapping[str, Any]) -> ComposedQuery | None:
        fields = record if isinstance(record, dict) else {}
        if self.known.target not in fields and self.known.reference in fields:
            raise BenchmarkError(
                f"{self.annotations}: {where} has no {self.known.target}: the answers of the split {self.split} are "
                "not given out. Another one: --split val"
            )
        names = [fields.get(key) for key in (self.known.reference, self.known.target)]
        words = _join_words(fields.get(self.known.words))
        if not all(isinstance(name, str) for name in names) or not words:
            raise BenchmarkError(
                f"{self.annotations}: {where} is not a query with {self.known.reference}, {self.known.target} and "
                f"{self.known.words}"
            )
        reference, target = (self._position(str(name), paths.get(str(name))) for name in names)
        shown_with = fields.get("img_set") if self.known.subset_ks else None
        members = shown_with.get("members", []) if isinstance(shown_with, dict) else []
        subset = [self._position(str(name), paths.get(str(name))) for name in members if name != names[0]]
        if reference is None or target is None or None in subset:
            self._left_out += 1
            return None
        return ComposedQuery(reference, target, words, tuple(each for each in subset if each is not None))

    def _position(self, name: str, path: Any) -> int | None:
        """The position of an image; None where it has no file. path: what the list says of it beyond the name."""
        if name not in self._positions:
            stated = path if isinstance(path, str) else name
            found = (self.folder.find(DraftImage(stated + ending, "", ())) for ending in self.known.endings)
            file = next((each for each in found if each is not None), None)
            if file is None:
                self.missing.add(name)
            self._positions[name] = None if file is None else self.images.setdefault(file, len(self.images))
        return self._positions[name]

    def _read(self, file: str) -> Any:
        names = [name for name in self._files if last_part(name) == file]
        if not names:
            raise BenchmarkError(f"{self.annotations}: no {file} in it; the split is chosen with --split")
        place = self.annotations / names[0]
        try:
            return json.loads(read_bytes(place, "annotations"))
        except (ValueError, RecursionError) as error:
            raise BenchmarkError(f"{place}: not JSON ({error}). Is the download complete?") from None


def _join_words(words: Any) -> str:
    """The words of a query; of several sayings, as FashionIQ has two, "one and the other"."""
    sayings: Sequence[Any] = words if isinstance(words, list) else [words]
    return " and ".join(saying.strip(" .?,") for saying in sayings if isinstance(saying, str) and saying.strip(" .?,"))
