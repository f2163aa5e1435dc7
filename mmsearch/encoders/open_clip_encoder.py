"""Both sides of any open_clip model, run by torch."""

import copy
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transformer import TextTransformer
from torch.overrides import TorchFunctionMode

from mmsearch.encoders.devices import Precision, choose_device, choose_precision, describe
from mmsearch.encoders.encoder import Encoder
from mmsearch.encoders.fingerprint import cached_fingerprint, image_side_fingerprint
from mmsearch.encoders.image_origin import note_identity, stated_image_origin
from mmsearch.encoders.lanes import Lane
from mmsearch.encoders.laying_out import keep_towers
from mmsearch.encoders.logit_scale import logit_scale_of
from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.encoders.protocols import EncodedTexts
from mmsearch.encoders.sources import ModelSource, resolve
from mmsearch.encoders.specs import Spec
from mmsearch.encoders.tokens import Tokenizer, load_tokenizer
from mmsearch.encoders.torch_images import TorchImages
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity

__all__ = [
    "CausalTextTower",
    "OpenClipTexts",
    "build_model",
    "causal_text_tower",
    "identify",
    "identify_image_side",
    "load",
]

# Texts are tokenised and sorted in blocks of this many, which bounds the memory for any number of texts and leaves
# enough of each length to fill batches.
_TEXT_BLOCK = 8192
_TEXT_BATCH = {"cpu": 64, "cuda": 1024, "mps": 128}


def load(spec: Spec, *, device: str, precision: str, announce: Callable[[str], None]) -> Encoder:
    """An open_clip model in evaluation mode, with both sides, for a parsed spec. Otherwise as `encoders.open`."""
    where = choose_device(device)  # first: no download for a device that is not there
    how = choose_precision(precision, where)
    source = resolve(spec, announce=announce)
    tokenizer = load_tokenizer(source, announce=announce)
    model = build_model(source)
    identity = identify(source, model, tokenizer)
    if source.folder is not None and not any(map(source.model_cfg["text_cfg"].get, _TOKENIZERS_ELSEWHERE)):
        note_identity(source.folder, identity)
    preprocessing = Preprocessing(_preprocess(source, model))
    keep_towers(model, tokenizer, preprocessing, identity)
    model = model.to(where)
    sides = {
        "image": TorchImages(model, preprocessing.reference, preprocessing, identity, where, how, tower="visual"),
        "text": OpenClipTexts(model, tokenizer, preprocessing, identity, where, how),
    }
    return Encoder(identity, sides, device=describe(where), precision=how, logit_scale=logit_scale_of(model))


_TOKENIZERS_ELSEWHERE = ("hf_model_name", "hf_tokenizer_name")
"""Settings of models whose tokenizer may lie outside of their folder."""


def identify(source: ModelSource, model: Any, tokenizer: Tokenizer) -> EncoderIdentity:
    """Which encoder a model is that has the weights of its source; and whose image side it has, where its folder says
    so and that is true."""
    weights, tensors = [source.weights], model.state_dict()
    value = cached_fingerprint(
        weights, source.model_cfg, _preprocess(source, model), tokenizer.identity, tensors.items()
    )
    image_of = None
    if source.folder is not None and (stated := stated_image_origin(source.folder)) is not None:
        origin, of_images = stated
        image_of = origin if identify_image_side(source, model) == of_images else None
    return EncoderIdentity(source.spec, value, int(source.model_cfg["embed_dim"]), image_of)


def identify_image_side(source: ModelSource, model: Any) -> str:
    """The fingerprint of the image side of a model that has the weights of its source."""
    tensors = model.state_dict().items()
    return image_side_fingerprint([source.weights], source.model_cfg, _preprocess(source, model), tensors)


def _preprocess(source: ModelSource, model: Any) -> dict[str, Any]:
    return {**source.preprocess, "size": _image_size(model)}


class OpenClipTexts:
    """The text side of an open_clip model. Implements `mmsearch.encoders.TextSide`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        preprocessing: Preprocessing,
        identity: EncoderIdentity,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self._model, self._tokenizer, self._identity, self._device = model, tokenizer, identity, device
        self._tower = causal_text_tower(model)
        # Of a quantised model the texts stay fp32: they are few, and nothing is gained.
        whole: Precision = "fp32" if precision == "int8" else precision
        self._lane = Lane(model.encode_image, device, whole, preprocessing, identity.spec)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        vectors = np.empty((len(texts), self._identity.dim), dtype=np.float32)
        truncated = np.empty(len(texts), dtype=np.bool_)
        for first in range(0, len(texts), _TEXT_BLOCK):
            block = slice(first, min(first + _TEXT_BLOCK, len(texts)))
            tokens = self._tokenizer(texts[block])
            vectors[block] = self._encode_tokens(torch.from_numpy(tokens.ids))
            truncated[block] = tokens.truncated
        return EncodedTexts(vectors, truncated)

    def _encode_tokens(self, ids: torch.Tensor) -> NDArray[np.float32]:
        """(n, context) -> (n, dim). Where exact, in batches of similar length, each cut to its longest: five times as
        fast for captions in a context of 77."""
        vectors = np.empty((len(ids), self._identity.dim), dtype=np.float32)
        tower = self._tower
        lengths = tower.lengths(ids) if tower is not None else torch.full((len(ids),), ids.shape[1])
        order = torch.argsort(lengths, stable=True)
        encode = tower.encode if tower is not None else self._model.encode_text
        size = _TEXT_BATCH[self._device.type]
        batches = [order[first : first + size] for first in range(0, len(ids), size)]
        encoded = self._lane.run_each([ids[rows, : int(lengths[rows].max())] for rows in batches], encode)
        for rows, found in zip(batches, encoded, strict=True):
            vectors[rows.numpy()] = found
        return vectors


# --- building ---------------------------------------------------------------------------------------------------------


def build_model(source: ModelSource) -> torch.nn.Module:
    """The model of a source with its weights, fp32, on the CPU, in evaluation mode. Raises EncoderError.

    Does what open_clip's `create_model` does for a checkpoint, with the activation that `source` resolved. Every weight
    comes from the file; one that is missing there is an error.
    """
    cfg = copy.deepcopy(dict(source.model_cfg))
    text_cfg, vision_cfg = cfg["text_cfg"], cfg["vision_cfg"]
    custom_text = cfg.pop("custom_text", False) or "hf_model_name" in text_cfg
    # The parts' own pretrained weights are not fetched: all are replaced.
    if "timm_model_name" in vision_cfg:
        vision_cfg["timm_model_pretrained"] = False
    if "hf_model_name" in text_cfg:
        text_cfg["hf_model_pretrained"] = False
    kind = open_clip.CLIP
    if custom_text:
        kind = open_clip.CoCa if "multimodal_cfg" in cfg else open_clip.CustomTextCLIP
    try:
        with _NoRandomInit():
            model: torch.nn.Module = kind(**cfg)
    except Exception as error:  # open_clip, timm and transformers each raise their own on a config they do not know
        raise EncoderError(f"open_clip cannot build {source.spec}: {_first_words(error)}") from error
    _load_weights(model, source)
    return model.eval().requires_grad_(False)


def _load_weights(model: torch.nn.Module, source: ModelSource) -> None:
    _refuse_code(source.weights)
    try:
        open_clip.load_checkpoint(model, str(source.weights), strict=True, weights_only=True)
    except Exception as error:  # torch, safetensors and open_clip each raise their own on a file that does not fit
        raise EncoderError(
            f"the weights in {source.weights} do not fit {source.spec}: {_first_words(error)}"
        ) from error


def _refuse_code(weights: Path) -> None:
    """A pickle may hold code that runs when it is loaded. Only tensors are; open_clip alone falls back to loading all
    where torch is old and the restricted way fails."""
    if weights.suffix == ".safetensors":
        return
    try:
        torch.load(weights, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(weights))
    except Exception as error:  # whatever the pickle did, or its reader did not like
        raise EncoderError(
            f"{weights} holds more than tensors, or is damaged, and is not loaded: a pickle can run any code. Convert "
            f"it to safetensors where you trust it. ({_first_words(error)})"
        ) from error


def _first_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


_RANDOM = {
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    torch.Tensor.erfinv_,
    torch.nn.init.normal_,
    torch.nn.init.uniform_,
    torch.nn.init.trunc_normal_,
    torch.nn.init.kaiming_uniform_,
    torch.nn.init.kaiming_normal_,
    torch.nn.init.xavier_uniform_,
    torch.nn.init.xavier_normal_,
}


class _NoRandomInit(TorchFunctionMode):
    """Leave weights as they are where a model would draw them at random: all are loaded over, and drawing the 151
    million of a ViT-B-32 takes longer than loading them. In this thread only; what is computed (masks) stays."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _RANDOM:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _image_size(model: Any) -> list[int]:
    size = model.visual.image_size
    return [int(size), int(size)] if isinstance(size, int) else [int(each) for each in size]


# --- text -------------------------------------------------------------------------------------------------------------


class CausalTextTower:
    """A text tower in which a token sees only those before it and one token speaks for the text. What follows that
    token then counts for nothing, and need not be computed: the result is the same.

    Written for `open_clip.CLIP`, whose tower's parts are its own attributes, and `TextTransformer`.
    """

    def __init__(self, parts: Any, pool_type: str, eos_id: int) -> None:
        self._parts = parts
        self._pool_type = pool_type
        self._eos_id = eos_id

    def _speaker(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, length) -> (n,): which token speaks. End-of-text has the highest number in CLIP's vocabulary."""
        return ids.eq(self._eos_id).int().argmax(dim=1) if self._pool_type == "eos" else ids.argmax(dim=1)

    def lengths(self, ids: torch.Tensor) -> torch.Tensor:
        return self._speaker(ids) + 1

    def encode(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, length up to the context) -> (n, dim), not normalised; as `encode_text`, but for any length."""
        parts, length = self._parts, ids.shape[1]
        dtype = parts.transformer.get_cast_dtype()
        x = parts.token_embedding(ids).to(dtype) + parts.positional_embedding[:length].to(dtype)
        x = parts.transformer(x, attn_mask=parts.attn_mask[:length, :length])
        x = parts.ln_final(x)[torch.arange(len(ids), device=ids.device), self._speaker(ids)]
        projection = parts.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
        return torch.as_tensor(x)


def causal_text_tower(model: Any) -> CausalTextTower | None:
    """The tower to use with shortened texts, None where that would not be exact (SigLIP, CoCa, Hugging Face towers)."""
    if type(model) is open_clip.CLIP:
        parts, pool_type, eos_id, extra_token = model, model.text_pool_type, model.text_eos_id, None
    elif type(getattr(model, "text", None)) is TextTransformer and type(model) is open_clip.CustomTextCLIP:
        parts, pool_type, eos_id = model.text, model.text.pool_type, model.text.eos_id
        extra_token = model.text.cls_emb
    else:
        return None
    if parts.attn_mask is None or extra_token is not None or pool_type not in ("argmax", "eos"):
        return None
    return CausalTextTower(parts, pool_type, eos_id)
