"""What a model knew before it was trained, and how much of it is left."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import TrainingError
from mmsearch.gallery import Gallery
from mmsearch.identity import require_same_encoder
from mmsearch.search.general_captions import general_captions
from mmsearch.training.guards import compare, deciding_figure, neighbours_kept
from mmsearch.training.pairs import gallery_pairs
from mmsearch.training.pixel_file import PixelFile
from mmsearch.training.records import Comparison, Trained, TrainingPairs
from mmsearch.training.splitting import split_pairs
from mmsearch.training.text_training import encode_texts
from mmsearch.training.trainable_model import TrainableModel

__all__ = ["Retention"]

_GENERAL = 128  # captions whose neighbours are looked at where there is nothing else to see what is kept
_MOST_LOST, _MOST_NEIGHBOURS_LOST = 0.02, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Retention:
    """What a model knew, and how much of it is left.

    Attributes:
        choosing: Pairs of another gallery, by which the share of the training is chosen; None where there is none.
        reporting: Others of it, for the report; None likewise.
        texts: General captions, whose neighbours are looked at instead.
        vectors: Of these before training, float32 (n, dim); None where there are none.
    """

    choosing: TrainingPairs | None = None
    reporting: TrainingPairs | None = None
    texts: Sequence[str] = ()
    vectors: NDArray[np.float32] | None = None

    @classmethod
    def of_gallery(cls, path: str | os.PathLike[str], own: Gallery, seed: int) -> "Retention":
        """Of the captions of another gallery of the same model. Raises TrainingError where it is `own`, which is
        learned from, and EncoderMismatch."""
        other = Gallery.open(path)
        if other.path == own.path:
            raise TrainingError(f"{own.path} is what is learned from: what should be kept is another gallery")
        require_same_encoder(own.manifest.encoder, other.manifest.encoder, other.path)
        split = split_pairs(gallery_pairs(other), seed=seed)
        return cls(choosing=split.validation, reporting=split.held_out)

    @classmethod
    def of_general(cls, trainable: TrainableModel) -> "Retention":
        """Of captions that say what photographs show in general, by the model as it is now."""
        captions = general_captions()
        texts = captions[:: max(1, len(captions) // _GENERAL)]
        return cls(texts=texts, vectors=encode_texts(trainable, texts))

    def readable(self, pictures: PixelFile) -> "Retention":
        """Without pairs whose pictures cannot be decoded."""
        if self.choosing is None or self.reporting is None:
            return self
        choosing, reporting = (pictures.decoded(pairs) for pairs in (self.choosing, self.reporting))
        return replace(self, choosing=choosing, reporting=reporting)

    @property
    def most_lost(self) -> float:
        """How much less of `kept` there may be than before."""
        return _MOST_LOST if self.choosing is not None else _MOST_NEIGHBOURS_LOST

    def kept(self, trained: Trained, alpha: float) -> float:
        """At a share of the training: the figure that decides, of the other gallery; or which share of the neighbours
        of general captions stay."""
        if self.choosing is not None:
            return deciding_figure(trained.vectors(alpha, self.choosing), self.choosing)
        assert self.vectors is not None, "there are pairs or captions"
        return neighbours_kept(self.vectors, trained.text_vectors(alpha, self.texts))

    def compare(self, trained: Trained, alpha: float) -> Comparison | None:
        """Before and after, of the other gallery; None where there is none."""
        if self.reporting is None:
            return None
        before = trained.vectors(0.0, self.reporting)
        return compare("what should be kept", before, trained.vectors(alpha, self.reporting), self.reporting)
