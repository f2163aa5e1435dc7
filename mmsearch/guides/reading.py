"""Finding and reading the guides, which are Markdown files beside this one."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import GuideNotFound

__all__ = ["Guide", "list_guides", "read_guide"]

_FOLDER = Path(__file__).parent
# In the order in which a newcomer needs them. A guide that is not named here comes last.
_ORDER = (
    "searching",
    "scores",
    "reranking",
    "finetuning",
    "duplicates",
    "parts",
    "albums",
    "explaining",
    "describing",
    "embedding",
    "models",
    "sources",
    "index",
    "evaluating",
    "benchmarks",
    "zeroshot",
    "probes",
    "studies",
    "serving",
    "agents",
    "python",
    "format",
    "object-stores",
    "clusters",
    "costs",
    "options",
)


@dataclass(frozen=True, slots=True)
class Guide:
    """One guide.

    Attributes:
        topic: its name, as in `mmsearch guide TOPIC`.
        summary: what it is about, in a line.
        text: the whole of it, Markdown.
        file: where it stands.
    """

    topic: str
    summary: str
    text: str
    file: Path


def list_guides() -> tuple[Guide, ...]:
    """All guides, in the order in which a newcomer needs them."""
    guides = [_read(file) for file in sorted(_FOLDER.glob("*.md"))]
    return tuple(sorted(guides, key=lambda guide: _ORDER.index(guide.topic) if guide.topic in _ORDER else len(_ORDER)))


def read_guide(topic: str) -> Guide:
    """The guide to a topic.

    Raises GuideNotFound where there is none; the message names those that there are, the nearest first.
    """
    topics = [guide.topic for guide in list_guides()]
    if topic not in topics:
        nearest = difflib.get_close_matches(topic.lower(), topics, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise GuideNotFound(f"there is no guide {topic!r}; {hint}There are: {', '.join(topics)}")
    return _read(_FOLDER / f"{topic}.md")


def _read(file: Path) -> Guide:
    text = file.read_text("utf-8")
    _title, summary, *_rest = (line for line in text.splitlines() if line)
    return Guide(file.stem, summary, text, file)
