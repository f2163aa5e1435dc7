"""What a correction gains on pairs of vectors, where bank and gallery know of each other and where they do not.

python scripts/correction_protocol.py features_clip.npy [--splits 20]

FILE: (2, n, dim), images and then the caption of each. In each split a random half of the captions asks, and the
captions and images of the other half are the bank.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.correcting import Banks, DirectionBanks, given_bank
from mmsearch.evaluation.measuring import Measurements, measure
from mmsearch.evaluation.records import Items
from mmsearch.metrics import Relevance
from mmsearch.scoring import Bank

Rows = NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    pairs = np.load(options.file).astype(np.float64)
    pairs /= np.linalg.norm(pairs, axis=2, keepdims=True)
    figures: dict[str, list[list[float]]] = {}
    for seed in range(options.splits):
        for name, measured in measure_split(pairs[0], pairs[1], seed).items():
            figures.setdefault(name, []).append(figures_of(measured))
    print("R@1, text_to_image plain and corrected, image_to_text plain and corrected; AUROC plain and corrected, ECE")
    for name, rows in figures.items():
        print(f"{name:52}" + "".join(f"{value:8.3f}" for value in np.mean(rows, axis=0)))


def measure_split(images: NDArray[np.float64], captions: NDArray[np.float64], seed: int) -> dict[str, Measurements]:
    """The same queries among all images, with and without knowing whose the bank is, and among those asked for."""
    order = np.random.default_rng(seed).permutation(len(images))
    asking, others = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    texts, pictures = captions[others], images[others]

    def owned(vectors: NDArray[np.float64]) -> DirectionBanks:
        bank = Bank(vectors.astype(np.float32), others)
        return DirectionBanks((bank, bank), np.arange(len(images)), "others", len(others))

    unknown = Banks(given_bank(texts, images, "others"), given_bank(pictures, captions, "others"))
    asked_images, asked_captions = images[asking], captions[asking]
    foreign = Banks(given_bank(texts, asked_images, "others"), given_bank(pictures, asked_captions, "others"))
    everything = pair_items(asking, len(images))
    ks = (1, 5, 10)
    return {
        "all are searched": measure(images, captions, everything, ks, banks=unknown),
        "all are searched, own captions do not count": measure(
            images, captions, everything, ks, banks=Banks(owned(texts), owned(pictures))
        ),
        "those that are asked for are searched": measure(
            asked_images, asked_captions, pair_items(np.arange(len(asking)), len(asking)), ks, banks=foreign
        ),
    }


def pair_items(asking: Rows, count: int) -> Items:
    """Caption i belongs to image i; some of them ask."""
    names = tuple(map(str, range(count)))
    relevant = Relevance.one_each(asking)
    return Items(names, (None,) * count, names, names, asking, asking, relevant, relevant)


def figures_of(measured: Measurements) -> list[float]:
    assert measured.calibration is not None
    plain, corrected = measured.calibration.plain, measured.calibration.corrected
    return [
        measured.text_to_image.recall[1],
        measured.corrected.text_to_image.result.recall[1],
        measured.image_to_text.recall[1],
        measured.corrected.image_to_text.result.recall[1],
        plain.auroc.value,
        corrected.auroc.value,
        corrected.error.value,
    ]


if __name__ == "__main__":
    main()
