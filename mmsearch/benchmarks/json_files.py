"""Readers of annotations in JSON: Karpathy's, COCO's, a list of records, JSON lines."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from mmsearch.benchmarks.model import Draft
from mmsearch.errors import BenchmarkError
from mmsearch.names import shown
from mmsearch.sources.caption_tables import ColumnNames

__all__ = ["FOLDER_COLUMNS", "find_caption_key", "read_json", "read_records"]

FOLDER_COLUMNS = ("file_path", "filepath")

Record: TypeAlias = Mapping[str, Any]


def read_json(text: str, file: str, names: ColumnNames) -> Draft:
    """The draft of a file whose text starts like JSON. file: its name, for messages."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        return _read_json_lines(text, file, error, names)
    except (RecursionError, ValueError):  # nesting, or a number of thousands of digits
        raise BenchmarkError(f"{file}: JSON, but too deeply nested or with too long numbers for annotations") from None
    if isinstance(data, list):
        return read_records(_number_entries(data), "list of records", file, names)
    if isinstance(data, dict):
        return _read_object(data, file, names)
    raise BenchmarkError(f"{file}: JSON, but neither an object nor a list: {text[:80]!r}")


def _number_entries(data: list[Any], name: str = "") -> Iterator[tuple[str, Any]]:
    return ((f"{name}[{number}]", entry) for number, entry in enumerate(data))


def _read_object(data: dict[str, Any], file: str, names: ColumnNames) -> Draft:
    images, annotations = data.get("images"), data.get("annotations")
    if isinstance(images, list) and isinstance(annotations, list):
        return _read_coco(images, annotations, file)
    if isinstance(images, list) and any(isinstance(i, dict) and "sentences" in i for i in images):
        return _read_karpathy(images)
    if _find_image_key(data, names.image_names()) and find_caption_key(data, names.caption_names()):
        return read_records(iter([("line 1", data)]), "JSON lines", file, names)
    keys = ", ".join(map(repr, list(data)[:8])) or "none"
    raise BenchmarkError(
        f"{file}: JSON, but none of the known kinds. Looked for 'images' and 'annotations' (COCO), 'images' with "
        f"'sentences' (Karpathy), or a list of records with image and captions; found the keys {keys}."
    )


def _read_karpathy(images: list[Any]) -> Draft:
    draft = Draft("Karpathy JSON")
    for where, entry in _number_entries(images, "images"):
        name = entry.get("filename") if isinstance(entry, dict) else None
        sentences = entry.get("sentences") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name.strip() or not isinstance(sentences, list):
            draft.report("malformed_row", f"{where}: without filename or sentences")
            continue
        image = _add_image(draft, where, name, _text_value(entry, "filepath"), _text_value(entry, "split") or None)
        for caption_where, sentence in _number_entries(sentences, f"{where}.sentences"):
            raw = sentence.get("raw") if isinstance(sentence, dict) else None
            key = sentence.get("sentid") if isinstance(sentence, dict) else None
            _add_caption(draft, image, raw, caption_where, key)
    return draft


def _read_coco(images: list[Any], annotations: list[Any], file: str) -> Draft:
    draft = Draft("COCO JSON")
    positions: dict[str, int] = {}  # by the id as a text: a number in one list may be a text in the other
    for where, entry in _number_entries(images, "images"):
        name = entry.get("file_name") if isinstance(entry, dict) else None
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name.strip() or not isinstance(number, int | str):
            draft.report("malformed_row", f"{where}: without id or file_name")
            continue
        positions[str(number)] = _add_image(draft, where, name, "", _text_value(entry, "split") or None)
    if annotations and not any(isinstance(a, dict) and "caption" in a for a in annotations):
        raise BenchmarkError(
            f"{file}: COCO annotations without captions (boxes or keypoints?). "
            "Give the captions file, e.g. captions_val2017.json."
        )
    for where, entry in _number_entries(annotations, "annotations"):
        number = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(number, int | str):
            draft.report("malformed_row", f"{where}: without image_id")
        elif str(number) not in positions:
            draft.report("unknown_image", f"{where}: image_id {number}")
        else:
            _add_caption(draft, positions[str(number)], entry.get("caption"), where, entry.get("id"))
    return draft


def _read_json_lines(text: str, file: str, error: json.JSONDecodeError, names: ColumnNames) -> Draft:
    """JSON lines, where the first line is an object by itself; else the file is broken JSON."""
    lines = [(f"line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        is_object = isinstance(json.loads(lines[0][1]), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object or len(lines) == 1:
        raise BenchmarkError(
            f"{file}: starts like JSON but is not: {error.msg} at line {error.lineno}, column {error.colno}. "
            "Is the download complete?"
        ) from None
    return read_records(((where, _parse_line(line)) for where, line in lines), "JSON lines", file, names)


def _parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def read_records(records: Iterator[tuple[str, Any]], source: str, file: str, names: ColumnNames) -> Draft:
    """The draft of (where, record) pairs with an image name and a caption, or a list of them, each. source: what kind
    of file it is; file: its name; both for messages."""
    draft = Draft(source)
    first: Any = None
    for where, record in records:
        first = record if first is None else first
        name_key = _find_image_key(record, names.image_names()) if isinstance(record, dict) else None
        caption_key = find_caption_key(record, names.caption_names()) if isinstance(record, dict) else None
        if name_key is None or caption_key is None:
            draft.report("malformed_row", f"{where}: without image or captions")
            continue
        captions = record[caption_key]
        several = isinstance(captions, list)
        folder = "" if name_key in FOLDER_COLUMNS else _read_folder(record, record[name_key])
        split = _text_value(record, "split") or None
        image = _add_image(draft, where, record[name_key], folder, split, repeats_are_normal=not several)
        for caption_where, caption in _number_entries(captions, where) if several else iter([(where, captions)]):
            raw = caption.get("raw") if isinstance(caption, dict) else caption
            _add_caption(draft, image, raw, caption_where)
    if not draft.images and first is not None:
        seen = f"the keys {', '.join(map(repr, list(first)[:8]))}" if isinstance(first, dict) else repr(first)[:80]
        raise BenchmarkError(
            f"{file}: {source}, but without an image name (one of {', '.join(names.image_names())}) and captions "
            f"(one of {', '.join(names.caption_names())}); the first entry has {seen}. --image-column and "
            "--caption-column name others."
        )
    return draft


def _add_image(
    draft: Draft, where: str, name: str, folder: str, split: str | None, repeats_are_normal: bool = False
) -> int:
    name = shown(name.strip())
    if not repeats_are_normal and draft.has_image(name, folder):
        draft.report("duplicate_image", f"{where}: {name}")
    return draft.add_image(name, folder, split)


def _add_caption(draft: Draft, image: int, caption: Any, where: str, key: Any = None) -> None:
    if isinstance(caption, str):
        draft.add_caption(image, caption, where, str(key) if isinstance(key, int | str) else "")
    else:
        draft.report("malformed_row", f"{where}: the caption is {caption!r:.60}, not a text")


def _find_image_key(record: Record, names: tuple[str, ...]) -> str | None:
    """The first key of these, in any case, that holds an image's name."""
    return next((key for name in names for key in record if key.lower() == name and _text_value(record, key)), None)


def find_caption_key(record: Record, names: tuple[str, ...]) -> str | None:
    """The first key of these, in any case, that holds a caption, which may be empty, or a list of them."""
    return next(
        (key for name in names for key in record if key.lower() == name and isinstance(record[key], str | list)), None
    )


def _text_value(record: Record, key: str) -> str:
    value = record.get(key)
    return value.strip() if isinstance(value, str) else ""


def _read_folder(record: Record, name: str) -> str:
    """What the record says of the image's folder. Some files have the whole path there."""
    folder = next((text for key in FOLDER_COLUMNS if (text := _text_value(record, key))), "")
    parent, slash, last = folder.rpartition("/")
    return (parent if slash else "") if last == name.strip() else folder
