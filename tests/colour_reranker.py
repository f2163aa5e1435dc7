"""A re-ranker without a model, whose order is foreseeable."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.rerankers import Reranker, RerankerRequest


class ColourReranker(Reranker):
    """Likes pictures by how much blue they hold, whatever the text; it counts what it does."""

    pairs_at_once = 4

    def __init__(self, request: RerankerRequest) -> None:
        self.spec = request.spec
        self.looks = self.matches = 0
        self.when_matching: Callable[[], None] = lambda: None

    def prepare(self, image: Image.Image) -> Any:
        return np.asarray(image, np.float64).mean(axis=(0, 1))

    def look(self, prepared: Sequence[Any]) -> list[Any]:
        self.looks += len(prepared)
        return [*prepared]

    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        self.matches += len(texts)
        self.when_matching()
        return np.array([each[2] for each in pictures])


def provide_colour(monkeypatch: pytest.MonkeyPatch) -> list[ColourReranker]:
    """Have it opened as "colour:"; those that were are in the list."""
    opened: list[ColourReranker] = []

    class Entry:
        name, value = "colour", "tests:colour"

        def load(self) -> Callable[[RerankerRequest], Reranker]:
            def make(request: RerankerRequest) -> Reranker:
                opened.append(ColourReranker(request))
                return opened[-1]

            return make

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry()])
    return opened
