"""How well `explain` points, on postcards, where the truth is known: a scene is drawn again without one of its things.

    python -m scripts.explain_protocol [--scenes 40] [--model demo]

For scenes of one to four things (four: two in the sky, two below), each described by a text that names all of them:

    pointing     the share of things whose phrase's peak lies on the thing's pixels, widened by 3 % of the picture's
                 width (the pointing game of Zhang et al. 2016, with 15 pixels of some 500); chance is the share of the
                 picture that these fill
    box IoU      the overlap of the box with that of the thing's pixels
    pointed      the share of phrases that get a box; of things that are not in the picture beside it, and how many
                 would if it did not count whether a phrase fits the picture
    correlation  of the measured fall of the text's score without the box with its true fall without the thing, and how
                 much of that is measured; likewise of things that are no group, which one box can hold
    deletion     the phrase's score while the picture is hidden from its hottest part on, as the mean over nine steps, 1
                 being the whole picture and 0 none of it; insertion: while it is shown from there on; both as medians
                 over pictures, and in random order

    preview      pointing, and the phrases with a box, of what is there and of what is not, by the quick preview

Then the same for a model of the same design with random weights, whose maps must point nowhere.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from safetensors.torch import save_file

from mmsearch import encoders
from mmsearch.encoders import Encoder
from mmsearch.encoders.image_side import side_that_hides
from mmsearch.explaining.explain import want_text
from mmsearch.explaining.masking import fill_masked
from mmsearch.explaining.records import STANDS_OUT, Region
from mmsearch.explaining.regions import find_regions, preview_regions
from scripts.postcards.captions import name_thing
from scripts.postcards.render import PICTURE_SIZE, render
from scripts.postcards.scene import KINDS, Scene, Thing, sample_scene_of

__all__ = ["Figures", "measure", "random_encoder"]

_SEED = 40_000_003
_WIDENED = round(0.03 * PICTURE_SIZE[0])
_DIFFERS = 24  # of 255, from which on a pixel belongs to the thing: smooth edges and rounding do not
_STEPS = 10
_NUMBERS = (1, 2, 3, 4)


@dataclass(slots=True)
class Figures:
    """What is measured of scenes of one number of things; a value a thing."""

    pointing: list[bool] = field(default_factory=list)
    chance: list[float] = field(default_factory=list)
    overlap: list[float] = field(default_factory=list)
    pointed: list[bool] = field(default_factory=list)
    pointed_absent: list[bool] = field(default_factory=list)
    stands_out_absent: list[bool] = field(default_factory=list)
    fits: list[float] = field(default_factory=list)
    fits_absent: list[float] = field(default_factory=list)
    falls: list[tuple[float, float]] = field(default_factory=list)
    single: list[bool] = field(default_factory=list)
    curves: list[tuple[float, float, float, float]] = field(default_factory=list)
    preview_pointing: list[bool] = field(default_factory=list)
    preview_pointed: list[bool] = field(default_factory=list)
    preview_pointed_absent: list[bool] = field(default_factory=list)


def measure(encoder: Encoder, things: int, scenes: int) -> Figures:
    """The figures of some scenes of a number of things."""
    rng, figures = Random(_SEED + things), Figures()
    for _ in range(scenes):
        scene, seed = sample_scene_of(rng, things), rng.getrandbits(30)
        phrases = [name_thing(rng, thing) for thing in scene.things]
        absent_kind = rng.choice([kind for kind in KINDS if all(thing.kind != kind for thing in scene.things)])
        absent = name_thing(rng, Thing(absent_kind, 1, "red" if KINDS[absent_kind].coloured else None, None, (0,)))
        _measure_scene(encoder, scene, seed, phrases, absent, figures)
    return figures


def _measure_scene(
    encoder: Encoder, scene: Scene, seed: int, phrases: Sequence[str], absent: str, figures: Figures
) -> None:
    picture = render(scene, seed)
    text = f"{', '.join(phrases[:-1])} and {phrases[-1]}" if len(phrases) > 1 else phrases[0]
    wanted = want_text(encoder.text, text, [*phrases, absent])
    score, regions, _ = find_regions(encoder.image, picture, wanted)
    preview = preview_regions(side_that_hides(encoder), picture, wanted)[1]
    figures.preview_pointed_absent.append(preview[-1].points)
    figures.pointed_absent.append(regions[-1].points)
    figures.stands_out_absent.append(regions[-1].stands_out >= STANDS_OUT and regions[-1].phrase_fall > 0)
    figures.fits_absent.append(regions[-1].fits or 0.0)
    for number, (thing, region, guess) in enumerate(zip(scene.things, regions, preview, strict=False)):
        without = render(scene, seed, frozenset({thing.kind}))
        differs = np.abs(np.asarray(picture, np.int16) - np.asarray(without, np.int16)).max(2) > _DIFFERS
        widened = _widened(differs)
        figures.pointing.append(_lies_on(region, widened))
        figures.preview_pointing.append(_lies_on(guess, widened))
        figures.preview_pointed.append(guess.points)
        figures.chance.append(float(widened.mean()))
        figures.overlap.append(_overlap(region, differs))
        figures.pointed.append(region.points)
        figures.fits.append(region.fits or 0.0)
        vector = encoder.image.encode(encoder.image.prepare(without)[None])[0]
        figures.single.append(thing.count == 1)
        figures.falls.append((region.fall, score - float(wanted.whole.astype(np.float64) @ vector)))
        if number == 0:
            figures.curves.append(_curves(encoder, picture, region, wanted.vectors[number]))


def _lies_on(region: Region, mask: NDArray[np.bool_]) -> bool:
    height, width = mask.shape
    x, y = min(int(region.peak[0] * width), width - 1), min(int(region.peak[1] * height), height - 1)
    return bool(mask[y, x])


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(2 * _WIDENED + 1))) > 0


def _overlap(region: Region, mask: NDArray[np.bool_]) -> float:
    """Intersection over union of the region's box and that of the pixels of a thing."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    true = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    left, top, right, bottom = region.box
    shared = max(0, min(right, true[2]) - max(left, true[0])) * max(0, min(bottom, true[3]) - max(top, true[1]))
    both = (right - left) * (bottom - top) + (true[2] - true[0]) * (true[3] - true[1]) - shared
    return float(shared / both)


def _curves(
    encoder: Encoder, picture: Image.Image, region: Region, vector: NDArray[np.float32]
) -> tuple[float, float, float, float]:
    """Deletion and insertion by heat, deletion and insertion in random order: each the mean of a curve in which the
    whole picture counts 1 and one of which nothing is seen 0."""
    pixels = encoder.image.prepare(picture)
    side = region.heat.shape[0]
    random = np.random.default_rng(_SEED).random((side, side), np.float32)
    masks = []
    for order in (region.heat, random):
        ranks = np.argsort(np.argsort(-order, axis=None)).reshape(side, side)
        for step in range(1, _STEPS):
            hidden = ranks < step / _STEPS * ranks.size
            masks += [hidden, ~hidden]
    size = pixels.shape[2], pixels.shape[1]
    grids = np.stack([np.asarray(Image.fromarray(mask).convert("L").resize(size, 0)) > 0 for mask in masks])
    hidden_all = np.ones((1, *pixels.shape[1:]), np.float32)
    hidden_all[0, 0, 0] = 0  # the fill is the colour of what is seen
    filled = np.concatenate([pixels[None], fill_masked(pixels, np.concatenate([hidden_all, grids.astype(np.float32)]))])
    scores = encoder.image.encode(filled) @ vector
    shares = (scores[2:] - scores[1]) / max(float(scores[0] - scores[1]), 1e-6)
    curves = shares.reshape(2, _STEPS - 1, 2).mean(1)
    return float(curves[0, 0]), float(curves[0, 1]), float(curves[1, 0]), float(curves[1, 1])


def random_encoder(folder: Path, seed: int = 0) -> Encoder:
    """The demo model's design with random weights, made in a folder."""
    source = Path(encoders.__file__).parent / "demo" / "open_clip_config.json"
    (folder / source.name).write_text(source.read_text())
    config = json.loads(source.read_text())["model_cfg"]
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config)
    save_file(
        {name: each.contiguous() for name, each in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return encoders.open(f"local-dir:{folder}", device="cpu", precision="fp32")


def _print_pointing(name: str, of_number: dict[int, Figures]) -> None:
    print(f"\n{name}\nthings  phrases  pointing  chance  box IoU  pointed  not there: pointed  before it fits")
    for number, each in of_number.items():
        columns: Sequence[Sequence[float]] = (
            each.pointing,
            each.chance,
            each.overlap,
            each.pointed,
            each.pointed_absent,
            each.stands_out_absent,
        )
        pointing, chance, overlap, pointed, absent, before = (float(np.mean(values)) for values in columns)
        figures = f"{pointing:9.3f} {chance:7.3f} {overlap:8.3f} {pointed:8.3f} {absent:19.3f} {before:15.3f}"
        print(f"{number:6} {len(each.pointing):8,} {figures}")
    print("preview: things  pointing  pointed  not there: pointed")
    for number, each in of_number.items():
        columns = each.preview_pointing, each.preview_pointed, each.preview_pointed_absent
        pointing, pointed, absent = (float(np.mean(values)) for values in columns)
        print(f"{number:15} {pointing:9.3f} {pointed:8.3f} {absent:19.3f}")


def _print_fits(of_number: dict[int, Figures]) -> None:
    """How far phrases lie above everyday ones: the least and the lower of what is there, the upper of what is not."""
    there, absent = (
        np.concatenate([getattr(each, name) for each in of_number.values()]) for name in ("fits", "fits_absent")
    )
    print(
        f"fits: there from {there.min():.2f} on, 5 % below {np.quantile(there, 0.05):.2f}; not there up to "
        f"{absent.max():.2f}, 5 % above {np.quantile(absent, 0.95):.2f}"
    )


def _print_falls(of_number: dict[int, Figures]) -> None:
    for name, only_single in (("all", False), ("one of its kind", True)):
        chosen = [
            pair
            for each in of_number.values()
            for pair, single in zip(each.falls, each.single, strict=True)
            if single or not only_single
        ]
        falls = np.array(chosen)
        correlation, share = np.corrcoef(falls.T)[0, 1], falls[:, 0].mean() / falls[:, 1].mean()
        print(f"correlation {correlation:.3f}, {share:.2f} of the true fall ({name}: {len(falls):,} things)")
    curves = np.median([curve for each in of_number.values() for curve in each.curves], axis=0)
    print(f"deletion {curves[0]:.3f} (random {curves[2]:.3f}), insertion {curves[1]:.3f} (random {curves[3]:.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40, help="of each number of things")
    parser.add_argument("--model", default="demo")
    given = parser.parse_args()
    encoder = encoders.open(given.model, device="cpu", precision="fp32")
    figures = {number: measure(encoder, number, given.scenes) for number in _NUMBERS}
    _print_pointing(given.model, figures)
    _print_fits(figures)
    _print_falls(figures)
    with tempfile.TemporaryDirectory() as folder:
        blind = random_encoder(Path(folder))
        _print_pointing("random weights", {number: measure(blind, number, given.scenes) for number in _NUMBERS})


if __name__ == "__main__":
    main()
