"""Trains both towers of a model on pairs of pictures and captions: `finetune --lora` and `--full`.

What decides the result is kept small and in one place: the order of pairs, the choice of captions, crops and dropout
are functions of the seed and the step. So the same seed gives the same weights, and a run that was killed goes on from
its checkpoint to the same end, on one machine.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.errors import TrainingError
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.training.augmentation import crop, random_boxes
from mmsearch.training.batches import PairTexts, RightGroups, chosen_captions, shuffled_rows, split_evenly
from mmsearch.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from mmsearch.training.gradient_cache import Chunk, backward_in_chunks, in_turns
from mmsearch.training.hard_negatives import mine_hard_negatives, order_with_hard_negatives
from mmsearch.training.losses import sigmoid_loss, softmax_loss, untrained_softmax_loss
from mmsearch.training.low_rank import adapted_weights, token_table
from mmsearch.training.records import MOST_HARD_NEGATIVES
from mmsearch.training.replicas import Replicas
from mmsearch.training.schedule import learning_rate
from mmsearch.training.tower_settings import TowerSettings, usual_rate
from mmsearch.training.trainable_model import TrainableModel

__all__ = ["EpochFigures", "TrainedTowers", "TrainingRun", "train_towers"]

_WEIGHT_DECAY = 0.05
_MOST_GRADIENT = 1.0  # the norm to which a gradient is cut: one odd batch must not undo a hundred
_ENCODE_CHUNK = 128


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """What an epoch shows of itself.

    Attributes:
        epoch: From 1.
        loss: The mean of its batches.
        untrained_loss: What a model that tells nothing apart has: ln of the batch where no pair is left out; None of a
            sigmoid loss.
        scale: What cosines are multiplied with, at its end.
        gradient: The mean norm of the gradient, before it is cut.
        mined: The share of pictures that had a hard negative; None where none were looked for.
    """

    epoch: int
    loss: float
    untrained_loss: float | None
    scale: float
    gradient: float
    mined: float | None = None


@dataclass(frozen=True, slots=True)
class TrainedTowers:
    """Attributes:
    state: the weights as an ordinary model of open_clip has them, fp32, on the CPU.
    epochs: what each showed.
    settings: with what was left open.
    steps: in all.
    trained: how many numbers were trained.
    seconds: of this run alone.
    """

    state: dict[str, Tensor]
    epochs: tuple[EpochFigures, ...]
    settings: TowerSettings
    steps: int
    trained: int
    seconds: float


def train_towers(
    trainable: TrainableModel,
    pixels: NDArray[np.uint8],
    captions: Sequence[Sequence[str]],
    contents: Sequence[int] | NDArray[np.int64],
    settings: TowerSettings,
    *,
    pixel_rows: NDArray[np.int64] | None = None,
    checkpoint: Path | None = None,
    every_seconds: float = 300.0,
    progress: ProgressCallback = quiet,
) -> TrainedTowers:
    """Train the towers of a model, which is changed in place.

    pixels: (n, H, W, 3), fitted by the model's own preprocessing; read batch by batch, so it may be mapped from a disk.
    pixel_rows: which rows of it the pictures are; None: all, in their order.
    captions: of each picture, at least one. contents: of each picture, equal for copies.
    checkpoint: a file to continue from where it is there, and to write every so many seconds and at the end of each
    epoch. Raises TrainingError where there is nothing to compare, where the loss is no number any more, or where the
    checkpoint is another run's.
    """
    started = time.monotonic()
    run = TrainingRun(trainable, pixels, PairTexts.of(captions, contents), settings, pixel_rows)
    if checkpoint is not None and (found := read_checkpoint(checkpoint, run.digest)) is not None:
        run.restore(found)
    saved = time.monotonic()
    pictures = len(captions)
    progress(Progress("training", run.step * pictures // run.steps_an_epoch, pictures * settings.epochs))
    while run.step < run.steps:
        run.train_step()
        progress(Progress("training", run.step * pictures // run.steps_an_epoch, pictures * settings.epochs))
        ends_epoch = run.step % run.steps_an_epoch == 0
        if checkpoint is not None and (ends_epoch or time.monotonic() - saved >= every_seconds):
            write_checkpoint(checkpoint, run.checkpoint())
            saved = time.monotonic()
    return run.finish(time.monotonic() - started)


class TrainingRun:
    """One run, a step at a time. Everything that goes on changing is in `checkpoint`."""

    def __init__(
        self,
        trainable: TrainableModel,
        pixels: NDArray[np.uint8],
        texts: PairTexts,
        settings: TowerSettings,
        pixel_rows: NDArray[np.int64] | None = None,
    ) -> None:
        if len(set(texts.contents.tolist())) < 2:
            raise TrainingError("training compares pictures with each other: there have to be two at least")
        self._trainable, self._pixels, self._texts = trainable, pixels, texts
        self._rows = np.arange(len(pixels)) if pixel_rows is None else pixel_rows
        self._count = count = len(self._rows)
        width = int(trainable.source.model_cfg["text_cfg"].get("width", 512))
        rate = usual_rate(settings.method, width) if settings.peak_rate is None else settings.peak_rate
        self.settings = settings = replace(settings, batch=min(settings.batch, count), peak_rate=rate)
        self._rate = rate
        self._ids = trainable.tokens(texts.texts)
        self._lengths = trainable.lengths(self._ids)
        self.digest = _digest(trainable, texts, pixels[self._rows[[0, -1]]], settings)
        self.replicas = Replicas(trainable, settings, torch.unique(self._ids.to(torch.int64)))
        self._adapters, self._parameters = self.replicas.first.adapters, self.replicas.first.parameters
        self._optimizer = self._make_optimizer()
        self.steps_an_epoch = -(-count // settings.batch)
        self.steps = self.steps_an_epoch * settings.epochs
        self.step = 0
        self._order: list[int] = []
        self._mined: float | None = None
        self._losses: list[float] = []
        self._gradients: list[float] = []
        self._epochs: list[EpochFigures] = []

    def _make_optimizer(self) -> torch.optim.AdamW:
        """AdamW, as CLIP was trained. Weight decay is for the matrices of layers alone: it would wear away the
        embeddings of all the words that do not come up in training."""
        matrices: set[Tensor] = set()
        if self._adapters is None:
            matrices = {getattr(module, name) for module, name in adapted_weights(self._trainable.model)}
        words = self._word_embeddings()
        others = [each for each in self._parameters.values() if each not in matrices and each is not words]
        groups = [
            {"params": [each for each in self._parameters.values() if each in matrices], "weight_decay": _WEIGHT_DECAY},
            {"params": others, "weight_decay": 0.0},
            {"params": [words] if words is not None else [], "weight_decay": 0.0, "times": self.settings.word_rate},
        ]
        groups = [{"times": 1.0} | group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, lr=self._rate, betas=(0.9, 0.98), eps=1e-6)

    def _word_embeddings(self) -> Tensor | None:
        if self._adapters is not None:
            return None if self._adapters.tokens is None else self._adapters.tokens.rows
        table = token_table(self._trainable.model)
        return None if table is None else table.weight

    # --- a step ---

    def train_step(self) -> float:
        """One update of the weights; the loss before it. Raises TrainingError where that is no number."""
        settings, trainable = self.settings, self._trainable
        epoch, within = divmod(self.step, self.steps_an_epoch)
        if within == 0 or not self._order:
            self._begin_epoch(epoch)
        rows = split_evenly(self._order, settings.batch)[within]
        captions = chosen_captions(self._texts.counts, seed=settings.seed, epoch=epoch)[rows]
        left_out = torch.from_numpy(self._texts.left_out(rows, captions)).to(trainable.device)
        self.replicas.set_training(True)
        rate = learning_rate(self.step, self.steps, peak=self._rate, warm_up=settings.warm_up)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["times"]
        self._optimizer.zero_grad(set_to_none=True)
        sides = [self._image_chunks(rows), self._text_chunks(rows, captions)]
        seed = settings.seed * 1_000_003 + self.step
        loss = backward_in_chunks(
            lambda images, texts: self._loss(images, texts, left_out), sides, seed=seed, at_once=len(self.replicas)
        )
        self.replicas.gather_gradients()
        gradient = nn.utils.clip_grad_norm_(self._parameters.values(), _MOST_GRADIENT)
        if not (torch.isfinite(loss) and torch.isfinite(gradient)):
            raise TrainingError(
                f"the loss is no number any more in step {self.step + 1:,} of {self.steps:,}: the learning rate of "
                f"{self._rate:g} is too high for this model; try a tenth of it (--rate)"
            )
        self._optimizer.step()
        trainable.clamp_scale()
        self.replicas.share_weights()
        self._losses.append(float(loss))
        self._gradients.append(float(gradient))
        self.step += 1
        if self.step % self.steps_an_epoch == 0:
            self._end_epoch(epoch)
        return float(loss)

    def _loss(self, images: Tensor, texts: Tensor, left_out: Tensor) -> Tensor:
        trainable = self._trainable
        if trainable.has_sigmoid_loss:
            return sigmoid_loss(images, texts, trainable.scale(), left_out, trainable.bias())
        return softmax_loss(images, texts, trainable.scale(), left_out)

    def _image_chunks(self, rows: Sequence[int]) -> list[Chunk]:
        # Drawn for the whole batch, so that the size of chunks changes nothing.
        cropping = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        boxes = random_boxes(len(rows), self.settings.least_crop, cropping)
        chunks = []
        for number, places in enumerate(torch.split(torch.arange(len(rows)), self._chunk_size(len(rows)))):
            replica = self.replicas.of_chunk(number)
            pixels = replica.prepare(self._pixels[self._rows[[rows[place] for place in places.tolist()]]])
            if self.settings.least_crop < 1:
                pixels = crop(pixels, boxes[places])
            chunks.append(Chunk(places, partial(self._on_first, replica.encode_images, pixels)))
        return chunks

    def _text_chunks(self, rows: Sequence[int], captions: NDArray[np.int64]) -> list[Chunk]:
        """Of texts of similar length, each cut to its longest."""
        texts = torch.from_numpy(self._texts.first[list(rows)] + captions)
        order = torch.argsort(self._lengths[texts], stable=True)
        chunks = []
        for number, places in enumerate(torch.split(order, self._chunk_size(len(rows)))):
            ids = self._ids[texts[places], : int(self._lengths[texts[places]].max())]
            chunks.append(Chunk(places, partial(self._on_first, self.replicas.of_chunk(number).encode_texts, ids)))
        return chunks

    def _chunk_size(self, count: int) -> int:
        """Of a batch that memory could hold at once, each device takes an equal share."""
        return min(self.settings.chunk, -(-count // len(self.replicas)))

    def _on_first(self, encode: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        return encode(given).to(self._trainable.device)

    # --- an epoch ---

    def _begin_epoch(self, epoch: int) -> None:
        settings = self.settings
        self._order = shuffled_rows(self._count, seed=settings.seed, epoch=epoch)
        if settings.hard_negatives:
            mined = mine_hard_negatives(
                *self.encode_pairs(epoch),
                self._texts.contents,
                count=MOST_HARD_NEGATIVES,
                share=settings.negative_share,
                right=self._right_groups(epoch),
            )
            self._mined = float((mined[:, 0] >= 0).mean())
            self._order = order_with_hard_negatives(self._order, mined, each=settings.hard_negatives)

    def _right_groups(self, epoch: int) -> RightGroups:
        """Of the caption that speaks for each picture in an epoch."""
        texts = self._texts
        image_of_text = np.repeat(np.arange(self._count), texts.counts)
        of_all = RightGroups.of(texts.texts, image_of_text, texts.contents)
        chosen = texts.first[:-1] + chosen_captions(texts.counts, seed=self.settings.seed, epoch=epoch)
        return replace(of_all, numbers=of_all.numbers[chosen])

    def encode_pairs(self, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors of all pictures and of the caption that speaks for each in an epoch, by the model as it is now."""
        self.replicas.set_training(False)
        captions = chosen_captions(self._texts.counts, seed=self.settings.seed, epoch=epoch)
        texts = torch.from_numpy(self._texts.first[:-1] + captions)
        chunks = enumerate(torch.split(torch.arange(self._count), _ENCODE_CHUNK))
        found_images, found_texts = [], []
        with torch.inference_mode():
            for turn in in_turns(chunks, len(self.replicas)):
                encoded = []  # by all devices before the first is waited for
                for number, rows in turn:
                    replica = self.replicas.of_chunk(number)
                    ids = self._ids[texts[rows], : int(self._lengths[texts[rows]].max())]
                    pixels = replica.prepare(self._pixels[self._rows[rows.numpy()]])
                    encoded.append((replica.encode_images(pixels), replica.encode_texts(ids)))
                found_images += [images.cpu() for images, _ in encoded]
                found_texts += [each.cpu() for _, each in encoded]
        return torch.cat(found_images).numpy(), torch.cat(found_texts).numpy()

    def _end_epoch(self, epoch: int) -> None:
        untrained = None if self._trainable.has_sigmoid_loss else self._untrained_loss(epoch)
        loss, gradient = float(np.mean(self._losses)), float(np.mean(self._gradients))
        scale = float(self._trainable.scale().detach())
        self._epochs.append(EpochFigures(epoch + 1, loss, untrained, scale, gradient, self._mined))
        self._order, self._losses, self._gradients = [], [], []

    def _untrained_loss(self, epoch: int) -> float:
        """The mean over the batches of an epoch."""
        captions = chosen_captions(self._texts.counts, seed=self.settings.seed, epoch=epoch)
        batches = split_evenly(self._order, self.settings.batch)
        left_out = (torch.from_numpy(self._texts.left_out(rows, captions[list(rows)])) for rows in batches)
        return float(np.mean([untrained_softmax_loss(each) for each in left_out]))

    # --- beginning, continuing, ending ---

    def checkpoint(self) -> Checkpoint:
        tensors: dict[str, Tensor] = {"order": torch.tensor(self._order, dtype=torch.int64)}
        for name, parameter in self._parameters.items():
            tensors[f"weight.{name}"] = parameter
            tensors |= {f"{key}.{name}": value for key, value in self._optimizer.state.get(parameter, {}).items()}
        log = {
            "epochs": [asdict(each) for each in self._epochs],
            "losses": self._losses,
            "gradients": self._gradients,
            "mined": self._mined,
        }
        return Checkpoint(self.digest, self.step, json.dumps(log), tensors)

    def restore(self, found: Checkpoint) -> None:
        """Go on from a checkpoint of this run."""
        moments = ("step", "exp_avg", "exp_avg_sq")
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(found.tensors[f"weight.{name}"])
                if f"step.{name}" in found.tensors:
                    state = {key: found.tensors[f"{key}.{name}"] for key in moments}
                    # The count of steps stays on the CPU, as torch has it.
                    on_device = {key: value.to(parameter.device) for key, value in state.items() if key != "step"}
                    self._optimizer.state[parameter] = {"step": state["step"], **on_device}
        log = json.loads(found.log)
        self._epochs = [EpochFigures(**each) for each in log["epochs"]]
        self._losses, self._gradients, self._mined = log["losses"], log["gradients"], log["mined"]
        self._order, self.step = found.tensors["order"].tolist(), found.step
        self.replicas.share_weights()

    def finish(self, seconds: float) -> TrainedTowers:
        """Merge what was learnt into the weights."""
        trained = sum(parameter.numel() for parameter in self._parameters.values())
        if self._adapters is not None:
            self._adapters.merge()
        self._trainable.set_training(False)
        self._trainable.model.requires_grad_(False)
        return TrainedTowers(self._trainable.state(), tuple(self._epochs), self.settings, self.steps, trained, seconds)


def _digest(trainable: TrainableModel, texts: PairTexts, ends: NDArray[np.uint8], settings: TowerSettings) -> str:
    """What decides how a run goes. ends: the first and the last picture, which stand for all: which pictures they are,
    contents and captions tell."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    digest.update(json.dumps([texts.texts, texts.first.tolist(), texts.contents.tolist()]).encode())
    digest.update(np.ascontiguousarray(ends).data)
    for name, tensor in sorted(trainable.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
