"""Re-rankers that are open."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmsearch.errors import QueryError

if TYPE_CHECKING:
    from mmsearch.rerankers import LookedAt

__all__ = ["Rerankers"]


@dataclass(slots=True)
class Rerankers:
    """The re-rankers of a gallery that is open, each opened when a query first names it, for any number of threads.

    Attributes:
        device: where they run.
        only: the one that may be named, "" for none; None: any. A server opens nothing that strangers name.
        announce: gets a line before a download.
    """

    device: str = "cpu"
    only: str | None = None
    announce: Callable[[str], None] = lambda _: None
    _opened: "dict[str, LookedAt]" = field(default_factory=dict)
    _opening: Any = field(default_factory=threading.RLock)

    def reranker(self, name: str) -> "LookedAt":
        """What a name stands for, with what it has seen. Raises EncoderError, or QueryError where it is not allowed."""
        if self.only is not None and name != self.only:
            has = f"with {self.only}" if self.only else "with nothing (mmsearch serve --rerank MODEL)"
            raise QueryError(f"this server does not re-rank with {name!r}, but {has}")
        from mmsearch.rerankers import LookedAt, open_reranker  # late: few queries are re-ranked

        with self._opening:
            if name not in self._opened:
                self._opened[name] = LookedAt(open_reranker(name, device=self.device, announce=self.announce))
            return self._opened[name]
