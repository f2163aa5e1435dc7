"""How captions lie that are no single annotation file: lines beside lines, records by language, a file an image."""

import fnmatch
import gzip
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from mmsearch.benchmarks.annotation_files import read_bytes
from mmsearch.benchmarks.image_names import by_numbers, last_part
from mmsearch.benchmarks.model import Draft
from mmsearch.benchmarks.text_lines import decode, decode_lines, to_utf8
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location
from mmsearch.sources import FolderWalk
from mmsearch.stores import is_folder
from mmsearch.stores import read_bytes as read_stored

__all__ = ["AlignedLines", "CaptionLayout", "LanguageRecords", "RecordFiles", "TextFiles"]


_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_]\w+)?")
"""What a language is called: de, zh-Hans, deu_Latn."""


class CaptionLayout(Protocol):
    """How the captions of a data set lie."""

    def languages(self, place: Location) -> tuple[str, ...]:
        """The languages that are there, as the files call them; none where there is no choice.

        Raises BenchmarkError."""
        ...

    def read(self, place: Location, language: str | None) -> Draft:
        """The captions of a language. Raises BenchmarkError."""
        ...


@dataclass(frozen=True, slots=True)
class AlignedLines:
    """A list of image names, and a file of captions for each language whose line n is of the image of line n; anywhere
    below a folder, also compressed with gzip.

    Attributes:
        image_list: The name of the list.
        captions: The names of the others, with {language}.
    """

    image_list: str
    captions: str

    def languages(self, place: Location) -> tuple[str, ...]:
        return tuple(sorted(self._files(place)))

    def read(self, place: Location, language: str | None) -> Draft:
        files = self._files(place)
        names = _find_files(place, self.image_list)
        if not names:
            raise BenchmarkError(f"{place}: no list of images called {self.image_list} in it")
        chosen = _require_language(place, language, files)
        images = _lines(place / names[0])
        captions = _lines(place / files[chosen])
        if len(images) != len(captions):
            raise BenchmarkError(
                f"{place / files[chosen]}: {len(captions):,} captions, and {len(images):,} images in {names[0]}: which "
                "caption is of which image cannot be told"
            )
        draft = Draft(f"captions in lines beside {self.image_list}")
        for number, (image, caption) in enumerate(zip(images, captions, strict=True), 1):
            if image.strip():
                draft.add_caption(draft.add_image(last_part(image.strip())), caption, f"line {number}")
            else:
                draft.report("malformed_row", f"line {number}: no image")
        return draft

    def _files(self, place: Location) -> dict[str, str]:
        """Language -> path of its captions."""
        before, _, after = self.captions.partition("{language}")
        files = _find_files(place, f"{before}*{after}", f"{before}*{after}.gz")
        known: dict[str, str] = {}
        for file in files:
            language = last_part(file).removesuffix(".gz")[len(before) :].removesuffix(after)
            if _LANGUAGE.fullmatch(language) and last_part(file) != self.image_list:
                known.setdefault(language, file)
        if not known:
            raise BenchmarkError(
                f"{place}: no captions called {self.captions.format(language='en')} and the like in it"
            )
        return known


@dataclass(frozen=True, slots=True)
class LanguageRecords:
    """JSON lines, an object an image, with an object for each language in it (Crossmodal-3600).

    Attributes:
        image: The key of the image's name, which lacks its ending.
        captions: The key of the list of captions in the object of a language.
    """

    image: str
    captions: str

    def languages(self, place: Location) -> tuple[str, ...]:
        return tuple(sorted({key for _, record in self._records(place) for key in record if self._is_in(record, key)}))

    def read(self, place: Location, language: str | None) -> Draft:
        draft = Draft("JSON lines with captions by language")
        languages = dict.fromkeys(self.languages(place), "")
        chosen = _require_language(place, language, languages)
        for where, record in self._records(place):
            name = record.get(self.image)
            if not isinstance(name, str) or not self._is_in(record, chosen):
                draft.report("malformed_row", f"{where}: without {self.image} or captions in {chosen}")
                continue
            image = draft.add_image(name.strip())
            for caption in record[chosen][self.captions]:
                if isinstance(caption, str):
                    draft.add_caption(image, caption, where)
                else:
                    draft.report("malformed_row", f"{where}: the caption is {caption!r:.60}, not a text")
        return draft

    def _is_in(self, record: dict[str, Any], language: str) -> bool:
        entry = record.get(language)
        return isinstance(entry, dict) and isinstance(entry.get(self.captions), list)

    def _records(self, place: Location) -> tuple[tuple[str, dict[str, Any]], ...]:
        data = read_bytes(place, "annotations")
        return _parse_lines(data, str(place))


@dataclass(frozen=True, slots=True)
class TextFiles:
    """A folder of texts, one an image, called as the image is: `caption/17.txt` for `image/17.jpg`. The first line that
    is not blank is the caption (Urban1k, as its authors read it)."""

    def languages(self, place: Location) -> tuple[str, ...]:
        return ()

    def read(self, place: Location, language: str | None) -> Draft:
        draft = Draft("a text for each image")
        for file in sorted(_find_files(place, "*.txt"), key=by_numbers):
            lines = decode_lines(_read(place / file))
            image = draft.add_image(last_part(file)[: -len(".txt")])
            draft.add_caption(image, lines[0] if lines else "", file)
        if not draft.captions:
            raise BenchmarkError(f"{place}: no .txt with a caption in it")
        return draft


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """A folder of JSON files, an object an image, whose caption stands in several parts (DCI: the short caption and
    what more there is to say).

    Attributes:
        image: The key of the image's name.
        parts: The keys of the parts, which are joined with a space.
    """

    image: str
    parts: tuple[str, ...]

    def languages(self, place: Location) -> tuple[str, ...]:
        return ()

    def read(self, place: Location, language: str | None) -> Draft:
        draft = Draft("a JSON file for each image")
        for file in _find_files(place, "*.json"):
            record = _parse_object(to_utf8(_read(place / file)).decode("utf-8", "replace"), str(place / file))
            name = record.get(self.image)
            if not isinstance(name, str):
                draft.report("malformed_row", f"{file}: without {self.image}")
                continue
            parts = [part.strip() for key in self.parts if isinstance(part := record.get(key), str)]
            draft.add_caption(draft.add_image(name), " ".join(filter(None, parts)), file)
        if not draft.captions:
            raise BenchmarkError(f"{place}: no .json with {self.image} and {' or '.join(self.parts)} in it")
        return draft


@lru_cache(1)
def _parse_lines(data: bytes, place: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(where, object) of JSON lines; those of one file are asked for once a language."""
    lines = enumerate(decode(to_utf8(data), []), 1)
    return tuple((f"line {n}", _parse_object(line, f"{place}, line {n}")) for n, line in lines if line.strip())


def _require_language(place: Location, language: str | None, known: dict[str, str]) -> str:
    if language in known and language is not None:
        return language
    asked = "name a language" if language is None else f"no language {language!r}"
    raise BenchmarkError(f"{place}: {asked}; it has {', '.join(known)}")


def _find_files(place: Location, *patterns: str) -> list[str]:
    """The paths of files below a folder whose names match, in the order of the tree."""
    if not is_folder(place):
        raise BenchmarkError(f"annotations: {place} is not a folder; give the one that holds the files of captions")
    names = (file.name for file in FolderWalk(place, sidecars_too=True))
    return [name for name in names if any(fnmatch.fnmatchcase(last_part(name), pattern) for pattern in patterns)]


def _read(file: Location) -> bytes:
    try:
        data = read_stored(file)
        return gzip.decompress(data) if file.name.endswith(".gz") else data
    except (OSError, EOFError) as error:
        raise BenchmarkError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _lines(file: Location) -> list[str]:
    """All lines, blank ones too, but those at the end."""
    lines = list(decode(to_utf8(_read(file)), []))
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _parse_object(text: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{where}: not JSON ({error}). Is the download complete?") from None
    if not isinstance(record, dict):
        raise BenchmarkError(f"{where}: not a JSON object")
    return record
