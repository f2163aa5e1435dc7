"""The text side of a model of open_clip, read for `mmsearch.towers`."""

from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer

from mmsearch.encoders.hub_layout import read_hub_text
from mmsearch.encoders.tokens import NoRecord, Tokenizer
from mmsearch.encoders.torch_parts import (
    Arrays,
    Unsuited,
    activation_of,
    array_of,
    linear_arrays,
    norm_arrays,
    open_clip_blocks,
    require_agreement,
    require_norms,
)
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.sides import AnyTextDesign, make_text_tower
from mmsearch.towers.text_tokens import TokenizerRecord, make_tokenizer, with_tables
from mmsearch.towers.text_tower import POOLS, TextDesign
from mmsearch.towers.tower_files import StoredTower

__all__ = ["lay_out_texts"]

_WORDS = (
    "a photo of two dogs , one brown and one white , running along the beach at sunset while 3 children in red coats "
    "fly a kite ; a man doesn't look up from his newspaper ! "
) * 8
_LENGTHS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)
_CAPTIONS = (
    *(" ".join(_WORDS.split()[start : start + length]) for start, length in enumerate(_LENGTHS)),
    _WORDS,  # longer than any model reads
    "Käse & Wein — 日本語 😀 &amp; Ã©!!",
)


def lay_out_texts(
    model: Any, tokenizer: Tokenizer, identity: EncoderIdentity
) -> StoredTower[AnyTextDesign, TokenizerRecord]:
    """The text side of a model as `mmsearch.towers` takes it, compared with the model. Raises Unsuited."""
    try:
        record, tables = with_tables(tokenizer.record())
    except NoRecord as error:
        raise Unsuited(str(error)) from error
    design, weights = _read_text(model)
    stored = StoredTower(identity.fingerprint, identity.dim, design, record, weights, tables)
    try:
        ids = make_tokenizer(record, tables)(_CAPTIONS).ids
    except Exception as error:  # of the Rust tokenizer, or of the import of its package
        raise Unsuited(f"its tokenizer cannot be used without torch ({type(error).__name__}: {error})") from error
    if not np.array_equal(ids, tokenizer(_CAPTIONS).ids):
        raise Unsuited("its tokenizer gives other tokens without torch")
    vectors = make_text_tower(stored.design, stored.weights).encode(ids)
    with torch.inference_mode():
        expected = model.encode_text(torch.from_numpy(ids)).numpy()
    require_agreement("text", vectors, expected)
    return stored


def _read_text(model: Any) -> tuple[AnyTextDesign, Arrays]:
    """The design and the weights of its text side."""
    text: Any = getattr(model, "text", None)
    if isinstance(text, HFTextEncoder):
        return read_hub_text(text)
    parts, pool, eos_id = _text_parts(model)
    blocks = open_clip_blocks(list(parts.transformer.resblocks))  # first: the design is read from blocks that are known
    return _design(parts, pool, eos_id), _outer_weights(parts) | blocks


def _text_parts(model: Any) -> tuple[Any, str, int]:
    """(the module whose attributes are the parts of the text tower, its pooling, its end-of-text id)."""
    if type(model) is open_clip.CLIP:  # which keeps them as its own
        return model, model.text_pool_type, model.text_eos_id
    text: Any = getattr(model, "text", None)
    if type(text) is not TextTransformer:
        kind = getattr(getattr(text, "config", None), "model_type", None) or type(text).__name__
        raise Unsuited(f"its text side is not one of open_clip's own ({kind})")
    if text.use_pad_mask or text.correct_cls_mask:
        raise Unsuited("its text side masks its padding")
    return text, text.pool_type, text.eos_id


def _design(parts: Any, pool: str, eos_id: int) -> TextDesign:
    blocks = list(parts.transformer.resblocks)
    eps = require_norms([parts.ln_final, *(norm for block in blocks for norm in (block.ln_1, block.ln_2))])
    if pool not in POOLS:
        raise Unsuited(f"its pooling is {pool!r}")
    return TextDesign(
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        activation=activation_of(blocks[0].mlp.gelu),
        pool=pool,
        causal=parts.attn_mask is not None,
        eos_id=int(eos_id),
        pad_id=int(getattr(parts, "pad_id", 0)),
        eps=eps,
    )


def _outer_weights(parts: Any) -> Arrays:
    """All but those of the blocks."""
    weights = {
        "token_embedding": array_of(parts.token_embedding.weight),
        "positional_embedding": array_of(parts.positional_embedding),
        **norm_arrays("ln_final", parts.ln_final),
    }
    if getattr(parts, "cls_emb", None) is not None:
        weights["class_embedding"] = array_of(parts.cls_emb)
    projection = parts.text_projection
    if isinstance(projection, torch.nn.Linear):
        weights |= linear_arrays("projection", projection)
    elif projection is not None:
        weights["projection.weight"] = array_of(projection)
    return weights
