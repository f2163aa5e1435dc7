"""From which cosine on two pictures are held for one, and how many hard negatives are false, where the truth is known.

    python -m scripts.negatives_protocol [--pictures 300] [--json out.json]

Drawn postcards and the demo model. Of a third of the postcards four edited forms are added, which show the same. Told
is, for a bound, which share of these is at least so near to its original, and which share of pairs of other pictures:
the nearest other postcard of each, and pairs of one scene in which two things have exchanged their colours. Both for
cosines as they are, by which hard negatives are left out, and for those of vectors whose mean was subtracted, by which
pictures are kept on one side of a split.

Then which share of the three hardest negatives of each caption is false, with and without each filter: a picture that
the caption is true of, as the oracle of the postcards knows.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch import encoders
from mmsearch.training.hard_negatives import SHARE_OF_POSITIVE, mine_hard_negatives
from scripts.bench_duplicates import EDITS
from scripts.measuring import circumstances
from scripts.postcards.dataset import load_swaps, load_test
from scripts.postcards.oracle import claim_rows, consistency
from scripts.postcards.render import render
from scripts.postcards.scene import facts
from scripts.postcards.shifted import POSTCARDS

FORMS = ("coded anew (30)", "half as large", "cropped to 80 %", "brighter")
BOUNDS = (0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995)
NO_BOUND = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = dict(circumstances())
    encoder = encoders.open("demo", device="cpu", precision="fp32")

    def encode(pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        return encoder.image.encode(np.stack([encoder.image.prepare(each.convert("RGB")) for each in pictures]))

    postcards = load_test(POSTCARDS)[: options.pictures]
    pictures = [Image.open(POSTCARDS / "images" / each.filename) for each in postcards]
    vectors = encode(pictures)
    rng = random.Random(0)
    edited = np.repeat(np.arange(0, len(pictures), 3), len(FORMS))
    of_edited = encode([EDITS[FORMS[place % len(FORMS)]](pictures[row], rng) for place, row in enumerate(edited)])
    swaps = [
        encode([render(scene, seed) for scene, seed in zip(pair.scenes, pair.seeds, strict=True)])
        for pair in load_swaps(POSTCARDS)[: options.swaps]
    ]
    for name, mean in (("as they are", np.zeros_like(vectors[0])), ("less their mean", vectors.mean(axis=0))):
        plain, forms = unit(vectors - mean), unit(of_edited - mean)
        same = np.einsum("ij,ij->i", plain[edited], forms)
        scores = plain @ plain.T
        np.fill_diagonal(scores, -1)
        exchanged = np.array([float(np.prod(unit(each - mean), axis=0).sum()) for each in swaps])
        found[name] = {
            bound: {
                **{form: share(same[number :: len(FORMS)], bound) for number, form in enumerate(FORMS)},
                "nearest other": share(scores.max(axis=1), bound),
                "colours exchanged": share(exchanged, bound),
            }
            for bound in BOUNDS
        }
        print(f"\ncosines {name}: per cent that are at least so near")
        print(f"{'':6}" + "".join(f"{column:>18}" for column in found[name][BOUNDS[0]]))
        for bound, row in found[name].items():
            print(f"{bound:<6}" + "".join(f"{100 * value:18.1f}" for value in row.values()))
    captions = [caption for each in postcards for caption in each.captions]
    own = np.repeat(np.arange(len(postcards)), [len(each.captions) for each in postcards])
    texts = encoder.text.encode([caption.text for caption in captions]).vectors
    all_vectors = np.concatenate([vectors, of_edited])
    shown = claim_rows([facts(each.scene) for each in postcards])
    consistent = consistency(
        claim_rows([caption.claims for caption in captions]), np.concatenate([shown, shown[edited]])
    )
    print("\nof the three hardest negatives of each caption, per cent that are false; captions that have one")
    found["false"] = {}
    for rule, part in (("no rule", np.inf), ("95 % rule", SHARE_OF_POSITIVE)):
        for bound in (NO_BOUND, *reversed(BOUNDS)):
            mined = mined_of_each(all_vectors, texts, own, part, bound)
            rows, columns = np.nonzero(mined >= 0)
            false = float(consistent[rows, mined[rows, columns]].mean()) if len(rows) else 0.0
            has = float((mined[:, 0] >= 0).mean())
            named = f"{rule}, " + ("no bound" if bound == NO_BOUND else f"below {bound:g}")
            found["false"][named] = [false, has]
            print(f"{named:26}{100 * false:8.2f}{100 * has:8.1f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def mined_of_each(
    vectors: NDArray[np.float32], texts: NDArray[np.float32], own: NDArray[np.int64], part: float, bound: float
) -> NDArray[np.int64]:
    """The rows of three pictures for each text, (n, 3), -1 where there are fewer. own: the picture of each text."""
    return mine_hard_negatives(
        vectors, texts, np.arange(len(vectors)), own=own, count=3, share=part, nearly_the_same=bound
    )


def share(cosines: NDArray[np.floating[Any]], bound: float) -> float:
    return float((cosines >= bound).mean())


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


if __name__ == "__main__":
    main()
