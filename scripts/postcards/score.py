"""Scores a model on the postcards: R@k in both directions beside ceiling and chance, the fixed queries, swapped pairs.

    python -m scripts.postcards.score mmsearch/encoders/demo

The model is loaded by plain open_clip from its folder; nothing of the training code is used.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from scripts.postcards.captions import Caption
from scripts.postcards.dataset import SwapPair, load_swaps, load_test
from scripts.postcards.oracle import (
    ceiling_image_to_text,
    ceiling_text_to_image,
    chance_image_to_text,
    chance_text_to_image,
    claim_rows,
    consistency,
    informed_image_to_text,
    recall_image_to_text,
    recall_text_to_image,
)
from scripts.postcards.queries import QUERIES, matches
from scripts.postcards.render import render
from scripts.postcards.scene import Scene, facts

__all__ = ["Recall", "Scorer", "queries_right", "recalls", "swap_accuracy"]

KS = (1, 5, 10)
Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recall:
    """R@k of one direction, between what is possible and what luck gives. `ceiling` is the oracle in random order,
    `informed` the oracle that prefers captions that say more (equal to the ceiling in the text_to_image direction)."""

    direction: str
    k: int
    model: float
    ceiling: float
    informed: float
    chance: float


class Scorer:
    """A model folder as open_clip loads it, in eval mode. Vectors are (n, dim) float64, L2-normalised."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        self._model, _, self._transform = open_clip.create_model_and_transforms(name)
        self._tokenizer: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(name)
        self._model.eval()

    def images(self, pictures: Iterable[Image.Image]) -> Vectors:
        return self._encode([self._transform(p.convert("RGB")) for p in pictures], self._model.encode_image)

    def texts(self, texts: Sequence[str]) -> Vectors:
        return self._encode(list(self._tokenizer(list(texts))), self._model.encode_text)

    def _encode(self, rows: Sequence[torch.Tensor], encode: Callable[..., torch.Tensor]) -> Vectors:
        with torch.inference_mode():
            found = [encode(torch.stack(tuple(rows[i : i + 64])), normalize=True) for i in range(0, len(rows), 64)]
        vectors = torch.cat(found).double().numpy()
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def recalls(
    images: Vectors, texts: Vectors, scenes: Sequence[Scene], captions: Sequence[Sequence[Caption]]
) -> list[Recall]:
    """R@k in both directions. texts has the captions of all scenes in order."""
    owner = np.repeat(np.arange(len(scenes)), [len(own) for own in captions])
    consistent = consistency(
        claim_rows(caption.claims for own in captions for caption in own), claim_rows(facts(scene) for scene in scenes)
    )
    scores = texts @ images.T
    found = []
    for k in KS:
        found.append(
            Recall(
                "text_to_image",
                k,
                recall_text_to_image(scores, owner, k),
                ceiling_text_to_image(consistent, k),
                ceiling_text_to_image(consistent, k),
                chance_text_to_image(len(scenes), k),
            )
        )
    for k in KS:
        found.append(
            Recall(
                "image_to_text",
                k,
                recall_image_to_text(scores, owner, k),
                ceiling_image_to_text(consistent, owner, k),
                informed_image_to_text(consistent, owner, k),
                chance_image_to_text(len(owner), len(captions[0]), k),
            )
        )
    return found


def queries_right(images: Vectors, scorer: Scorer, scenes: Sequence[Scene], hits: int = 10) -> dict[str, int]:
    """How many of the first ten hits of each fixed query are right by specification."""
    right = {}
    for query, vector in zip(QUERIES, scorer.texts([q.text for q in QUERIES]), strict=True):
        order = np.argsort(-(images @ vector), kind="stable")[:hits]
        right[query.text] = sum(matches(query, scenes[i]) for i in order)
    return right


def swap_accuracy(scorer: Scorer, pairs: Sequence[SwapPair]) -> float:
    """The share of captions (two a pair) that score their own image of the pair higher than the other."""
    images = scorer.images(render(s, seed) for pair in pairs for s, seed in zip(pair.scenes, pair.seeds, strict=True))
    texts = scorer.texts([caption.text for pair in pairs for caption in pair.captions])
    scores = np.einsum("ptd,pid->pti", texts.reshape(len(pairs), 2, -1), images.reshape(len(pairs), 2, -1))
    first, second = scores[:, 0, 0] > scores[:, 0, 1], scores[:, 1, 1] > scores[:, 1, 0]
    return float(np.concatenate([first, second]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a model on the postcards test split.")
    parser.add_argument("model", type=Path, help="folder in open_clip's format")
    parser.add_argument("--data", type=Path, default=Path("data/postcards"))
    parser.add_argument("--json", type=Path, help="also write the scores here")
    args = parser.parse_args()
    scorer, test = Scorer(args.model), load_test(args.data)
    scenes, captions = [p.scene for p in test], [p.captions for p in test]
    images = scorer.images(Image.open(args.data / "images" / p.filename) for p in test)
    texts = scorer.texts([c.text for own in captions for c in own])
    table = recalls(images, texts, scenes, captions)
    print(f"{len(scenes)} images, {len(texts)} captions")
    print(f"{'direction':15s} {'k':>3s} {'model':>7s} {'ceiling':>8s} {'share':>7s} {'informed':>8s} {'chance':>7s}")
    for row in table:
        print(
            f"{row.direction:15s} {row.k:3d} {row.model:7.4f} {row.ceiling:8.4f}"
            f" {row.model / row.ceiling:7.3f} {row.informed:8.4f} {row.chance:7.4f}"
        )
    swaps = swap_accuracy(scorer, load_swaps(args.data))
    print(f"swapped pairs: {swaps:.4f}")
    right = queries_right(images, scorer, scenes)
    for query, count in right.items():
        print(f"{count:3d}/10  {query}")
    if args.json:
        scores: dict[str, Any] = {"recall": [asdict(row) for row in table], "swapped_pairs": swaps, "queries": right}
        args.json.write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
