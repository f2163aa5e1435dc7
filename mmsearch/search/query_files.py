"""Many questions at once: read from a file, answered in batches."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmsearch.budget import REQUEST
from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.items import ItemTable
from mmsearch.locations import expanded
from mmsearch.search.describing import Hit
from mmsearch.search.open_gallery import OpenGallery, SearchOptions
from mmsearch.stores import read_whole

__all__ = ["Answered", "Question", "answer_all", "read_questions", "together"]

# Large enough for matrix products at full speed, small enough that the first answers come soon.
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Question:
    """A text to search for. id: as the file gives it, else the number of its line, from 1."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with its hits, best first."""

    question: Question
    hits: list[Hit]


_MOST_BYTES = 1 << 26  # of a file of queries: a million of ordinary length


def read_questions(file: str) -> list[Question]:
    """The questions of a file, "-" for stdin: a text a line, or an id, a tab and a text. Blank lines are passed over.

    Raises QueryError where the file cannot be read, holds no question, or gives two the same id.
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
    questions = [_question(number, line, shown) for number, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise QueryError(f"{shown} holds no queries; write one a line, or an id, a tab and a query")
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise QueryError(f"{shown} has two queries with the id {question.id!r}; answers could not be told apart")
        seen.add(question.id)
    return questions


def _question(number: int, line: str, shown: str) -> Question:
    if len(line) > REQUEST.text_characters:
        raise QueryError(
            f"line {number} of {shown} has {len(line):,} characters; a query has at most "
            f"{REQUEST.text_characters:,}, and models read some dozen words"
        )
    name, tab, text = line.strip("\r").partition("\t")
    if not tab:
        return Question(str(number), line.strip())
    if not name.strip() or not text.strip() or len(name.split()) != 1:
        raise QueryError(
            f"line {number} of {shown} has a tab but is no id, tab, query: the id {name!r} and the query {text!r} must "
            "not be empty, nor the id hold spaces"
        )
    return Question(name.strip(), text.strip())


def together(questions: Sequence[Question], most: int) -> Iterator[Sequence[Question]]:
    """Questions, at most so many together, and with no more characters than one request may ask to encode."""
    batch: list[Question] = []
    characters = 0
    for question in questions:
        if batch and (len(batch) == most or characters + len(question.text) > REQUEST.characters):
            yield batch
            batch, characters = [], 0
        batch.append(question)
        characters += len(question.text)
    if batch:
        yield batch


def answer_all(
    opened: OpenGallery,
    questions: Sequence[Question],
    *,
    k: int = 10,
    table: ItemTable = "images",
    options: SearchOptions = SearchOptions(),  # noqa: B008 - frozen
) -> Iterator[Answered]:
    """The k best items of a table for each question, in the order asked. Raises as `OpenGallery.query`."""
    opened.require_items(table)
    cut = 0
    for batch in together(questions, _BATCH):
        encoded = opened.text_encoder().encode_texts([question.text for question in batch])
        cut += int(encoded.truncated.sum())
        found = opened.search(encoded.vectors, k=k, table=table, options=options)
        for question, hits in zip(batch, opened.hits(found, table), strict=True):
            yield Answered(question, hits)
    if cut:
        warnings.warn(
            f"{cut:,} of {len(questions):,} queries are longer than the model reads; their ends were cut",
            MmsearchWarning,
            stacklevel=2,
        )
