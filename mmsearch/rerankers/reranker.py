"""A re-ranker: what it takes and gives, and what is kept of the pictures that it has seen."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.plugins import PluginRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["LookedAt", "Provider", "Reranker", "RerankerRequest"]


class Reranker(Protocol):
    """A model of a picture and a text together.

    A pair is scored in three steps, so that what depends on the picture alone is done once a picture: `prepare` makes
    pixels, `look` runs the side of the model that sees them, `match` asks it about texts. A provider derives from this.

    Attributes:
        spec: what named it, with its prefix.
        device: where it runs, for people.
        pairs_at_once: so many pairs `match` takes well in one call; a deadline is looked at between two calls.
    """

    spec: str
    device: str = "cpu"
    pairs_at_once: int = 16

    def prepare(self, image: "PIL.Image.Image") -> Any:
        """An upright RGB image -> what `look` takes. Thread-safe."""
        ...

    def look(self, prepared: Sequence[Any]) -> list[Any]:
        """n of what `prepare` gave -> for each what `match` takes of it. One with `nbytes` says how large it is."""
        ...

    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        """n texts and n of what `look` gave -> float64 (n,): how well each fits the other. Higher is better; values of
        one re-ranker compare, those of two do not. Raises EncoderError."""
        ...


RerankerRequest: TypeAlias = PluginRequest
"""What is asked of a provider."""

Provider: TypeAlias = Callable[[RerankerRequest], Reranker]
"""Opens a re-ranker, or raises EncoderError."""

_HELD_BYTES = 1 << 29


class LookedAt:
    """What a re-ranker saw in pictures, kept by their content; those that were not needed for longest go first.

    A re-ranker works for one thread at a time: whoever asks meanwhile waits. most_bytes: what may be kept; what says
    nothing of its size is not.
    """

    def __init__(self, reranker: Reranker, most_bytes: int = _HELD_BYTES) -> None:
        self.reranker = reranker
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._turn = threading.RLock()

    def match(
        self, texts: Sequence[str], keys: Sequence[Hashable], prepare: Callable[[Any], Any]
    ) -> NDArray[np.float64]:
        """n texts and the keys of n pictures -> float64 (n,), as `Reranker.match`; -inf for those that `prepare` has
        nothing of.

        prepare: the key of a picture that is not kept -> what `Reranker.prepare` gives of it, or None; called once for
        each.
        """
        fits = np.full(len(keys), -np.inf)
        with self._turn:
            states = {key: self._kept[key] for key in keys if key in self._kept}
            for key in states:
                self._kept.move_to_end(key)
            unseen = {key: prepare(key) for key in dict.fromkeys(keys) if key not in states}
            unseen = {key: prepared for key, prepared in unseen.items() if prepared is not None}
            if unseen:
                for key, state in zip(unseen, self.reranker.look([*unseen.values()]), strict=True):
                    states[key] = state
                    self._keep(key, state)
            there = [number for number, key in enumerate(keys) if key in states]
            if there:
                pictures = [states[keys[number]] for number in there]
                fits[there] = self.reranker.match([texts[number] for number in there], pictures)
        return fits

    def _keep(self, key: Hashable, state: Any) -> None:
        size = getattr(state, "nbytes", None)
        if size is None or size > self._most:
            return
        self._kept[key] = state
        self._bytes += size
        while self._bytes > self._most:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.nbytes
