"""What a linear map on the vectors of texts gains, on CLIP's vectors of 500 COCO photos, in ten folds.

    python -m scripts.finetune_protocol VECTORS

VECTORS: a folder with features_clip.npy (2, n, dim): pictures, texts. The map of each fold learns from the other nine;
its texts look among all pictures. Strengths are those that `mmsearch finetune` tries; at infinity nothing is changed.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.training.text_map import STRENGTHS, fit_text_map, mapped

__all__ = ["map_figures"]

_FOLDS, _KS = 10, (1, 5, 10)


def map_figures(images: NDArray[np.float32], texts: NDArray[np.float32]) -> dict[float, tuple[float, ...]]:
    """Strength -> text_to_image R@1, R@5, R@10; at infinity that of the texts as they are. images, texts: (n, dim)."""
    images, texts = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (images, texts))
    fold = np.random.default_rng(0).permutation(len(images)) % _FOLDS
    figures = {}
    for strength in (math.inf, *STRENGTHS):
        moved = texts.copy()
        for number in range(_FOLDS) if strength < math.inf else ():
            others = fold != number
            matrix = fit_text_map(texts[others], images[others], strength=strength)
            moved[~others] = mapped(texts[~others], matrix)
        scores = moved @ images.T
        ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
        figures[strength] = tuple(float((ranks < k).mean()) for k in _KS)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    images, texts = np.load(parser.parse_args().vectors / "features_clip.npy").astype(np.float32)
    for strength, values in map_figures(images, texts).items():
        name = "as they are" if strength == math.inf else f"strength {strength:g}"
        print(f"{name:<14}" + "".join(f"  R@{k} {100 * value:5.1f}" for k, value in zip(_KS, values, strict=True)))


if __name__ == "__main__":
    main()
