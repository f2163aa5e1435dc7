"""Parts of torch's models, read for `mmsearch.towers`: what text sides and image sides have in common.

Whatever is of another kind than those that the towers compute is refused by what it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transformer import LayerNorm, LayerNormFp32, QuickGELU, ResidualAttentionBlock

from mmsearch.towers.transformer import block_weights

__all__ = [
    *("Arrays", "MOST_ERROR", "Unsuited", "activation_of", "array_of", "linear_arrays", "norm_arrays"),
    *("open_clip_blocks", "patch_matrix", "require_agreement", "require_norms"),
]

Arrays = dict[str, NDArray[np.float32]]

MOST_ERROR = 1e-3
"""Of a vector, relative to its distance from the mean: vectors of one side have most of their length in common, and
what tells them apart is what must agree."""


class Unsuited(Exception):
    """A model of which numpy cannot run a side here. The message says why, as the second half of a sentence."""


def require_agreement(side: str, vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Raise Unsuited where the vectors (n, dim) of a side are not torch's. side: "text" or "image"."""
    if vectors.shape != expected.shape:
        raise Unsuited(f"its {side} side gives no vectors but {expected.shape[1:]}")
    with np.errstate(all="ignore"):  # vectors of NaN, or all alike, have no error that is small enough
        ours, theirs = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (vectors, expected))
        ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
        error = float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max())
    if not error <= MOST_ERROR:  # NaN too
        raise Unsuited(f"its {side} side gives other vectors without torch (relative error {error:.1g})")


def require_norms(norms: Sequence[Any], kinds: Sequence[type] = (LayerNorm, LayerNormFp32)) -> float:
    """The eps of layer norms, which is the same for all. Raises Unsuited."""
    if not all(type(norm) in kinds for norm in norms) or len({norm.eps for norm in norms}) > 1:
        raise Unsuited("its layer norms are of several kinds")
    return float(norms[0].eps)


_ACTIVATIONS: Mapping[type, str] = {QuickGELU: "quick_gelu"}


def activation_of(module: Any, kinds: Mapping[type, str] = _ACTIVATIONS) -> str:
    """The name of an activation, torch's own or one of these kinds. Raises Unsuited."""
    if type(module) is torch.nn.GELU:
        return "gelu_tanh" if module.approximate == "tanh" else "gelu"
    if type(module) in kinds:
        return kinds[type(module)]
    raise Unsuited(f"its activation is {type(module).__name__}")


def open_clip_blocks(blocks: Sequence[Any]) -> Arrays:
    """The tensors of open_clip's residual blocks, by the names of `block_weights`. Raises Unsuited.

    A layer scale, which multiplies what a matrix gives, is multiplied into it.
    """
    if others := {type(block).__name__ for block in blocks if type(block) is not ResidualAttentionBlock}:
        raise Unsuited(f"its blocks are of another kind ({', '.join(sorted(others))})")
    arrays: Arrays = {}
    for layer, block in enumerate(blocks):
        scale_1, scale_2 = (getattr(scale, "gamma", 1.0) for scale in (block.ls_1, block.ls_2))
        attention, mlp = block.attn, block.mlp
        parts = {
            **norm_arrays("ln_1", block.ln_1),
            "qkv.weight": array_of(attention.in_proj_weight.T),
            "qkv.bias": array_of(attention.in_proj_bias),
            **linear_arrays("out", attention.out_proj, scale_1),
            **norm_arrays("ln_2", block.ln_2),
            **linear_arrays("widen", mlp.c_fc),
            **linear_arrays("narrow", mlp.c_proj, scale_2),
        }
        arrays |= {block_weights(layer)[part]: array for part, array in parts.items()}
    return arrays


def norm_arrays(name: str, norm: Any) -> Arrays:
    """Of a layer norm; none of what stands where there could be one."""
    if type(norm) is torch.nn.Identity:
        return {}
    return {f"{name}.weight": array_of(norm.weight), f"{name}.bias": array_of(norm.bias)}


def linear_arrays(name: str, linear: Any, scale: Any = 1.0) -> Arrays:
    """Of a linear layer, multiplied by a scale (out,) or a number; a bias that it lacks is one of zeros."""
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    if isinstance(scale, torch.Tensor):
        return {f"{name}.weight": array_of(linear.weight.T * scale), f"{name}.bias": array_of(bias * scale)}
    return {f"{name}.weight": array_of(linear.weight.T), f"{name}.bias": array_of(bias)}


def patch_matrix(convolution: Any) -> NDArray[np.float32]:
    """(3 * height * width, out) of a convolution whose steps are as long as its windows are wide."""
    return array_of(convolution.weight.flatten(1).T)


def array_of(tensor: torch.Tensor) -> NDArray[np.float32]:
    """float32, sharing the tensor's memory where it is so already."""
    array: NDArray[np.float32] = tensor.detach().float().numpy()
    return array
