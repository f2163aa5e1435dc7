"""Extended positives: captions and images of COCO that belong together without having been written together.

Read are the files of ECCV Caption (`eccv_caption_to_image.json` with `eccv_image_to_caption.json`, and likewise those
of other sets beside them, as CxC in `cxc_…`): objects from an id to a list of ids; and CxC's own ratings
(`sits_test.csv`).
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmsearch.benchmarks.image_names import last_part
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location
from mmsearch.sources import FolderWalk
from mmsearch.stores import is_folder, read_bytes

__all__ = ["CXC_POSITIVE", "Positives", "find_positives", "image_number"]

CXC_POSITIVE = 3.0
"""A caption and an image with this rating or more belong together (Parekh et al. 2020, section 3)."""

_CAPTIONS = re.compile(r"(?P<set>\w+)_caption_to_image\.json")
_RATINGS = re.compile(r"sits_\w+\.csv")
_NAMES = {"eccv": "ECCV Caption", "cxc": "CxC", "pm": "Plausible Match", "original": "COCO, as listed"}


@dataclass(frozen=True, slots=True)
class Positives:
    """One set of what belongs together.

    Attributes:
        name: As it is called in tables.
        images_of_caption: Id of a caption -> numbers of the images that belong to it; only captions that ask.
        captions_of_image: Number of an image -> ids of the captions that belong to it; only images that ask.
        ratings: Whether what is not rated belongs together as it was written: then these are the changes, and
            `against` holds the pairs that do not belong together.
        against: Pairs of a caption and an image.
    """

    name: str
    images_of_caption: Mapping[str, tuple[str, ...]]
    captions_of_image: Mapping[str, tuple[str, ...]]
    ratings: bool = False
    against: frozenset[tuple[str, str]] = frozenset()


def image_number(name: str) -> str:
    """The number of an image of COCO, by which these sets call it; "" where the name has none.

    >>> image_number("val2014/COCO_val2014_000000391895.jpg")
    '391895'
    """
    match = re.search(r"(\d+)(\.\w+)?$", last_part(name))
    return str(int(match[1])) if match else ""


def find_positives(place: Location) -> tuple[Positives, ...]:
    """All sets in a folder, in the order of their names; or the one of a file. Raises BenchmarkError."""
    if is_folder(place):
        names = [file.name for file in FolderWalk(place, sidecars_too=True)]
        root = place
    else:
        names, root = [place.name], place.parent
    found = [_read_pair(root, name) for name in sorted(names) if _CAPTIONS.fullmatch(last_part(name))]
    found += [_read_ratings(root, name) for name in sorted(names) if _RATINGS.fullmatch(last_part(name))]
    if not found:
        raise BenchmarkError(
            f"{place}: no positives in it. Looked for SET_caption_to_image.json with SET_image_to_caption.json (ECCV "
            "Caption's and its kin), and sits_test.csv (CxC's ratings)."
        )
    return tuple(found)


def _read_pair(root: Location, name: str) -> Positives:
    match = _CAPTIONS.fullmatch(last_part(name))
    assert match is not None
    other = name.replace("_caption_to_image.json", "_image_to_caption.json")
    return Positives(_NAMES.get(match["set"], match["set"]), _read_ids(root / name), _read_ids(root / other))


def _read_ids(file: Location) -> dict[str, tuple[str, ...]]:
    try:
        data = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{file}: not JSON ({error}). Is the download complete?") from None
    if not isinstance(data, dict) or not all(isinstance(ids, list) for ids in data.values()):
        raise BenchmarkError(f"{file}: not an object from an id to a list of ids")
    try:
        return {str(int(key)): tuple(str(int(each)) for each in ids) for key, ids in data.items()}
    except (TypeError, ValueError):
        raise BenchmarkError(f"{file}: an id that is no number") from None


def _read_ratings(root: Location, name: str) -> Positives:
    """CxC's ratings of pairs: those that reach the threshold belong together, the others do not."""
    images: dict[str, list[str]] = {}
    captions: dict[str, list[str]] = {}
    against = set[tuple[str, str]]()
    for caption, image, rating in _rated_pairs(root / name):
        if rating < CXC_POSITIVE:
            against.add((caption, image))
            continue
        images.setdefault(caption, []).append(image)
        captions.setdefault(image, []).append(caption)
    return Positives(
        f"CxC, by {last_part(name)}",
        {key: tuple(values) for key, values in images.items()},
        {key: tuple(values) for key, values in captions.items()},
        ratings=True,
        against=frozenset(against),
    )


def _rated_pairs(file: Location) -> Iterator[tuple[str, str, float]]:
    """Caption, image and rating of each line: COCO_val2014:sentid:732091,COCO_val2014_000000365325.jpg,2.2,…"""
    lines = _read(file).decode("utf-8-sig", "replace").splitlines()
    for number, row in enumerate(csv.reader(lines), 1):
        if number == 1 or not row:
            continue
        try:
            yield row[0].rpartition(":")[2], image_number(row[1]), _rating(row)
        except (IndexError, ValueError):
            raise BenchmarkError(f"{file}, line {number}: not caption, image, rating: {','.join(row)[:80]!r}") from None


def _rating(row: Sequence[str]) -> float:
    rating = float(row[2])
    if not 0 <= rating <= 5 or not row[0].rpartition(":")[2].isdigit() or not image_number(row[1]):
        raise ValueError
    return rating


def _read(file: Location) -> bytes:
    try:
        return read_bytes(file)
    except FileNotFoundError:
        raise BenchmarkError(f"there is no file {file}; both directions are needed") from None
    except OSError as error:
        raise BenchmarkError(f"{file} cannot be read: {error.strerror or error}") from error
