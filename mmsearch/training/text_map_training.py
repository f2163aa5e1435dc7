"""The linear map as something that was trained: with weights between none of it and all, and as a model."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.training.guards import deciding_figure
from mmsearch.training.records import LossLog, PairSplit, PairVectors, TrainingPairs
from mmsearch.training.text_map import STRENGTHS, fit_text_map, mapped
from mmsearch.training.text_training import encode_texts
from mmsearch.training.trainable_model import TrainableModel

__all__ = ["TrainedMap", "train_map"]

_LAST_MATRICES = ("text_projection", "text.text_projection")
_LAST_LAYERS = ("text_projection", "text.text_projection", "text.proj.2", "text.proj")


class TrainedMap:
    """A linear map behind the text side; see `Trained`."""

    name = "a linear map on the text vectors"
    keeps_images = True

    def __init__(self, trainable: TrainableModel, matrix: NDArray[np.float32], log: LossLog, strength: float) -> None:
        self._trainable, self._matrix = trainable, matrix
        self.log, self.settings = log, {"strength": strength}
        self._before: dict[tuple[str, ...], NDArray[np.float32]] = {}  # which no share of the map changes

    def vectors(self, alpha: float, pairs: TrainingPairs) -> PairVectors:
        texts = pairs.text_vectors if alpha == 0 else mapped(pairs.text_vectors, self._matrix, alpha)
        return PairVectors(pairs.image_vectors, texts)

    def text_vectors(self, alpha: float, texts: Sequence[str]) -> NDArray[np.float32]:
        if (key := tuple(texts)) not in self._before:
            self._before = {key: encode_texts(self._trainable, texts)}
        before = self._before[key]
        return before if alpha == 0 else mapped(before, self._matrix, alpha)

    def weights(self, alpha: float) -> Mapping[str, Tensor]:
        state: dict[str, Any] = self._trainable.state()
        if alpha == 0:
            return state
        matrix = torch.from_numpy((1 - alpha) * np.eye(len(self._matrix)) + alpha * self._matrix)
        for name, tensor in _multiplied(state, matrix).items():
            state[name] = tensor.to(state[name].dtype).contiguous()
        return state


def train_map(trainable: TrainableModel, split: PairSplit) -> TrainedMap | None:
    """The best of some maps on validation pairs; None where the model has no last matrix to multiply it into."""
    if not _multiplied(trainable.state(), torch.eye(split.training.text_vectors.shape[1], dtype=torch.float64)):
        return None
    started = time.monotonic()
    training, validation = split.training, split.validation
    images = training.image_vectors[training.image_of_text]

    def fit(strength: float) -> tuple[float, float, NDArray[np.float32]]:
        matrix = fit_text_map(training.text_vectors, images, strength=strength)
        vectors = PairVectors(validation.image_vectors, mapped(validation.text_vectors, matrix))
        return deciding_figure(vectors, validation), strength, matrix

    _, strength, matrix = max((fit(strength) for strength in STRENGTHS), key=lambda fitted: fitted[:2])
    log = LossLog((), None, float(trainable.scale()), time.monotonic() - started)
    return TrainedMap(trainable, matrix, log, strength)


def _multiplied(state: Mapping[str, Tensor], matrix: Tensor) -> dict[str, Tensor]:
    """What comes last in the text tower, with a matrix (dim, dim) multiplied into it; nothing where it is not known."""
    for name in _LAST_MATRICES:
        if name in state:
            return {name: state[name].double() @ matrix}
    for name in _LAST_LAYERS:
        if f"{name}.weight" in state:
            changed = {f"{name}.weight": matrix.T @ state[f"{name}.weight"].double()}
            if f"{name}.bias" in state:
                changed[f"{name}.bias"] = state[f"{name}.bias"].double() @ matrix
            return changed
    return {}
