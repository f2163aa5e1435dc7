"""Which files of one folder are one picture: told by their names, and of films by their size.

Cameras, phones, programs and Google's Takeout write several files of one shot:

    raw and rendered   IMG_1.CR2 beside IMG_1.JPG; PXL_1.RAW-02.ORIGINAL.dng beside PXL_1.RAW-01.COVER.jpg
    live               IMG_1.MOV or .MP4 beside IMG_1.HEIC; IMG_1_HEVC.MOV; PXL_1.MP beside PXL_1.MP.jpg; no long film
    edited             IMG_E1.JPG beside IMG_1.HEIC (Apple); IMG_1-edited.jpg beside IMG_1.jpg (Google, by language)
    how it was edited  IMG_1.AAE, IMG_1.CR2.pp3, IMG_1.CR2.dop, IMG_1_01.CR2.xmp (a duplicate of darktable)
    what is said of it IMG_1.xmp, IMG_1.CR2.xmp; IMG_1.jpg.json, IMG_1.jpg.supplemental-metadata.json (Takeout)

The one to look at is the edited copy, which is how its owner wants it seen; else the rendered one, since that is the
whole picture as its camera or program developed it, and beside raw data there is often but a small one. Two rendered
files that share a stem (a.png, a.jpg) are two pictures: nothing says that they are of one shot.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mmsearch.names import composed

__all__ = ["MOST_LIVE_BYTES", "NOTHING_JOINED", "RAW_SUFFIXES", "Beside", "Joined", "Role", "join_names"]

Role: TypeAlias = Literal["original", "raw", "film", "edits", "facts"]
"""What a file is to the picture that it stands beside. original: before it was edited. film: of a live photo. edits:
how it was edited. facts: what is said of it."""

_ORDER: tuple[Role, ...] = ("original", "raw", "film", "edits", "facts")
_RENDERED = (
    *(".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif", ".avif", ".jxl", ".tif", ".tiff", ".png", ".webp"),
    *(".gif", ".bmp", ".jp2", ".mpo", ".psd"),
)
_OF_RAW = frozenset(_RENDERED[:-5])  # what cameras and developers of raw data write
RAW_SUFFIXES = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc"),
        *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf"),
        *(".srw", ".x3f"),
    }
)
"""Of the files in which cameras keep their raw data."""
_FILMS = frozenset({".mov", ".mp4", ".m4v", ".mp", ".mv", ".3gp"})
_LIVE_STILLS = frozenset({".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif", ".avif"})
"""What phones write. WebP and PNG beside a film are what programs made of it, to show it by."""
MOST_LIVE_BYTES = 1 << 25
"""Of the film of a live photo, which lasts three seconds or less; a larger one beside a JPEG is a film with a cover."""
_EDITS = frozenset({".aae", ".pp3", ".dop", ".on1"})
_CAPTIONS = frozenset({".txt", ".caption", ".cls"})
_RANK = {suffix: rank for rank, suffix in enumerate(_RENDERED)}
_BESIDE = RAW_SUFFIXES | _FILMS | _EDITS | _CAPTIONS | {".xmp", ".json"}

# What Takeout puts behind the name of an edited copy, in the language of the account.
_EDITED_WORDS = (
    *("edited", "bearbeitet", "bewerkt", "edytowane", "modifié", "modificato", "modificata", "editado", "editada"),
    *("ha editado", "editat", "redigerad", "redigeret", "redigert", "muokattu", "upraveno", "upravené", "szerkesztett"),
    *("düzenlendi", "изменено", "編集済み", "已修改", "已編輯", "已编辑", "수정됨"),
)
_EDITED = re.compile(rf"(?s)(.+)-({'|'.join(map(re.escape, _EDITED_WORDS))})(\(\d+\))?\Z", re.IGNORECASE)
_CUT_EDITED = re.compile(r"(?s)(.+)-(\D+?)(\(\d+\))?\Z")
_APPLE = re.compile(r"(IMG_)([EO])(\d{4,}.*)\Z")
_PIXEL = re.compile(r"(?s)(.+\.[A-Z_]+)-\d\d(?:\.MP)?\.(COVER|ORIGINAL)\Z")
_MAYBE_BESIDE = re.compile(rf"\.(?:{'|'.join(sorted(suffix[1:] for suffix in _BESIDE))})(?:\n|\Z)")
_MAYBE_EDITED = re.compile(rf"-(?:{'|'.join(map(re.escape, _EDITED_WORDS))})")
_MAYBE_CUT = re.compile(r"-[^\n]*?[^\W\d][^\n]*\.")
_NUMBER = re.compile(r"(?s)(.+)(\(\d+\))\Z")
_DUPLICATE = re.compile(r"(?s)(.+)_\d\d(\.[^.]+)\Z")
_TAKEOUT = ".supplemental-metadata"
# Takeout cuts the name before ".json" to so many characters, or bytes, and that of a picture to one more.
_TAKEOUT_LENGTH = 46


@dataclass(frozen=True, slots=True)
class Beside:
    """A file that stands beside a picture. name: as it was given."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Joined:
    """The files of a folder that are not a picture each.

    Attributes:
        beside: The file to look at -> the others of the same picture, those first that could stand for it.
        captions: Texts beside pictures, which are read as captions if at all.
    """

    beside: dict[str, tuple[Beside, ...]]
    captions: frozenset[str]


NOTHING_JOINED = Joined({}, frozenset())


def join_names(
    names: Iterable[str], *, apart: bool = False, size_of: Callable[[str], int | None] = lambda _: None
) -> Joined:
    """Join the names of the files in one folder.

    apart: leave pictures and films by themselves; only what is said of a picture joins it. size_of: how many bytes a
    film beside a picture has; None where that is not known, and it is taken for the film of a live photo.

    >>> joined = join_names(["IMG_1.JPG", "IMG_1.CR2", "IMG_1.CR2.xmp", "IMG_2.JPG"])
    >>> [(best, [each.name for each in others]) for best, others in joined.beside.items()]
    [('IMG_1.JPG', ['IMG_1.CR2', 'IMG_1.CR2.xmp'])]
    """
    names = list(names)
    if not _maybe_joined(names):
        return NOTHING_JOINED
    suffixes = [_suffix(name) for name in names]
    joiner = _Joiner(size_of, apart=apart)
    by_role: dict[str, list[tuple[str, str]]] = {}
    for name, suffix in zip(names, suffixes, strict=True):
        by_role.setdefault(_ROLE.get(suffix, ""), []).append((name, suffix))
    joiner.add_rendered(sorted(by_role.get("rendered", ()), key=lambda pair: (_RANK[pair[1]], pair[0])))
    joiner.add_raw(sorted(by_role.get("raw", ())))
    joiner.add_films(sorted(by_role.get("film", ())))
    for role in ("edits", "xmp", "json", "caption"):
        for name, suffix in sorted(by_role.get(role, ())):
            joiner.add_text(name, role, suffix)
    return joiner.joined()


def _maybe_joined(names: Sequence[str]) -> bool:
    """Whether there may be anything to join: asked of every folder, so in a tenth of a microsecond a name."""
    text = "\n".join(names).lower()
    if _MAYBE_BESIDE.search(text) or "img_e" in text or ".cover." in text:
        return True
    if "-" not in text:
        return False
    return _MAYBE_EDITED.search(text) is not None or any(
        len(name) > _TAKEOUT_LENGTH - 3 and _MAYBE_CUT.search(name) for name in names
    )


_ROLE = {
    **dict.fromkeys(_RENDERED, "rendered"),
    **dict.fromkeys(RAW_SUFFIXES, "raw"),
    **dict.fromkeys(_FILMS, "film"),
    **dict.fromkeys(_EDITS, "edits"),
    **dict.fromkeys(_CAPTIONS, "caption"),
    ".xmp": "xmp",
    ".json": "json",
}


class _Joiner:
    """Joins the files of a folder, those first that can be looked at."""

    def __init__(self, size_of: Callable[[str], int | None], *, apart: bool) -> None:
        self._size_of, self._apart = size_of, apart
        self._best_of: dict[str, str] = {}  # the name of any file of a picture -> the one to look at
        self._by_stem: dict[str, str] = {}  # the stem of any file that can be looked at -> the one to look at
        self._raw_takers: dict[str, str] = {}  # of those that raw data may join
        self._beside: dict[str, list[Beside]] = {}
        self._captions: set[str] = set()
        self._keys: set[str] = set()  # names up to the first dot, as webdataset joins them
        self._by_number: dict[str, list[tuple[str, str]]] = {}

    def joined(self) -> Joined:
        beside = {
            best: tuple(sorted(others, key=lambda each: (_ORDER.index(each.role), each.name)))
            for best, others in self._beside.items()
        }
        return Joined(beside, frozenset(self._captions))

    def add_rendered(self, files: Sequence[tuple[str, str]]) -> None:
        """Add what can be looked at, the usual formats first."""
        stems = {name: composed(_stem(name)) for name, _ in files}
        originals = {} if self._apart else self._originals(files, stems)
        copies = set(originals.values())
        for name, suffix in sorted(files, key=lambda file: file[0] not in copies):
            stem = stems[name]
            best = name if name in copies else originals.get(name, name)
            self._keys.add(_key(composed(name)))
            if best != name:
                self._join(best, name, "original")
            self._set(name, stem, best)
            if suffix in _OF_RAW:
                self._raw_takers.setdefault(stem, best)
                if (shot := _PIXEL.match(stem)) is not None:
                    self._raw_takers.setdefault(shot[1], best)

    @staticmethod
    def _originals(files: Sequence[tuple[str, str]], stems: dict[str, str]) -> dict[str, str]:
        """The original of each edited copy that has one -> the copy; of several of one stem that with its suffix."""
        by_stem: dict[str, list[tuple[str, str]]] = {}
        for name, suffix in files:
            by_stem.setdefault(stems[name], []).append((name, suffix))
        originals: dict[str, str] = {}
        for name, suffix in files:
            base = _unedited(stems[name], by_stem.keys())
            if base is not None:
                original = min(by_stem[base], key=lambda file, own=suffix: file[1] != own)[0]  # type: ignore[misc]
                originals.setdefault(original, name)
        return originals

    def add_raw(self, files: Sequence[tuple[str, str]]) -> None:
        """Add raw data, which join what was rendered of them."""
        for name, _ in files:
            stem = composed(_stem(name))
            shot = _PIXEL.match(stem)
            best = self._raw_takers.get(stem) or (shot and self._raw_takers.get(shot[1]))
            best = None if self._apart else best
            self._keys.add(_key(composed(name)))
            if best:
                self._join(best, name, "raw")
            self._set(name, stem, best or name)

    def add_films(self, files: Sequence[tuple[str, str]]) -> None:
        """Add films, which join the still of a live photo. Others are none of ours."""
        for name, _ in () if self._apart else files:
            whole, stem = composed(name), composed(_stem(name))
            best = self._by_stem.get(stem) or self._by_stem.get(stem.removesuffix("_HEVC"))
            best = best or self._best_of.get(stem) or self._by_stem.get(whole)  # a.jpg.mp4; a.MP beside a.MP.jpg
            apple = _APPLE.match(stem)
            if best is None and apple is not None:
                best = self._by_stem.get(apple[1] + apple[3])
            if best is not None and self._may_be_live(best, name):
                self._join(best, name, "film")
                self._best_of.setdefault(whole, best)

    def _may_be_live(self, still: str, film: str) -> bool:
        return _suffix(still) in _LIVE_STILLS and (self._size_of(film) or 0) <= MOST_LIVE_BYTES

    def add_text(self, name: str, form: str, suffix: str) -> None:
        """Add what is said of a picture, if there is one that it is said of."""
        rest = composed(name[: len(name) - len(suffix)])
        best = None
        if form == "edits":
            apple = _APPLE.match(rest)
            best = self._named(rest) or (self._named(apple[1] + apple[3]) if apple else None)
        elif form == "xmp":
            best = self._named(rest)
            if best is None and (duplicate := _DUPLICATE.match(rest)) is not None:
                best, form = self._best_of.get(duplicate[1] + duplicate[2]), "edits"
        elif form == "json":
            best = self._takeout(rest)
        if best is not None:
            self._join(best, name, "edits" if form == "edits" else "facts")
        elif self._named(rest) is not None or _key(rest) in self._keys:
            self._captions.add(name)

    def _set(self, name: str, stem: str, best: str) -> None:
        self._best_of[composed(name)] = best
        self._by_stem.setdefault(stem, best)

    def _join(self, best: str, name: str, role: Role) -> None:
        self._beside.setdefault(best, []).append(Beside(name, role))

    def _named(self, rest: str) -> str | None:
        """The picture of this name, with its suffix or without."""
        return self._best_of.get(rest) or self._by_stem.get(rest)

    def _takeout(self, rest: str) -> str | None:
        """The picture of a file of Takeout's, whose name without ".json" is `rest`."""
        number = ""
        if (numbered := _NUMBER.match(rest)) is not None:
            rest, number = numbered[1], numbered[2]
        whole, dot, tail = rest.rpartition(".")
        said = bool(dot and whole) and _TAKEOUT.startswith(f".{tail}")
        # IMG.jpg.supplemental-metadata(1).json and IMG.jpg(1).json are of IMG(1).jpg.
        for full in (whole, rest) if said else (rest,):
            if (best := self._best_of.get(_with_number(full, number))) is not None:
                return best
        if (
            said and (best := self._by_stem.get(whole + number)) is not None
        ):  # a picture that was uploaded without suffix
            return best
        return self._cut(rest, number) or (self._cut(whole, number, always=True) if said and len(tail) > 1 else None)

    def _cut(self, rest: str, number: str, *, always: bool = False) -> str | None:
        """The picture whose name begins with one that was cut to Takeout's length."""
        if not always and len(rest) < _TAKEOUT_LENGTH and len(rest.encode("utf-8", "replace")) < _TAKEOUT_LENGTH - 3:
            return None
        if not self._by_number:
            for name, best in self._best_of.items():
                full, its_number = _without_number(name)
                self._by_number.setdefault(its_number, []).append((full, best))
            for named in self._by_number.values():
                named.sort()
        named = self._by_number.get(number, [])
        place = bisect_left(named, (rest, ""))
        if place == len(named) or not named[place][0].startswith(rest):
            return None
        full, best = named[place]
        return None if always and "." in full[len(rest) :] else best


def _unedited(stem: str, known: Set[str]) -> str | None:
    """The stem of the picture of which this one is an edited copy; None where it is none."""
    if (apple := _APPLE.match(stem)) is not None and apple[2] == "E":
        base = apple[1] + apple[3]
    elif (edited := _EDITED.match(stem)) is not None:
        base = edited[1] + (edited[3] or "")
    elif (pixel := _PIXEL.match(stem)) is not None and pixel[2] == "COVER":
        return next((f"{pixel[1]}{end}" for end in _PIXEL_ORIGINALS if f"{pixel[1]}{end}" in known), None)
    elif len(stem) >= _TAKEOUT_LENGTH - 3 and (cut := _CUT_EDITED.match(stem)) is not None and _begins_edited(cut[2]):
        base = cut[1] + (cut[3] or "")
    else:
        return None
    return base if base in known else None


_PIXEL_ORIGINALS = ("-02.ORIGINAL", "-01.ORIGINAL", "-02.MP.ORIGINAL", "-01.MP.ORIGINAL")


def _begins_edited(word: str) -> bool:
    return any(edited.startswith(word.lower()) for edited in _EDITED_WORDS)


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _stem(name: str) -> str:
    dot = name.rfind(".")
    return name[:dot] if dot > 0 else name


def _key(name: str) -> str:
    """The key of a webdataset sample: a name up to its first dot."""
    return name.split(".", 1)[0]


def _with_number(name: str, number: str) -> str:
    """IMG.jpg and (1) as IMG(1).jpg."""
    stem = _stem(name)
    return f"{stem}{number}{name[len(stem) :]}"


def _without_number(name: str) -> tuple[str, str]:
    """IMG(1).jpg as IMG.jpg and (1)."""
    stem = _stem(name)
    numbered = _NUMBER.match(stem)
    return (name, "") if numbered is None else (f"{numbered[1]}{name[len(stem) :]}", numbered[2])
