"""The records of this package, and the draft that the readers of the formats fill."""

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.locations import Location
from mmsearch.names import shown

__all__ = ["Benchmark", "Draft", "DraftImage", "LabelledImage", "LabelledImages", "Problem", "ProblemKind"]

ProblemKind: TypeAlias = Literal[
    "malformed_row",
    "repaired_row",
    "decoded_as_latin1",
    "duplicate_row",
    "duplicate_image",
    "empty_caption",
    "unknown_image",
    "image_without_caption",
    "orphan_name",
    "missing_image",
    "missing_caption",
    "uncaptioned_file",
    "not_annotated",
    "fewer_captions",
    "captions_left_out",
    "several_splits",
    "without_split",
    "no_split",
    "unlike_official",
    "own_names",
]

MEANINGS: dict[ProblemKind, str] = {
    "malformed_row": "rows that could not be read, left out",
    "repaired_row": "malformed rows whose caption could be recovered, kept",
    "decoded_as_latin1": "lines that are not UTF-8, read as Latin-1, kept",
    "duplicate_row": "rows that repeat the image and number of an earlier one, left out",
    "duplicate_image": "images listed more than once, taken as one with all their captions",
    "empty_caption": "empty captions, left out",
    "unknown_image": "captions of images that the file does not list, left out",
    "image_without_caption": "images without a caption, left out of queries and gallery",
    "orphan_name": "names that are no image file's and that have no file, left out with their captions",
    "missing_image": "images that are not in the images folder, left out",
    "missing_caption": "captions of these missing images, left out",
    "uncaptioned_file": "image files beside the benchmark's own that the annotations do not name, not used",
    "not_annotated": "names in the split list that have no captions, left out",
    "fewer_captions": "images with fewer captions than asked for, kept",
    "captions_left_out": "captions beyond the number asked for of each image, left out",
    "several_splits": "images that the file lists in more than one split, taken into each of them",
    "without_split": "images for which the file names no split, as it does for others, left out",
    "no_split": "the annotation file names no splits and no split list was found: it was used whole",
    "unlike_official": "the split in the annotation file is not the official one",
    "own_names": "the data set has names of its own for the images: whether they are the official ones cannot be seen",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem, and every place where it was.

    Problems of rows count over the whole file, those of images over the chosen split.

    Attributes:
        items: Names, "line 12: …" or "annotations[3]: …". Their number is the count.
    """

    kind: ProblemKind
    items: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.items)

    @property
    def meaning(self) -> str:
        """What the items are and what became of them, e.g. "empty captions, left out"."""
        return MEANINGS[self.kind]

    def __str__(self) -> str:
        if self.kind in ("no_split", "unlike_official", "own_names"):
            return f"{self.meaning}: {self.items[0]}"
        shown = ", ".join(self.items[:3])
        return f"{self.count:,} {self.meaning}: {shown}{', …' if self.count > 3 else ''}"


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Images, captions, and which caption belongs to which image.

    Attributes:
        name: Of the data set, as `load_benchmark` was asked for it.
        split: The split that was chosen; None where the file was used whole.
        source: The kind of annotation file, in words.
        root: Where the images are: a folder, on a disk or in an object store.
        images: POSIX paths relative to the root, unique, in the file's order; each has at least one caption. Images in
            archives and tables as "a.tar!/x.jpg", "a.parquet!/17".
        captions: Texts as in the file, without surrounding whitespace, in the file's order, none empty.
        caption_image: int64 (n_captions,), each caption's position in images.
        caption_keys: The file's own id of each caption; "" where it has none.
        problems: In a fixed order, one of a kind; empty where nothing was wrong.
    """

    name: str
    split: str | None
    source: str
    root: Location
    images: tuple[str, ...]
    captions: tuple[str, ...]
    caption_image: NDArray[np.int64]
    caption_keys: tuple[str, ...]
    problems: tuple[Problem, ...]

    def problem(self, kind: ProblemKind) -> Problem:
        """The problem of a kind, without items where there was none."""
        return next((problem for problem in self.problems if problem.kind == kind), Problem(kind, ()))


@dataclass(frozen=True, slots=True)
class DraftImage:
    """An annotated image as the file names it.

    Attributes:
        folder: "" or what the file says besides the name, e.g. "val2014".
        splits: Those that it is listed in; none where the file does not say.
        place: Where it is, relative to the root, where that is known: in the shard that holds its captions too.
    """

    name: str
    folder: str
    splits: tuple[str, ...]
    place: str = ""


@dataclass(slots=True)
class Draft:
    """The content of an annotation file, before splits are chosen and images looked for.

    One reader fills it; afterwards it is only read.

    Attributes:
        captions: (position in images, text), in the file's order.
        caption_keys: Position in captions -> the file's own id of it.
        problems: Kind -> the items that have it.
    """

    source: str
    images: list[DraftImage] = field(default_factory=list)
    captions: list[tuple[int, str]] = field(default_factory=list)
    caption_keys: dict[int, str] = field(default_factory=dict)
    problems: dict[ProblemKind, list[str]] = field(default_factory=dict)
    _positions: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def report(self, kind: ProblemKind, item: str) -> None:
        """Note a problem. Names on disk can be any bytes and JSON can hold half characters; what is printed can not."""
        self.problems.setdefault(kind, []).append(shown(item))

    def add_image(self, name: str, folder: str = "", split: str | None = None, place: str = "") -> int:
        """The position of an image, new or known by the same folder, name and place; `split` is added to those it is
        in."""
        position = self._positions.setdefault((folder, name, place), len(self.images))
        if position == len(self.images):
            self.images.append(DraftImage(name, folder, (split,) if split else (), place))
        elif split and split not in self.images[position].splits:
            earlier = self.images[position]
            if earlier.splits:
                self.report("several_splits", f"{name} ({', '.join((*earlier.splits, split))})")
            self.images[position] = replace(earlier, splits=(*earlier.splits, split))
        return position

    def has_image(self, name: str, folder: str = "") -> bool:
        """Whether an image of this folder and name was added before."""
        return (folder, name, "") in self._positions

    def add_caption(self, image: int, text: str, where: str, key: str = "") -> None:
        """Add a caption, unless it is none. where: for the problem, e.g. "line 12". key: the file's own id of it."""
        text = text.strip()
        if not text:
            self.report("empty_caption", f"{where} ({self.images[image].name})")
        elif shown(text) != text:
            # JSON can escape half a character, which neither Parquet nor a terminal can hold.
            self.report("malformed_row", f"{where}: half a surrogate pair in {text!r}")
        else:
            if key:
                self.caption_keys[len(self.captions)] = key
            self.captions.append((image, text))


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture and what it shows.

    Attributes:
        name: POSIX path relative to the folder.
        classes: What the layout calls them: folders, labels. None where it is known to show none.
        unjudged: Classes of which nobody says whether it shows them ("difficult" in VOC).
    """

    name: str
    classes: tuple[str, ...]
    unjudged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Pictures with their classes.

    Attributes:
        folder: Where names begin.
        layout: What was read, for people.
        images: In the order of the layout.
        labels: All classes that the layout has, those without pictures too; in its order.
        multilabel: Whether the layout is of pictures with any number of classes.
        numbered: Whether labels are numbers from 0, of shards.
        names: Of each of these, where the layout names them.
        templates: Those that the layout brings along.
    """

    folder: Location
    layout: str
    images: tuple[LabelledImage, ...]
    labels: tuple[str, ...]
    multilabel: bool = False
    numbered: bool = False
    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
