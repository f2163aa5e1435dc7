"""Vision transformers, forward, in numpy: pixels to vectors.

They compute what `open_clip.transformer.VisionTransformer` and timm's `VisionTransformer` do (Dosovitskiy et al. 2021;
CoCa's attentional pooling, Yu et al. 2022; SigLIP's, Zhai et al. 2023), in float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmsearch.towers.inner_picture import InnerPicture
from mmsearch.towers.transformer import ACTIVATIONS, Floats, Transformer, attend, feed, linear, norm

__all__ = ["IMAGE_POOLS", "ViTDesign", "ViTTower"]

IMAGE_POOLS = ("token", "mean", "attention")
"""What speaks for the picture: the first token (CLIP's class token), the mean of its patches, learned queries to all of
its tokens."""


@dataclass(frozen=True, slots=True)
class ViTDesign:
    """What a vision transformer does with its weights.

    activation: a key of `ACTIVATIONS`. eps: of the layer norms. patch_height, patch_width: in pixels. pool: one of
    `IMAGE_POOLS`. pool_heads: of the attention that pools, else 0.
    """

    layers: int
    heads: int
    activation: str
    eps: float
    patch_height: int
    patch_width: int
    pool: str
    pool_heads: int


class ViTTower:
    """A vision transformer over its weights.

    weights: float32. patches.weight (3 * patch height * patch width, width), positions (patches, width) with the bias
    of the patches in them, of each block those of `block_weights`. Where the tower has them: prefix (tokens, width),
    the tokens before the patches with their positions; ln_pre, of all tokens before the blocks; ln_tokens, after the
    blocks; ln_pooled, of what was pooled; projection. For the pool "attention" query (queries, inner width), projected
    as attention takes them; kv (width, 2 * inner width); pool, from the inner width to that of the answers; and ln_2,
    widen and narrow where a perceptron follows. Raises ValueError where a tensor is missing.
    """

    def __init__(self, design: ViTDesign, weights: Mapping[str, Floats]) -> None:
        self.design = design
        self._weights = weights
        names = {"patches.weight", "positions"} | (
            {"query", "kv.weight", "pool.weight"} if design.pool == "attention" else set()
        )
        if missing := sorted(names - set(weights)):
            raise ValueError(f"a tower without {missing[0]}")
        self._transform = Transformer(design, weights)

    def __call__(self, pixels: Floats) -> Floats:
        """(n, 3, H, W), normalised -> (n, dim) vectors, not normalised."""
        return self._finish(self._transform(self._tokens(pixels)))

    def inner(self, pixels: Floats) -> InnerPicture:
        """A picture (1, 3, H, W) as it is before the last quarter of the blocks.

        In CLIP's vision transformers it is the last layers that carry what patches say to the answer (Gandelsman et al.
        2024, "Interpreting CLIP's Image Representation via Text-Based Decomposition").
        """
        done = self.design.layers * 3 // 4
        grid = pixels.shape[2] // self.design.patch_height, pixels.shape[3] // self.design.patch_width
        return InnerPicture(self._transform(self._tokens(pixels), blocks=slice(done)), done, grid)

    def rest(self, inner: InnerPicture, mask: Floats) -> Floats:
        """What `inner` gave and a mask (rows, columns), 1 where a place is hidden -> (1, dim), not normalised. The
        tokens of hidden places are left out, unless there are no others."""
        x = inner.values
        seen = np.concatenate([np.ones(x.shape[1] - mask.size, bool), mask.ravel() == 0])
        x = x[:, seen] if (mask == 0).any() else x
        return self._finish(self._transform(x, blocks=slice(inner.blocks, None)))

    def _tokens(self, pixels: Floats) -> Floats:
        """(n, 3, H, W) -> (n, tokens, width), before the blocks."""
        x = linear(self._patches(pixels), self._weights, "patches") + self._weights["positions"]
        prefix = self._weights.get("prefix")
        if prefix is not None:
            x = np.concatenate([np.broadcast_to(prefix, (len(x), *prefix.shape)), x], axis=1)
        return self._norm(x, "ln_pre")

    def _finish(self, x: Floats) -> Floats:
        """(n, tokens, width), after the blocks -> (n, dim)."""
        prefix = self._weights.get("prefix")
        return self._pool(self._norm(x, "ln_tokens"), 0 if prefix is None else len(prefix))

    def _patches(self, pixels: Floats) -> Floats:
        """(n, 3, H, W) -> (n, patches, 3 * patch height * patch width), by rows; what fills no patch is left out."""
        height, width = self.design.patch_height, self.design.patch_width
        n, channels, rows, columns = len(pixels), 3, pixels.shape[2] // height, pixels.shape[3] // width
        tiles = pixels[:, :, : rows * height, : columns * width].reshape(n, channels, rows, height, columns, width)
        return tiles.transpose(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, channels * height * width)

    def _pool(self, x: Floats, prefix: int) -> Floats:
        """(n, tokens, width) -> (n, dim). prefix: how many tokens stand before the patches."""
        match self.design.pool:
            case "token":
                pooled = x[:, 0]
            case "mean":
                pooled = x[:, prefix:].mean(axis=1)
            case _:
                pooled = self._attend_to_all(x)
        pooled = self._norm(pooled, "ln_pooled")
        if pooled.ndim == 3:
            pooled = pooled.mean(axis=1)
        return linear(pooled, self._weights, "projection") if "projection.weight" in self._weights else pooled

    def _attend_to_all(self, x: Floats) -> Floats:
        """(n, tokens, width) -> (n, queries, width of their answers)."""
        weights, heads = self._weights, self.design.pool_heads
        query = weights["query"]
        k, v = linear(x, weights, "kv").reshape(*x.shape[:2], 2, heads, -1).transpose(2, 0, 3, 1, 4)
        q = query.reshape(1, len(query), heads, -1).swapaxes(1, 2)
        answers = linear(attend(q, k, v), weights, "pool")
        if "widen.weight" in weights:
            activate = ACTIVATIONS[self.design.activation]
            answers = answers + feed(self._norm(answers, "ln_2"), weights, activate)
        return answers

    def _norm(self, x: Floats, name: str) -> Floats:
        return norm(x, self._weights, name, self.design.eps) if f"{name}.weight" in self._weights else x
