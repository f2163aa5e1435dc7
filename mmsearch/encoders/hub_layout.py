"""The text side of a model that open_clip makes with the package transformers, read for `mmsearch.towers`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import Identity, Linear, Sequential

from mmsearch.encoders.torch_parts import Arrays, Unsuited, array_of, linear_arrays, norm_arrays, require_norms
from mmsearch.towers.hub_tower import HubTextDesign
from mmsearch.towers.transformer import block_weights

__all__ = ["read_hub_text"]

_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


def read_hub_text(text: Any) -> tuple[HubTextDesign, Arrays]:
    """The design and the weights of an `open_clip.hf_model.HFTextEncoder`. Raises Unsuited."""
    name = type(text.transformer).__name__
    if name not in _READERS:
        raise Unsuited(f"its text side is of a kind that only torch runs ({name} of transformers)")
    design, weights = _READERS[name](text)
    return design, weights | _projection(text.proj)


def _read_roberta(text: Any) -> tuple[HubTextDesign, Arrays]:
    model, config = text.transformer, text.config
    if getattr(config, "is_decoder", False) or getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise Unsuited("its text side attends as only torch does")
    embeddings, layers = model.embeddings, list(model.encoder.layer)
    norms = [each.LayerNorm for layer in layers for each in (layer.attention.output, layer.output)]
    kinds = embeddings.token_type_embeddings.weight[0]
    weights = {
        "token_embedding": array_of(embeddings.word_embeddings.weight),
        "positional_embedding": array_of(embeddings.position_embeddings.weight + kinds),
        **norm_arrays("ln_outer", embeddings.LayerNorm),
    }
    for number, layer in enumerate(layers):
        own = layer.attention.self
        parts = {
            **norm_arrays("ln_1", layer.attention.output.LayerNorm),
            **_qkv(own.query, own.key, own.value),
            **linear_arrays("out", layer.attention.output.dense),
            **norm_arrays("ln_2", layer.output.LayerNorm),
            **linear_arrays("widen", layer.intermediate.dense),
            **linear_arrays("narrow", layer.output.dense),
        }
        weights |= {block_weights(number)[part]: array for part, array in parts.items()}
    pool = _pool(text, model.pooler is not None)
    if pool == "pooler":
        weights |= linear_arrays("pooler", model.pooler.dense)
    design = HubTextDesign(
        layers=len(layers),
        heads=config.num_attention_heads,
        activation=_activation(config.hidden_act),
        pool=pool,
        norms_first=False,
        scale=1.0,
        pad_id=int(config.pad_token_id),
        first_position=int(embeddings.padding_idx) + 1,
        eps=require_norms([embeddings.LayerNorm, *norms], [torch.nn.LayerNorm]),
    )
    return design, weights


def _read_m2m_100(text: Any) -> tuple[HubTextDesign, Arrays]:
    model, config = text.transformer, text.config
    layers = list(model.layers)
    weights = {
        "token_embedding": array_of(model.embed_tokens.weight),
        "positional_embedding": array_of(model.embed_positions.weights),
        **norm_arrays("ln_outer", model.layer_norm),
    }
    for number, layer in enumerate(layers):
        own = layer.self_attn
        parts = {
            **norm_arrays("ln_1", layer.self_attn_layer_norm),
            **_qkv(own.q_proj, own.k_proj, own.v_proj),
            **linear_arrays("out", own.out_proj),
            **norm_arrays("ln_2", layer.final_layer_norm),
            **linear_arrays("widen", layer.fc1),
            **linear_arrays("narrow", layer.fc2),
        }
        weights |= {block_weights(number)[part]: array for part, array in parts.items()}
    norms = [norm for layer in layers for norm in (layer.self_attn_layer_norm, layer.final_layer_norm)]
    design = HubTextDesign(
        layers=len(layers),
        heads=config.encoder_attention_heads,
        activation=_activation(config.activation_function),
        pool=_pool(text, False),
        norms_first=True,
        scale=float(config.d_model**0.5) if config.scale_embedding else 1.0,
        pad_id=int(config.pad_token_id),
        first_position=int(model.padding_idx) + 1,
        eps=require_norms([model.layer_norm, *norms], [torch.nn.LayerNorm]),
    )
    return design, weights


_READERS: Mapping[str, Callable[[Any], tuple[HubTextDesign, Arrays]]] = {
    "RobertaModel": _read_roberta,
    "XLMRobertaModel": _read_roberta,
    "M2M100Encoder": _read_m2m_100,
}


def _qkv(query: Any, key: Any, value: Any) -> Arrays:
    parts = (query, key, value)
    return {
        "qkv.weight": array_of(torch.cat([part.weight for part in parts]).T),
        "qkv.bias": array_of(torch.cat([part.bias for part in parts])),
    }


def _activation(name: Any) -> str:
    if name not in _ACTIVATIONS:
        raise Unsuited(f"its activation is {name!r}")
    return _ACTIVATIONS[name]


def _pool(text: Any, has_pooler: bool) -> str:
    """A key of `HUB_POOLS`."""
    kind = type(text.pooler).__name__
    if kind == "MeanPooler":
        return "mean"
    if kind == "ClsPooler":
        return "pooler" if has_pooler and text.pooler.use_pooler_output else "first"
    if kind == "ClsLastHiddenStatePooler":
        return "first"
    raise Unsuited(f"its pooling is {kind}")


def _projection(projection: Any) -> Arrays:
    layers = [projection] if not isinstance(projection, Sequential) else list(projection)
    match [type(layer) for layer in layers]:
        case [kind] if kind is Identity:
            return {}
        case [kind] if kind is Linear:
            return linear_arrays("projection", layers[0])
        case [first, between, second] if (first, between, second) == (Linear, torch.nn.GELU, Linear):
            return linear_arrays("projection", layers[0]) | linear_arrays("projection_2", layers[2])
    raise Unsuited("its projection is of a kind that only torch runs")
