"""Texts as tokens, by a tokenizer of transformers, with what was cut off."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ModelTokenizer", "ReadTexts", "model_tokenizer"]

_UNSTATED = 1_000_000  # tokenizers that know no limit say 10 ** 30
_FILLED_TO_THE_END = ("siglip", "siglip2")
"""Models that were trained on texts filled up to the context, and read the filling. Their processors leave that to
whoever calls them; the documentation of transformers asks for it."""
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "altclip_text_model")
"""Text models whose first position is the one after the padding token's number."""


@dataclass(frozen=True, slots=True)
class ReadTexts:
    """Texts as tokens.

    Attributes:
        tokens: of each text its numbers, one list for each name that the model takes.
        lengths: int64 (n,), how many tokens each has.
        truncated: bool (n,), True where the end of a text was cut off.
        filling: what a list is filled up with, for each name.
        fills_left: whether the filling comes first.
        fixed: the length to which all are filled up; None for that of the longest of a batch.
    """

    tokens: Sequence[Sequence[Sequence[int]]]
    lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    filling: tuple[int, ...]
    fills_left: bool
    fixed: int | None

    def padded(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some texts as one array (rows, names, length)."""
        length = self.fixed or int(self.lengths[rows].max())
        array = np.empty((len(rows), len(self.filling), length), dtype=np.int64)
        array[:] = np.array(self.filling)[:, None]
        for place, row in enumerate(rows):
            for name, numbers in enumerate(self.tokens[row]):
                where = slice(length - len(numbers), length) if self.fills_left else slice(0, len(numbers))
                array[place, name, where] = numbers
        return array


class ModelTokenizer:
    """A tokenizer as its model uses it.

    Attributes:
        context_length: how many tokens the model reads.
        names: what it is given: "input_ids", mostly "attention_mask", of some "token_type_ids".
    """

    def __init__(self, tokenizer: Any, context_length: int, *, fills: bool) -> None:
        self._tokenizer, self.context_length = tokenizer, context_length
        self._fixed = context_length if fills else None
        self._one_at_a_time = threading.Lock()  # what a tokenizer of the hub is told of cutting is its state
        self.names: tuple[str, ...] = tuple(tokenizer(["a"]))
        filling = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
        self._filling = tuple(filling.get(name, 0) for name in self.names)

    def read(self, texts: Sequence[str]) -> ReadTexts:
        """Tokenise texts; those that are longer than the context are cut off."""
        with self._one_at_a_time:
            return self._read([_encodable(text) for text in texts])

    def _read(self, clean: list[str]) -> ReadTexts:
        cut = self._tokens_of(clean)
        lengths = np.array([len(numbers[0]) for numbers in cut], dtype=np.int64)
        truncated = lengths >= self.context_length
        # Some of these fit exactly.
        full = np.flatnonzero(truncated)
        if len(full):
            whole = self._tokenizer([clean[row] for row in full], truncation=False, verbose=False)["input_ids"]
            truncated[full] = [len(numbers) > self.context_length for numbers in whole]
        left = self._tokenizer.padding_side == "left"
        return ReadTexts(cut, lengths, truncated, self._filling, left, self._fixed)

    def _tokens_of(self, texts: list[str]) -> list[list[list[int]]]:
        if not texts:
            return []
        encoded = self._tokenizer(texts, truncation=True, max_length=self.context_length)
        return [[encoded[name][row] for name in self.names] for row in range(len(texts))]


def model_tokenizer(processor: Any, config: Any) -> ModelTokenizer:
    """The tokenizer of a model, as its processor and the documentation of transformers use it."""
    tokenizer = processor.tokenizer
    stated = _text_defaults(processor)
    text_config = getattr(config, "text_config", config)
    limits = [stated.get("max_length"), tokenizer.model_max_length, _positions(text_config)]
    context = min(int(limit) for limit in limits if limit and limit < _UNSTATED)
    fills = stated.get("padding") == "max_length" or config.model_type in _FILLED_TO_THE_END
    return ModelTokenizer(tokenizer, context, fills=fills)


def _text_defaults(processor: Any) -> dict[str, Any]:
    """What a processor does with texts unless told otherwise: in releases of transformers before 5.24 it stands in the
    annotations of its arguments."""
    own = getattr(type(processor), "text_kwargs", None)
    if own is None:
        import sys

        name = f"{type(processor).__name__}Kwargs"
        kwargs = getattr(sys.modules[type(processor).__module__], name, None)
        own = (getattr(kwargs, "_defaults", None) or {}).get("text_kwargs")
    return dict(own or {})


def _positions(text_config: Any) -> int | None:
    positions = getattr(text_config, "max_position_embeddings", None)
    if positions and getattr(text_config, "model_type", "") in _POSITIONS_AFTER_PADDING:
        return int(positions) - int(text_config.pad_token_id or 0) - 1
    return positions


def _encodable(text: str) -> str:
    """A text without halves of characters, which no tokenizer takes (names of files may hold them)."""
    return text.encode("utf-8", "replace").decode("utf-8")
