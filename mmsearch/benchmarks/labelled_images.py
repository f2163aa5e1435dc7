"""Pictures with their classes, as people have them: a folder for each class, a table, VOC's lists, shards."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmsearch.benchmarks.class_sets import ClassFinder, ClassSet
from mmsearch.benchmarks.image_names import is_image_name
from mmsearch.benchmarks.model import LabelledImage, LabelledImages
from mmsearch.benchmarks.samples import find_shards
from mmsearch.benchmarks.shard_labels import read_labelled_shards
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location, Url, expanded, located
from mmsearch.stores import read_lines

__all__ = ["assign_classes", "read_labelled_images"]

_VOC_LISTS = Path("ImageSets") / "Main"
_VOC_IMAGES = "JPEGImages"


def read_labelled_images(
    folder: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    split: str = "test",
    label_column: str | None = None,
    nested: bool = False,
) -> LabelledImages:
    """The pictures of a folder with their classes.

    labels: a table of picture and class; without it the layout is looked for: VOC's lists (`ImageSets/Main`), a folder
    for each class, else shards, which may lie in an object store or be a single file. split: of VOC's lists and of
    shards; all for everything. label_column: what holds the class in shards. nested: a class is the whole path of the
    folder that a picture is in, not the first of its folders. Raises BenchmarkError.
    """
    place = located(folder)
    try:
        return _read_place(place, labels, split, label_column, nested=nested)
    except OSError as error:
        raise BenchmarkError(f"images: {place} cannot be read: {error.strerror or error}") from error


def _read_place(
    place: Location, labels: str | os.PathLike[str] | None, split: str, label_column: str | None, *, nested: bool
) -> LabelledImages:
    if isinstance(place, Url) or not place.is_dir():
        if not isinstance(place, Url) and not place.exists():
            raise BenchmarkError(f"images: {place} does not exist")
        return _read_shards(place, split, label_column)
    root = Path(os.path.abspath(place))  # noqa: PTH100 - resolve() would follow links
    if labels is not None:
        return _read_table(root, Path(os.path.abspath(expanded(labels))))  # noqa: PTH100
    if (root / _VOC_LISTS).is_dir():
        return _read_voc(root, split)
    read = _read_folders(root, nested=nested)
    return read if read.images else _read_shards(root, split, label_column)


def _read_shards(place: Location, split: str, label_column: str | None) -> LabelledImages:
    shards = find_shards(place)
    if shards is None:
        raise BenchmarkError(
            f"images: {place} has 0 folders with pictures, and no shards; zero-shot classification takes a folder for "
            "each class, at least two, or a table of labels: --labels"
        )
    return read_labelled_shards(shards, None if split == "all" else split, label_column)


def _read_folders(root: Path, *, nested: bool) -> LabelledImages:
    """Links to folders are not followed."""
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    images: list[LabelledImage] = []
    labels: set[str] = set()
    for folder in folders:
        names = [
            (Path(base) / name).relative_to(root).as_posix()
            for base, _, files in os.walk(root / folder)
            for name in files
            if is_image_name(name) and not name.startswith(".")
        ]
        images += [LabelledImage(name, (name.rpartition("/")[0] if nested else folder,)) for name in sorted(names)]
        labels.update({image.classes[0] for image in images[-len(names) :]} if names else {folder})
    if images and not nested and len({image.classes for image in images}) < 2:
        raise BenchmarkError(
            f"images: {root} has 1 folder with pictures; zero-shot classification takes a folder for each class, at "
            "least two, or a table of labels: --labels"
        )
    return LabelledImages(root, "a folder for each class", tuple(images), tuple(sorted(labels)))


def _read_table(root: Path, file: Path) -> LabelledImages:
    """Lines of picture and class with a tab, a comma or (Pets, Flowers) spaces between them; further columns are not
    looked at. A picture that stands there several times has several classes."""
    lines = [(number, line) for number, line in enumerate(_lines(file, "labels"), 1) if line.strip()]
    if not lines:
        raise BenchmarkError(f"labels: {file} is empty; write lines of picture and class, with a tab between them")
    separator = next((mark for mark in ("\t", ",") if mark in lines[0][1]), " ")
    classes: dict[str, list[str]] = {}
    for number, line in lines:
        cells = [
            cell.strip() for cell in next(csv.reader(io.StringIO(line), delimiter=separator, skipinitialspace=True))
        ]
        if len(cells) < 2 or not cells[0] or not cells[1]:
            raise BenchmarkError(f"labels: {file}, line {number}: expected a picture and its class, found {line!r}")
        if number == 1 and not is_image_name(cells[0]) and cells[0].casefold() in _HEADERS:
            continue
        classes.setdefault(cells[0], []).append(cells[1])
    find = _image_finder(root)
    images: list[LabelledImage] = []
    missing: list[str] = []
    for name, shown in classes.items():
        path = find(name)
        if path is None:
            missing.append(name)
        else:
            images.append(LabelledImage(path, tuple(dict.fromkeys(shown))))
    if missing:
        raise BenchmarkError(
            f"labels: {len(missing):,} of {len(classes):,} pictures that {file} names are not in {root}: "
            f"{', '.join(missing[:5])}"
        )
    multilabel = any(len(image.classes) > 1 for image in images)
    labels = sorted({label for image in images for label in image.classes})
    return LabelledImages(root, f"labels of {file.name}", tuple(images), tuple(labels), multilabel)


_HEADERS = frozenset(
    {"image", "images", "file", "filename", "file_name", "name", "path", "image_path", "id", "image_id"}
)


def _image_finder(root: Path) -> Callable[[str], str | None]:
    """From the name in a table to the picture's path: as it is, or without a suffix, or anywhere below by its name."""
    tree: dict[str, list[str]] = {}
    for base, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for file in files:
            if is_image_name(file) and not file.startswith("."):
                path = (Path(base) / file).relative_to(root).as_posix()
                for key in {path, path.rpartition(".")[0], file, file.rpartition(".")[0]}:
                    tree.setdefault(key, []).append(path)

    def find(name: str) -> str | None:
        found = tree.get(name.replace("\\", "/").removeprefix("./"), [])
        if len(found) > 1 and name not in found:
            raise BenchmarkError(
                f"labels: {name} is in {root} more than once ({', '.join(found[:3])}): name its folder"
            )
        return name if name in found else found[0] if found else None

    return find


def _read_voc(root: Path, split: str) -> LabelledImages:
    """VOCdevkit's `ImageSets/Main/CLASS_SPLIT.txt`: a picture's number and 1 (shown), -1 (not) or 0 (difficult)."""
    suffix = f"_{split}.txt"
    files = sorted(file for file in (root / _VOC_LISTS).iterdir() if file.name.endswith(suffix))
    if len(files) < 2:
        splits = sorted({file.stem.rpartition("_")[2] for file in (root / _VOC_LISTS).glob("*_*.txt")})
        raise BenchmarkError(
            f"images: {root / _VOC_LISTS} has no lists CLASS{suffix}; it has splits {', '.join(splits)}"
        )
    shown: dict[str, list[str]] = {}
    unjudged: dict[str, list[str]] = {}
    for file in files:
        name = file.name.removesuffix(suffix)
        for number, line in enumerate(_lines(file, "labels"), 1):
            cells = line.split()
            if not cells:
                continue
            if len(cells) != 2 or cells[1] not in ("1", "-1", "0"):
                raise BenchmarkError(
                    f"labels: {file}, line {number}: expected a picture and 1, -1 or 0, found {line!r}"
                )
            shown.setdefault(cells[0], []).extend([name] if cells[1] == "1" else [])
            unjudged.setdefault(cells[0], []).extend([name] if cells[1] == "0" else [])
    images = tuple(
        LabelledImage(f"{_VOC_IMAGES}/{image}.jpg", tuple(classes), tuple(unjudged[image]))
        for image, classes in sorted(shown.items())
    )
    return LabelledImages(
        root, f"VOC's lists, {split}", images, tuple(file.name.removesuffix(suffix) for file in files), multilabel=True
    )


def _lines(file: Path, noun: str) -> Sequence[str]:
    try:
        return list(read_lines(file))
    except OSError as error:
        raise BenchmarkError(f"{noun}: {file} cannot be read: {error.strerror or error}") from None


def assign_classes(finder: ClassFinder, labels: Sequence[str], classes: ClassSet) -> tuple[dict[str, int], list[str]]:
    """The index of the class that each label is, and the labels that are of no class where the set says so.

    Raises BenchmarkError for a label that is no class of the set.
    """
    wanted = list(labels)
    found = {label: finder.find(label) for label in wanted}
    others = [label for label, index in found.items() if index is None]
    if others and (not classes.others_left_out or len(others) == len(wanted)):
        more = f" (and {len(others) - 1:,} more)" if len(others) > 1 else ""
        raise BenchmarkError(f"images: {finder.explain(others[0])}{more}")
    return {label: index for label, index in found.items() if index is not None}, others
