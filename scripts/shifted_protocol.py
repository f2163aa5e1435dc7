"""What training both towers teaches of a world that the demo model never saw, and what it costs of the one it knows.

    python -m scripts.shifted_protocol [--pictures 800] [--epochs 5] [--trials lora full hard]
    python -m scripts.shifted_protocol --words-only --trials text full

The new world is that of `scripts.postcards.shifted`: another palette and drawing style, invented words. 200 of its
postcards are held out; what is known is measured on 200 of data/postcards. Trials:

    lora, full   the methods of `finetune`, and the weights between before and after
    hard         as lora, with hard negatives in the batches
    text-few     as text, each text told apart from --told-apart pictures, not from all
    text-hard    as text-few, where each text brings along three hard negatives
    text         the text side alone, on the vectors of pictures that a gallery holds; --words-only leaves the drawing
                 style as it is, so that only words are new
    classes      the text side by folders of postcards from data/postcards, up to --pictures, whose names are invented
                 words for time of day and landscape: zero-shot accuracy on those held out

Of hard negatives it is told how many are false, before and after training, with and without the 95 % rule: a picture
that a caption is true of, as the oracle of the postcards knows.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch import encoders
from mmsearch.training.finetune_run import finetune
from mmsearch.training.hard_negatives import SHARE_OF_POSITIVE, mine_hard_negatives
from mmsearch.training.pixel_file import PixelFile, decode_pictures
from mmsearch.training.records import PairVectors, TrainingPairs
from mmsearch.training.text_training import TextSettings, train_texts
from mmsearch.training.tower_settings import TowerMethod, TowerSettings
from mmsearch.training.trainable_model import open_trainable_model
from mmsearch.training.tuned_towers import TunedTowers, tune_towers
from scripts.measuring import circumstances
from scripts.postcards.captions import Caption
from scripts.postcards.dataset import load_test
from scripts.postcards.oracle import (
    ceiling_text_to_image,
    claim_rows,
    consistency,
    recall_image_to_text,
    recall_text_to_image,
)
from scripts.postcards.scene import Scene, facts
from scripts.postcards.shifted import POSTCARDS, Shift, invent, shifted_postcards, write_shifted

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


class World:
    """Pictures with captions, and what is true of them."""

    def __init__(self, files: list[str], captions: list[tuple[Caption, ...]], scenes: list[Scene]) -> None:
        texts = tuple(caption.text for own in captions for caption in own)
        owner = np.repeat(np.arange(len(files)), [len(own) for own in captions])
        nothing = np.zeros((0, 0), np.float32)  # both sides are encoded anew
        self.pairs = TrainingPairs(texts, owner, tuple(files), np.arange(len(files)), nothing, nothing)
        self.consistent = consistency(
            claim_rows([caption.claims for own in captions for caption in own]),
            claim_rows([facts(scene) for scene in scenes]),
        )

    def recalls(self, vectors: PairVectors) -> tuple[float, float]:
        """R@1 of text_to_image and image_to_text."""
        scores = vectors.texts @ vectors.images.T
        owner = self.pairs.image_of_text
        return recall_text_to_image(scores, owner, 1), recall_image_to_text(scores, owner, 1)

    def mined(self, vectors: PairVectors, share: float) -> tuple[float, float]:
        """Of the three hardest negatives of each picture's first caption: which share of them is false, and of how many
        pictures there are any."""
        first = np.searchsorted(self.pairs.image_of_text, np.arange(self.pairs.images))
        found = mine_hard_negatives(vectors.images, vectors.texts[first], self.pairs.groups, count=3, share=share)
        rows, columns = np.nonzero(found >= 0)
        false = self.consistent[first[rows], found[rows, columns]]
        return float(false.mean()) if len(false) else 0.0, float((found[:, 0] >= 0).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--word-rate", type=float, default=10.0, help="times as fast as the rest are words trained")
    parser.add_argument(
        "--trials",
        nargs="+",
        choices=("lora", "full", "hard", "text", "text-few", "text-hard", "classes"),
        default=["lora", "full", "hard"],
    )
    parser.add_argument("--words-only", action="store_true", help="the drawing style is the known one")
    parser.add_argument("--least-crop", type=float, default=0.9, help="1: no picture is cropped")
    parser.add_argument("--told-apart", type=int, default=256, help="pictures that a text of text-few is told from")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = dict(circumstances())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "classes" in options.trials:
            found["classes"] = class_trial(folder, options.pictures)
            print("classes", json.dumps(found["classes"]), flush=True)
        trials = [trial for trial in options.trials if trial != "classes"]
        if not trials:
            return
        shift = Shift(style=not options.words_only)
        train = new_world(folder / "train", options.pictures, 1, shift)
        new = new_world(folder / "new", options.held_out, 2, shift)
        old = known(options.held_out)
        files = [file for world in (train, new, old) for file in world.pairs.files if file is not None]
        pictures = decode_pictures(files, open_trainable_model("demo").preprocessing, folder / "pixels.npy")
        found["ceiling of text_to_image R@1"] = {
            "new": ceiling_text_to_image(new.consistent, 1), "old": ceiling_text_to_image(old.consistent, 1)
        }  # fmt: skip
        print(found)
        for trial in trials:
            if trial.startswith("text"):
                settings_of_text = TextSettings(
                    epochs=options.epochs, batch=options.batch, token_rate=options.word_rate, seed=options.seed,
                    told_apart=len(train.pairs.files) if trial == "text" else options.told_apart,
                    hard_negatives=3 if trial == "text-hard" else 0,
                )  # fmt: skip
                found[trial] = text_trial(settings_of_text, train, new, old)
                print(trial, json.dumps(found[trial]), flush=True)
                continue
            method: TowerMethod = "full" if trial == "full" else "lora"
            hard = 3 if trial == "hard" else 0
            settings = TowerSettings(
                method, epochs=options.epochs, batch=options.batch, word_rate=options.word_rate, hard_negatives=hard,
                least_crop=options.least_crop, seed=options.seed,
            )  # fmt: skip
            found[trial] = row = one_trial(settings, pictures, train, new, old)
            print(trial, json.dumps(row), flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")


def one_trial(settings: TowerSettings, pictures: PixelFile, train: World, new: World, old: World) -> dict[str, Any]:
    trainable = open_trainable_model("demo")
    tuned = tune_towers(trainable, train.pairs, pictures, settings)
    row: dict[str, Any] = {"seconds": round(tuned.log.seconds), "losses": [round(each, 2) for each in tuned.log.losses]}
    row["R@1 by alpha: new t2i, new i2t, old t2i, old i2t"] = {
        alpha: [round(each, 3) for world in (new, old) for each in world.recalls(tuned.vectors(alpha, world.pairs))]
        for alpha in ALPHAS
    }
    row["false negatives mined, and texts that have some"] = false_shares(tuned, train)
    return row


def text_trial(settings: TextSettings, train: World, new: World, old: World) -> dict[str, Any]:
    pairs = {world: with_vectors(world) for world in (train, new, old)}
    trained = train_texts(open_trainable_model("demo"), pairs[train], settings)
    row: dict[str, Any] = {
        "seconds": round(trained.log.seconds),
        "losses": [round(each, 2) for each in trained.log.losses],
    }
    row["R@1 by alpha: new t2i, new i2t, old t2i, old i2t"] = {
        alpha: [round(each, 3) for world in (new, old) for each in world.recalls(trained.vectors(alpha, pairs[world]))]
        for alpha in ALPHAS
    }
    return row


def with_vectors(world: World) -> TrainingPairs:
    """The pairs of a world with their vectors by the demo model."""
    encoder = encoders.open("demo", device="cpu", precision="fp32")
    prepared = [encoder.image.prepare(Image.open(file).convert("RGB")) for file in world.pairs.files if file]
    vectors = encoder.image.encode(np.stack(prepared))
    return replace(world.pairs, image_vectors=vectors, text_vectors=encoder.text.encode(world.pairs.texts).vectors)


def class_trial(folder: Path, count: int) -> dict[str, Any]:
    for each in load_test(POSTCARDS)[:count]:
        place = folder / "classes" / invent(f"{each.scene.time} {each.scene.land}").replace(" ", "_")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(POSTCARDS / "images" / each.filename, place)
    report = finetune(folder / "taught", images=folder / "classes", encoder="demo")
    row: dict[str, Any] = {"classes": len(list((folder / "classes").iterdir())), "trained": report.method}
    for name, change in report.held_out.shown.items():
        values = (change.first, change.second, change.interval.low, change.interval.high)
        row[name] = [round(100 * value, 1) for value in values]
    return {**row, "pictures": report.counts, "alpha": report.alpha, "seconds": round(report.seconds)}


def false_shares(tuned: TunedTowers, train: World) -> dict[str, list[float]]:
    shares = {}
    for when, alpha in (("before", 0.0), ("after", 1.0)):
        vectors = tuned.vectors(alpha, train.pairs)
        for rule, share in (("95 % rule", SHARE_OF_POSITIVE), ("all", np.inf)):
            shares[f"{when}, {rule}"] = [round(each, 4) for each in train.mined(vectors, share)]
    return shares


def new_world(folder: Path, count: int, seed: int, shift: Shift) -> World:
    postcards = shifted_postcards(count, seed=seed, shift=shift)
    images, _ = write_shifted(folder, postcards)
    files = [str(images / f"shifted_{number:05d}.jpg") for number in range(count)]
    return World(files, [each.captions for each in postcards], [each.scene for each in postcards])


def known(count: int) -> World:
    test = load_test(POSTCARDS)[:count]
    files = [str(POSTCARDS / "images" / each.filename) for each in test]
    return World(files, [each.captions for each in test], [each.scene for each in test])


if __name__ == "__main__":
    main()
