"""`mmsearch query --from-file`: answers to many queries, in formats that programs read."""

import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from mmsearch.pipeline.hits import record

if TYPE_CHECKING:
    from mmsearch.pipeline.answers import Hit
    from mmsearch.pipeline.batch import Answered

__all__ = ["BATCH_FORMATS"]


def _jsonl(answers: Iterable["Answered"]) -> None:
    for answer in answers:
        asked = {"query": answer.question.id, "text": answer.question.text}
        for hit in answer.hits:
            print(json.dumps(asked | record(hit), ensure_ascii=False))


def _trec(answers: Iterable["Answered"]) -> None:
    """query Q0 item rank score mmsearch, as trec_eval and ir_measures read it."""
    for answer in answers:
        for hit in answer.hits:
            print(answer.question.id, "Q0", _name(hit), hit.rank, f"{hit.score:.6f}", "mmsearch")


def _name(hit: "Hit") -> str:
    """A picture's path or a caption's row id. White space would end the column, so that it is percent-encoded."""
    if hit.caption is not None or hit.path is None:
        return str(hit.row_id)
    return re.sub(r"[\s%]", lambda found: quote(found[0]), hit.path)


BATCH_FORMATS: dict[str, Callable[[Iterable["Answered"]], None]] = {"jsonl": _jsonl, "trec": _trec}
