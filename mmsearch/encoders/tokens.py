"""Texts to token ids, by the model's own tokenizer, with what open_clip keeps to itself: which texts were cut off."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmsearch.encoders.sources import ModelSource
from mmsearch.errors import EncoderError
from mmsearch.towers.text_tokens import CLEANERS, ClipTokens, HubTokens, TokenizerRecord, Tokens, make_tokenizer

__all__ = ["NoRecord", "Tokenizer", "load_tokenizer"]


_LONG = 1_000  # characters: a longer text is tokenised only as far as the model reads


class NoRecord(Exception):
    """A tokenizer that only open_clip or transformers can run. The message says why, as half of a sentence."""


class Tokenizer(Protocol):
    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it tokenises, as JSON, for the fingerprint."""
        ...

    def record(self) -> TokenizerRecord:
        """What `mmsearch.towers` needs to tokenise alike without open_clip. Raises NoRecord."""
        ...

    def __call__(self, texts: Sequence[str]) -> Tokens: ...


def load_tokenizer(source: ModelSource) -> Tokenizer:
    """The tokenizer that a model was trained with. Raises EncoderError where its files cannot be had."""
    text_cfg = source.model_cfg["text_cfg"]
    options = dict(text_cfg.get("tokenizer_kwargs") or {})
    if text_cfg.get("hf_tokenizer_name"):
        # The files of a folder are its own; open_clip holds it so too.
        name = str(source.folder) if source.folder is not None else text_cfg["hf_tokenizer_name"]
        return _HubTokenizer(name, text_cfg, options)
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
    """A tokenizer of the package transformers (SigLIP, XLM-R, NLLB ...)."""

    def __init__(self, name: str, text_cfg: Mapping[str, Any], options: dict[str, Any]) -> None:
        from open_clip.tokenizer import HFTokenizer

        self._context_length = int(text_cfg.get("context_length", 77))
        mode = text_cfg.get("tokenizer_mode")
        made = None
        for local in (True, False):  # from the cache without asking the hub whether it is current
            try:
                made = HFTokenizer(name, self._context_length, tokenizer_mode=mode, local_files_only=local, **options)
                break
            except Exception as error:  # transformers raises trees of its own
                if not local:
                    raise EncoderError(f"cannot load the tokenizer {name}: {error}") from error
        assert made is not None
        self._tokenizer = made
        self._special_tokens = 3 if mode == "clips" else 0  # which that mode keeps free for its own
        backend = getattr(made.tokenizer, "backend_tokenizer", None)
        tables = backend.to_str() if backend is not None else repr(sorted(made.tokenizer.get_vocab().items()))
        self.identity: Mapping[str, Any] = {
            "kind": "transformers",
            "context_length": self._context_length,
            "mode": mode or "",
            "files": hashlib.sha256(tables.encode()).hexdigest(),
            **options,
        }
        self._mode = mode
        self._clean = str(options.get("clean", "whitespace"))

    def record(self) -> TokenizerRecord:
        made = self._tokenizer.tokenizer
        backend = getattr(made, "backend_tokenizer", None)
        if self._mode or backend is None or self._clean not in CLEANERS or made.pad_token_id is None:
            raise NoRecord("its tokenizer runs in the package transformers only")
        return HubTokens(
            definition=backend.to_str(),
            clean=self._clean,
            context_length=self._context_length,
            pad_id=made.pad_token_id,
            pad_token=made.pad_token,
            padding_side=made.padding_side,
            truncation_side=made.truncation_side,
            cleared=made.sep_token_id if self._tokenizer.strip_sep_token else None,
        )

    def __call__(self, texts: Sequence[str]) -> Tokens:
        cleaned = [self._tokenizer.clean_fn(text) for text in texts]
        whole = self._tokenizer.tokenizer(
            cleaned, padding=False, truncation=False, add_special_tokens=self._special_tokens == 0, verbose=False
        ).input_ids
        lengths = np.array([len(ids) for ids in whole]) + self._special_tokens
        ids = self._tokenizer(list(texts)).numpy()
        return Tokens(ids.astype(np.int64, copy=False), lengths > self._context_length)
