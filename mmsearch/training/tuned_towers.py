"""Both towers, trained on pairs: what `finetune` is given of `--lora` and `--full`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.progress import ProgressCallback, quiet
from mmsearch.training.pixel_file import PixelFile
from mmsearch.training.records import LossLog, PairVectors, TrainingPairs
from mmsearch.training.text_training import encode_texts
from mmsearch.training.tower_settings import TowerMethod, TowerSettings
from mmsearch.training.tower_training import EpochFigures, train_towers
from mmsearch.training.trainable_model import TrainableModel

__all__ = ["TunedTowers", "tune_towers"]

_NAMES: dict[TowerMethod, str] = {
    "lora": "narrow additions to the weights of both towers (LoRA)",
    "full": "all weights of both towers",
}
_CHUNK = 128


class TunedTowers:
    """Towers that were trained; see `mmsearch.training.records.Trained`."""

    keeps_images = False

    def __init__(
        self,
        trainable: TrainableModel,
        pictures: PixelFile,
        before: dict[str, Tensor],
        after: dict[str, Tensor],
        epochs: Sequence[EpochFigures],
        log: LossLog,
        settings: TowerSettings,
    ) -> None:
        self._trainable, self._pictures, self._before, self._after = trainable, pictures, before, after
        self._alpha = 1.0  # of the weights that the model has now
        self.name = _NAMES[settings.method]
        self.epochs, self.log = tuple(epochs), log
        self.settings: Mapping[str, Any] = asdict(settings)

    def weights(self, alpha: float) -> Mapping[str, Tensor]:
        """The tensors at alpha; exactly those from before at 0, from after at 1. Those that are no numbers to be mixed
        (counts) are the same in both."""
        if alpha in (0.0, 1.0):
            return self._after if alpha else self._before
        return {
            name: torch.lerp(before, self._after[name], alpha) if before.is_floating_point() else before
            for name, before in self._before.items()
        }

    def vectors(self, alpha: float, pairs: TrainingPairs) -> PairVectors:
        """The vectors of pairs, whose pictures have to be in the file of pixels. At 0 they are encoded too, not those
        of the gallery: those may be of a float16 GPU, and before and after shall differ by the training alone."""
        self._use(alpha)
        trainable, rows = self._trainable, self._pictures.of(pairs.files)
        vectors = []
        with torch.inference_mode():
            for first in range(0, len(rows), _CHUNK):
                pixels = torch.from_numpy(self._pictures.pixels[rows[first : first + _CHUNK]]).to(trainable.device)
                vectors.append(trainable.encode_images(trainable.preprocessing.normalise(pixels)).cpu())
        return PairVectors(torch.cat(vectors).numpy(), self.text_vectors(alpha, pairs.texts))

    def text_vectors(self, alpha: float, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 (n, dim), of length 1, in the order of the texts."""
        self._use(alpha)
        return encode_texts(self._trainable, texts)

    def _use(self, alpha: float) -> None:
        if alpha != self._alpha:
            self._trainable.model.load_state_dict(self.weights(alpha))
            self._alpha = alpha


def tune_towers(
    trainable: TrainableModel,
    pairs: TrainingPairs,
    pictures: PixelFile,
    settings: TowerSettings,
    *,
    checkpoint: Path | None = None,
    progress: ProgressCallback = quiet,
) -> TunedTowers:
    """Train both towers of a model, which is changed in place, on pairs whose pictures are decoded.

    checkpoint: see `train_towers`. Raises TrainingError as that does.
    """
    before = trainable.state()
    ends = np.searchsorted(pairs.image_of_text, np.arange(pairs.images + 1))
    captions = [pairs.texts[first:last] for first, last in pairwise(ends)]
    rows = pictures.of(pairs.files)
    done = train_towers(
        *(trainable, pictures.pixels, captions, pairs.groups, settings),
        pixel_rows=rows, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    losses = tuple(each.loss for each in done.epochs)
    log = LossLog(losses, done.epochs[-1].untrained_loss, done.epochs[-1].scale, done.seconds)
    return TunedTowers(trainable, pictures, before, done.state, done.epochs, log, done.settings)
