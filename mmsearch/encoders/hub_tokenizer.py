"""The files of a Hugging Face tokenizer, read for `mmsearch.towers`: as transformers' AutoTokenizer reads them, without
that package.

    tokenizer.json           the tables, and how a text becomes tokens; the package tokenizers runs it
    tokenizer_config.json    which tokens are special, on which side a text is padded and cut; its class
    special_tokens_map.json  the same, of older tokenizers
    config.json              the kind of model, where tokenizer_config.json names no class: a class has defaults

A tokenizer that comes without tokenizer.json (T5's, of sentencepiece alone) is converted by the package transformers,
where that is installed.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.encoders.hub import hub_file_if_any
from mmsearch.errors import EncoderError
from mmsearch.names import shell_quoted
from mmsearch.towers.text_tokens import CLEANERS, HubTokens

__all__ = ["read_hub_tokenizer"]

_TABLES = "tokenizer.json"
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "config.json")
_SPECIAL = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))

_OF_OPEN_CLIP = ("clean", "strip_sep_token", "language", "cache_dir")
"""The options of a config that open_clip keeps for itself; it hands the others to the tokenizer. (Of "language" nothing
comes: transformers returns to the settings' src_lang at each call.)"""


@dataclass(frozen=True, slots=True)
class _Family:
    """What the classes of a family do, whatever their files say.

    special: name -> token, where the files name none. settings: other defaults. frames: they write start and end of a
    text themselves, so that the files' add_bos_token and add_eos_token have no effect.
    """

    special: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    frames: bool = True


_T5 = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
_ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": {"content": "<mask>", "lstrip": True},
}
_BERT = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_FAMILIES = {
    "T5": _Family(_T5),
    "Gemma": _Family(_GEMMA, {"padding_side": "left"}, frames=False),
    "Roberta": _Family(_ROBERTA),
    "XLMRoberta": _Family(_ROBERTA),
    "Nllb": _Family(_ROBERTA, {"src_lang": "eng_Latn"}),
    "Bert": _Family(_BERT),
}
_OTHERS = _Family({}, frames=False)
_FAMILY_OF_MODEL = {
    "t5": "T5",
    "mt5": "T5",
    "umt5": "T5",
    "gemma": "Gemma",
    "gemma2": "Gemma",
    "gemma3": "Gemma",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "bert": "Bert",
}


def read_hub_tokenizer(
    name: str,
    folder: Path | None,
    context_length: int,
    *,
    mode: str | None,
    options: Mapping[str, Any],
    announce: Callable[[str], None],
) -> HubTokens:
    """How open_clip's HFTokenizer would tokenise.

    name: of the hub. folder: of a model from a folder, whose files are its own, else None. mode, options: the config's
    tokenizer_mode and tokenizer_kwargs. Raises EncoderError where the files cannot be had or understood.
    """
    clean = str(options.get("clean", "whitespace"))
    if clean not in CLEANERS:
        raise EncoderError(f"the config asks for clean = {clean!r} of the tokenizer {name}, not {', '.join(CLEANERS)}")
    if mode not in (None, "", "clips"):
        raise EncoderError(f"the config asks for tokenizer_mode = {mode!r} of the tokenizer {name}, not 'clips'")
    where = folder if folder is not None else _folder_of(name, announce)
    asked = {key: value for key, value in options.items() if key not in _OF_OPEN_CLIP}
    try:
        if where is not None and (where / _TABLES).is_file():
            read = _read(where, asked)
        else:
            read = _converted(name, folder, asked)
        return _record(read, context_length, clean, mode, bool(options.get("strip_sep_token", False)))
    except EncoderError:
        raise
    except Exception as error:  # the Rust tokenizer raises bare Exceptions, transformers trees of its own
        place = where if where is not None else name
        raise EncoderError(f"cannot use the tokenizer in {place}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Read:
    """A tokenizer and the settings that are not in its tables. special: name -> token."""

    tokenizer: Any
    special: Mapping[str, str]
    padding_side: str
    truncation_side: str
    place: str

    def id_of(self, name: str) -> int:
        number = self.tokenizer.token_to_id(self.special.get(name, ""))
        if number is None:
            raise EncoderError(
                f"the tokenizer in {self.place} has no {name}: name one in its tokenizer_config.json "
                f'("{name}": a token of {_TABLES})'
            )
        return int(number)


def _record(read: _Read, context_length: int, clean: str, mode: str | None, strip: bool) -> HubTokens:
    frame = (read.id_of("bos_token"), read.id_of("eos_token"), read.id_of("cls_token")) if mode else None
    return HubTokens(
        definition=read.tokenizer.to_str(),
        clean=clean,
        context_length=context_length,
        pad_id=read.id_of("pad_token"),
        pad_token=read.special["pad_token"],
        padding_side=read.padding_side,
        truncation_side=read.truncation_side,
        cleared=read.id_of("sep_token") if strip and not mode else None,
        frame=frame,
    )


# --- the files --------------------------------------------------------------------------------------------------------


def _folder_of(repo: str, announce: Callable[[str], None]) -> Path | None:
    """The folder with the files of a repository; None where it has no tables."""
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repo, _TABLES)
    if isinstance(cached, str):
        return Path(cached).parent
    for name in _BESIDE:
        hub_file_if_any(repo, [name], announce=announce)
    # The tables last: where they are in the cache, the others are too, or there are none.
    tables = hub_file_if_any(repo, [_TABLES], announce=announce)
    return None if tables is None else tables.parent


def _json(file: Path) -> dict[str, Any]:
    """Of a file that need not be there."""
    try:
        parsed = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"cannot read {file}: {error}") from error
    if not isinstance(parsed, dict):
        raise EncoderError(f"{file} holds no object")
    return parsed


def _read(folder: Path, asked: Mapping[str, Any]) -> _Read:
    import tokenizers

    settings = {**_json(folder / "tokenizer_config.json"), **asked}
    if "added_tokens_decoder" not in settings:
        settings |= {key: value for key, value in _json(folder / "special_tokens_map.json").items() if key not in asked}
    kind = _kind(settings, folder)
    family = _FAMILIES.get(kind, _OTHERS)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / _TABLES))
    padding, truncation = tokenizer.padding or {}, tokenizer.truncation or {}
    sides = {"padding_side": padding.get("direction"), "truncation_side": truncation.get("direction")}
    given = {name: settings[name] for name in _SPECIAL if settings.get(name) is not None}
    if "pad_token" in padding:
        given.setdefault("pad_token", family.special.get("pad_token", padding["pad_token"]))
    tokens = {name: given.get(name, family.special.get(name)) for name in _SPECIAL}
    special = {name: _content(token) for name, token in tokens.items() if token is not None}
    _add_missing(tokenizer, settings, [token for token in tokens.values() if token is not None])
    _frame(tokenizer, special, kind, {**family.settings, **settings}, family.frames)
    found = {"padding_side": "right", "truncation_side": "right", **family.settings}
    found |= {name: side for name, side in sides.items() if side} | settings
    return _Read(tokenizer, special, str(found["padding_side"]), str(found["truncation_side"]), str(folder))


def _kind(settings: Mapping[str, Any], folder: Path) -> str:
    """The name of its class without "Tokenizer"."""
    name = settings.get("tokenizer_class")
    if not name:
        config = _json(folder / "config.json")
        name = config.get("tokenizer_class") or _FAMILY_OF_MODEL.get(str(config.get("model_type")), "")
    return str(name).removesuffix("Fast").removesuffix("Tokenizer")


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _add_missing(tokenizer: Any, settings: Mapping[str, Any], special: list[Any]) -> None:
    """The tokens that the settings name and the tables lack."""
    present = {str(token.content): token for token in tokenizer.get_added_tokens_decoder().values()}
    listed = sorted((settings.get("added_tokens_decoder") or {}).items(), key=lambda entry: int(entry[0]))
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    extra = list(extra.values()) if isinstance(extra, dict) else list(extra)
    named = {_content(token) for token in special}
    for token in [*(token for _, token in listed), *special, *extra]:
        content = _content(token)
        if content in present:
            continue
        made = _added_token(token, special=not isinstance(token, dict) or content in named)
        present[content] = made
        tokenizer.add_tokens([made])


def _added_token(token: Any, special: bool) -> Any:
    import tokenizers

    fields: dict[str, Any] = dict(token) if isinstance(token, dict) else {"content": str(token)}
    fields.pop("__type", None)
    fields["special"] = special or bool(fields.get("special"))
    return tokenizers.AddedToken(**fields)


def _frame(tokenizer: Any, special: Mapping[str, str], kind: str, settings: Mapping[str, Any], frames: bool) -> None:
    """Start and end of a text where they depend on more than the tables: on the language, on add_bos_token."""
    from tokenizers.processors import TemplateProcessing

    eos = special.get("eos_token", "")
    if kind == "Nllb":
        language = str(settings["src_lang"])
        legacy = bool(settings.get("legacy_behaviour"))
        start, end = ([], [eos, language]) if legacy else ([language], [eos])
        single, pair = [*start, "$A", *end], [*start, "$A", "$B", *end]
    elif not frames and ("add_bos_token" in settings or "add_eos_token" in settings):
        bos = special.get("bos_token", "")
        start = [bos] if bos and settings.get("add_bos_token") else []
        end = [eos] if eos and settings.get("add_eos_token") else []
        single = [f"{token}:0" for token in (*start, "$A", *end)]
        pair = single + [f"{token}:1" for token in (*start, "$B", *end)]
    else:
        return
    numbers = {token: tokenizer.token_to_id(token) for token in (*start, *end)}
    if unknown := [token for token, number in numbers.items() if number is None]:
        raise EncoderError(f"the tokenizer knows no {unknown[0]!r}, with which its texts begin or end")
    tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=list(numbers.items()))


# --- by the package transformers --------------------------------------------------------------------------------------


def _converted(name: str, folder: Path | None, asked: Mapping[str, Any]) -> _Read:
    """A tokenizer without tables, converted. Raises EncoderError where transformers cannot, or is not there."""
    place = str(folder) if folder is not None else name
    made: Any = None
    reason = "the package transformers, which could convert it, is not installed"
    if importlib.util.find_spec("transformers") is not None:
        try:
            from transformers import AutoTokenizer

            made = AutoTokenizer.from_pretrained(place, local_files_only=folder is not None, **asked)
            reason = "transformers has no fast tokenizer of its kind"
        except Exception as error:  # noqa: BLE001  transformers raises trees of its own
            reason = f"transformers cannot convert it ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    if getattr(made, "backend_tokenizer", None) is None:
        raise EncoderError(
            f"the tokenizer in {place} has no {_TABLES}, and {reason}. "
            + (
                f"Fetch it: hf download {name} {_TABLES} tokenizer_config.json --local-dir {shell_quoted(folder)}"
                if folder is not None
                else 'Install what converts it: pip install "mmsearch[transformers]"'
            )
        )
    special = {name: str(token) for name in _SPECIAL if (token := getattr(made, name, None)) is not None}
    return _Read(made.backend_tokenizer, special, made.padding_side, made.truncation_side, place)
