"""Training a few numbers of a model in place of all: LoRA (Hu et al. 2021), merged into the weights in the end.

A weight W becomes W + up @ down, where `up` and `down` are narrow and W stays. It is laid over the weights themselves
(torch's parametrizations), so it serves wherever a tower keeps them: linear layers, the joined projection of torch's
attention, convolutions of residual networks, towers of timm and transformers; and what is merged is an ordinary model.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.nn.utils import parametrize

__all__ = ["Adapters", "adapted_weights", "token_table"]


class _LowRank(nn.Module):
    """What is added to one weight. `up` begins with zeros: the model begins as what it was."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank = min(rank, rows, columns)
        bound = 1 / math.sqrt(columns)
        self.down = nn.Parameter(torch.empty(rank, columns).uniform_(-bound, bound, generator=generator))
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


class _TokenRows(nn.Module):
    """What is added to the embeddings of some tokens. Words that a model never saw have embeddings that mean nothing,
    which no change of the layers behind them makes up for."""

    def __init__(self, table: nn.Embedding, tokens: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(len(tokens) + 1, table.embedding_dim))  # the last is nobody's
        self.register_buffer("tokens", tokens, persistent=False)
        places = torch.full((table.num_embeddings,), len(tokens))
        places[tokens] = torch.arange(len(tokens))
        self.register_buffer("places", places, persistent=False)
        self.places: Tensor
        self.tokens: Tensor

    def forward(self, ids: Tensor) -> Tensor:
        return embedding(self.places[ids], self.rows, padding_idx=len(self.rows) - 1)


class Adapters(nn.Module):
    """What LoRA trains of a model, laid over it. The model's own parameters no longer take gradients.

    rank: the width of what is added to each weight. tokens: int64 (n,), whose embeddings are trained: those of the
    training texts. seed: of what `down` begins with.
    """

    def __init__(self, model: nn.Module, *, rank: int, tokens: Tensor, seed: int) -> None:
        super().__init__()
        model.requires_grad_(False)
        self._model = [model]  # in a list: it is no part of this module
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList()
        for module, name in list(adapted_weights(model)):
            weight = getattr(module, name)
            layer = _LowRank(weight, rank, generator).to(weight.device)
            parametrize.register_parametrization(module, name, layer)
            self.layers.append(layer)
        self._table = [table] if (table := token_table(model)) is not None else []
        self.tokens: _TokenRows | None = None
        if self._table:
            weight = self._table[0].weight
            rows = self.tokens = _TokenRows(self._table[0], tokens).to(weight.device)
            self._hook = self._table[0].register_forward_hook(lambda _, ids, found: found + rows(ids[0]))

    def merge(self) -> None:
        """Add what was learnt to the model's own weights, and leave the model as any other."""
        (model,) = self._model
        for module, name in list(_parametrized(model)):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        if self.tokens is not None:
            self._hook.remove()
            with torch.no_grad():
                self._table[0].weight[self.tokens.tokens] += self.tokens.rows[:-1]


def adapted_weights(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The weights that are adapted, as (module, name of its weight): of linear layers, of attention, and of
    convolutions other than those that cut a picture into patches."""
    for module in model.modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and not _cuts_patches(module)):
            yield module, "weight"
        elif isinstance(getattr(module, "in_proj_weight", None), nn.Parameter):
            yield module, "in_proj_weight"


def _cuts_patches(convolution: nn.Conv2d) -> bool:
    return convolution.kernel_size == convolution.stride and convolution.kernel_size != (1, 1)


def _parametrized(model: nn.Module) -> Iterable[tuple[nn.Module, str]]:
    for module in model.modules():
        if parametrize.is_parametrized(module):
            for name in list(getattr(module, "parametrizations", {})):
                yield module, name


def token_table(model: nn.Module) -> nn.Embedding | None:
    """The table of token embeddings: the largest there is, since positions and token types are fewer."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    return max(tables, key=lambda table: table.num_embeddings, default=None)
