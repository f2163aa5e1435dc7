"""A clock beside what answers, and a memory for texts: the next page of hits asks the same again."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import EncodedTexts, Encoder
from mmsearch.exact import Neighbours
from mmsearch.gallery import FileSpans, Gallery
from mmsearch.scoring import Moments, TableScores
from mmsearch.search.encoding import QueryEncoders
from mmsearch.search.retrieval import Retriever, SearchOptions
from mmsearch.serve.metrics import Metrics

__all__ = ["RememberingEncoders", "TextMemory", "TimedRetriever"]

_REMEMBERED = 1_024


class TextMemory:
    """The vectors of the texts that were asked last, by the fingerprint of what encoded them. For any number of
    threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[NDArray[np.float32], bool]] = OrderedDict()
        self._keeping = threading.Lock()

    def get(self, fingerprint: str, text: str) -> tuple[NDArray[np.float32], bool] | None:
        """A text's vector, and whether its end was cut; None for one that is not remembered."""
        with self._keeping:
            found = self._known.get((fingerprint, text))
            if found is not None:
                self._known.move_to_end((fingerprint, text))
            return found

    def put(self, fingerprint: str, text: str, vector: NDArray[np.float32], truncated: bool) -> None:
        """Remember a text; the one that was asked longest ago is forgotten."""
        with self._keeping:
            self._known[fingerprint, text] = vector.copy(), truncated
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


class _RememberingTexts:
    """A text side that encodes only what it does not remember."""

    def __init__(self, encoder: Encoder, memory: TextMemory, metrics: Metrics) -> None:
        self._encoder, self._memory, self._metrics = encoder, memory, metrics

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        fingerprint = self._encoder.identity.fingerprint
        known = {text: self._memory.get(fingerprint, text) for text in texts}
        new = [text for text, found in known.items() if found is None]
        if new:
            with self._metrics.encode_seconds.time():
                encoded = self._encoder.text.encode(new)
            for text, vector, truncated in zip(new, encoded.vectors, encoded.truncated.tolist(), strict=True):
                self._memory.put(fingerprint, text, vector, truncated)
                known[text] = vector, truncated
        found = [pair for text in texts if (pair := known[text]) is not None]
        return EncodedTexts(np.stack([vector for vector, _ in found]), np.array([cut for _, cut in found]))


class RememberingEncoders:
    """The encoders of a gallery, of which that of texts remembers."""

    def __init__(self, encoders: QueryEncoders, memory: TextMemory, metrics: Metrics) -> None:
        self._encoders, self._memory, self._metrics = encoders, memory, metrics

    @property
    def chosen(self) -> bool:
        return self._encoders.chosen

    @property
    def has_own_texts(self) -> bool:
        return self._encoders.has_own_texts

    def encoder(self, side: str) -> Encoder:
        encoder = self._encoders.encoder(side)
        if side != "text":
            return encoder
        texts = _RememberingTexts(encoder, self._memory, self._metrics)
        return Encoder(encoder.identity, {"text": texts}, device=encoder.device, precision=encoder.precision)


class TimedRetriever:
    """A retriever whose searches are timed."""

    def __init__(self, retriever: Retriever, metrics: Metrics) -> None:
        self._retriever, self._metrics = retriever, metrics

    def search(
        self,
        vectors: NDArray[np.float32],
        *,
        k: int,
        table: str,
        where: str | None,
        options: SearchOptions,
        alpha: float,
    ) -> Neighbours:
        with self._metrics.search_seconds.time():
            return self._retriever.search(vectors, k=k, table=table, where=where, options=options, alpha=alpha)

    def scores(self, table: str) -> TableScores | None:
        return self._retriever.scores(table)

    def moments(self, table: str) -> Moments:
        return self._retriever.moments(table)

    def check_filter(self, table: str, where: str) -> None:
        self._retriever.check_filter(table, where)

    def admitted(self, gallery: Gallery, table: str, where: str) -> NDArray[np.int64]:
        return self._retriever.admitted(gallery, table, where)

    def file_spans(self, table: str) -> FileSpans | None:
        return self._retriever.file_spans(table)
