"""Reads captions from files beside the pictures: `a.txt` for `a.jpg`, in a folder or in an archive."""

import json
from collections.abc import Iterator

from mmsearch.errors import ImageError, SourceError
from mmsearch.locations import Location
from mmsearch.sources.archives import container_form, member_names
from mmsearch.sources.caption_files import CaptionFile, CaptionLine
from mmsearch.sources.caption_tables import CAPTION_COLUMNS
from mmsearch.sources.folders import FolderWalk
from mmsearch.sources.open_files import open_source_file
from mmsearch.sources.page_texts import holds_page_texts, read_page_captions
from mmsearch.sources.source_files import MEMBER, file_in, is_hidden, stem
from mmsearch.stores import is_folder, read_bytes

__all__ = ["read_sidecar_captions"]

_SUFFIXES = (".txt", ".caption", ".json")  # preferred first, where a picture has several
_MOST_BYTES = 1 << 20  # in one file of captions: more is no caption


def read_sidecar_captions(source: Location, *, avoid: Location | None = None) -> CaptionFile:
    """Read the captions in a folder or an archive, from files that have a picture's name with another suffix.

    `.txt` and `.caption` hold a caption a line, `.json` an object with "caption" (img2dataset, webdataset). Archives in
    the folder are read too, and the texts of documents, see `page_texts`. avoid: a folder to leave out, the gallery.
    A caption's `image` is the picture's name without its suffix, relative to the folder, with `stem` set; its `member`
    is the file that holds it. Raises SourceError: no such file in it, or it cannot be read.
    """
    texts: dict[str, tuple[str, str, bytes]] = {}  # stem -> suffix, name, content
    problems: list[str] = []
    page_lines: list[CaptionLine] = []
    for name, data in (
        _read_folder(source, avoid, problems, page_lines) if is_folder(source) else _read_archive(source, "", problems)
    ):
        base, suffix = stem(name), _suffix(name)
        known = texts.get(base)
        if known is None or _SUFFIXES.index(suffix) < _SUFFIXES.index(known[0]):
            texts[base] = (suffix, name, data)
    lines: list[CaptionLine] = []
    for base, (suffix, name, data) in sorted(texts.items()):
        try:
            captions = _parse_captions(suffix, data)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        lines += [CaptionLine(number, caption, base, name, stem=True) for number, caption in enumerate(captions)]
    lines += page_lines
    if not lines:
        raise SourceError(
            f"no caption in {source}{''.join(f'; {problem}' for problem in problems[:3])}. Expected files such as "
            "a.txt beside a.jpg, or a file of captions (CSV, JSON, Parquet, or a caption a line)."
        )
    return CaptionFile(tuple(lines), tuple(problems), "a file of captions beside each picture")


def _suffix(name: str) -> str:
    return name[len(stem(name)) :].lower()


def _read_folder(
    folder: Location, avoid: Location | None, problems: list[str], page_lines: list[CaptionLine]
) -> Iterator[tuple[str, bytes]]:
    walk = FolderWalk(folder, avoid=avoid, sidecars_too=True)
    for file in walk:
        if container_form(file.name) in ("tar", "zip"):
            yield from _read_archive(folder / file.name, f"{file.name}{MEMBER}", problems)
        elif holds_page_texts(file.name):
            page_lines += read_page_captions(folder / file.name, f"{file.name}{MEMBER}", problems)
        elif _suffix(file.name) in _SUFFIXES:
            try:
                if file.refused is not None:
                    raise OSError(file.refused)
                if (file.size or 0) > _MOST_BYTES:
                    raise OSError(f"{file.size:,} bytes, too many for a caption")
                yield file.name, read_bytes(folder / file.name)
            except OSError as error:
                problems.append(f"{file.path}: {error.strerror or error}")
    problems += [f"{name or folder}: {reason}" for name, reason in walk.unreadable]


def _read_archive(archive: Location, prefix: str, problems: list[str]) -> Iterator[tuple[str, bytes]]:
    try:
        members = member_names(file_in(archive.parent, archive))
    except (OSError, SourceError) as error:
        problems.append(str(error))
        return
    for name, member in members.items():
        if _suffix(name) in _SUFFIXES and not is_hidden(name):
            try:
                if (member.size or 0) > _MOST_BYTES:
                    raise ImageError("read", f"{member.size:,} bytes, too many for a caption")
                with open_source_file(member) as file:
                    yield f"{prefix}{name}", file.stream.read()
            except (OSError, ImageError) as error:
                problems.append(f"{prefix}{name}: {error}")


def _parse_captions(suffix: str, data: bytes) -> list[str]:
    """The captions of one file. Raises ValueError."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    if suffix != ".json":
        captions = [line.strip() for line in text.split("\n") if line.strip()]
    else:
        record = json.loads(text)
        fields = record if isinstance(record, dict) else {}
        value = next((fields[name] for name in CAPTION_COLUMNS if name in fields), None)
        values = value if isinstance(value, list) else [value]
        captions = [caption.strip() for caption in values if isinstance(caption, str) and caption.strip()]
    if not captions:
        raise ValueError("no caption in it")
    return [caption.encode("utf-8", "replace").decode() for caption in captions]
