"""Texts to token ids, by the model's own tokenizer, with what open_clip keeps to itself: which texts were cut off."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmsearch.encoders.hub_tokenizer import read_hub_tokenizer
from mmsearch.encoders.sources import ModelSource
from mmsearch.errors import EncoderError
from mmsearch.towers.text_tokens import ClipTokens, HubTokens, TokenizerRecord, Tokens, make_tokenizer

__all__ = ["NoRecord", "Tokenizer", "load_tokenizer"]


_LONG = 1_000  # characters: a longer text is tokenised only as far as the model reads


class NoRecord(Exception):
    """A tokenizer that only open_clip can run. The message says why, as half of a sentence."""


class Tokenizer(Protocol):
    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it tokenises, as JSON, for the fingerprint."""
        ...

    def record(self) -> TokenizerRecord:
        """What `mmsearch.towers` needs to tokenise alike without open_clip. Raises NoRecord."""
        ...

    def __call__(self, texts: Sequence[str]) -> Tokens: ...


def load_tokenizer(source: ModelSource, *, announce: Callable[[str], None]) -> Tokenizer:
    """The tokenizer that a model was trained with. Raises EncoderError where its files cannot be had.

    announce: gets a line before a download.
    """
    text_cfg = source.model_cfg["text_cfg"]
    options = dict(text_cfg.get("tokenizer_kwargs") or {})
    if name := text_cfg.get("hf_tokenizer_name"):
        length, mode = int(text_cfg.get("context_length", 77)), text_cfg.get("tokenizer_mode")
        record = read_hub_tokenizer(str(name), source.folder, length, mode=mode, options=options, announce=announce)
        return _HubTokenizer(record, mode, options)
    return _ClipTokenizer(text_cfg, options, source.folder)


class _ClipTokenizer:
    """CLIP's byte-pair encoding, which open_clip brings along."""

    def __init__(self, text_cfg: Mapping[str, Any], options: dict[str, Any], folder: Path | None) -> None:
        import open_clip

        if folder is not None and "bpe_path" in options:
            options["bpe_path"] = str(folder / options["bpe_path"])
        self._context_length = int(text_cfg.get("context_length", 77))
        config = "the config" if folder is None else f"the config in {folder}"
        try:
            self._tokenizer = open_clip.SimpleTokenizer(context_length=self._context_length, **options)
        except (OSError, TypeError, ValueError, AssertionError) as error:
            raise EncoderError(f"cannot make the tokenizer that {config} asks for, {options}: {error}") from error
        if self._tokenizer.vocab_size > text_cfg.get("vocab_size", 49408):
            raise EncoderError(
                f"the tokenizer knows {self._tokenizer.vocab_size} tokens and the model "
                f"{text_cfg['vocab_size']}: {config} does not belong to it"
            )
        default = inspect.signature(open_clip.SimpleTokenizer).parameters["bpe_path"].default
        vocabulary = Path(options.pop("bpe_path", default))
        self.identity: Mapping[str, Any] = {
            "kind": "clip",
            "context_length": self._context_length,
            "vocabulary": hashlib.sha256(vocabulary.read_bytes()).hexdigest(),
            **options,
        }
        self._clean = str(options.get("clean", "lower"))

    @cached_property
    def _bounded(self) -> Callable[[Sequence[str]], Tokens]:
        """The same tokens, without work on what the model does not read: open_clip's time is quadratic in a word."""
        return make_tokenizer(self.record())

    def record(self) -> TokenizerRecord:
        tokenizer = self._tokenizer
        if tokenizer.reduction_fn is not None:
            raise NoRecord("its tokenizer drops words instead of cutting the end")
        special = tuple(tokenizer.decoder[each] for each in tokenizer.all_special_ids)
        merges = "\n".join(" ".join(pair) for pair in tokenizer.bpe_ranks)
        return ClipTokens(merges, special, self._clean, self._context_length)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        tokenizer = self._tokenizer
        if tokenizer.reduction_fn is not None:  # drops words at random or by kind instead of cutting the end
            starts = [text[: _LONG * 10] for text in texts]
            lengths = np.array([len(tokenizer.encode(text)) + 2 for text in starts])
            return Tokens(tokenizer(starts).numpy(), lengths > self._context_length)
        # open_clip's own __call__ does this without saying what it cut; tokenising twice to know would double the cost.
        ids = np.zeros((len(texts), self._context_length), dtype=np.int64)
        truncated = np.zeros(len(texts), dtype=np.bool_)
        for row, text in enumerate(texts):
            if len(text) > _LONG:
                long = self._bounded([text])
                ids[row], truncated[row] = long.ids[0], long.truncated[0]
                continue
            tokens = [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]
            if len(tokens) > self._context_length:
                truncated[row] = True
                tokens = [*tokens[: self._context_length - 1], tokenizer.eot_token_id]
            ids[row, : len(tokens)] = tokens
        return Tokens(ids, truncated)


class _HubTokenizer:
    """A tokenizer of the Hugging Face hub (SigLIP, XLM-R, NLLB ...), run by the package tokenizers."""

    def __init__(self, record: HubTokens, mode: str | None, options: Mapping[str, Any]) -> None:
        self._record = record
        self._tokenize = make_tokenizer(record)
        self.identity: Mapping[str, Any] = {
            "kind": "transformers",
            "context_length": record.context_length,
            "mode": mode or "",
            "files": hashlib.sha256(record.definition.encode()).hexdigest(),
            **options,
        }

    def record(self) -> TokenizerRecord:
        return self._record

    def __call__(self, texts: Sequence[str]) -> Tokens:
        return self._tokenize(texts)
