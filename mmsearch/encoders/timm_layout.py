"""A vision transformer of the package timm, as SigLIP's image sides are, read for `mmsearch.towers`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from timm.layers.activations import GELU, GELUTanh, QuickGELU
from timm.layers.attention import Attention
from timm.layers.attention_pool import AttentionPoolLatent
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer

from mmsearch.encoders.torch_parts import (
    Arrays,
    Unsuited,
    activation_of,
    array_of,
    linear_arrays,
    norm_arrays,
    patch_matrix,
    require_norms,
)
from mmsearch.towers.transformer import block_weights
from mmsearch.towers.vit_tower import ViTDesign

__all__ = ["read_timm_vit"]

_NORMS = (LayerNorm, torch.nn.LayerNorm)
_ACTIVATIONS: Mapping[type, str] = {GELU: "gelu", GELUTanh: "gelu_tanh", QuickGELU: "quick_gelu"}
_POOLS = {"token": "token", "avg": "mean"}


def read_timm_vit(visual: Any) -> tuple[ViTDesign, Arrays]:
    """The design and the weights of an `open_clip.timm_model.TimmModel`. Raises Unsuited."""
    trunk: Any = visual.trunk
    if type(trunk) is not VisionTransformer:
        raise Unsuited(f"its image side is of a kind that only torch runs ({type(trunk).__name__} of timm)")
    patches: Any = trunk.patch_embed
    pool: Any = trunk.attn_pool
    if type(patches) is not PatchEmbed or trunk.dynamic_img_size or patches.dynamic_img_pad:
        raise Unsuited(f"it cuts pictures into patches as only torch does ({type(patches).__name__} of timm)")
    _require_plain([patches.norm])
    blocks: list[Any] = list(trunk.blocks)
    weights = _blocks(blocks) | _tokens(trunk) | _head(visual)
    weights |= norm_arrays("ln_pre", trunk.norm_pre) | norm_arrays("ln_tokens", trunk.norm)
    weights |= norm_arrays("ln_pooled", trunk.fc_norm)
    norms = [trunk.norm_pre, trunk.norm, trunk.fc_norm, *(norm for each in blocks for norm in (each.norm1, each.norm2))]
    if pool is not None:
        weights |= _latent_pooler(pool, blocks[0])
        norms.append(pool.norm)
    elif trunk.global_pool not in _POOLS:
        raise Unsuited(f"its pooling is {trunk.global_pool!r}")
    if trunk.num_prefix_tokens and trunk.global_pool != "token" and (pool is not None or trunk.pool_include_prefix):
        raise Unsuited("it pools some of its tokens as only torch does")
    design = ViTDesign(
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        activation=activation_of(blocks[0].mlp.act, _ACTIVATIONS),
        eps=require_norms([norm for norm in norms if type(norm) is not torch.nn.Identity], _NORMS),
        patch_height=patches.proj.kernel_size[0],
        patch_width=patches.proj.kernel_size[1],
        pool=_POOLS[trunk.global_pool] if pool is None else "attention",
        pool_heads=0 if pool is None else pool.num_heads,
    )
    return design, weights


def _require_plain(parts: Sequence[Any]) -> None:
    """Raise Unsuited where there is something in a place that is empty in the transformers that the towers compute."""
    if others := {type(part).__name__ for part in parts if part is not None and type(part) is not torch.nn.Identity}:
        raise Unsuited(f"there are parts in its blocks that only torch runs ({', '.join(sorted(others))})")


def _blocks(blocks: Sequence[Any]) -> Arrays:
    """By the names of `block_weights`; a layer scale is multiplied into the matrix before it."""
    kinds = {type(part) for block in blocks for part in _kinds_of(block)}
    if others := {kind.__name__ for kind in kinds if kind not in (Block, Attention, Mlp)}:
        raise Unsuited(f"its blocks are of another kind ({', '.join(sorted(others))})")
    arrays: Arrays = {}
    for layer, block in enumerate(blocks):
        attention, mlp = block.attn, block.mlp
        _require_plain([attention.q_norm, attention.k_norm, mlp.norm])
        _require_plain([getattr(attention, name, None) for name in ("norm", "gate")])  # of later releases of timm
        scale_1, scale_2 = (getattr(scale, "gamma", 1.0) for scale in (block.ls1, block.ls2))
        parts = {
            **norm_arrays("ln_1", block.norm1),
            **linear_arrays("qkv", attention.qkv),
            **linear_arrays("out", attention.proj, scale_1),
            **norm_arrays("ln_2", block.norm2),
            **linear_arrays("widen", mlp.fc1),
            **linear_arrays("narrow", mlp.fc2, scale_2),
        }
        arrays |= {block_weights(layer)[part]: array for part, array in parts.items()}
    return arrays


def _kinds_of(block: Any) -> Iterator[Any]:
    yield block
    yield from (part for name in ("attn", "mlp") if (part := getattr(block, name, None)) is not None)


def _tokens(trunk: Any) -> Arrays:
    """The patches, and what stands before them: a class token, registers, or nothing."""
    positions, projection = trunk.pos_embed, trunk.patch_embed.proj
    if positions is None:
        raise Unsuited("it has no positions")
    before = [token[0] for token in (trunk.cls_token, getattr(trunk, "reg_token", None)) if token is not None]
    prefix, positions = torch.cat([*before, positions[0, :0]]), positions[0]
    if not trunk.no_embed_class:
        prefix, positions = prefix + positions[: len(prefix)], positions[len(prefix) :]
    if projection.bias is not None:
        positions = positions + projection.bias
    arrays = {"patches.weight": patch_matrix(projection), "positions": array_of(positions)}
    return arrays | ({"prefix": array_of(prefix)} if len(prefix) else {})


def _head(visual: Any) -> Arrays:
    """The projection, which is the trunk's or open_clip's own."""
    parts = [visual.trunk.head, *(part for part in visual.head if type(part) is not torch.nn.Dropout)]
    layers = [part for part in parts if type(part) is not torch.nn.Identity]
    if len(layers) > 1 or any(type(layer) is not torch.nn.Linear for layer in layers):
        raise Unsuited("its projection is of a kind that only torch runs")
    return linear_arrays("projection", layers[0]) if layers else {}


def _latent_pooler(pool: Any, block: Any) -> Arrays:
    """SigLIP's pooling: what one learned query sees of all tokens, and a perceptron on that."""
    known = type(pool) is AttentionPoolLatent and pool.latent_len == 1 and pool.pos_embed is None
    if not known or type(pool.proj) is not torch.nn.Linear or type(pool.mlp) is not Mlp:
        raise Unsuited("its pooling is of a kind that only torch runs")
    if type(pool.mlp.act) is not type(block.mlp.act):
        raise Unsuited("its pooling has an activation of its own")
    _require_plain([pool.q_norm, pool.k_norm, pool.mlp.norm])
    with torch.inference_mode():
        queries = pool.q(pool.latent)[0]
    return {
        "query": array_of(queries),
        **linear_arrays("kv", pool.kv),
        **linear_arrays("pool", pool.proj),
        **norm_arrays("ln_2", pool.norm),
        **linear_arrays("widen", pool.mlp.fc1),
        **linear_arrays("narrow", pool.mlp.fc2),
    }
