"""Texts to token ids exactly as open_clip does it, without importing it: its tokenizer's module alone costs 6 s.

Which tokenizer a model has, and its tables, are written down by whoever lays out its tower (`ClipTokens`, `HubTokens`)
and made into a function again by `make_tokenizer`.
"""

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.towers.large_vocabulary import LargeVocabulary, Tables, split_tables

__all__ = ["CLEANERS", "ClipTokens", "HubTokens", "TokenizerRecord", "Tokens", "make_tokenizer", "with_tables"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """ids: int64 (n, context length), padded. truncated: bool (n,), True where a text did not fit."""

    ids: NDArray[np.int64]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ClipTokens:
    """CLIP's byte-pair encoding (OpenAI's simple_tokenizer.py).

    merges: lines "first second", best first. special: special tokens, start and end of text first.
    clean: a key of `CLEANERS`.
    """

    merges: str
    special: tuple[str, ...]
    clean: str
    context_length: int


@dataclass(frozen=True, slots=True)
class HubTokens:
    """A fast tokenizer of the Hugging Face hub.

    definition: its tokenizer.json; where it comes with tables, what `split_tables` leaves of it. pad_id, pad_token,
    padding_side, truncation_side: how the package transformers brings texts to one length. cleared: a token id to
    replace by 0, as `strip_sep_token` asks for. frame: the ids of start, end and class token of open_clip's mode
    "clips", which puts them around a text in the place of the tokens that the definition would; the class token stands
    last, behind the padding.
    """

    definition: str
    clean: str
    context_length: int
    pad_id: int
    pad_token: str
    padding_side: str
    truncation_side: str
    cleared: int | None = None
    frame: tuple[int, int, int] | None = None


TokenizerRecord = ClipTokens | HubTokens


def with_tables(record: TokenizerRecord) -> tuple[TokenizerRecord, Tables]:
    """The same tokenizer to be stored; the tables of a large vocabulary apart, so that a query need not read them."""
    if isinstance(record, ClipTokens):
        return record, {}
    numbers = [number for number in (record.pad_id, record.cleared, *(record.frame or ())) if number is not None]
    split = split_tables(record.definition, numbers)
    return (record, {}) if split is None else (replace(record, definition=split[0]), split[1])


def make_tokenizer(record: TokenizerRecord, tables: Tables | None = None) -> Callable[[Sequence[str]], Tokens]:
    """The function that a record describes. tables: those that `with_tables` took out of it.

    Raises ImportError where a tokenizer of the hub needs the package tokenizers and it is absent.
    """
    return _ClipTokenizer(record) if isinstance(record, ClipTokens) else _HubTokenizer(record, tables or {})


# --- cleaning ---------------------------------------------------------------------------------------------------------

# Printable ASCII without "&": nothing that ftfy repairs (encodings, quotes, control characters) or html.unescape
# replaces. Importing ftfy takes as long as encoding a query.
_NOTHING_TO_FIX = re.compile(r"[\t\n\x20-\x25\x27-\x7e]*")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _fixed(text: str) -> str:
    if _NOTHING_TO_FIX.fullmatch(text):
        return text
    import html

    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _one_space(text: str) -> str:
    return " ".join(text.split())


def _canonical(text: str) -> str:
    """As big_vision's canonicalize_text: no punctuation, lower case."""
    return _one_space(text.strip().replace("_", " ").translate(_NO_PUNCTUATION).lower())


CLEANERS: Mapping[str, Callable[[str], str]] = {
    "lower": lambda text: _one_space(_fixed(text)).lower(),
    "whitespace": lambda text: _one_space(_fixed(text)),
    "canonicalize": lambda text: _canonical(_fixed(text)),
}
"""What open_clip calls `clean`, by its names."""


# --- CLIP -------------------------------------------------------------------------------------------------------------

_MOST_KNOWN = 100_000  # words whose ids are remembered: a server asked by strangers must not grow


_ASKED_OFTEN = 500


class _Lines:
    """Which of many lines a text is, of equal ones the last.

    A dictionary of CLIP's 48,894 merges takes longer to make than a query to encode. So the first texts are looked for
    among the lines themselves, and a dictionary is made where more come.
    """

    def __init__(self, lines: bytes) -> None:
        self._lines = lines
        self._content = np.frombuffer(lines, np.uint8)
        ends = np.append(np.flatnonzero(self._content == ord("\n")), len(self._content))
        self._starts = np.append(0, ends[:-1] + 1)
        self._lengths = ends - self._starts
        self._asked = 0
        self._places: dict[str, int] | None = None

    def place(self, text: str) -> int | None:
        """The place of the line, from 0; None where there is none. text: one line."""
        self._asked += 1
        if self._places is None and self._asked > _ASKED_OFTEN:
            lines = self._lines.decode().split("\n")
            self._places = dict(zip(lines, range(len(lines)), strict=True))
        if self._places is not None:
            return self._places.get(text)
        wanted = text.encode()
        places = np.flatnonzero(self._lengths == len(wanted))
        starts = self._starts[places]
        for position, byte in enumerate(wanted):  # few lines are left after the first
            same = self._content[starts + position] == byte
            places, starts = places[same], starts[same]
        return int(places[-1]) if len(places) else None

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def most_characters(self) -> int:
        """Of a line."""
        begins = np.append(0, np.cumsum(self._content & 0xC0 != 0x80))  # how many characters, of one or more bytes
        return int((begins[self._starts + self._lengths] - begins[self._starts]).max())


class _ClipTokenizer:
    """Byte-pair encoding, with the lines of the merges as the keys of its tables."""

    def __init__(self, record: ClipTokens) -> None:
        merges = record.merges.encode()
        self._ranks = _Lines(merges)
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(256) if byte not in printable]
        # Each byte as a character that is neither white nor a control; the vocabulary has them in this order.
        letters = dict(zip([*printable, *others], map(chr, [*printable, *range(256, 256 + len(others))]), strict=True))
        single = [*letters.values(), *(f"{letter}</w>" for letter in letters.values())]
        self._joined, self._first_joined = _Lines(merges.translate(None, b" ")), len(single)
        self._single = dict(zip(single, range(len(single)), strict=True))
        first_special = len(single) + len(self._joined)
        special = dict(zip(record.special, range(first_special, first_special + len(record.special)), strict=True))
        self._letters = [letters[byte] for byte in range(256)]
        self._start, self._end = (special[token] for token in record.special[:2])
        self._known = {token: [special[token]] for token in record.special}  # word -> ids
        self._special = "|".join(record.special)
        self._clean = CLEANERS[record.clean]
        self._context_length = record.context_length
        # No token has more letters: what a word has beyond these the model cannot read.
        most = max(self._joined.most_characters, *map(len, single), *map(len, special))
        self._word_letters = self._context_length * most

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenise no more of a text than the model reads, so that a long one costs little.

        Exact but for a word of thousands of letters, of which the rest could change how its start is cut.
        """
        ids = np.zeros((len(texts), self._context_length), dtype=np.int64)
        truncated = np.zeros(len(texts), dtype=np.bool_)
        for row, text in enumerate(texts):
            tokens = [self._start, *self._encode(self._clean(text)), self._end]
            if len(tokens) > self._context_length:
                truncated[row] = True
                tokens = [*tokens[: self._context_length - 1], self._end]
            ids[row, : len(tokens)] = tokens
        return Tokens(ids, truncated)

    def _encode(self, text: str) -> list[int]:
        """The ids of a text, to the end of the word with which they are more than the model reads."""
        ids: list[int] = []
        for word in self._words(text):
            letters = "".join([self._letters[byte] for byte in word[: self._word_letters].encode()])
            known = self._known.get(letters)
            if known is None:
                known = [self._id(part) for part in self._parts(letters[: self._word_letters])]
                if len(self._known) < _MOST_KNOWN:
                    self._known[letters] = known
            ids += known
            if len(ids) > self._context_length:
                break
        return ids

    def _words(self, text: str) -> Iterator[str]:
        endings = "'s|'t|'re|'ve|'m|'ll|'d"
        engine: Any = re
        if text.isascii():
            pattern = rf"{self._special}|{endings}|[a-z]+|[0-9]|[^\sa-z0-9]+"
        else:
            import regex  # late: Python's own re, which is loaded already, has no \p{L}

            engine, pattern = regex, rf"{self._special}|{endings}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
        return (found[0] for found in engine.finditer(pattern, text, engine.IGNORECASE))

    def _id(self, part: str) -> int:
        joined = self._joined.place(part)
        return self._single[part] if joined is None else self._first_joined + joined

    def _parts(self, word: str) -> list[str]:
        """Join, everywhere in a word, the pair of neighbours that comes first among the merges; until there is none."""
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pairs = [f"{first} {second}" for first, second in pairwise(parts)]
            ranks = [len(self._ranks) if (rank := self._ranks.place(pair)) is None else rank for pair in pairs]
            if min(ranks) == len(self._ranks):
                break
            best = pairs[ranks.index(min(ranks))]
            joined: list[str] = []
            place = 0
            while place < len(parts):
                both = place < len(pairs) and pairs[place] == best
                joined.append("".join(parts[place : place + 2]) if both else parts[place])
                place += 2 if both else 1
            parts = joined
        return parts


# --- Hugging Face -----------------------------------------------------------------------------------------------------


class _HubTokenizer:
    """The Rust tokenizer that the package transformers wraps, framed as it frames it."""

    def __init__(self, record: HubTokens, tables: Tables) -> None:
        import tokenizers

        self._record = record
        self._clean = CLEANERS[record.clean]
        self._large = LargeVocabulary(record.definition, tables) if tables else None
        self._whole = None if tables else self._framed(tokenizers.Tokenizer.from_str(record.definition))
        self._asked = 0

    def _framed(self, tokenizer: Any) -> Any:
        record = self._record
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if record.frame is None:
            tokenizer.enable_truncation(record.context_length, direction=record.truncation_side)
            tokenizer.enable_padding(
                length=record.context_length,
                pad_id=record.pad_id,
                pad_token=record.pad_token,
                direction=record.padding_side,
            )
        return tokenizer

    def __call__(self, texts: Sequence[str]) -> Tokens:
        if not texts:
            return Tokens(np.empty((0, self._record.context_length), np.int64), np.empty(0, np.bool_))
        cleaned = [self._clean(text) for text in texts]
        tokenizer, numbers = self._tokenizer_for(cleaned)
        encoded = tokenizer.encode_batch(cleaned, add_special_tokens=self._record.frame is None)
        rows = [np.array(each.ids, np.int64) for each in encoded]
        if numbers is not None:
            rows = [numbers[row] for row in rows]
        if self._record.frame is not None:
            return self._in_frame(rows, *self._record.frame)
        ids = np.stack(rows)
        if self._record.cleared is not None:
            ids[ids == self._record.cleared] = 0
        return Tokens(ids, np.array([bool(each.overflowing) for each in encoded]))

    def _tokenizer_for(self, texts: Sequence[str]) -> tuple[Any, NDArray[np.int64] | None]:
        """A tokenizer that cuts these texts, and what its ids stand for where they are its own."""
        if self._whole is None and self._large is not None:
            self._asked += len(texts)
            small = self._large.small(texts) if self._asked <= _ASKED_OFTEN else None
            if small is not None:
                return self._framed(small.tokenizer), small.numbers
            self._whole = self._framed(self._large.whole())
        return self._whole, None

    def _in_frame(self, texts: Sequence[NDArray[np.int64]], start: int, end: int, class_id: int) -> Tokens:
        most = self._record.context_length - 3
        ids = np.full((len(texts), self._record.context_length), self._record.pad_id, np.int64)
        for row, tokens in enumerate(texts):
            kept = [start, *tokens[:most], end]
            ids[row, : len(kept)] = kept
        ids[:, -1] = class_id
        return Tokens(ids, np.array([len(tokens) > most for tokens in texts], np.bool_))
