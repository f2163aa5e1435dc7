"""The network of the demo re-ranker: it reads a postcard into cells, a text into claims, and says how well the claims
hold of the cells.

A postcard has two bands (the ground, the sky) of three cells each, from the left. A thing stands in one cell; a group
of two or three spreads over two, and belongs to the left one. All that is read is a probability, so that the whole can
be learnt end to end, and is no surer than what it has read.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, softplus

__all__ = ["CELLS", "SIZE", "WORDS", "Claims", "DemoNetwork", "PictureReading", "TextReading"]

SIZE = (96, 72)
"""Width and height of the pictures in pixels."""

WORDS = 48
"""Of a text; what comes after is not read."""

CELLS = 6
_SLOTS = CELLS // 2
_KINDS, _COUNTS, _COLOURS, _SIZES, _TIMES, _LANDS = 12, 4, 6, 2, 6, 7
_CELL = (_KINDS + 1, _COUNTS, _COLOURS + 1, _SIZES + 1)  # the last of kind, colour and size: none
_CLAIM = (_KINDS, _COUNTS, _COLOURS + 1, _SIZES + 1, _SLOTS + 1)  # the last of colour, size and place: not said
_SETTING = (_TIMES + 2, _LANDS + 1)  # of the time: night, not said; of the land: not said
_NIGHT = (2, 3)  # times that are night: moon, stars
_ROLES = 3  # nothing, what names a thing, what relates two
_MENTIONS, _RELATIONS = 8, 4  # read of a text at most
_CLAIMED: tuple[tuple[int, ...], ...] = (
    (_MENTIONS,),
    (_RELATIONS,),
    *((_MENTIONS, values) for values in _CLAIM),
    *[(_RELATIONS, _MENTIONS)] * 2,
    *((values,) for values in _SETTING),
    *[()] * 2,
)
"""The shapes of the fields of `Claims`, of one text."""
_WIDTH = 128
_LEAST = 1e-4


@dataclass(frozen=True, slots=True)
class PictureReading:
    """What is read in n pictures, as log-probabilities: of kind, count, colour and size of the thing in each cell
    (n, 6, ·), and of time and land (n, ·)."""

    kind: Tensor
    count: Tensor
    colour: Tensor
    size: Tensor
    time: Tensor
    land: Tensor

    def packed(self) -> Tensor:
        """(n, 175): all of it in a row a picture."""
        cells = torch.cat([self.kind, self.count, self.colour, self.size], dim=-1)
        return torch.cat([cells.flatten(1), self.time, self.land], dim=-1)

    @classmethod
    def unpacked(cls, rows: Tensor) -> "PictureReading":
        """What `packed` gave."""
        cells, time, land = rows.split_with_sizes([CELLS * sum(_CELL), _TIMES, _LANDS], dim=-1)
        kind, count, colour, size = cells.reshape(-1, CELLS, sum(_CELL)).split_with_sizes(_CELL, dim=-1)
        return cls(kind, count, colour, size, time, land)


@dataclass(frozen=True, slots=True)
class TextReading:
    """What is read of n texts of w words, as logits.

    Attributes:
        roles: (n, w, 3): whether a word names a thing, relates two, or neither.
        claims: (n, w, ·) each: kind, count, colour, size and place of the thing that it names.
        left, right: (n, w, w): which word names the left one of the two that a word relates, and the right one.
        time, land: (n, ·).
        breadth: (n,): how much it counts against a picture that it shows more than is said.
        bias: (n,): how much the text says, which counts where texts are ranked.
    """

    roles: Tensor
    claims: tuple[Tensor, ...]
    left: Tensor
    right: Tensor
    time: Tensor
    land: Tensor
    breadth: Tensor
    bias: Tensor

    def claims_made(self) -> "Claims":
        """What the texts claim, of the words that most likely name a thing or relate two."""
        roles = self.roles.softmax(-1)
        mentioned, mentions = _most(roles[..., 1], _MENTIONS)
        related, relations = _most(roles[..., 2], _RELATIONS)
        named = mentions[:, None].expand(-1, relations.shape[1], -1)
        left, right = (_at(each, relations).gather(2, named).softmax(-1) for each in (self.left, self.right))
        kind, count, colour, size, place = (_at(each.softmax(-1), mentions) for each in self.claims)
        time, land = self.time.softmax(-1), self.land.softmax(-1)
        things = (kind, count, colour, size, place)
        return Claims(mentioned, related, *things, left, right, time, land, self.breadth, self.bias)


@dataclass(frozen=True, slots=True)
class Claims:
    """What n texts claim, as probabilities.

    Attributes:
        mentioned: (n, mentions): whether there is such a mention of a thing.
        related: (n, relations): whether two of them are related.
        kind, count, colour, size, place: (n, mentions, ·).
        left, right: (n, relations, mentions): which one stands left, and which one right.
        time, land: (n, ·).
        breadth, bias: (n,), as of `TextReading`.
    """

    mentioned: Tensor
    related: Tensor
    kind: Tensor
    count: Tensor
    colour: Tensor
    size: Tensor
    place: Tensor
    left: Tensor
    right: Tensor
    time: Tensor
    land: Tensor
    breadth: Tensor
    bias: Tensor

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Claims":
        """All of it, changed in the same way."""
        return Claims(*(change(getattr(self, each.name)) for each in fields(self)))

    def packed(self) -> Tensor:
        """(n, 334): all of it in a row a text, of texts that were padded to `WORDS`."""
        return torch.cat(
            [getattr(self, each.name).flatten(1) for each in fields(self)[:-2]]
            + [self.breadth[:, None], self.bias[:, None]],
            dim=1,
        )

    @classmethod
    def unpacked(cls, rows: Tensor) -> "Claims":
        """What `packed` gave."""
        parts = rows.split_with_sizes([prod(shape) for shape in _CLAIMED], dim=1)
        return cls(*(part.reshape(len(rows), *shape) for part, shape in zip(parts, _CLAIMED, strict=True)))


class DemoNetwork(nn.Module):
    """`look` reads pictures, `read` reads texts, `score` compares."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.eye = _Eye()
        self.words = nn.Embedding(vocabulary, _WIDTH)
        self.places = nn.Parameter(torch.randn(WORDS + 1, _WIDTH) * 0.02)
        self.beside = nn.ModuleList(nn.Conv1d(_WIDTH, _WIDTH, 7, padding=3) for _ in range(2))
        layer = nn.TransformerEncoderLayer(_WIDTH, 4, 2 * _WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.reader = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(_WIDTH)
        self.of_word = nn.Linear(_WIDTH, _ROLES + sum(_CLAIM))
        self.pointers = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.of_text = nn.Linear(_WIDTH, sum(_SETTING) + 2)
        self.weights = nn.Parameter(torch.zeros(9))

    def look(self, pixels: Tensor) -> PictureReading:
        """(n, 3, 72, 96) from -1 to 1 -> what is read."""
        return self.reading(*self.eye(pixels))

    @staticmethod
    def reading(cells: Tensor, setting: Tensor) -> PictureReading:
        """What `eye` gives -> what is read."""
        kind, count, colour, size = (each.log_softmax(-1) for each in cells.split_with_sizes(_CELL, dim=-1))
        time, land = (each.log_softmax(-1) for each in setting.split_with_sizes([_TIMES, _LANDS], dim=-1))
        return PictureReading(kind, count, colour, size, time, land)

    def read(self, words: Tensor) -> TextReading:
        """(n, 1 + w) numbers of words, the first that of the text as a whole, 0 where there is none -> what is read."""
        there = (words != 0)[:, :, None].float()
        states = self.words(words) * there
        for layer in self.beside:  # what belongs to a thing mostly stands beside its name
            states = states + gelu(layer(states.transpose(1, 2)).transpose(1, 2)) * there
        states = states + self.places[: words.shape[1]]
        states = self.norm(self.reader(states, src_key_padding_mask=words == 0))
        whole, each = states[:, 0], states[:, 1:]
        absent = words[:, 1:] == 0
        roles, *claims = self.of_word(each).split_with_sizes([_ROLES, *_CLAIM], dim=-1)
        roles = roles - 20 * torch.stack([torch.zeros_like(absent), absent, absent], dim=-1).float()
        names, lefts, rights = self.pointers(each).chunk(3, dim=-1)
        masked = absent[:, None] * -1e4
        left, right = (asking @ names.transpose(1, 2) / _WIDTH**0.5 + masked for asking in (lefts, rights))
        time, land, rest = self.of_text(whole).split_with_sizes([*_SETTING, 2], dim=-1)
        return TextReading(roles, tuple(claims), left, right, time, land, softplus(rest[:, 0]), rest[:, 1])

    def score(self, claims: Claims, picture: PictureReading, *, pairs: bool) -> Tensor:
        """How well texts fit pictures: (n,) of n and n where `pairs`, (n, m) of n and m otherwise."""
        asked = claims if pairs else claims.changed(lambda each: each[:, None])
        seen = [each.exp() for each in (picture.kind, picture.count, picture.colour, picture.size)]
        seen += [picture.time.exp(), picture.land.exp()]
        seen = seen if pairs else [each[None] for each in seen]
        weights = softplus(self.weights + 0.5413)  # 1 where nothing is learnt
        fits = (
            weights[0] * _log_agreement(asked.kind, seen[0][..., :_KINDS], unsaid=False)
            + weights[1] * _log_agreement(asked.count, seen[1], unsaid=False)
            + weights[2] * _log_agreement(asked.colour, seen[2][..., :_COLOURS], unsaid=True)
            + weights[3] * _log_agreement(asked.size, seen[3][..., :_SIZES], unsaid=True)
            + weights[4] * _log_agreement(asked.place, self._places(seen[1]), unsaid=True)
        ).exp()  # (..., mentions, cells)
        anywhere = 1 - (1 - fits).clamp(_LEAST, 1).prod(-1)
        holds = (asked.mentioned * (anywhere + _LEAST).log()).sum(-1)
        where = fits / (fits.sum(-1, keepdim=True) + _LEAST)
        left, right = asked.left @ where, asked.right @ where
        ordered = ((left @ _in_order(seen[1])) * right).sum(-1)
        orders = (asked.related * (ordered.clamp(0, 1) + 10 * _LEAST).log()).sum(-1)
        unsaid = 1 - seen[0][..., _KINDS]
        unsaid = (unsaid * (1 - asked.mentioned[..., None] * fits).clamp(0, 1).prod(-2)).sum(-1)
        night = seen[4][..., _NIGHT[0] : _NIGHT[1] + 1].sum(-1, keepdim=True)
        time = (asked.time * torch.cat([seen[4], night, torch.ones_like(night)], dim=-1)).sum(-1)
        land = (asked.land * torch.cat([seen[5], torch.ones_like(night)], dim=-1)).sum(-1)
        around = weights[5] * (time + _LEAST).log() + weights[6] * (land + _LEAST).log()
        return weights[7] * holds + weights[8] * orders + around - asked.breadth * unsaid + asked.bias

    @staticmethod
    def _places(count: Tensor) -> Tensor:
        """(..., cells, counts) -> (..., cells, slots): left, middle or right; groups stand in none of them."""
        single = count[..., :2].sum(-1, keepdim=True)
        slots = torch.eye(_SLOTS, device=count.device, dtype=count.dtype).repeat(2, 1)
        return single * slots


class _Eye(nn.Module):
    """Pixels -> logits of the cells and of the setting. Convolutions, then each third of the width with what is beside
    it, by the same weights for all three."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _convolution(3, 32, 2), _convolution(32, 48, 2), _Residual(48), _convolution(48, 96, 2), _Residual(96),
            _Residual(96),
        )  # fmt: skip
        self.columns = nn.Sequential(nn.Conv2d(96, 192, (9, 1)), nn.ReLU())
        self.thirds = nn.Sequential(nn.Conv1d(192, 256, 4, 4), nn.ReLU())
        self.beside = nn.Conv1d(256, 256, 3, padding=1)
        self.cells = nn.Conv1d(256, 2 * sum(_CELL), 1)
        self.setting = nn.Linear(256, _TIMES + _LANDS)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        thirds = self.thirds(self.columns(self.stem(pixels))[:, :, 0])
        thirds = thirds + relu(self.beside(thirds))
        cells = self.cells(thirds).unflatten(1, (2, sum(_CELL))).permute(0, 1, 3, 2).flatten(1, 2)
        return cells, self.setting(thirds.mean(-1))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, 1)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, values: Tensor) -> Tensor:
        return relu(values + self.second(self.first(values)))


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def _most(chances: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(n, w) -> the highest of each row and where they stand: (n, most) each, fewer where a text is shorter."""
    return chances.topk(min(most, chances.shape[1]), dim=1)


def _at(values: Tensor, rows: Tensor) -> Tensor:
    """(n, w, v) at (n, k) -> (n, k, v)."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[-1]))


def _log_agreement(claimed: Tensor, seen: Tensor, *, unsaid: bool) -> Tensor:
    """(..., mentions, values) and (..., cells, values) -> (..., mentions, cells): the logarithm of the chance that the
    value is what is claimed. Where `unsaid`, the last of the claimed says that nothing is claimed, which fits all."""
    said = claimed[..., :-1] if unsaid else claimed
    agreement = said @ seen.transpose(-1, -2)
    if unsaid:
        agreement = agreement + claimed[..., -1:]
    return agreement.clamp(_LEAST, 1).log()


def _in_order(count: Tensor) -> Tensor:
    """(..., cells, counts) -> (..., cells, cells): the chance that the thing in the one stands left of that in the
    other. The middle of a group lies half a cell to the right."""
    group = count[..., 2:].sum(-1)
    slots = torch.arange(_SLOTS, device=count.device).repeat(2)
    middles = torch.stack([slots, slots + 0.5])  # single, group
    before: Any = middles[:, None, :, None] < middles[None, :, None, :]
    chances = torch.stack([1 - group, group], dim=-2)
    return torch.einsum("...ac,...bd,abcd->...cd", chances, chances, before.to(count.dtype))
