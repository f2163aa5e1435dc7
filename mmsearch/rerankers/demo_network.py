"""The network of the demo re-ranker: a small cross-encoder of pictures and words.

A convolutional trunk makes 8 x 8 places of a picture; words are encoded by themselves; then the words look at the
places, at each other, and at the places again. Each word ends with a score that says how well it holds, and a text is
as true as its words together: a sum of log-sigmoids, so that one wrong word is enough.

    python -m scripts.postcards.train_reranker /tmp/reranker   trains it
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, logsigmoid, relu

__all__ = ["IMAGE_SIZE", "LONGEST", "DemoNetwork", "Words", "folded_trunk"]

IMAGE_SIZE = 64
LONGEST = 64
"""Words of a text that are read."""

_WIDTH, _HEADS, _PLACES = 128, 4, 8
_UNKNOWN, _START = 0, 1


class Words:
    """Texts to numbers, a word each.

    known: the words that have a number, from 2 on. 0 stands for all others, 1 stands before each text.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.known = tuple(known)
        self._numbers = {word: number for number, word in enumerate(self.known, 2)}

    def __len__(self) -> int:
        return len(self.known) + 2

    @staticmethod
    def split(text: str) -> list[str]:
        """Its words, in lower case.

        >>> Words.split("A hot-air balloon.")
        ['a', 'hot', 'air', 'balloon']
        """
        return re.findall(r"[a-z0-9]+", text.lower())

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """n texts -> numbers int64 (n, longest), and bool (n, longest), True where there is a word."""
        rows = [
            [_START, *(self._numbers.get(word, _UNKNOWN) for word in self.split(text))][: LONGEST + 1] for text in texts
        ]
        numbers = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        there = torch.zeros(numbers.shape, dtype=torch.bool)
        for row, values in enumerate(rows):
            numbers[row, : len(values)] = torch.tensor(values)
            there[row, : len(values)] = True
        return numbers, there


class DemoNetwork(nn.Module):
    """n_words: of its vocabulary, those that are always there among them."""

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.trunk = _Trunk()
        self.from_fine, self.from_coarse = nn.Conv2d(192, _WIDTH, 1), nn.Conv2d(384, _WIDTH, 1)
        self.place = nn.Parameter(0.02 * torch.randn(_PLACES * _PLACES, _WIDTH))
        self.between_places = _Layer(itself=True, other=False)
        self.place_norm = nn.LayerNorm(_WIDTH)
        self.word = nn.Embedding(n_words, _WIDTH)
        self.order = nn.Parameter(0.02 * torch.randn(LONGEST + 1, _WIDTH))
        self.between_words = nn.ModuleList(_Layer(itself=True, other=False) for _ in range(2))
        self.matching: Any = nn.ModuleList((_Layer(itself=False, other=True), _Layer(itself=True, other=True)))
        self.norm = nn.LayerNorm(_WIDTH)
        self.word_score, self.text_score = nn.Linear(_WIDTH, 1), nn.Linear(_WIDTH, 1)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """(n, 3, 64, 64), normalised -> (n, 64, 512): what each place answers to words."""
        return self.answers(self.places(pixels))

    def places(self, pixels: Tensor) -> Tensor:
        """(n, 3, 64, 64), normalised -> (n, 64, 128): what is seen at each place."""
        fine, coarse = self.trunk(pixels)
        seen = self.from_fine(fine) + interpolate(self.from_coarse(coarse), size=fine.shape[-2:], mode="bilinear")
        places: Tensor = self.place_norm(self.between_places(seen.flatten(2).transpose(1, 2) + self.place))
        return places

    def answers(self, places: Tensor) -> Tensor:
        """What is seen (n, 64, 128) -> keys and values (n, 64, 512) for both layers that match."""
        return torch.cat([layer.other.key_value(places) for layer in self.matching], dim=-1)

    def encode_texts(self, numbers: Tensor, there: Tensor) -> Tensor:
        """What `Words.encode` gives -> (n, longest, 128)."""
        states: Tensor = self.word(numbers) + self.order[: numbers.shape[1]]
        for layer in self.between_words:
            states = layer(states, there)
        return states

    def match(self, images: Tensor, texts: Tensor, there: Tensor) -> Tensor:
        """n pictures (n, 64, 512) and n texts (n, longest, 128) -> (n,): how well each text fits its picture."""
        states = texts
        for layer, answers in zip(self.matching, torch.split(images, 2 * _WIDTH, dim=-1), strict=True):
            states = layer(states, there, answers)
        states = self.norm(states)
        true: Tensor = logsigmoid(self.word_score(states).squeeze(-1)) * there
        fits: Tensor = true.sum(dim=1) + self.text_score(states[:, 0]).squeeze(-1)
        return fits


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key_value = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, 2 * _WIDTH)
        self.out = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, asking: Tensor, answers: Tensor, mask: Tensor | None) -> Tensor:
        """asking: (n, a, 128). answers: (n, b, 256), what `key_value` gave. mask: bool (n, 1, 1, b)."""

        def heads(x: Tensor) -> Tensor:
            return x.reshape(*x.shape[:-1], _HEADS, -1).transpose(1, 2)

        key, value = answers.chunk(2, dim=-1)
        found = nn.functional.scaled_dot_product_attention(
            heads(self.query(asking)), heads(key), heads(value), attn_mask=mask
        )
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out


class _Layer(nn.Module):
    """Attention to what is beside, attention to the other side, and a step by itself; each as far as it is there."""

    def __init__(self, *, itself: bool, other: bool) -> None:
        super().__init__()
        self.itself = _Attention() if itself else None
        self.other = _Attention() if other else None
        self.itself_norm = nn.LayerNorm(_WIDTH) if itself else None
        self.other_norm = nn.LayerNorm(_WIDTH) if other else None
        self.step = nn.Sequential(
            nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, 2 * _WIDTH), nn.GELU(), nn.Linear(2 * _WIDTH, _WIDTH)
        )

    def forward(self, states: Tensor, there: Tensor | None = None, answers: Tensor | None = None) -> Tensor:
        if self.itself is not None and self.itself_norm is not None:
            normed = self.itself_norm(states)
            mask = None if there is None else there[:, None, None]
            states = states + self.itself(normed, self.itself.key_value(normed), mask)
        if self.other is not None and self.other_norm is not None and answers is not None:
            states = states + self.other(self.other_norm(states), answers, None)
        stepped: Tensor = states + self.step(states)
        return stepped


class _Block(nn.Module):
    """A bottleneck of a residual network whose batch norms are folded into its convolutions."""

    def __init__(self, taken: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1, self.conv2 = nn.Conv2d(taken, width, 1), nn.Conv2d(width, width, 3, padding=1)
        self.conv3, self.downsample = nn.Conv2d(width, 4 * width, 1), nn.Conv2d(taken, 4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.conv2(relu(self.conv1(x))))
        if self.stride > 1:
            out, x = avg_pool2d(out, self.stride), avg_pool2d(x, self.stride)
        return relu(self.conv3(out) + self.downsample(x))


class _Trunk(nn.Module):
    """The first three stages of the demo model's picture side: open_clip's ModifiedResNet of width 24."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.conv2, self.conv3 = nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1)
        self.layer1, self.layer2, self.layer3 = _Block(24, 24, 1), _Block(96, 48, 2), _Block(192, 96, 2)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = relu(self.conv3(relu(self.conv2(relu(self.conv1(pixels))))))
        fine = self.layer2(self.layer1(avg_pool2d(x, 2)))
        return fine, self.layer3(fine)


def folded_trunk(visual: Mapping[str, Tensor], epsilon: float = 1e-5) -> dict[str, Tensor]:
    """The state of `_Trunk` out of that of a ModifiedResNet, whose names are given without "visual.": where training
    begins. Each batch norm becomes a part of the convolution before it."""
    norms = {f"conv{i}": f"bn{i}" for i in (1, 2, 3)}
    names = {name: (f"{name}.weight", norm) for name, norm in norms.items()}
    for stage in ("layer1", "layer2", "layer3"):
        names |= {f"{stage}.{name}": (f"{stage}.0.{name}.weight", f"{stage}.0.{norm}") for name, norm in norms.items()}
        names[f"{stage}.downsample"] = (f"{stage}.0.downsample.0.weight", f"{stage}.0.downsample.1")
    state: dict[str, Tensor] = {}
    for name, (weight, norm) in names.items():
        gain = visual[f"{norm}.weight"].float() / (visual[f"{norm}.running_var"].float() + epsilon).sqrt()
        state[f"{name}.weight"] = visual[weight].float() * gain[:, None, None, None]
        state[f"{name}.bias"] = visual[f"{norm}.bias"].float() - visual[f"{norm}.running_mean"].float() * gain
    return state
