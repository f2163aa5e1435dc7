"""Texts to vectors without torch: the text tower of an encoder as it lies in the cache."""

from collections.abc import Callable, Sequence

import numpy as np

from mmsearch.encoders.encoder import Encoder
from mmsearch.encoders.protocols import EncodedTexts
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.text_files import NoTower, read_tower
from mmsearch.towers.text_tokens import Tokens, make_tokenizer
from mmsearch.towers.text_tower import TextTower

__all__ = ["TowerTexts", "open_tower"]

# Token ids of this many texts at a time bound the memory for any number.
_TEXT_BLOCK = 8192


def open_tower(identity: EncoderIdentity) -> Encoder:
    """An encoder with its text side alone, from the cache. Raises NoTower, whose message says why there is none."""
    stored = read_tower(identity.fingerprint)
    if stored.dim != identity.dim:
        raise NoTower(f"its text side gives vectors of {stored.dim} numbers, the gallery has {identity.dim}")
    try:
        tokenizer = make_tokenizer(stored.tokenizer)
        tower = TextTower(stored.design, stored.weights)
    except Exception as error:  # the Rust tokenizer raises bare Exceptions for tables that it does not understand
        raise NoTower(f"its text side in the cache cannot be used ({type(error).__name__}: {error})") from error
    return Encoder(identity, {"text": TowerTexts(identity, tower, tokenizer)})


class TowerTexts:
    """The text side of an encoder in numpy. Implements `mmsearch.encoders.TextSide`."""

    def __init__(
        self, identity: EncoderIdentity, tower: TextTower, tokenizer: Callable[[Sequence[str]], Tokens]
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
        if not np.isfinite(vectors).all():
            raise EncoderError(f"{self._identity.spec} gave vectors with NaN or infinity. Its weights may be damaged.")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(norms, np.finfo(np.float32).tiny)
        return EncodedTexts(vectors, truncated)
