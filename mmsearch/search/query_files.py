"""Many queries at once: read from a file, answered in batches."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmsearch.budget import REQUEST
from mmsearch.errors import MmsearchError, MmsearchWarning, QueryError
from mmsearch.locations import expanded
from mmsearch.search.answers import Answer
from mmsearch.search.encoding import texts_of
from mmsearch.search.mixed import by_table
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.search.pending import require_items
from mmsearch.search.query import Query, TextPart
from mmsearch.search.retrieval import SearchOptions
from mmsearch.stores import read_whole

__all__ = ["answer_in_batches", "batches_of", "read_queries"]

# Large enough for matrix products at full speed, small enough that the first answers come soon.
_BATCH = 1024
_MOST_BYTES = 1 << 26  # of a file of queries: a million of ordinary length


def read_queries(file: str, **unsaid: Any) -> list[Query]:
    """The queries of a file, "-" for stdin. A line is a text, an id, a tab and a text, or an object as
    `Query.to_json` gives it. Blank lines are passed over.

    A query without an id is called by the number of its line, from 1. unsaid: fields of `Query`, for queries that do
    not say otherwise.
    Raises QueryError where the file cannot be read, holds no query, or gives two the same id.
    """
    shown = "stdin" if file == "-" else file
    try:
        content = read_whole(None if file == "-" else expanded(file), _MOST_BYTES)
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise QueryError(f"cannot read the queries {shown}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise QueryError(f"line {line} of {shown} is not UTF-8; write the queries as UTF-8 text") from error
    queries = [_read_line(number, line, shown, unsaid) for number, line in enumerate(lines, 1) if line.strip()]
    if not queries:
        raise QueryError(f"{shown} holds no queries; write one a line, or an id, a tab and a query")
    seen: set[str] = set()
    for query in queries:
        if query.id in seen:
            raise QueryError(f"{shown} has two queries with the id {query.id!r}; answers could not be told apart")
        seen.add(query.id)
    return queries


def _read_line(number: int, line: str, shown: str, unsaid: Mapping[str, Any]) -> Query:
    if len(line) > REQUEST.text_characters:
        raise QueryError(
            f"line {number} of {shown} has {len(line):,} characters; a query has at most "
            f"{REQUEST.text_characters:,}, and models read some dozen words"
        )
    if (given := _json_object(line)) is not None:
        try:
            query = Query.from_json({"id": str(number), **unsaid} | given)
        except QueryError as error:
            raise QueryError(f"line {number} of {shown}: {error}") from None
        if len(query.id.split()) != 1:
            raise QueryError(f"line {number} of {shown}: the id {query.id!r} must not be empty nor hold spaces")
        return query
    name, tab, text = line.strip("\r").partition("\t")
    if not tab:
        return Query([TextPart(line.strip())], id=str(number), **unsaid)
    if not name.strip() or not text.strip() or len(name.split()) != 1:
        raise QueryError(
            f"line {number} of {shown} has a tab but is no id, tab, query: the id {name!r} and the query {text!r} must "
            "not be empty, nor the id hold spaces"
        )
    return Query([TextPart(text.strip())], id=name.strip(), **unsaid)


def _json_object(line: str) -> dict[str, object] | None:
    """The object that a line is; None for a line that is words."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "parts" in value else None


def batches_of(queries: Sequence[Query], most: int) -> Iterator[Sequence[Query]]:
    """Queries, at most so many together, and with no more characters than one request may ask to encode."""
    batch: list[Query] = []
    batch_characters = 0
    for query in queries:
        characters = sum(map(len, texts_of(query)))
        if batch and (len(batch) == most or batch_characters + characters > REQUEST.characters):
            yield batch
            batch, batch_characters = [], 0
        batch.append(query)
        batch_characters += characters
    if batch:
        yield batch


def answer_in_batches(
    opened: OpenGallery,
    queries: Sequence[Query],
    *,
    options: SearchOptions = SearchOptions(),  # noqa: B008 - frozen
) -> Iterator[Answer]:
    """The answer to each query, in the order asked. Raises as `OpenGallery.ask`, for the first that is wrong."""
    for table in dict.fromkeys(each.table for query in queries for each in by_table(query, opened.gallery)):
        require_items(opened.gallery, table)
    truncated = 0
    for batch in batches_of(queries, _BATCH):
        for query, answer in zip(batch, opened.ask_all(batch, options=options), strict=True):
            if isinstance(answer, MmsearchError):
                raise QueryError(f"query {query.id}: {answer}") if isinstance(answer, QueryError) else answer
            truncated += answer.truncated
            yield answer
    if truncated:
        warnings.warn(
            f"{truncated:,} of {len(queries):,} queries are longer than the model reads; their ends were cut",
            MmsearchWarning,
            stacklevel=2,
        )
