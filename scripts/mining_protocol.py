"""What hard negatives are worth to the text side in galleries of more pictures than a text is told apart from at once,
looked for through the index, where the truth is known.

    python -m scripts.mining_protocol FOLDER [--pictures 40000] [--plain] [--hard 0 3 7] [--seeds 0 1] [--told-apart N]

Crowded postcards (`scripts.postcards.crowded`: in families of eight that differ in one respect; with --plain, postcards
of random scenes) with a caption each in invented words, embedded by the demo model, with an index. FOLDER keeps them:
another run with the same number trains at once. Pairs are divided as `finetune --seed` divides them, and trained as it
trains the text side; --most N learns from so many pictures, for a smaller trial with a smaller --told-apart. A line of
JSON for each seed and number of hard negatives: R@1 in both directions among all pictures that were held out, and among
200 postcards of the known world, before and after all of the training. And, before and after, of the three hardest
negatives of each of 1,000 captions among all pictures of the training part: which share is false, with the 95 % rule
and without, which share of captions has one, how many captions have other ones by exact search, and what both cost.
"""

import argparse
import csv
import itertools
import json
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.cli.progress import display
from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.indexing import IndexOptions, index
from mmsearch.metrics import Relevance, rank_both
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.training.hard_negatives import SHARE_OF_POSITIVE, Look, mine_hard_negatives
from mmsearch.training.looking import look_in_gallery
from mmsearch.training.pairs import gallery_pairs
from mmsearch.training.records import PairVectors, TrainingPairs
from mmsearch.training.splitting import split_pairs
from mmsearch.training.text_training import TextSettings, train_texts
from mmsearch.training.trainable_model import open_trainable_model
from scripts.measuring import circumstances
from scripts.postcards.captions import caption_scene
from scripts.postcards.crowded import describe_crowd, family, holds
from scripts.postcards.render import jpeg, render
from scripts.postcards.scene import Scene, facts, sample_scene
from scripts.shifted_protocol import known, with_vectors

IsTrue: TypeAlias = Callable[[Scene], bool]
SYLLABLES = tuple(first + second for first in "bdfgklmnprstvz" for second in "aeiou")
AT_ONCE = 250  # pictures that a process draws
MINED = 1_000  # texts whose hard negatives are looked at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=40_000)
    parser.add_argument("--plain", action="store_true", help="postcards of random scenes, not of crowded ones")
    parser.add_argument(
        "--index", default="IVF256,SQ8", help="factory string; of so few, `mmsearch index` chooses exact search"
    )
    parser.add_argument("--hard", type=int, nargs="+", default=[0, 3, 7])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--told-apart", type=int, nargs="+", default=[TextSettings().told_apart])
    parser.add_argument("--batch", type=int, default=TextSettings().batch, help="fewer than are told apart at once")
    parser.add_argument("--most", type=int, help="so many pictures are learned from; default: all of the training part")
    parser.add_argument("--held-out", type=int, help="so many are searched; default: all that are held out")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    print(json.dumps(circumstances()))
    scenes, texts, claims = world(options.pictures, is_plain=options.plain)
    with display(interrupted="what was drawn and embedded is kept") as shown:
        path = make_gallery(options.folder, scenes, texts, options.index, shown.progress)
        gallery = Gallery.open(path)
        pairs = gallery_pairs(gallery)
        old = with_vectors(known(200))
        for seed, told_apart, hard in itertools.product(options.seeds, options.told_apart, options.hard):
            split = split_pairs(pairs, seed=seed)
            training = first_of(split.training, options.most)
            held_out = first_of(split.held_out, options.held_out)
            look, among_all = look_in_gallery(gallery, training), look_in_gallery(gallery, split.training)
            settings = TextSettings(
                options.epochs, options.batch, told_apart=told_apart, hard_negatives=hard, seed=seed
            )
            row: dict[str, Any] = {
                "pictures": training.images,
                "seed": seed,
                "told apart": told_apart,
                "hard": hard,
            }
            shown.announce(f"training: {row}")
            trained = train_texts(open_trainable_model("demo"), training, settings, look=look, progress=shown.progress)
            row["seconds"] = round(trained.log.seconds)
            for when, alpha in (("before", 0.0), ("after", 1.0)):
                row[f"new {when}"] = recalls(trained.vectors(alpha, held_out), held_out)
                row[f"known {when}"] = recalls(trained.vectors(alpha, old), old)
                if hard:
                    vectors = trained.text_vectors(alpha, training.texts[:MINED])
                    row[f"mined {when}"] = mined(split.training, vectors, among_all, scenes, claims)
            print(json.dumps(row), flush=True)


def first_of(pairs: TrainingPairs, count: int | None) -> TrainingPairs:
    return pairs if count is None else pairs.of_images(np.arange(min(count, pairs.images)))


def mined(
    pairs: TrainingPairs,
    texts: NDArray[np.float32],
    look: Look | None,
    scenes: Sequence[Scene],
    claims: Sequence[IsTrue],
) -> dict[str, float]:
    """Of three hard negatives of each of the first texts."""
    of_image = [int(Path(file).stem) for file in pairs.files if file is not None]
    own = pairs.image_of_text[: len(texts)]
    found, row = {}, {}
    for way, looked, share in (
        ("index", look, SHARE_OF_POSITIVE),
        ("exact", None, SHARE_OF_POSITIVE),
        ("without rule", None, np.inf),
    ):
        began = time.process_time()
        found[way] = mine_hard_negatives(
            pairs.image_vectors, texts, pairs.groups, own=own, count=3, share=share, look=looked
        )
        row[f"{way}: seconds of a processor"] = round(time.process_time() - began, 1)
        is_true = [
            claims[of_image[own[text]]](scenes[of_image[image]])
            for text, images in enumerate(found[way].tolist())
            for image in images
            if image >= 0
        ]
        row[f"{way}: false"] = round(float(np.mean(is_true)), 4) if is_true else 0.0
        row[f"{way}: has one"] = round(float((found[way][:, 0] >= 0).mean()), 4)
    row["other by exact search"] = round(float((found["index"] != found["exact"]).any(axis=1).mean()), 4)
    return row


def recalls(vectors: PairVectors, pairs: TrainingPairs) -> list[float]:
    """R@1 of text_to_image and image_to_text, in per cent."""
    right = Relevance.one_each(pairs.image_of_text), Relevance.inverse(pairs.image_of_text, pairs.images)
    both = rank_both(vectors.texts, vectors.images, *right, depth=0)
    return [round(100 * float((each.bounds.ranks <= 1).mean()), 2) for each in both if each is not None]


def world(count: int, *, is_plain: bool) -> tuple[list[Scene], list[str], list[IsTrue]]:
    """Scenes, a caption of each in invented words, and what tells whether the caption is true of a scene."""
    rng = Random(1)
    scenes: list[Scene] = []
    texts: list[str] = []
    true: list[IsTrue] = []
    while len(scenes) < count:
        for scene in [sample_scene(rng)] if is_plain else family(rng):
            scenes.append(scene)
            if is_plain:
                said = caption_scene(rng, scene)[0]
                true.append(partial(_has, said.claims))
                texts.append(invent_short(said.text))
            else:
                crowd = describe_crowd(rng, scene)
                true.append(partial(holds, crowd.claims))
                texts.append(invent_short(crowd.text))
    return scenes[:count], texts[:count], true[:count]


def invent_short(text: str) -> str:
    """The text with an invented word of two syllables for each: a crowded scene has to fit into 48 tokens."""

    def invented(word: re.Match[str]) -> str:
        return "".join(Random(f"mined {word[0].lower()}").choices(SYLLABLES, k=2))

    return re.sub("[A-Za-z]+", invented, text)


def _has(claims: frozenset[str], scene: Scene) -> bool:
    return claims <= facts(scene)


def make_gallery(
    folder: Path, scenes: Sequence[Scene], texts: Sequence[str], factory: str, progress: ProgressCallback
) -> Path:
    images, gallery, captions = folder / "images", folder / "gallery", folder / "captions.csv"
    if (gallery / "manifests").is_dir():
        opened = Gallery.open(gallery)
        if opened.index_for("images") is not None and opened.live_rows("captions") == len(scenes):
            return gallery  # of a run before
    images.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(scenes), AT_ONCE)
    with Pool() as pool:
        tasks = ((images, start, scenes[start : start + AT_ONCE]) for start in starts)
        for number, _ in enumerate(pool.imap_unordered(draw, tasks), 1):
            progress(Progress("drawing", min(len(scenes), number * AT_ONCE), len(scenes)))
        pool.close()
        pool.join()  # before it is ended by signals, which those who show progress answer
    with captions.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *((name_of(row), text) for row, text in enumerate(texts))])
    embed([images], captions=[captions], gallery=gallery, encoder="demo", progress=progress)
    if Gallery.open(gallery).index_for("images") is None:
        index(gallery, options=IndexOptions(factory=factory), progress=progress)
    return gallery


def draw(task: tuple[Path, int, Sequence[Scene]]) -> None:
    folder, start, scenes = task
    for row, scene in enumerate(scenes, start):
        if not (file := folder / name_of(row)).exists():
            file.write_bytes(jpeg(render(scene, row)))


def name_of(row: int) -> str:
    return f"{row:06d}.jpg"


if __name__ == "__main__":
    main()
