"""How the files of probes look: small functions from an entry to its pictures, its texts, its subset."""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mmsearch.evaluation.probes.entries import Entry, entries_of_file, picture_names, probe_files
from mmsearch.evaluation.probes.records import Box

__all__ = [
    "NUMBERS",
    "all_files",
    "aro_box",
    "counted_texts",
    "counts_a_word",
    "dense_records",
    "first_folder",
    "mmvp_pairs",
    "named_by_files",
    "numbered_options",
    "objects_and_words",
    "file_stem",
    "is_valid_foil",
    "whatsup_pair",
    "whatsup_preposition",
    "whatsup_set",
]

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""The numbers of CountBench, 2 to 10."""


def all_files(annotations: Path) -> Iterator[Entry]:
    """The entries of a file, or of all files of a folder."""
    for file in probe_files(annotations):
        yield from entries_of_file(file)


def file_stem(entry: Entry) -> str:
    """What the file is called, where each subset has a file: "swap_att" of swap_att.json."""
    return entry.file.stem


# --- EqBen ----------------------------------------------------------------------------------------------------------


def dense_records(annotations: Path) -> Iterator[Entry]:
    """The records with two pictures, however deep they stand: below films, and below subjects of films."""
    for entry in all_files(annotations):
        records = list(_records_below(entry.value))
        if not records:
            raise entry.fail("no record with image0, image1, caption0 and caption1 in it")
        for value in records:
            yield Entry(entry.file, entry.where, entry.number, entry.key, value)


def _records_below(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and ("image0" in value or "image_0" in value):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _records_below(each)


def first_folder(entry: Entry) -> str:
    """The folder that a picture's name begins with, which names the source of it; else the name of the file."""
    folders = PurePosixPath(entry.text("image0", "image_0")).parts[:-1]
    return folders[0] if folders else entry.file.stem


# --- ARO ------------------------------------------------------------------------------------------------------------


def aro_box(entry: Entry) -> Box:
    """The box around the two things: all else of the scene is cut away."""
    left, top, width, height = (entry.get(f"bbox_{name}") for name in ("x", "y", "w", "h"))
    if not all(isinstance(each, int | float) for each in (left, top, width, height)) or width <= 0 or height <= 0:
        raise entry.fail(f"the box is {left!r}, {top!r}, {width!r} x {height!r}, no place in a picture")
    return int(left), int(top), int(left + width), int(top + height)


# --- VALSE ----------------------------------------------------------------------------------------------------------


def is_valid_foil(entry: Entry) -> bool:
    """Whether two of three people took the caption, and not the foil, for the text of the picture."""
    votes = entry.find("mturk")
    if votes is None:
        return True
    count = votes.get("caption") if isinstance(votes, dict) else None
    if not isinstance(count, int):
        raise entry.fail(f"'mturk' is {votes!r:.60}, without the number of votes for the caption")
    return count >= 2


# --- MMVP-VLM -------------------------------------------------------------------------------------------------------


def mmvp_pairs(annotations: Path) -> Iterator[Entry]:
    """Two rows after each other are a pair: Question ID, Type, Statement."""
    first: Entry | None = None
    for entry in all_files(annotations):
        if first is None:
            first = entry
            continue
        pair = {
            f"{name}_{place}": row.text(*keys)
            for place, row in enumerate((first, entry))
            for name, keys in {
                "id": ("Question ID", "Index", "id"),
                "type": ("Type", "type"),
                "statement": ("Statement", "statement"),
            }.items()
        }
        yield Entry(first.file, first.where, first.number, None, pair)
        first = None
    if first is not None:
        raise first.fail("a row without its pair: pairs are two rows after each other")


# --- What'sUp -------------------------------------------------------------------------------------------------------


def numbered_options(annotations: Path) -> Iterator[Entry]:
    """[id, right text, wrong text] as a record, and {image_path, caption_options} as it is; the right text is first."""
    for entry in all_files(annotations):
        value = entry.value
        if isinstance(value, list):
            if len(value) < 3:
                raise entry.fail(f"{value!r:.80}: neither a record nor [image, right text, wrong text]")
            names = [f"{value[0]:012}.jpg", f"{value[0]}.jpg"] if isinstance(value[0], int) else [f"{value[0]}.jpg"]
            value = {"image_path": names, "caption_options": value[1:]}
        yield Entry(entry.file, entry.where, entry.number, entry.key, value)


def whatsup_preposition(entry: Entry) -> str:
    """left, right, on, under, front, behind, above, below, top, bottom: what the right text says."""
    words = entry.get("caption_options")[0].lower().rstrip(".").split()
    known = ("left", "right", "under", "front", "behind", "above", "below", "top", "bottom", "on")
    return next((word for word in known if word in words), "other")


def _controlled_name(entry: Entry) -> tuple[str, str, str] | None:
    """Thing, preposition and other thing of a controlled picture: mug_left_of_plate.jpeg; None of others."""
    name = entry.find("image_path")
    parts = PurePosixPath(name).stem.split("_") if isinstance(name, str) else []
    return (parts[0], parts[1], parts[-1]) if len(parts) >= 3 else None


def whatsup_set(entry: Entry) -> str | None:
    """The same two things in all four ways."""
    name = _controlled_name(entry)
    return f"{entry.file.name}: {name[0]}, {name[2]}" if name else None


def whatsup_pair(entry: Entry) -> str | None:
    """The same two things in two opposite ways."""
    name = _controlled_name(entry)
    if name is None:
        return None
    axis = "sides" if name[1] in ("left", "right") else "other"
    return f"{entry.file.name}: {name[0]}, {name[2]}, {axis}"


# --- CountBench -----------------------------------------------------------------------------------------------------


def counts_a_word(entry: Entry) -> bool:
    """Whether the caption says its number, from two to ten, as a word or in digits."""
    return _number_in(entry) is not None


def counted_texts(entry: Entry) -> tuple[str, ...]:
    """The caption with its own number, then with each other from two to ten, written as the caption writes it."""
    found = _number_in(entry)
    assert found is not None  # counts_a_word has been asked
    text, number, in_digits = entry.text("text", "caption"), *found
    pattern = _number_pattern(number, in_digits=in_digits)
    order = [number, *(other for other in range(2, 11) if other != number)]
    texts = []
    for other in order:
        replacement = partial(_written_like, number=other, in_digits=in_digits)
        texts.append(pattern.sub(replacement, text))
    return tuple(texts)


def _number_in(entry: Entry) -> tuple[int, bool] | None:
    """The number of an entry, and whether the caption has it in digits; None where it has it in no way."""
    value = entry.get("number")
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise entry.fail(f"'number' is {value!r:.40}, not a number") from None
    if not 2 <= number <= 10:
        return None
    text = entry.text("text", "caption")
    for in_digits in (False, True):
        if _number_pattern(number, in_digits=in_digits).search(text):
            return number, in_digits
    return None


def _number_pattern(number: int, *, in_digits: bool) -> re.Pattern[str]:
    return re.compile(rf"\b{number if in_digits else NUMBERS[number - 2]}\b", re.IGNORECASE)


def _written_like(found: re.Match[str], *, number: int, in_digits: bool) -> str:
    """The number as the caption writes the one that was found: FOUR for THREE."""
    word = found[0]
    if in_digits:
        return str(number)
    other = NUMBERS[number - 2]
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


# --- typographic ----------------------------------------------------------------------------------------------------

_NAMED = re.compile(r"label=(?P<object>[^_]+)_text=(?P<word>.+)", re.IGNORECASE)


def named_by_files(annotations: Path) -> Iterator[Entry]:
    """Pictures called label=OBJECT_text=WORD, as in RTA-100; each entry with all words of all names for options."""
    found = list(picture_names(annotations))
    parts = []
    for entry in found:
        match = _NAMED.fullmatch(PurePosixPath(entry.value).stem)
        if match is None:
            raise entry.fail(f"{PurePosixPath(entry.value).name} is not called label=OBJECT_text=WORD")
        parts.append((match["object"], match["word"]))
    words = sorted({word for pair in parts for word in pair})
    for entry, (thing, word) in zip(found, parts, strict=True):
        value = {"file": entry.value, "object": thing, "word": word, "others": words}
        yield Entry(entry.file, entry.where, entry.number, None, value)


def objects_and_words(entry: Entry) -> tuple[str, ...]:
    """What is shown, the word that is written there, and all other words."""
    pair = (entry.text("object_label", "object"), entry.text("attack_word", "word"))
    others: Iterable[str] = entry.find("others") or ()
    return (*pair, *(word for word in others if word not in pair))
