"""Batches larger than the memory, with the gradient of the whole batch.

A contrastive loss compares every picture with every text of its batch, so adding up the gradients of smaller batches
gives another gradient. Gao et al. ("Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021)
split the chain rule at the vectors: encode in chunks without keeping what a gradient needs, take the gradient of the
loss by the vectors of all chunks, then encode each chunk again and send its share of that gradient through the tower.
Memory is that of one chunk; time is a third more, for encoding once again.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Chunk", "backward_in_chunks", "in_turns", "repeatable_randomness"]

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a batch.

    Attributes:
        rows: int64 (n,), which of the batch.
        encode: gives their vectors, (n, dim), L2-normalised, from the tower as it is now.
    """

    rows: Tensor
    encode: Callable[[], Tensor]


def backward_in_chunks(
    loss: Callable[..., Tensor], sides: Sequence[Sequence[Chunk]], *, seed: int, at_once: int = 1
) -> Tensor:
    """Add to the parameters' `grad` the gradient of a loss over whole batches. Returns the loss, detached.

    loss: called with the vectors of each side, (batch, dim); gradients of other parameters in it are added too.
    sides: of each the chunks, which together have each row once. seed: dropout and what else is random in a tower is
    drawn from it, both times that a chunk is encoded the same; the random state outside stays as it was. at_once: how
    many chunks of a side may be held in memory, one for each device that encodes them in turn.
    """
    if all(len(chunks) <= at_once for chunks in sides):  # what fits needs no second encoding
        value = loss(*(_encoded_in_order(chunks, seed, side) for side, chunks in enumerate(sides)))
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()
    with torch.no_grad():
        cached = [_encoded_in_order(chunks, seed, side) for side, chunks in enumerate(sides)]
    for each in cached:
        each.requires_grad_()
    value = loss(*cached)
    value.backward()  # type: ignore[no-untyped-call]
    for side, chunks in enumerate(sides):
        gradient = cached[side].grad
        assert gradient is not None, "the loss is one of all its vectors"
        for turn in in_turns(enumerate(chunks), at_once):
            encoded = [_encoded(chunk, seed, side, number) for number, chunk in turn]
            torch.autograd.backward(encoded, [gradient[chunk.rows] for _, chunk in turn])
    return value.detach()


def in_turns(items: Iterable[_Item], count: int) -> Iterator[list[_Item]]:
    """The items in lists of `count`, the last of what is left.

    >>> list(in_turns("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    waiting = iter(items)
    while turn := list(itertools.islice(waiting, count)):
        yield turn


def _encoded(chunk: Chunk, seed: int, side: int, number: int) -> Tensor:
    with repeatable_randomness(seed, side, number):
        return chunk.encode()


def _encoded_in_order(chunks: Sequence[Chunk], seed: int, side: int) -> Tensor:
    """The vectors of all chunks, by the rows of the batch."""
    encoded = torch.cat([_encoded(chunk, seed, side, number) for number, chunk in enumerate(chunks)])
    return encoded[torch.argsort(torch.cat([chunk.rows for chunk in chunks]))]


@contextmanager
def repeatable_randomness(*numbers: int) -> Iterator[None]:
    """Inside, torch draws what these numbers decide, on every device; afterwards it goes on as if nothing had been."""
    seed = 0
    for number in numbers:
        # Mixed so that neighbouring numbers share nothing: the constant of Knuth's multiplicative hashing, 2^64 / phi.
        seed = ((seed ^ number) * 0x9E3779B97F4A7C15 + 1) % 2**63
    # Named, as torch warns of who means all of several without saying so.
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
