"""Queries that are kept under a name, to be asked again: `mmsearch query @red-doors`.

A small file a query, in the user's configuration folder. What it marks and resembles is kept as vectors, so that it
needs no picture to be there still, and asks every gallery of the same encoder.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from mmsearch.config import config_dir
from mmsearch.errors import EncoderMismatch, QueryError
from mmsearch.gallery import Gallery
from mmsearch.locations import located
from mmsearch.names import shell_quoted, shown
from mmsearch.search.marks import row_of_mark
from mmsearch.search.own_items import row_named, rows_named, vector_at
from mmsearch.search.query import ImagePart, ItemPart, MarkPart, Part, Query, VectorPart
from mmsearch.whole_files import whole_file

__all__ = ["KEPT_NAME", "KeptQuery", "NameTaken", "delete_kept_query", "keep_query", "kept_queries", "kept_query"]

KEPT_NAME = re.compile(r"\w[\w.-]{0,99}")
"""What a query may be kept under: letters, digits, and - _ . between them."""

_FOLDER = "queries"
_MOST_BYTES = 1 << 26


class NameTaken(QueryError):
    """Another query is kept under the name."""


def keep_query(name: str, query: Query, gallery: Gallery, *, replace_old: bool = True) -> None:
    """Keep what a query asks under a name, instead of what was kept under it; `kept_query` gives its parts and its
    templates back. Raises QueryError for a name that cannot be one, an item that is not there, or where the folder
    cannot be written; NameTaken for one that is taken, where that is not to be replaced."""
    _require_name(name)
    if not replace_old and name in kept_queries():
        raise NameTaken(f"a query is kept as @{name} already: it would be replaced")
    parts = [_portable(part, gallery) for part in query.parts]
    asked = {key: value for key, value in Query(parts, templates=query.templates).to_json().items() if key != "k"}
    encoder = gallery.manifest.encoder
    document = {"encoder": encoder.fingerprint, "model": encoder.spec, "query": asked}
    folder = config_dir() / _FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what is looked for is nobody else's business
        with whole_file(folder / f"{name}.json") as partial:
            partial.write_text(json.dumps(document), "ascii")
    except OSError as error:
        raise QueryError(
            f"the query cannot be kept in {folder}: {(error.strerror or str(error)).lower()}. "
            "MMSEARCH_CONFIG names another folder"
        ) from error


@dataclass(frozen=True, slots=True)
class KeptQuery:
    """What is kept under a name.

    Attributes:
        name: it.
        parts: what is asked with.
        templates: see `Query`.
        encoder: the fingerprint of the encoder that its vectors are of.
        model: the spec of that encoder when it was kept; "" where that is not known.
    """

    name: str
    parts: Sequence[Part]
    templates: Sequence[str]
    encoder: str
    model: str = ""

    @property
    def title(self) -> str:
        """How people call what it asks."""
        return Query(self.parts, templates=self.templates).title

    def parts_and(self, others: Sequence[Part], gallery: Gallery | None = None) -> list[Part]:
        """Its parts and others. An item that is marked anew has only the new mark; with a gallery that is so too where
        the marks name it differently."""
        new = [part for part in others if isinstance(part, MarkPart)]
        anew = {part.item for part in new}
        rows = {row_of_mark(part, gallery) for part in new} if gallery is not None else set()

        def stays(part: Part) -> bool:
            if not isinstance(part, MarkPart):
                return True
            row = row_of_mark(part, gallery) if gallery is not None and rows else None
            return part.item not in anew and (row is None or row not in rows)

        return [*(part for part in self.parts if stays(part)), *others]

    def require_encoder_of(self, gallery: Gallery) -> None:
        """Raise EncoderMismatch where it was kept for another encoder than the gallery's."""
        if self.encoder != gallery.manifest.encoder.fingerprint:
            raise EncoderMismatch(
                f"the query @{self.name} was kept for another model than {gallery.manifest.encoder.spec}, that of "
                f"{gallery.path}: its vectors mean nothing there"
            )


def kept_query(name: str) -> KeptQuery:
    """What is kept under a name. Raises QueryError where nothing is, or what is cannot be read."""
    _require_name(name)
    file = config_dir() / _FOLDER / f"{name}.json"
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too long")
        document = json.loads(file.read_text("ascii"))
        query = Query.from_json(document["query"])
        return KeptQuery(name, query.parts, query.templates, str(document["encoder"]), str(document.get("model") or ""))
    except FileNotFoundError:
        raise QueryError(f'{_nothing_kept(name)}. To look for the words: " @{name}"') from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, QueryError) as error:
        raise QueryError(
            f"the query that is kept as {name} cannot be read ({file}): {error}. mmsearch kept {shell_quoted(name)} "
            "--delete drops it"
        ) from error


def delete_kept_query(name: str) -> None:
    """Keep nothing under a name any more; what is kept under it need not be readable. Raises QueryError where nothing
    is kept under it, or it cannot be deleted."""
    _require_name(name)
    file = config_dir() / _FOLDER / f"{name}.json"
    try:
        file.unlink()
    except (FileNotFoundError, NotADirectoryError):
        raise QueryError(_nothing_kept(name)) from None
    except OSError as error:
        raise QueryError(f"@{name} cannot be deleted ({file}): {(error.strerror or str(error)).lower()}") from error


def kept_queries() -> list[str]:
    """The names that queries are kept under, sorted."""
    try:
        files = list((config_dir() / _FOLDER).glob("[!.]*.json"))
    except OSError:
        return []
    return sorted(file.stem for file in files if KEPT_NAME.fullmatch(file.stem))


def _require_name(name: str) -> None:
    if not KEPT_NAME.fullmatch(name):
        raise QueryError(f"{name!r} is no name for a query: letters, digits, and - _ . between them, at most 100")


def _nothing_kept(name: str) -> str:
    kept = kept_queries()
    if not kept:
        return (
            f"no query is kept as {name}; none is at all. Keep one: "
            f'mmsearch query "red door" --yes 1 --keep {shell_quoted(name)}'
        )
    near = get_close_matches(name, kept, n=3, cutoff=0.6) or kept[:10]
    return f"no query is kept as {name}; there is {', '.join(f'@{each}' for each in near)}"


def _portable(part: Part, gallery: Gallery) -> Part:
    """A part as it is kept: what names an item of the gallery has its vector, and files are named in full."""
    from mmsearch.search.asked_files import held_vectors
    from mmsearch.search.gallery_files import file_of, image_row  # late: it loads what decodes pictures

    if isinstance(part, MarkPart) and part.vector is None:
        row = row_named(gallery, part.item)
        # A row id means another picture in another gallery.
        file = file_of(gallery, image_row(gallery, row)) if isinstance(part.item, int) else None
        return replace(part, item=_name_of(part) if file is None else shown(file), vector=vector_at(gallery, row))
    if isinstance(part, ItemPart) and part.box is not None:
        if part.vector is not None:
            return VectorPart(part.vector, f"a part of {_name_of(part)}", part.weight)
        file = file_of(gallery, image_row(gallery, row_named(gallery, part.item)))
        if file is None:
            raise QueryError(f"{part.item}: its folder is no longer a part of the gallery, and a part of it is needed")
        return ImagePart(file, part.weight, part.box)
    if isinstance(part, ItemPart):
        rows = rows_named(gallery, part.item)
        vectors = vector_at(gallery, int(rows[0]))[None] if len(rows) == 1 else held_vectors(gallery, rows)
        return VectorPart(vectors[0] if len(vectors) == 1 else vectors, str(_name_of(part)), part.weight)
    if isinstance(part, ImagePart) and not isinstance(part.image, bytes):
        return replace(part, image=str(located(part.image)))
    return part


def _name_of(part: MarkPart | ItemPart) -> str | int:
    return part.item if isinstance(part.item, int) else shown(os.fspath(part.item))
