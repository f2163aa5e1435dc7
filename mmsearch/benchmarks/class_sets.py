"""What the usual data sets of classification call their classes, and the texts that ask for them.

A file a data set in `class_names/`, each with its source: facts that were published, none of them made here. Names
stand in the order of the data set's own labels, with the folder of each class where it is called otherwise.
"""

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmsearch.errors import BenchmarkError

__all__ = ["ClassFinder", "ClassSet", "class_set_names", "load_class_set", "words_only"]

_FOLDER = Path(__file__).parent / "class_names"


@dataclass(frozen=True, slots=True)
class ClassSet:
    """The classes of a data set.

    Attributes:
        title: For people.
        source: Where names and templates were published.
        figure: What is published for it: "top1", "mean_per_class" or "mAP_11_point" (Radford et al. 2021, table 9).
        names: In the order of the data set's labels. Some repeat: ImageNet has "missile" and "sunglasses" twice.
        folders: What the data set calls their folders; "" where that is the name.
        templates: Each with one {}.
        multilabel: Whether a picture has several classes.
        others_left_out: Whether folders of other classes are left out, and no mistake.
        first_number: Of the labels, where they are numbers.
        note: What a reader has to know, or "".
    """

    name: str
    title: str
    source: str
    figure: str
    names: tuple[str, ...]
    folders: tuple[str, ...]
    templates: tuple[str, ...]
    multilabel: bool = False
    others_left_out: bool = False
    first_number: int = 0
    note: str = ""

    def __len__(self) -> int:
        return len(self.names)


@cache
def class_set_names() -> tuple[str, ...]:
    """The data sets that are known, sorted."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


@cache
def load_class_set(name: str) -> ClassSet:
    """The classes of a data set. Raises BenchmarkError, which lists those that are known."""
    wanted = name.lower().replace("_", "-")
    if wanted not in class_set_names():
        close = difflib.get_close_matches(wanted, class_set_names(), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise BenchmarkError(f"no data set {name}{hint or '.'} Known are: custom, {', '.join(class_set_names())}")
    document: dict[str, Any] = json.loads((_FOLDER / f"{wanted}.json").read_text("utf-8"))
    if "subset_of" in document:
        whole = load_class_set(document["subset_of"])
        indices = document.get("indices", range(len(whole)))
        return ClassSet(
            name=wanted,
            title=document["title"],
            source=f"{document['source']}; {whole.source}",
            figure=whole.figure,
            names=tuple(whole.names[index] for index in indices),
            folders=tuple(whole.folders[index] for index in indices),
            templates=whole.templates,
        )
    pairs = [("", entry) if isinstance(entry, str) else entry for entry in document.pop("classes")]
    return ClassSet(
        name=wanted,
        names=tuple(name for _, name in pairs),
        folders=tuple(folder for folder, _ in pairs),
        templates=tuple(document.pop("templates")),
        **document,
    )


def words_only(text: str) -> str:
    """A name as it is compared: without case, and without what people put between words.

    >>> words_only("Hot_Air-Balloon (1)") == words_only("hot air balloon 1")
    True
    """
    return re.sub(r"[^\w]|_", "", text.casefold())


class ClassFinder:
    """Finds which class of a set a folder, a label or a number is."""

    def __init__(self, classes: ClassSet, labels: Sequence[str]) -> None:
        """labels: all that will be asked for; of numbers these decide whether they begin with 0 or 1."""
        self._classes = classes
        self._by_folder = {folder.casefold(): index for index, folder in enumerate(classes.folders) if folder}
        by_name: dict[str, list[int]] = {}
        for index, name in enumerate(classes.names):
            by_name.setdefault(words_only(name), []).append(index)
        self._by_name = by_name
        numbers = {int(label) for label in labels if label.isascii() and label.isdigit()}
        self._first = 0 if 0 in numbers else 1 if len(classes) in numbers else classes.first_number
        self.guessed = bool(numbers) and not numbers & {0, len(classes)}
        """Whether nothing but the data set's custom says what number its first class has."""

    def find(self, label: str) -> int | None:
        """The index of a class, by the data set's own folder, its name, or its number; None: it is none of them.

        label: of a nested folder any part of it will do: `c/church/indoor` of SUN397 is "church indoor".
        Raises BenchmarkError where several classes have the name.
        """
        parts = [part for part in label.split("/") if part]
        for first in range(len(parts)):
            for last in range(len(parts), first, -1):
                if (index := self._find_one("/".join(parts[first:last]))) is not None:
                    return index
        return None

    def _find_one(self, label: str) -> int | None:
        if (index := self._by_folder.get(label.casefold())) is not None:
            return index
        named = self._by_name.get(words_only(label), [])
        if len(named) > 1:
            raise BenchmarkError(
                f"{len(named)} classes of {self._classes.title} are called {label}: name the folders "
                f"{' and '.join(self._classes.folders[index] for index in named)}"
            )
        if named:
            return named[0]
        if label.isascii() and label.isdigit() and 0 <= (index := int(label) - self._first) < len(self._classes):
            return index
        return None

    def explain(self, label: str) -> str:
        """Why a label is no class, with the names that come near."""
        close = difflib.get_close_matches(label.casefold(), [name.casefold() for name in self._classes.names], 3, 0.4)
        near = f"; near it are {', '.join(close)}" if close else ""
        return f"{label} is no class of {self._classes.title}{near}"
