"""Expressions that refer to a part of a picture, each with its box: RefCOCO, RefCOCO+, RefCOCOg and their kin.

Read are, by what they hold:

    refs(unc).p and its kin   a pickle of records with `sentences` and an `ann_id`; the boxes stand in instances.json
                              beside it. Nothing that a pickle names is run. The same records as JSON too.
    JSON lines of pictures    records with `anns`, `ann_id` and `sentences`: the boxes stand beside the expressions
    COCO's layout             `images` with a `caption` each, and `annotations` with the box of each
    records of expressions    JSON lines or a list: a picture, an expression, a `bbox`

Boxes of COCO are left, top, width and height; those of the last layout are, or left, top, right and bottom: which, the
boxes tell, or it has to be said.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks.annotation_files import read_bytes
from mmsearch.benchmarks.image_folder import ImageFolder
from mmsearch.benchmarks.model import DraftImage
from mmsearch.benchmarks.plain_pickles import DAMAGED, RefusedName, load_plain
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location

__all__ = ["BOX_FORMS", "BoxForm", "Expression", "RegionBenchmark", "RegionImage", "load_regions"]

Boxes: TypeAlias = NDArray[np.float64]
"""(n, 4): left, top, right and bottom, in pixels of the picture as it is stored."""

BoxForm: TypeAlias = Literal["xyxy", "xywh"]
BOX_FORMS: tuple[BoxForm, ...] = ("xyxy", "xywh")

_MOST_BYTES = 1 << 31
_INSTANCES = "instances.json"
_TRAIN = "train"
_IMAGE_KEYS = ("file_name", "img_path", "image_path", "image", "img", "filename")
_TEXT_KEYS = ("expression", "sent", "sentence", "phrase", "ref", "text", "caption")
_BOX_KEYS = ("bbox", "box", "gt_bbox")
_CROPPED = re.compile(r"(COCO_\w+?_\d{12})_\d+(\.\w+)")


@dataclass(frozen=True, slots=True, eq=False)
class RegionImage:
    """A picture.

    Attributes:
        path: Relative to the root.
        given: The boxes that its annotations know.
        detected: Those of the file of detections; None where there is no such file.
    """

    path: str
    given: Boxes
    detected: Boxes | None


@dataclass(frozen=True, slots=True)
class Expression:
    """What somebody said of a part of a picture.

    Attributes:
        image: Position in the pictures.
        boxes: Of what is meant; mostly one.
    """

    text: str
    image: int
    boxes: tuple[tuple[float, float, float, float], ...]
    split: str


@dataclass(frozen=True, slots=True, eq=False)
class RegionBenchmark:
    """Expressions, and the pictures that they are about.

    Attributes:
        root: What images are relative to.
        source: The layout of the annotations, in words.
        splits: Those that are measured, in the order of the file; "" where it has none.
        problems: What was passed over.
    """

    root: Location
    source: str
    splits: tuple[str, ...]
    images: tuple[RegionImage, ...]
    expressions: tuple[Expression, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Draft:
    """An expression as the file has it. image: what tells pictures apart. name: of its file."""

    text: str
    image: str
    name: str
    boxes: tuple[tuple[float, ...], ...]
    split: str


@dataclass(frozen=True, slots=True)
class _Read:
    """What a file of annotations holds. given: picture -> its boxes, as in a draft."""

    source: str
    drafts: Sequence[_Draft]
    given: Mapping[str, Sequence[tuple[float, ...]]]
    problems: Sequence[str] = ()


def load_regions(
    *,
    images: Location,
    annotations: Location,
    splits: Sequence[str] = (),
    instances: Location | None = None,
    detections: Location | None = None,
    box_form: BoxForm | None = None,
) -> RegionBenchmark:
    """Read annotations, and find their images in a folder or an archive.

    splits: which are measured; none for all but "train". instances: of refs, where it does not stand beside them.
    detections: a JSON list of `image_id` and `box` (left, top, width, height), or a mapping of image ids to boxes.
    box_form: of records of expressions, where their boxes do not tell.
    Raises BenchmarkError.
    """
    read = _read(annotations, instances, box_form)
    there = tuple(dict.fromkeys(draft.split for draft in read.drafts))
    if unknown := [split for split in splits if split not in there]:
        known = ", ".join(filter(None, there)) or "none"
        raise BenchmarkError(f"{annotations}: there is no split {unknown[0]!r}; it has {known}")
    chosen = tuple(splits) or tuple(split for split in there if split != _TRAIN) or there
    drafts = [draft for draft in read.drafts if draft.split in chosen]
    if not drafts:
        raise BenchmarkError(f"{annotations}: it has no expressions")
    detected = None if detections is None else _read_detections(detections)
    folder = ImageFolder(images)
    paths = _find_images(folder, {draft.image: draft.name for draft in drafts})
    position = {image: number for number, image in enumerate(paths)}
    return RegionBenchmark(
        root=folder.root,
        source=read.source,
        splits=chosen,
        images=tuple(
            RegionImage(
                path,
                _array(read.given.get(image, ())),
                None if detected is None else _array(_detected_of(detected, image, path)),
            )
            for image, path in paths.items()
        ),
        expressions=tuple(
            Expression(draft.text, position[draft.image], tuple(_four(box) for box in draft.boxes), draft.split)
            for draft in drafts
        ),
        problems=tuple(read.problems),
    )


def _read(file: Location, instances: Location | None, box_form: BoxForm | None) -> _Read:
    parsed = _parse(file)
    if isinstance(parsed, dict):
        if isinstance(parsed.get("images"), list) and isinstance(parsed.get("annotations"), list):
            return _read_coco(file, parsed)
        keys = ", ".join(map(str, list(parsed)[:8])) or "none"
        raise BenchmarkError(f"{file}: no file of expressions; it has the keys {keys}")
    records = parsed if isinstance(parsed, list) else []
    first = next(iter(records), None)
    if not isinstance(first, dict):
        raise BenchmarkError(f"{file}: no file of expressions: neither refs(….p) nor records with a text and a bbox")
    if "sentences" in first and "anns" in first:
        return _read_pictures(file, records)
    if "sentences" in first and "ann_id" in first:
        return _read_refs(file, records, instances or file.parent / _INSTANCES)
    return _read_records(file, records, box_form)


def _read_refs(file: Location, records: Sequence[Any], instances: Location) -> _Read:
    known = _parse(instances)
    if not isinstance(known, dict) or not isinstance(known.get("annotations"), list):
        raise BenchmarkError(f"{instances}: not the instances of refs, with images and annotations")
    box_of: dict[Any, tuple[float, ...]] = {}
    given: dict[str, list[tuple[float, ...]]] = {}
    for number, record in enumerate(known["annotations"]):
        where = f"{instances}: annotations[{number}]"
        box = _corners(where, _value(where, record, "bbox"), "xywh")
        box_of[_value(where, record, "id")] = box
        given.setdefault(str(_value(where, record, "image_id")), []).append(box)
    images = known.get("images")
    names = {
        str(image["id"]): str(image["file_name"])
        for image in images or ()
        if isinstance(image, dict) and {"id", "file_name"} <= image.keys()
    }
    drafts: list[_Draft] = []
    for number, record in enumerate(records):
        where = f"{file}: record {number}"
        annotation, image = _value(where, record, "ann_id"), str(_value(where, record, "image_id"))
        if annotation not in box_of:
            raise BenchmarkError(f"{where}: {instances} has no annotation {annotation}")
        name = names.get(image) or _uncropped(str(_value(where, record, "file_name")))
        split = str(record.get("split", ""))
        drafts += [
            _Draft(text, image, name, (box_of[annotation],), split) for text in _sentences(where, record, "sent")
        ]
    return _Read("refs and their instances.json (refer)", drafts, given)


def _read_pictures(file: Location, records: Sequence[Any]) -> _Read:
    drafts: list[_Draft] = []
    given: dict[str, list[tuple[float, ...]]] = {}
    for number, record in enumerate(records):
        where = f"{file}: record {number}"
        image, meant = str(_value(where, record, "image_id")), _value(where, record, "ann_id")
        meant = meant if isinstance(meant, list) else [meant]
        boxes = {
            _value(where, each, "id"): _corners(where, _value(where, each, "bbox"), "xywh")
            for each in _value(where, record, "anns")
        }
        given[image] = list(boxes.values())
        if missing := [each for each in meant if each not in boxes]:
            raise BenchmarkError(f"{where}: its anns hold no {missing[0]}")
        name = _uncropped(str(_value(where, record, "file_name")))
        right = tuple(boxes[each] for each in meant)
        drafts += [
            _Draft(text, image, name, right, str(record.get("split", ""))) for text in _sentences(where, record, "raw")
        ]
    return _Read("JSON lines of pictures with anns and sentences", drafts, given)


def _read_coco(file: Location, parsed: Mapping[str, Any]) -> _Read:
    boxes: dict[Any, list[tuple[float, ...]]] = {}
    for number, record in enumerate(parsed["annotations"]):
        where = f"{file}: annotations[{number}]"
        box = _corners(where, _value(where, record, "bbox"), "xywh")
        boxes.setdefault(_value(where, record, "image_id"), []).append(box)
    drafts: list[_Draft] = []
    without = 0
    for number, record in enumerate(parsed["images"]):
        where = f"{file}: images[{number}]"
        text, right = _text(where, _value(where, record, "caption")), boxes.get(_value(where, record, "id"))
        if right is None:
            without += 1
            continue
        name = _uncropped(str(_value(where, record, "file_name")))
        drafts.append(_Draft(text, name, name, tuple(right), str(record.get("split", ""))))
    problems = [f"{without:,} expressions have no box, and are left out"] if without else []
    return _Read("COCO's layout with a caption an image (MDETR)", drafts, _named_boxes(drafts), [*problems, _FEW_GIVEN])


_FEW_GIVEN = "the given boxes are those that the expressions of the file name: other things of a picture have none"


def _read_records(file: Location, records: Sequence[Any], form: BoxForm | None) -> _Read:
    raw: list[tuple[str, str, tuple[float, ...], str]] = []
    possible = set(BOX_FORMS)
    for number, record in enumerate(records):
        where = f"{file}: record {number}"
        name = _uncropped(str(_first(where, record, _IMAGE_KEYS, "picture")))
        text = _text(where, _first(where, record, _TEXT_KEYS, "expression"))
        box = _numbers(where, _first(where, record, _BOX_KEYS, "box"))
        raw.append((name, text, box, str(record.get("split", ""))))
        possible &= _forms_of(box, record.get("width"), record.get("height"))
    chosen = form or (possible.pop() if len(possible) == 1 else None)
    if chosen is None:
        several = "could be either" if possible else "are neither of them throughout"
        raise BenchmarkError(
            f"{file}: boxes are left, top, right, bottom (xyxy) or left, top, width, height (xywh), and these "
            f"{several}. Say which: --box-form xyxy"
        )
    drafts = [
        _Draft(text, name, name, (_corners(f"{file}: record {number}", box, chosen),), split)
        for number, (name, text, box, split) in enumerate(raw)
    ]
    return _Read(f"records of expressions, boxes as {chosen}", drafts, _named_boxes(drafts), [_FEW_GIVEN])


def _forms_of(box: tuple[float, ...], width: Any, height: Any) -> set[BoxForm]:
    """The forms that a box can have: a right edge lies behind the left one, and a box within its picture."""
    forms: set[BoxForm] = set()
    if box[2] > box[0] and box[3] > box[1]:
        forms.add("xyxy")
    sizes = [size if isinstance(size, int | float) and size > 0 else np.inf for size in (width, height)]
    if box[0] + box[2] <= sizes[0] + 1 and box[1] + box[3] <= sizes[1] + 1:
        forms.add("xywh")
    return forms


def _named_boxes(drafts: Iterable[_Draft]) -> dict[str, list[tuple[float, ...]]]:
    """The boxes that the expressions of each picture name, each once."""
    given: dict[str, dict[tuple[float, ...], None]] = {}
    for draft in drafts:
        given.setdefault(draft.image, {}).update(dict.fromkeys(draft.boxes))
    return {image: list(boxes) for image, boxes in given.items()}


def _read_detections(file: Location) -> dict[str, list[tuple[float, ...]]]:
    """Picture -> boxes, by what its file calls it."""
    parsed = _parse(file)
    if isinstance(parsed, dict) and isinstance(parsed.get("dets"), list):
        parsed = parsed["dets"]
    found: dict[str, list[tuple[float, ...]]] = {}
    for number, (image, box) in enumerate(_detections(file, parsed)):
        found.setdefault(str(image), []).append(_corners(f"{file}: box {number}", box, "xywh"))
    if not found:
        raise BenchmarkError(f"{file}: it holds no boxes")
    return found


def _detections(file: Location, parsed: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(parsed, dict):
        for image, boxes in parsed.items():
            if not isinstance(boxes, list):
                raise BenchmarkError(f"{file}: {image!r} has no list of boxes")
            for box in boxes:
                yield image, _first(f"{file}: {image}", box, _BOX_KEYS, "box") if isinstance(box, dict) else box
        return
    if not isinstance(parsed, list):
        raise BenchmarkError(f"{file}: no list of boxes, nor boxes by picture")
    for number, record in enumerate(parsed):
        where = f"{file}: record {number}"
        yield (
            _first(where, record, ("image_id", *_IMAGE_KEYS), "picture"),
            _first(where, record, _BOX_KEYS, "box"),
        )


def _detected_of(detected: Mapping[str, Sequence[tuple[float, ...]]], image: str, path: str) -> Sequence[Any]:
    """Those of a picture: by its id, or by the name of its file, which ends in the id where it is COCO's."""
    name = PurePosixPath(path).name
    number = re.search(r"(\d+)\.\w+$", name)
    for key in (image, name, str(int(number[1])) if number else ""):
        if key in detected:
            return detected[key]
    return ()


def _find_images(folder: ImageFolder, names: Mapping[str, str]) -> dict[str, str]:
    found = {image: folder.find(DraftImage(name, "", ())) for image, name in names.items()}
    missing = [names[image] for image, path in found.items() if path is None]
    if missing:
        raise BenchmarkError(
            f"images: {len(missing):,} of {len(found):,} are not in {folder.place} "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''})"
        )
    return {image: path for image, path in found.items() if path is not None}


def _uncropped(name: str) -> str:
    """The name of a picture of COCO; refs add the number of an annotation to it.

    >>> _uncropped("COCO_train2014_000000581857_16.jpg")
    'COCO_train2014_000000581857.jpg'
    """
    match = _CROPPED.fullmatch(name)
    return f"{match[1]}{match[2]}" if match else name


def _sentences(where: str, record: Mapping[str, Any], key: str) -> Iterator[str]:
    sentences = _value(where, record, "sentences")
    if not isinstance(sentences, list):
        raise BenchmarkError(f"{where}: its sentences are no list")
    for sentence in sentences:
        if not isinstance(sentence, dict):
            raise BenchmarkError(f"{where}: a sentence is no record")
        yield _text(where, sentence.get(key) or sentence.get("sent") or sentence.get("raw"))


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BenchmarkError(f"{where}: its expression is no text: {value!r:.60}")
    return " ".join(value.split())


def _value(where: str, record: Any, key: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise BenchmarkError(f"{where}: it has no {key}")
    return record[key]


def _first(where: str, record: Any, keys: Sequence[str], noun: str) -> Any:
    if isinstance(record, dict):
        for key in keys:
            if record.get(key) is not None:
                return record[key]
    raise BenchmarkError(f"{where}: it names no {noun} (looked for {', '.join(keys)})")


def _numbers(where: str, box: Any) -> tuple[float, ...]:
    if isinstance(box, dict) and {"x", "y", "w", "h"} <= box.keys():
        box = [box[side] for side in ("x", "y", "w", "h")]
    try:
        first, second, third, fourth = (float(side) for side in box)
    except (TypeError, ValueError):
        raise BenchmarkError(f"{where}: a box is not four numbers: {box!r:.60}") from None
    return first, second, third, fourth


def _corners(where: str, box: Any, form: BoxForm) -> tuple[float, ...]:
    """Left, top, right, bottom."""
    left, top, right, bottom = _numbers(where, box)
    if form == "xywh":
        right, bottom = left + right, top + bottom
    if not (np.isfinite([left, top, right, bottom]).all() and right >= left and bottom >= top):
        raise BenchmarkError(f"{where}: an empty box: {box!r:.60}")
    return left, top, right, bottom


def _four(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left, top, right, bottom


def _array(boxes: Sequence[Sequence[float]]) -> Boxes:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _parse(file: Location) -> Any:
    """What a file holds: of JSON, JSON lines, or a pickle. Raises BenchmarkError."""
    data = read_bytes(file, "annotations")
    if len(data) > _MOST_BYTES:
        raise BenchmarkError(f"{file}: {len(data):,} bytes, too many for annotations")
    try:
        if data.lstrip()[:1] not in (b"{", b"["):
            return load_plain(data)
        try:
            return json.loads(data)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            return [json.loads(line) for line in data.splitlines() if line.strip()]
    except RefusedName as error:
        raise BenchmarkError(f"{file}: {error}") from None
    except DAMAGED as error:
        raise BenchmarkError(f"{file}: neither JSON nor a pickle of plain values ({error})") from None
