"""Trains the text side alone, on the vectors of pictures that the gallery holds: no picture is decoded or encoded.

As these stand still, each text is told apart from all pictures at once, not from those of a batch.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.errors import TrainingError
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.training.batches import RightGroups, split_evenly
from mmsearch.training.hard_negatives import Look, mine_hard_negatives
from mmsearch.training.losses import sigmoid_loss, softmax_loss, untrained_softmax_loss
from mmsearch.training.records import LossLog, PairVectors, TrainingPairs
from mmsearch.training.schedule import learning_rate
from mmsearch.training.tower_settings import usual_rate
from mmsearch.training.trainable_model import TrainableModel

__all__ = ["TextSettings", "TrainedTexts", "encode_texts", "train_texts"]

_WIDTH = 512  # of text towers that do not say
_WEIGHT_DECAY = 0.05
_MOST_GRADIENT = 1.0
_ENCODE_CHUNK = 128


@dataclass(frozen=True, slots=True)
class TextSettings:
    """How the text side is trained.

    Attributes:
        epochs: how often each text is seen.
        batch: texts at a time.
        rate: the highest learning rate, of all but the embeddings of tokens; None: `usual_rate` of all weights.
        token_rate: how many times as fast the embeddings of tokens are trained: a word that the model never saw has a
            long way to go.
        warm_up: the share of the steps in which the rates rise.
        told_apart: pictures that a text is told apart from at once, where there are more: those of its batch, hard
            negatives, and others at random.
        hard_negatives: how many pictures that it nearly fits each text brings along where not all are told apart at
            once; found anew before each epoch, by the texts as they are then.
        seed: of the order of texts.
    """

    epochs: int = 20
    batch: int = 128
    rate: float | None = None
    token_rate: float = 10.0
    warm_up: float = 0.1
    told_apart: int = 8_192
    hard_negatives: int = 0
    seed: int = 0


class TrainedTexts:
    """A text side that was trained; see `Trained`."""

    name = "the text tower"
    keeps_images = True

    def __init__(
        self,
        trainable: TrainableModel,
        before: dict[str, Tensor],
        after: dict[str, Tensor],
        log: LossLog,
        **settings: Any,
    ) -> None:
        self._trainable, self._before, self._after = trainable, before, after
        self.log, self.settings = log, settings
        self._alpha: float | None = None

    def vectors(self, alpha: float, pairs: TrainingPairs) -> PairVectors:
        texts = pairs.text_vectors if alpha == 0 else self.text_vectors(alpha, pairs.texts)
        return PairVectors(pairs.image_vectors, texts)

    def text_vectors(self, alpha: float, texts: Sequence[str]) -> NDArray[np.float32]:
        if alpha != self._alpha:
            self._trainable.model.load_state_dict(self._between(alpha), strict=False)
            self._alpha = alpha
        return encode_texts(self._trainable, texts)

    def weights(self, alpha: float) -> Mapping[str, Tensor]:
        return {**self._trainable.state(), **self._between(alpha)}

    def _between(self, alpha: float) -> dict[str, Tensor]:
        """The tensors that were trained, at alpha; exactly those from before at 0, from after at 1."""
        if alpha in (0.0, 1.0):
            return self._after if alpha else self._before
        return {name: torch.lerp(before, self._after[name], alpha) for name, before in self._before.items()}


def train_texts(
    trainable: TrainableModel,
    pairs: TrainingPairs,
    settings: TextSettings,
    *,
    look: Look | None = None,
    progress: ProgressCallback = quiet,
) -> TrainedTexts:
    """Train the text side of a model, which is changed in place, on pairs whose pictures keep their vectors.

    The loss is the one that the model was trained with, CLIP's or SigLIP's: each text against all pictures, each
    picture against the texts of the batch; pictures of which the same is said as of a text's own, and those that show
    the same, are left out. What cosines are multiplied with, and SigLIP's bias, stay. look: what
    finds hard negatives, rows of `pairs`; as vectors of pictures stay, an index of them does. Raises TrainingError
    where the loss becomes no number.
    """
    started = time.monotonic()
    run = _TextRun(trainable, pairs, settings, look)
    steps = settings.epochs * len(run.batches(0))
    losses = []
    step = 0
    for epoch in range(settings.epochs):
        of_epoch = []
        run.mine(progress)
        for rows in run.batches(epoch):
            of_epoch.append(run.train_step(rows, learning_rate(step, steps, peak=1.0, warm_up=settings.warm_up)))
            step += 1
            progress(Progress("training the text side", step, steps))
        losses.append(float(np.mean(of_epoch)))
    log = LossLog(tuple(losses), run.untrained_loss(), float(trainable.scale()), time.monotonic() - started)
    return run.finish(log)


class _TextRun:
    """One run, a step at a time."""

    def __init__(
        self, trainable: TrainableModel, pairs: TrainingPairs, settings: TextSettings, look: Look | None
    ) -> None:
        self._trainable, self._settings, self._look = trainable, settings, look
        self._hard: NDArray[np.int64] | None = None  # (n_texts, n), rows of pictures; -1 for none
        model = trainable.model
        model.requires_grad_(False)
        trainable.set_training(False)  # what is held still is not disturbed by dropout
        self._ids = trainable.tokens(pairs.texts)
        self._lengths = trainable.lengths(self._ids)
        self._before = {
            name: each.detach().cpu().clone() for name, each in model.named_parameters() if _is_of_texts(name)
        }
        self._seen = torch.unique(self._ids.to(torch.int64))
        self._whole = _narrow_tokens(trainable, self._seen)
        if self._whole is not None:
            self._ids = torch.searchsorted(self._seen, self._ids.to(torch.int64)).to(torch.int32)
        parts = {name: each for name, each in model.named_parameters() if _is_of_texts(name)}
        for each in parts.values():
            each.requires_grad_(True)
        tokens = [each for name, each in parts.items() if _is_of_tokens(name)]
        others = [each for name, each in parts.items() if not _is_of_tokens(name)]
        # Weight decay would wear away the embeddings of all words that do not come up.
        width = int(trainable.source.model_cfg["text_cfg"].get("width", _WIDTH))
        self.rate = usual_rate("full", width) if settings.rate is None else settings.rate
        groups = [
            {"params": tokens, "weight_decay": 0.0, "peak": settings.token_rate * self.rate},
            {
                "params": [each for each in others if each.ndim > 1],
                "weight_decay": _WEIGHT_DECAY,
                "peak": self.rate,
            },
            {"params": [each for each in others if each.ndim <= 1], "weight_decay": 0.0, "peak": self.rate},
        ]
        self._optimizer = torch.optim.AdamW([each for each in groups if each["params"]], betas=(0.9, 0.98), eps=1e-6)
        self._parameters = [*parts.values()]
        self._pairs = pairs
        self._images = torch.from_numpy(pairs.image_vectors).to(trainable.device)
        first_alike: dict[str, int] = {}
        self._first_alike = torch.tensor([first_alike.setdefault(text, row) for row, text in enumerate(pairs.texts)])
        self._right = RightGroups.of(pairs.texts, pairs.image_of_text, pairs.groups)
        self._untrained: list[float] = []  # of each step

    def batches(self, epoch: int) -> list[Sequence[int]]:
        order: list[int] = np.random.default_rng((self._settings.seed, epoch)).permutation(len(self._ids)).tolist()
        return split_evenly(order, self._settings.batch)

    def train_step(self, rows: Sequence[int], share: float) -> float:
        """One update of the weights; the loss. share: of the peak rates."""
        trainable = self._trainable
        for group in self._optimizer.param_groups:
            group["lr"] = share * group["peak"]
        self._optimizer.zero_grad(set_to_none=True)
        chosen = np.array(rows)
        loss = self._loss(self._encode(torch.from_numpy(chosen)), chosen)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = nn.utils.clip_grad_norm_(self._parameters, _MOST_GRADIENT)
        if not (torch.isfinite(loss) and torch.isfinite(gradient)):
            raise TrainingError(
                f"the loss is no number any more: the learning rate of {self.rate:g} is too high for this "
                "model; try a tenth of it (--rate)"
            )
        self._optimizer.step()
        with torch.no_grad():
            trainable.clamp_scale()
        return float(loss.detach())

    def _encode(self, rows: Tensor) -> Tensor:
        """(n, dim), in the order of the rows; in two pieces of similar lengths, each cut to its longest text. What
        comes several times, as what is said of a class does, is encoded once."""
        different, of_rows = torch.unique(self._first_alike[rows], return_inverse=True)
        if len(different) < len(rows):
            return self._encode(different)[of_rows.to(self._trainable.device)]
        order = torch.argsort(self._lengths[rows], stable=True)
        pieces = []
        for part in torch.chunk(order, 2):
            texts = rows[part]
            pieces.append(self._trainable.encode_texts(self._ids[texts, : int(self._lengths[texts].max())]))
        return torch.cat(pieces)[torch.argsort(order).to(pieces[0].device)]

    def _loss(self, texts: Tensor, rows: NDArray[np.int64]) -> Tensor:
        trainable, device = self._trainable, self._trainable.device
        own = self._pairs.image_of_text[rows]
        images = np.concatenate([own, self._others(own, rows)])
        alike = self._right.mask(rows, images).T
        np.fill_diagonal(alike, False)
        left_out = torch.from_numpy(alike.copy()).to(device)
        vectors = self._images[torch.from_numpy(images).to(device)]
        scale = trainable.scale().detach()
        if trainable.has_sigmoid_loss:
            return sigmoid_loss(vectors, texts, scale, left_out, trainable.bias().detach())
        self._untrained.append(untrained_softmax_loss(left_out))
        return softmax_loss(vectors, texts, scale, left_out)

    def untrained_loss(self) -> float | None:
        """Of a model that tells nothing apart; None of a sigmoid loss, where it is no fixed number."""
        return float(np.mean(self._untrained)) if self._untrained else None

    def mine(self, progress: ProgressCallback) -> None:
        """Find the hard negatives of all texts, by these as they are now, where not all pictures are told apart."""
        pairs, settings = self._pairs, self._settings
        if not settings.hard_negatives or pairs.images <= settings.told_apart:
            return
        vectors: list[Tensor] = []
        with torch.inference_mode():
            for rows in torch.split(torch.arange(len(self._ids)), _ENCODE_CHUNK):
                progress(Progress("reading the texts", _ENCODE_CHUNK * len(vectors), len(self._ids)))
                vectors.append(self._encode(rows).float().cpu())
        self._hard = mine_hard_negatives(
            *(pairs.image_vectors, torch.cat(vectors).numpy(), pairs.groups),
            own=pairs.image_of_text, count=settings.hard_negatives, right=self._right, look=self._look,
            progress=progress,
        )  # fmt: skip

    def _others(self, own: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pictures that are no picture of the batch: all, or so many as are told apart at once, hard negatives of its
        texts first."""
        taken, images = np.unique(own), self._pairs.images
        room = max(0, self._settings.told_apart - len(own))
        if images - len(taken) <= room:
            return np.setdiff1d(np.arange(images), taken)
        random = np.random.default_rng((self._settings.seed, int(own.sum())))
        hard = np.empty(0, np.int64) if self._hard is None else np.setdiff1d(self._hard[rows], [-1, *taken])
        hard = random.permutation(hard)[:room]
        taken = np.union1d(taken, hard)
        drawn = random.choice(images - len(taken), room - len(hard), replace=False)
        return np.concatenate([hard, numbers_between(taken, drawn)])

    def finish(self, log: LossLog) -> TrainedTexts:
        trainable, settings = self._trainable, self._settings
        after = {name: each.detach().cpu().clone() for name, each in trainable.model.named_parameters()}
        after = {name: after[name] for name in self._before}
        for name, before in self._before.items():
            if _is_of_tokens(name):  # words that did not come up are what they were, to the last bit
                rows = after[name] if self._whole is not None else after[name][self._seen]
                after[name] = before.index_copy(0, self._seen, rows)
        if self._whole is not None:
            _parts(trainable).token_embedding = self._whole
        trainable.model.requires_grad_(False)
        given = {
            "epochs": settings.epochs,
            "batch": settings.batch,
            "rate": self.rate,
            "token_rate": self.rate * settings.token_rate,
            "hard_negatives": settings.hard_negatives if self._hard is not None else 0,
            "loss": "sigmoid" if trainable.has_sigmoid_loss else "softmax",
        }
        return TrainedTexts(trainable, self._before, after, log, **given)


def numbers_between(taken: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the numbers from 0 that are not in `taken`, ascending, those at some places: (n,). As fast of millions as of a
    few, since none of the others is looked at.

    >>> numbers_between(np.array([1, 2, 5]), np.array([0, 1, 2, 3])).tolist()
    [0, 3, 4, 6]
    """
    before: NDArray[np.int64] = np.searchsorted(taken - np.arange(len(taken)), places, side="right")
    return places + before


def _parts(trainable: TrainableModel) -> Any:
    """The module whose attributes are the parts of the text tower."""
    model = trainable.model
    return model.text if hasattr(model, "text") else model


def _narrow_tokens(trainable: TrainableModel, seen: Tensor) -> nn.Embedding | None:
    """Leave a model only the embeddings of those tokens that come up, numbered anew in their order, and return the
    whole of them; None, and nothing is done, where that would change what the tower does.

    Most of the weights of a text side are embeddings of tokens that do not come up: an optimiser would spend most of
    its time on them.
    """
    parts = _parts(trainable)
    pool = getattr(parts, "text_pool_type", None) or getattr(parts, "pool_type", None)
    whole = getattr(parts, "token_embedding", None)
    if trainable.short_texts is None or pool != "argmax" or type(whole) is not nn.Embedding:
        return None
    rows = whole.weight.detach()[seen.to(whole.weight.device)].clone()
    parts.token_embedding = nn.Embedding(rows.shape[0], rows.shape[1], _weight=rows)
    return whole


def encode_texts(trainable: TrainableModel, texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 (n, dim), of length 1, by the model as it is now. Equal texts are encoded once."""
    different = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    ids = trainable.tokens(list(different))
    lengths = trainable.lengths(ids)
    vectors = np.empty((len(different), int(trainable.source.model_cfg["embed_dim"])), np.float32)
    with torch.inference_mode():
        for rows in torch.split(torch.argsort(lengths, stable=True), _ENCODE_CHUNK):
            encoded = trainable.encode_texts(ids[rows, : int(lengths[rows].max())])
            vectors[rows.numpy()] = encoded.float().cpu().numpy()
    return vectors[[different[text] for text in texts]]


def _is_of_texts(name: str) -> bool:
    """Whether a tensor is of the text side: neither of pictures nor what both are compared by."""
    return not name.startswith(("visual.", "text_decoder.")) and name not in ("logit_scale", "logit_bias")


def _is_of_tokens(name: str) -> bool:
    return name.endswith(("token_embedding.weight", "word_embeddings.weight", "embed_tokens.weight", "shared.weight"))
