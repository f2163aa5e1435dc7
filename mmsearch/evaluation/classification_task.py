"""What is to be classified: the pictures of a layout, the classes that they have, and the texts that ask for these."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch.benchmarks.class_sets import ClassFinder, ClassSet, load_class_set
from mmsearch.benchmarks.labelled_images import assign_classes, read_labelled_images
from mmsearch.benchmarks.model import LabelledImage, LabelledImages
from mmsearch.benchmarks.own_classes import DEFAULT_TEMPLATES, name_classes, names_in_order
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.zeroshot_records import ZeroShotClass, ZeroShotOptions
from mmsearch.locations import Location

__all__ = ["ClassificationTask", "PictureClasses", "read_task", "shorten"]


@dataclass(frozen=True, slots=True)
class PictureClasses:
    """The indices of the classes that a picture shows, and of those of which it is not known."""

    classes: tuple[int, ...]
    unjudged: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClassificationTask:
    """What is to be classified.

    Attributes:
        known: The data set; None for pictures of one's own.
        images: name -> what it shows, in the order of the layout.
    """

    folder: Location
    known: ClassSet | None
    title: str
    layout: str
    figure: str
    names_source: str
    classes: tuple[ZeroShotClass, ...]
    templates: tuple[str, ...]
    images: dict[str, PictureClasses]
    multilabel: bool
    problems: tuple[str, ...]


def read_task(images: str | os.PathLike[str], benchmark: str, options: ZeroShotOptions) -> ClassificationTask:
    """The task of a place and of the options. Raises BenchmarkError."""
    known = None if benchmark == "custom" else load_class_set(benchmark)
    read = read_labelled_images(
        images,
        labels=options.labels,
        split=options.split,
        label_column=options.label_column,
        nested=known is not None,
    )
    templates = templates_named(
        options.templates or (known.templates if known else read.templates or DEFAULT_TEMPLATES)
    )
    if not templates:
        raise BenchmarkError("no template: '{}' stands for the bare name")
    problems: list[str] = []
    if known is not None:
        index_of, found = _find_classes(read, known, problems)
        labels = [folder or name for folder, name in zip(known.folders, known.names, strict=True)]
        names = list(known.names)
        if options.classes is not None:
            names = names_in_order(options.classes, len(labels))
    else:
        index_of, labels, names = _own_classes(read, options.classes, problems)
        found = read.images
    pictures = {
        image.name: PictureClasses(
            tuple(sorted({index_of[label] for label in image.classes})),
            tuple(sorted({index_of[label] for label in image.unjudged})),
        )
        for image in found
    }
    multilabel = read.multilabel or (known is not None and known.multilabel)
    if known is not None and known.note:
        problems.append(known.note)
    return ClassificationTask(
        folder=read.folder,
        known=known,
        title=known.title if known else f"pictures of {read.folder.name}",
        layout=read.layout,
        figure=known.figure if known else "mAP" if multilabel else "top1",
        names_source=known.source
        if known
        else f"those of the {'labels' if options.labels else 'folders'}"
        if options.classes is None
        else options.classes.name,
        classes=tuple(
            ZeroShotClass(label, name, shown)
            for label, name, shown in zip(labels, names, _distinguish_names(names, labels), strict=True)
        ),
        templates=templates,
        images=pictures,
        multilabel=multilabel,
        problems=tuple(problems),
    )


def _find_classes(
    read: LabelledImages, known: ClassSet, problems: list[str]
) -> tuple[dict[str, int], Sequence[LabelledImage]]:
    """label -> index of the class in the data set, and the pictures of its classes."""
    used = {label for image in read.images for label in (*image.classes, *image.unjudged)}
    if read.numbered:
        return _find_numbers(read, known, problems), read.images
    finder = ClassFinder(known, read.labels)
    index_of, others = assign_classes(finder, sorted(used), known)
    if finder.guessed:
        problems.append(
            f"the numbers of the classes are taken to begin with {known.first_number}, as {known.title} counts"
        )
    if not others:
        return index_of, read.images
    problems.append(f"{len(others):,} folders are of other classes, and left out: {shorten(others)}")
    left_out = set(others)
    return index_of, [image for image in read.images if not left_out & {*image.classes, *image.unjudged}]


def _find_numbers(read: LabelledImages, known: ClassSet, problems: list[str]) -> dict[str, int]:
    """The index of the class that each number of a layout is, which counts from 0: by its name where the layout names
    all of them as the data set does, else by the number itself."""
    try:
        finder = ClassFinder(known, read.names)
        named = {label: finder.find(name) for label, name in zip(read.labels, read.names, strict=False)}
    except BenchmarkError:  # a name that several classes have
        named = {}
    by_name = {label: index for label, index in named.items() if index is not None}
    if len(by_name) == len(read.labels) == len(set(by_name.values())):
        return by_name
    if len(read.labels) > len(known) or (read.names and len(read.names) != len(known)):
        raise BenchmarkError(
            f"images: {len(read.labels):,} classes, and {known.title} has {len(known):,}: another data set? Without "
            "its name the classes are those of the layout"
        )
    problems.append(f"classes are numbers, taken in the order of {known.title}; its names and templates are used")
    return {label: int(label) for label in read.labels}


def _own_classes(
    read: LabelledImages, file: Path | None, problems: list[str]
) -> tuple[dict[str, int], list[str], list[str]]:
    """label -> index, and the label and the name of each class. A folder without pictures is a class where the file
    names it."""
    counts = Counter(label for image in read.images for label in (*image.classes, *image.unjudged))
    if read.names and file is None:
        return {label: index for index, label in enumerate(read.labels)}, list(read.labels), list(read.names)
    if read.numbered and file is None:
        raise BenchmarkError(
            f"images: {read.layout}, whose {len(read.labels):,} classes are numbers without names: name the data set, "
            "or give --classes with a name a line"
        )
    name_of = name_classes({label: counts[label] for label in read.labels}, file)
    without_class = [label for label in read.labels if label not in name_of]
    if without_class:
        problems.append(
            f"{len(without_class):,} folders without pictures are taken for no class: {shorten(without_class)}. "
            "--classes with FOLDER<TAB>NAME makes them candidates"
        )
    return {label: index for index, label in enumerate(name_of)}, list(name_of), list(name_of.values())


def _distinguish_names(names: list[str], labels: list[str]) -> list[str]:
    """The names, and of those that several classes have the label too."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({label})" for name, label in zip(names, labels, strict=True)]


def shorten(names: Sequence[str]) -> str:
    """The first few of some names, for a sentence."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
