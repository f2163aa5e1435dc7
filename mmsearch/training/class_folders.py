"""Pairs from folders of classes: a picture and what its class is called, in each of some templates."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch.benchmarks.labelled_images import read_labelled_images
from mmsearch.benchmarks.own_classes import DEFAULT_TEMPLATES, name_classes
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError, TrainingError
from mmsearch.gallery import Gallery
from mmsearch.training.pairs import gallery_pictures
from mmsearch.training.records import TrainingPairs

__all__ = ["ClassFolders", "class_pairs", "read_class_folders"]


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """Pictures in a folder for each class.

    Attributes:
        names: what each class is called; those of equal names are one.
        templates: with a {} for the name.
        class_of: path below the folder, with slashes -> the class of the picture.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    class_of: dict[str, int]

    @property
    def texts(self) -> list[str]:
        """Of each class each template, those of one class together."""
        return [template.replace("{}", name) for name in self.names for template in self.templates]


def read_class_folders(
    folder: str | os.PathLike[str], *, classes: Path | None = None, templates: Sequence[str] = ()
) -> ClassFolders:
    """The classes of a folder, as `eval zeroshot` and `eval linear` read them.

    classes: a file of their names; by default the folders'. templates: texts with {}, or names of sets; by default "a
    photo of a {}.". Raises TrainingError, EncoderError.
    """
    wanted = templates_named(templates or DEFAULT_TEMPLATES)
    try:
        read = read_labelled_images(folder)
        counts = dict.fromkeys(read.labels, 0)
        for image in read.images:
            for label in image.classes:
                counts[label] += 1
        if read.multilabel or read.numbered or read.names:
            raise TrainingError(
                f"{folder} holds {read.layout}: what is learned from are folders, one for each class, or with --pairs "
                "files of captions"
            )
        name_of = name_classes(counts, classes)
    except BenchmarkError as error:
        raise TrainingError(
            f"{error}. Without --pairs, files of captions, the folders of --images are the classes, at least two"
        ) from None
    number_of = {name: number for number, name in enumerate(dict.fromkeys(name_of.values()))}
    if len(number_of) < 2:
        raise TrainingError(f"all classes of {folder} have one name: there is nothing to tell apart")
    class_of = {image.name: number_of[name_of[image.classes[0]]] for image in read.images}
    return ClassFolders(tuple(number_of), wanted, class_of)


def class_pairs(gallery: Gallery, folders: ClassFolders) -> TrainingPairs:
    """The pictures of a gallery that are in folders of classes, in the order in which they were embedded.

    Vectors of texts are left as zeros: the gallery does not hold them. Raises TrainingError where it holds no such
    picture.
    """
    found = [(row_id, folders.class_of[name]) for row_id, _, name in gallery.image_names() if name in folders.class_of]
    if not found:
        raise TrainingError(f"{gallery.path} holds none of the {len(folders.class_of):,} pictures of the classes")
    rows, classes = np.array(sorted(found), np.int64).T
    pictures = gallery_pictures(gallery, rows)
    each = len(folders.templates)
    texts = folders.texts
    return TrainingPairs(
        texts=tuple(texts[number * each + template] for number in classes.tolist() for template in range(each)),
        image_of_text=np.repeat(np.arange(len(rows)), each),
        files=pictures.files,
        groups=pictures.groups,
        image_vectors=pictures.vectors,
        text_vectors=np.zeros((len(rows) * each, pictures.vectors.shape[1]), np.float32),
        rows=rows,
        classes=classes,
    )
