"""`mmsearch query --from-file`: answers to many queries, in formats that programs read."""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mmsearch.cli.hits import print_run
from mmsearch.search.answers import hit_records

if TYPE_CHECKING:
    from mmsearch.search.answers import Answer

__all__ = ["BATCH_FORMATS"]


def _jsonl(answers: Iterable["Answer"]) -> None:
    for answer in answers:
        asked = {"query": answer.query.id, "text": answer.query.title}
        for hit in hit_records(answer):
            print(json.dumps(asked | hit, ensure_ascii=False))


def _trec(answers: Iterable["Answer"]) -> None:
    # All at once: only the whole run tells which paths name two pictures.
    print_run([(answer.query.id, answer.hits) for answer in answers])


BATCH_FORMATS: dict[str, Callable[[Iterable["Answer"]], None]] = {"jsonl": _jsonl, "trec": _trec}
