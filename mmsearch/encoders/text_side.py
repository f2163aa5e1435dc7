"""Texts to vectors without torch: the text tower of an encoder as it lies in the cache."""

from collections.abc import Callable, Sequence

import numpy as np

from mmsearch.encoders.laid_out import read_side, unit_vectors
from mmsearch.encoders.protocols import EncodedTexts
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.sides import TEXT, make_text_tower
from mmsearch.towers.text_batches import BatchedTexts
from mmsearch.towers.text_tokens import Tokens, make_tokenizer
from mmsearch.towers.tower_files import NoTower

__all__ = ["TowerTexts", "open_text_side"]

# Token ids of this many texts at a time bound the memory for any number.
_TEXT_BLOCK = 8192


def open_text_side(identity: EncoderIdentity) -> "TowerTexts":
    """The text side of an encoder, from the cache. Raises NoTower, whose message says why there is none."""
    stored = read_side(TEXT, identity)
    try:
        tokenizer = make_tokenizer(stored.input, stored.tables)
        tower = make_text_tower(stored.design, stored.weights)
    except Exception as error:  # the Rust tokenizer raises bare Exceptions for tables that it does not understand
        raise NoTower(f"its text side in the cache cannot be used ({type(error).__name__}: {error})") from error
    return TowerTexts(identity, tower, tokenizer)


class TowerTexts:
    """The text side of an encoder in numpy. Implements `mmsearch.encoders.TextSide`."""

    def __init__(
        self, identity: EncoderIdentity, tower: BatchedTexts, tokenizer: Callable[[Sequence[str]], Tokens]
    ) -> None:
        self._identity = identity
        self._tower = tower
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        vectors = np.empty((len(texts), self._identity.dim), dtype=np.float32)
        truncated = np.empty(len(texts), dtype=np.bool_)
        for first in range(0, len(texts), _TEXT_BLOCK):
            block = slice(first, first + _TEXT_BLOCK)
            tokens = self._tokenizer(texts[block])
            vectors[block] = self._tower.encode(tokens.ids)
            truncated[block] = tokens.truncated
        return EncodedTexts(unit_vectors(vectors, self._identity), truncated)
