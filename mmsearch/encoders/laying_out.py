"""The text side of a model that torch has loaded, laid out in the cache for queries without torch, once a model.

What is laid out is read from the model itself, compared with it there and then, and not used where it disagrees.
"""

from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transformer import LayerNorm, LayerNormFp32, QuickGELU, ResidualAttentionBlock, TextTransformer

from mmsearch.encoders.tokens import NoRecord, Tokenizer
from mmsearch.towers.text_files import NoTower, StoredTower, is_decided, write_reason, write_tower
from mmsearch.towers.text_tokens import make_tokenizer
from mmsearch.towers.text_tower import POOLS, Design, TextTower, block_weights

__all__ = ["MOST_ERROR", "Unsuited", "keep_text_side", "lay_out"]

MOST_ERROR = 1e-3
"""Of a caption's vector, relative to its distance from the mean: vectors of texts have most of their length in common,
and what tells them apart is what must agree."""

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


class Unsuited(Exception):
    """A model whose text side numpy cannot run here. The message says why, as the second half of a sentence."""


def keep_text_side(model: Any, tokenizer: Tokenizer, fingerprint: str, dim: int) -> None:
    """Lay out the text side of a model (fp32, on the CPU) in the cache, unless it is there; or the reason why not.

    A cache that cannot be written costs time at the next query, no more.
    """
    if is_decided(fingerprint):
        return
    try:
        try:
            write_tower(lay_out(model, tokenizer, fingerprint, dim))
        except Unsuited as reason:
            write_reason(fingerprint, str(reason))
    except NoTower:
        return


def lay_out(model: Any, tokenizer: Tokenizer, fingerprint: str, dim: int) -> StoredTower:
    """The text side of a model as `mmsearch.towers` takes it, compared with the model. Raises Unsuited."""
    try:
        record = tokenizer.record()
    except NoRecord as error:
        raise Unsuited(str(error)) from error
    parts, pool, eos_id = _text_parts(model)
    design = _design(parts, pool, eos_id)
    stored = StoredTower(fingerprint, dim, design, _weights(parts, design), record)
    try:
        ids = make_tokenizer(record)(_CAPTIONS).ids
    except Exception as error:  # of the Rust tokenizer, or of the import of its package
        raise Unsuited(f"its tokenizer cannot be used without torch ({type(error).__name__}: {error})") from error
    if not np.array_equal(ids, tokenizer(_CAPTIONS).ids):
        raise Unsuited("its tokenizer gives other tokens without torch")
    vectors = TextTower(stored.design, stored.weights).encode(ids)
    with torch.inference_mode():
        expected = model.encode_text(torch.from_numpy(ids)).numpy()
    disagreement = _disagreement(vectors, expected)
    if not disagreement <= MOST_ERROR:  # NaN too
        raise Unsuited(f"its text side gives other vectors without torch (relative error {disagreement:.1g})")
    return stored


def _disagreement(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The greatest relative error of centred, normalised vectors."""
    ours, theirs = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (vectors, expected))
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    return float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max())


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


def _design(parts: Any, pool: str, eos_id: int) -> Design:
    blocks = list(parts.transformer.resblocks)
    if others := {type(block).__name__ for block in blocks if type(block) is not ResidualAttentionBlock}:
        raise Unsuited(f"its blocks are of another kind ({', '.join(sorted(others))})")
    norms = [parts.ln_final, *(norm for block in blocks for norm in (block.ln_1, block.ln_2))]
    if not all(type(norm) in (LayerNorm, LayerNormFp32) for norm in norms) or len({norm.eps for norm in norms}) > 1:
        raise Unsuited("its layer norms are of several kinds")
    if pool not in POOLS:
        raise Unsuited(f"its pooling is {pool!r}")
    return Design(
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        activation=_activation(blocks[0].mlp.gelu),
        pool=pool,
        causal=parts.attn_mask is not None,
        eos_id=int(eos_id),
        pad_id=int(getattr(parts, "pad_id", 0)),
        eps=float(norms[0].eps),
    )


def _activation(module: Any) -> str:
    if type(module) is QuickGELU:
        return "quick_gelu"
    if type(module) is torch.nn.GELU:
        return "gelu_tanh" if module.approximate == "tanh" else "gelu"
    raise Unsuited(f"its activation is {type(module).__name__}")


def _weights(parts: Any, design: Design) -> dict[str, NDArray[np.float32]]:
    weights = {
        "token_embedding": _array(parts.token_embedding.weight),
        "positional_embedding": _array(parts.positional_embedding),
        "ln_final.weight": _array(parts.ln_final.weight),
        "ln_final.bias": _array(parts.ln_final.bias),
    }
    if getattr(parts, "cls_emb", None) is not None:
        weights["class_embedding"] = _array(parts.cls_emb)
    projection = parts.text_projection
    if isinstance(projection, torch.nn.Linear):
        weights["projection.weight"] = _array(projection.weight.T)
        if projection.bias is not None:
            weights["projection.bias"] = _array(projection.bias)
    elif projection is not None:
        weights["projection.weight"] = _array(projection)
    for layer, block in enumerate(parts.transformer.resblocks):
        names = block_weights(layer)
        weights.update({names[part]: array for part, array in _block(block).items()})
    return weights


def _block(block: Any) -> dict[str, NDArray[np.float32]]:
    """A block's tensors by part; a layer scale, which multiplies what a matrix gives, is multiplied into it."""
    scale_1, scale_2 = (getattr(scale, "gamma", 1.0) for scale in (block.ls_1, block.ls_2))
    attention, mlp = block.attn, block.mlp
    return {
        "ln_1.weight": _array(block.ln_1.weight),
        "ln_1.bias": _array(block.ln_1.bias),
        "qkv.weight": _array(attention.in_proj_weight.T),
        "qkv.bias": _array(attention.in_proj_bias),
        "out.weight": _array(attention.out_proj.weight.T * scale_1),
        "out.bias": _array(attention.out_proj.bias * scale_1),
        "ln_2.weight": _array(block.ln_2.weight),
        "ln_2.bias": _array(block.ln_2.bias),
        "widen.weight": _array(mlp.c_fc.weight.T),
        "widen.bias": _array(mlp.c_fc.bias),
        "narrow.weight": _array(mlp.c_proj.weight.T * scale_2),
        "narrow.bias": _array(mlp.c_proj.bias * scale_2),
    }


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    """float32 in rows, sharing the tensor's memory where it is so already."""
    array: NDArray[np.float32] = np.ascontiguousarray(tensor.detach().float().numpy())
    return array
