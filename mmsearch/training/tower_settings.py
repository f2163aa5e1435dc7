"""How the towers of a model are trained, and how fast."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["TowerMethod", "TowerPrecision", "TowerSettings", "usual_rate"]

TowerMethod: TypeAlias = Literal["lora", "full"]
TowerPrecision: TypeAlias = Literal["auto", "fp32", "bf16"]

_MEASURED_WIDTH = 128  # of the text tower of the model on which rates were measured


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """How towers are trained.

    Attributes:
        method: "lora": narrow additions to the weights of both towers, see `low_rank`; "full": all weights.
        epochs: How often each picture is seen, each time with the next of its captions.
        batch: Pairs that are compared with each other at a time.
        chunk: Pairs that are held in memory at a time; see `gradient_cache`.
        peak_rate: The highest learning rate; None for `usual_rate`.
        word_rate: How many times as fast the embeddings of words are trained: each is met in a few captions only, and a
            word that the model never saw has a long way to go.
        warm_up: The share of the steps in which it rises.
        rank: Of LoRA's additions.
        least_crop: Pictures are cropped at random to this share of their area at least; 1 for none.
        hard_negatives: How many pictures that a caption nearly fits stand with it in a batch, found anew before each
            epoch; 0 for random batches.
        negative_share: A picture is no hard negative if it scores more than this share of the caption's own picture.
        seed: Of all that is random.
        precision: "bf16": towers compute in it, their weights and the loss stay fp32; "auto": where a GPU has it.
    """

    method: TowerMethod
    epochs: int = 10
    batch: int = 256
    chunk: int = 64
    peak_rate: float | None = None
    word_rate: float = 10.0
    warm_up: float = 0.1
    rank: int = 16
    least_crop: float = 0.9
    hard_negatives: int = 0
    negative_share: float = 0.95
    seed: int = 0
    precision: TowerPrecision = "auto"


def usual_rate(method: TowerMethod, width: int) -> float:
    """The highest learning rate for a model whose text tower has a width.

    At the width of 128 it is what was best on postcards of a new world (`scripts.shifted_protocol`), of a few rates; at
    512, that of ViT-B-32, what published recipes use: 2.5e-4 of LoRA (Zanella and Ben Ayed, CLIP-LoRA, 2024: 2e-4) and
    6e-5 of all weights, where WiSE-FT has 3e-5. Between them it falls evenly, of LoRA as the width grows, whose
    additions begin with nothing, of all weights as its square. Larger models than the demo model were not measured.
    """
    narrowed = _MEASURED_WIDTH / width
    return 1e-3 * (narrowed if method == "lora" else narrowed**2)
