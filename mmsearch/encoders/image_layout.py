"""The image side of a model of open_clip, read for `mmsearch.towers`."""

from typing import Any

import numpy as np
import PIL.Image
import torch
from open_clip.modified_resnet import AttentionPool2d, Bottleneck, ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import AttentionalPooler, VisionTransformer

from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.encoders.torch_parts import (
    Arrays,
    Unsuited,
    activation_of,
    array_of,
    linear_arrays,
    norm_arrays,
    open_clip_blocks,
    patch_matrix,
    require_agreement,
    require_norms,
)
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.image_pixels import ImagePixels, PixelsRecord
from mmsearch.towers.image_tower import ImageDesign, ImageTower
from mmsearch.towers.resnet_tower import ResNetDesign
from mmsearch.towers.tower_files import StoredTower
from mmsearch.towers.vit_tower import ViTDesign

__all__ = ["lay_out_images"]

_SAMPLE = ((640, 480), (333, 500), (224, 224), (61, 47))
"""Width and height of the pictures by which a tower is compared: landscape, portrait, square, small."""

_POOLS = {"tok": "token", "avg": "mean"}


def lay_out_images(
    model: Any, preprocessing: Preprocessing, identity: EncoderIdentity
) -> StoredTower[ImageDesign, PixelsRecord]:
    """The image side of a model as `mmsearch.towers` takes it, compared with the model. Raises Unsuited."""
    design, weights = _read_tower(model.visual)
    stored = StoredTower(identity.fingerprint, identity.dim, design, preprocessing.record, weights)
    sample = _sample()
    pixels = np.stack([ImagePixels(stored.input).prepare(image) for image in sample])
    if not np.array_equal(pixels, np.stack([preprocessing.reference(image) for image in sample])):
        raise Unsuited("pictures become other pixels without torch")
    try:
        with torch.inference_mode():
            expected = model.encode_image(torch.from_numpy(pixels)).numpy()
    except Exception as error:  # the model's own, which whoever encodes pictures meets again; texts need none of it
        raise Unsuited(f"its image side fails with torch too ({type(error).__name__}: {error})") from error
    require_agreement("image", ImageTower(design, weights).encode(pixels), expected)
    return stored


def _sample() -> list[PIL.Image.Image]:
    """Pictures that have little in common: smooth ones of several shapes, of which one is grey noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (len(_SAMPLE), 6, 8, 3), np.uint8)
    smooth = PIL.Image.Resampling.BICUBIC
    images = [PIL.Image.fromarray(some).resize(size, smooth) for some, size in zip(coarse, _SAMPLE, strict=True)]
    width, height = _SAMPLE[-1]
    grey = rng.integers(0, 256, (height, width), np.uint8)
    return [*images[:-1], PIL.Image.fromarray(grey).convert("RGB")]


def _read_tower(visual: Any) -> tuple[ImageDesign, Arrays]:
    if type(visual) is VisionTransformer:
        return _read_vit(visual)
    if type(visual) is ModifiedResNet:
        return _read_resnet(visual)
    if type(visual) is TimmModel:
        return _read_timm(visual)
    raise Unsuited(f"its image side is of a kind that only torch runs ({type(visual).__name__})")


def _read_timm(visual: Any) -> tuple[ImageDesign, Arrays]:
    try:
        from mmsearch.encoders.timm_layout import read_timm_vit  # late: a release of timm may have moved what it needs

        return read_timm_vit(visual)
    except (ImportError, AttributeError) as error:
        raise Unsuited(f"this release of timm is not known ({error})") from error


def _read_vit(visual: Any) -> tuple[ViTDesign, Arrays]:
    """A vision transformer of open_clip's own."""
    blocks = list(visual.transformer.resblocks)
    weights = open_clip_blocks(blocks)
    pooler = visual.attn_pool
    if visual.pool_type not in _POOLS:
        raise Unsuited(f"its pooling is {visual.pool_type!r}, which gives no vector of a picture")
    if pooler is not None and (visual.attn_pool_contrastive is not None or type(pooler) is not AttentionalPooler):
        raise Unsuited("its pooling is of a kind that only torch runs")
    norms = [visual.ln_pre, visual.ln_post, *(norm for block in blocks for norm in (block.ln_1, block.ln_2))]
    norms += [] if pooler is None else [pooler.ln_q, pooler.ln_k]
    positions = visual.positional_embedding
    weights |= {
        "patches.weight": patch_matrix(visual.conv1),
        "prefix": array_of(visual.class_embedding[None] + positions[:1]),
        "positions": array_of(positions[1:]),
        **norm_arrays("ln_pre", visual.ln_pre),
    }
    if visual.proj is not None:
        weights["projection.weight"] = array_of(visual.proj)
    if pooler is not None:
        weights |= _attentional_pooler(pooler, visual.pool_type) | norm_arrays("ln_pooled", visual.ln_post)
    else:
        weights |= norm_arrays("ln_pooled" if visual.final_ln_after_pool else "ln_tokens", visual.ln_post)
    design = ViTDesign(
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        activation=activation_of(blocks[0].mlp.gelu),
        eps=require_norms([norm for norm in norms if type(norm) is not torch.nn.Identity]),
        patch_height=visual.conv1.kernel_size[0],
        patch_width=visual.conv1.kernel_size[1],
        pool=_POOLS[visual.pool_type] if pooler is None else "attention",
        pool_heads=0 if pooler is None else pooler.attn.num_heads,
    )
    return design, weights


def _attentional_pooler(pooler: Any, pool_type: str) -> Arrays:
    """CoCa's pooling, with those of its queries that count: the first speaks ("tok"), or the mean of all others."""
    attention = pooler.attn
    if attention.in_proj_weight is not None:
        of_query, of_key, of_value = attention.in_proj_weight.chunk(3)
    else:
        of_query, of_key, of_value = attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight
    bias = attention.in_proj_bias
    width = attention.embed_dim
    with torch.inference_mode():
        queries = torch.nn.functional.linear(pooler.ln_q(pooler.query), of_query, bias[:width])
    return {
        "query": array_of(queries[:1] if pool_type == "tok" else queries[1:]),
        **norm_arrays("ln_tokens", pooler.ln_k),
        "kv.weight": array_of(torch.cat([of_key, of_value]).T),
        "kv.bias": array_of(bias[width:]),
        **linear_arrays("pool", attention.out_proj),
    }


def _read_resnet(visual: Any) -> tuple[ResNetDesign, Arrays]:
    """A residual network of CLIP's."""
    blocks = [block for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4) for block in stage]
    pool = visual.attnpool
    if type(pool) is not AttentionPool2d or any(type(block) is not Bottleneck for block in blocks):
        raise Unsuited("its blocks or its pooling are of a kind that only torch runs")
    weights: Arrays = {}
    for number in (1, 2, 3):
        weights |= _convolution(f"stem.{number}", *(getattr(visual, f"{part}{number}") for part in ("conv", "bn")))
    for place, block in enumerate(blocks):
        for number in (1, 2, 3):
            parts = (getattr(block, f"{part}{number}") for part in ("conv", "bn"))
            weights |= _convolution(f"blocks.{place}.{number}", *parts)
        if block.downsample is not None:
            weights |= _convolution(f"blocks.{place}.shortcut", block.downsample[1], block.downsample[2])
    weights |= {
        "positions": array_of(pool.positional_embedding),
        **linear_arrays("query", pool.q_proj),
        "kv.weight": array_of(torch.cat([pool.k_proj.weight, pool.v_proj.weight]).T),
        "kv.bias": array_of(torch.cat([pool.k_proj.bias, pool.v_proj.bias])),
        **linear_arrays("pool", pool.c_proj),
    }
    return ResNetDesign(tuple(block.stride for block in blocks), pool.num_heads), weights


def _convolution(name: str, convolution: Any, norm: Any) -> Arrays:
    """A convolution without bias, with the batch norm behind it, which is a factor and a sum for each channel."""
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    matrix = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2) * factor
    return {f"{name}.weight": array_of(matrix), f"{name}.bias": array_of(norm.bias - norm.running_mean * factor)}
