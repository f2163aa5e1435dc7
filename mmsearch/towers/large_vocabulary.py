"""Tokenizers with hundreds of thousands of pieces, of which a text needs some dozens.

The package tokenizers takes more than a second to read such tables, a query some tenths altogether. So the tables lie
in the tower's file in an order in which pieces are found, and a tokenizer for a text is made of the pieces that occur
in it, with their own ids and in their own order: it cuts the text as the whole one does. Where many texts come, or one
that holds a special token, the whole one is read.

    hashes, starts, text    pieces by the hash of their content, and which bytes of `text` they are
    numbers                 their ids, in the same order
    pairs, ranks            of byte-pair encoding: the merges as (left id << 32) + right id, in order; their ranks
    scores                  of Unigram: by id
    whole                   tokenizer.json
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LargeVocabulary", "Tables", "split_tables"]

Tables = Mapping[str, NDArray[Any]]

_LARGE = 40_000  # pieces: fewer are read in a tenth of a second
_MOST_KEPT = 1_000  # pieces that keep their place whatever the text
_MOST_CANDIDATES = 20_000  # parts of the texts to look for: beyond it the whole is read
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]  # what unknown letters become, where a vocabulary has these


def split_tables(definition: str, numbers: Sequence[int]) -> tuple[str, Tables] | None:
    """A tokenizer.json as a small rest and its tables; None where it is small, or of a kind that is read whole.

    numbers: ids that stand in its output without being pieces of a text, as that of padding.
    """
    parsed = json.loads(definition)
    model = parsed["model"]
    vocab, kind = model.get("vocab"), model.get("type")
    if vocab is None or len(vocab) < _LARGE:
        return None
    affixed = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or model.get("dropout")
    if kind == "BPE" and not affixed:
        pieces: dict[str, int] = vocab
    elif kind == "Unigram" and model.get("unk_id") is not None:
        pieces = {piece: number for number, (piece, _) in enumerate(vocab)}
    else:
        return None
    tables = _pieces(pieces)
    if tables is None or len(pieces) != len(vocab):
        return None
    always = {piece: pieces[piece] for piece in (*_BYTES, str(model.get("unk_token"))) if piece in pieces}
    kept = 0
    if kind == "BPE":
        tables |= _merges(pieces, model["merges"])
    else:
        scores = np.array([score for _, score in vocab], np.float64)
        tables["scores"] = scores
        kept = 1 + max(int(model["unk_id"]), *numbers, *_numbers_in(parsed.get("post_processor")))
        if kept > min(_MOST_KEPT, len(vocab)):
            return None
        # The least score is what an unknown letter's follows from.
        always |= {vocab[number][0]: number for number in (*range(kept), int(scores.argmin()))}
    tables["whole"] = np.frombuffer(definition.encode(), np.uint8)
    rest = {
        **{name: parsed.get(name) for name in ("version", "normalizer", "pre_tokenizer", "post_processor")},
        "model": {name: value for name, value in model.items() if name not in ("vocab", "merges")},
        "added": [token["content"] for token in parsed.get("added_tokens", [])],
        "always": always,
        "kept": kept,
        "longest": max(map(len, pieces)),
    }
    return json.dumps(rest), tables


def _pieces(pieces: Mapping[str, int]) -> dict[str, NDArray[Any]] | None:
    contents = [piece.encode() for piece in pieces]
    hashes = _hashes(contents)
    order = np.argsort(hashes)
    hashes = hashes[order]
    if (hashes[1:] == hashes[:-1]).any():
        return None
    ordered = [contents[place] for place in order]
    starts = np.append(0, np.cumsum([len(content) for content in ordered])).astype(np.int64)
    numbers = np.fromiter(pieces.values(), np.int64, len(pieces))[order]
    return {"hashes": hashes, "starts": starts, "text": np.frombuffer(b"".join(ordered), np.uint8), "numbers": numbers}


def _merges(pieces: Mapping[str, int], merges: Sequence[Any]) -> dict[str, NDArray[Any]]:
    halves = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    pairs = np.array([(pieces[left] << 32) + pieces[right] for left, right in halves], np.uint64)
    order = np.argsort(pairs, kind="stable")
    return {"pairs": pairs[order], "ranks": order.astype(np.int64)}


def _numbers_in(described: Any) -> list[int]:
    """All whole numbers in a part of a tokenizer.json."""
    if isinstance(described, dict):
        return [number for each in described.values() for number in _numbers_in(each)]
    if isinstance(described, list):
        return [number for each in described for number in _numbers_in(each)]
    return [described] if isinstance(described, int) else []


def _hashes(contents: Sequence[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(hashlib.blake2b(each, digest_size=8).digest() for each in contents), np.uint64)


@dataclass(frozen=True, slots=True)
class SmallTokenizer:
    """A tokenizer of what some texts need. numbers: its ids -> those of the whole one; None where they are the same."""

    tokenizer: Any
    numbers: NDArray[np.int64] | None


class LargeVocabulary:
    """What `split_tables` made, as tokenizers again."""

    def __init__(self, rest: str, tables: Tables) -> None:
        import tokenizers

        self._rest, self._tables = json.loads(rest), tables
        self._from_str = tokenizers.Tokenizer.from_str
        nothing = self._with_model({"type": "WordLevel", "vocab": {}, "unk_token": ""})
        self._normalizer, self._pre_tokenizer = nothing.normalizer, nothing.pre_tokenizer
        self._added = [*self._rest["added"], *map(self._normalized, self._rest["added"])]

    def whole(self) -> Any:
        """The tokenizer with all of its pieces."""
        return self._from_str(self._tables["whole"].tobytes().decode())

    def small(self, texts: Sequence[str]) -> SmallTokenizer | None:
        """One that cuts these texts as the whole one does; None where only that does."""
        parts: set[str] = set()
        for text in texts:
            normalized = self._normalized(text)
            if any(token and (token in text or token in normalized) for token in self._added):
                return None
            for word in self._words(normalized):
                if len(word) * min(len(word), self._rest["longest"]) + len(parts) > _MOST_CANDIDATES:
                    return None
                parts |= _parts(word, self._rest["longest"])
        pieces = {**self._found(sorted(parts)), **self._rest["always"]}
        model = dict(self._rest["model"])
        if model["type"] == "BPE":
            model |= {"vocab": pieces, "merges": self._merges_of(pieces)}
            return SmallTokenizer(self._with_model(model), None)
        scores = self._tables["scores"]
        ordered = sorted(pieces.items(), key=lambda entry: entry[1])
        model["vocab"] = [[piece, float(scores[number])] for piece, number in ordered]
        return SmallTokenizer(self._with_model(model), np.array([number for _, number in ordered], np.int64))

    def _with_model(self, model: Mapping[str, Any]) -> Any:
        names = ("version", "normalizer", "pre_tokenizer", "post_processor")
        none: dict[str, Any] = {"truncation": None, "padding": None, "added_tokens": [], "decoder": None}
        return self._from_str(json.dumps({**{name: self._rest[name] for name in names}, **none, "model": model}))

    def _normalized(self, text: str) -> str:
        return text if self._normalizer is None else str(self._normalizer.normalize_str(text))

    def _words(self, normalized: str) -> list[str]:
        """What the model is asked to cut."""
        if self._pre_tokenizer is None:
            return [normalized]
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(normalized)]

    def _found(self, parts: Sequence[str]) -> dict[str, int]:
        """Those that are pieces, with their ids."""
        tables, contents = self._tables, [part.encode() for part in parts]
        hashes = _hashes(contents)
        places = np.minimum(np.searchsorted(tables["hashes"], hashes), len(tables["hashes"]) - 1)
        pieces: dict[str, int] = {}
        for at in np.flatnonzero(tables["hashes"][places] == hashes).tolist():
            place = places[at]
            content = tables["text"][tables["starts"][place] : tables["starts"][place + 1]]
            if content.tobytes() == contents[at]:
                pieces[parts[at]] = int(tables["numbers"][place])
        return pieces

    def _merges_of(self, pieces: Mapping[str, int]) -> list[tuple[str, str]]:
        """The merges that give one of these pieces, best first."""
        halves = [
            (piece[:at], piece[at:])
            for piece in pieces
            for at in range(1, len(piece))
            if piece[:at] in pieces and piece[at:] in pieces
        ]
        wanted = np.array([(pieces[left] << 32) + pieces[right] for left, right in halves], np.uint64)
        pairs, ranks = self._tables["pairs"], self._tables["ranks"]
        if not len(wanted) or not len(pairs):
            return []
        places = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        known = np.flatnonzero(pairs[places] == wanted)
        return [halves[at] for at in known[np.argsort(ranks[places[known]], kind="stable")].tolist()]


def _parts(word: str, longest: int) -> set[str]:
    return {
        word[first:past] for first in range(len(word)) for past in range(first + 1, min(first + longest, len(word)) + 1)
    }
