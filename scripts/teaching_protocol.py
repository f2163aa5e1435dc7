"""What marks teach, on CLIP's vectors of 500 COCO photos: how many of the first ten that nobody marked are right.

    python -m scripts.teaching_protocol VECTORS CAPTIONS [--reps 12]

VECTORS: a folder with features_clip.npy (2, 500, dim: images, texts) and rows.tsv (row, image_id, …).
CAPTIONS: a folder with captions_val2017.json.

Ideas are words that 12 to 80 of the photos have in three of their captions or more; photos with the word in one or two
captions are left out, being neither right nor wrong. One photo begins, by its caption's vector or by its own; the five
best right and the five best wrong hits are marked. Then the ranking by

    before   what was asked
    means    what was asked, the mean of the right and less half of the mean of the wrong ones (Rocchio, 1971)
    taught   mmsearch.scoring.teach
"""

import argparse
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.scoring import Examples, Moments, teach

_CAPTIONS, _FEWEST, _MOST = 3, 12, 80
_MARKS, _FIRST = 5, 10
# Words that say nothing of what is seen.
_STOP = frozenset(
    re.findall(
        "[a-z]+",
        "about and are around another back behind black down for from front group has have her his holding "
        "into its large look looking looks man men near next off old one other out over people person riding "
        "several sits sitting small some standing stands that the their them there this three through "
        "together top two under very view walking while white with woman women young ",
    )
)

Figures = dict[tuple[str, str], float]


def teaching_figures(vectors: Path, captions: Path, *, reps: int) -> Figures:
    """(what began, what ranks) -> the share of right ones among the first ten. reps: beginnings of each word."""
    images, texts = (_unit(each) for each in np.load(vectors / "features_clip.npy").astype(np.float32))
    words = _words(vectors, captions)
    wide = np.hstack([images, np.zeros((len(images), 1))]).astype(np.float64)
    moments = Moments(wide.mean(0), np.cov(wide.T, bias=True))
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    rng = np.random.default_rng(1)
    for counts in words.values():
        right, wrong = np.flatnonzero(counts >= _CAPTIONS), np.flatnonzero(counts == 0)
        for begin in rng.choice(right, reps):
            for asked, vector in (("text", texts[begin]), ("picture", images[begin])):
                looked_at = np.setdiff1d(np.concatenate([right, wrong]), [begin])
                order = looked_at[np.argsort(-(images[looked_at] @ vector))]
                is_right = np.isin(order, right)
                yes, no = order[is_right][:_MARKS], order[~is_right][:_MARKS]
                rest = np.setdiff1d(looked_at, [*yes, *no])
                if np.isin(rest, right).sum() < _MARKS:
                    continue
                means = vector + images[yes].mean(0) - 0.5 * images[no].mean(0)
                examples = Examples(images[[*yes, *no]], np.repeat([1.0, -1.0], [len(yes), len(no)]))
                for name, ranking in (
                    ("before", vector),
                    ("means", means),
                    ("taught", teach(vector, examples, moments).vector),
                ):
                    first = rest[np.argsort(-(images[rest] @ ranking))][: min(_FIRST, int(np.isin(rest, right).sum()))]
                    shares[asked, name].append(float(np.isin(first, right).mean()))
    return {key: float(np.mean(values)) for key, values in shares.items()}


def _words(vectors: Path, captions: Path) -> dict[str, NDArray[np.int64]]:
    """Each word and in how many of its captions each photo has it, (n,)."""
    of_image: dict[int, list[set[str]]] = defaultdict(list)
    for annotation in json.loads((captions / "captions_val2017.json").read_text())["annotations"]:
        of_image[annotation["image_id"]].append({*re.findall("[a-z]{3,}", annotation["caption"].lower())})
    rows = [line.split("\t") for line in (vectors / "rows.tsv").read_text().splitlines()[1:]]
    counts = [Counter(word for caption in of_image[int(row[1])] for word in caption) for row in rows]
    every = sorted({word for each in counts for word in each} - _STOP)
    found = {word: np.array([each[word] for each in counts]) for word in every}
    return {word: each for word, each in found.items() if _FEWEST <= (each >= _CAPTIONS).sum() <= _MOST}


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--reps", type=int, default=12)
    given = parser.parse_args()
    figures = teaching_figures(given.vectors, given.captions, reps=given.reps)
    print(f"of the first {_FIRST} unmarked   " + "".join(f"{name:>9}" for name in ("before", "means", "taught")))
    for asked in ("text", "picture"):
        print(
            f"a {asked:8} began        " + "".join(f"{figures[asked, n]:9.3f}" for n in ("before", "means", "taught"))
        )


if __name__ == "__main__":
    main()
