"""Writes data/postcards: the test split, its specifications, the swapped pairs and the queries. Seeded: the same call
writes the same bytes (with the same version of Pillow)."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from scripts.postcards.captions import CAPTIONS_PER_SCENE, Caption, caption_scene, describe, tokens
from scripts.postcards.queries import QUERIES, matches, write_queries
from scripts.postcards.render import jpeg, render
from scripts.postcards.scene import (
    Scene,
    facts,
    sample_scene,
    scene_from_json,
    scene_to_json,
    swap_colours,
    things_that_swap,
)

__all__ = [
    "SwapPair",
    "TestPostcard",
    "held_out",
    "load_swaps",
    "load_test",
    "swap_pairs",
    "test_scenes",
    "write_dataset",
]

TEST_SEED = 20_000_003
SWAP_SEED = 30_000_001
TEST_IMAGES = 1000
TWINS = 50
PER_QUERY = 20
SWAP_PAIRS = 200


@dataclass(frozen=True, slots=True)
class TestPostcard:
    """One image of the test split as its files have it."""

    filename: str
    scene: Scene
    captions: tuple[Caption, ...]


@dataclass(frozen=True, slots=True)
class SwapPair:
    """Two scenes that differ only in which of two things has which colour, and a caption for each that says so."""

    scenes: tuple[Scene, Scene]
    seeds: tuple[int, int]
    captions: tuple[Caption, Caption]


def test_scenes() -> list[Scene]:
    """The specifications of the test split, all different, in their order of image ids.

    At least PER_QUERY scenes hold for each query, and TWINS scenes stand beside their colour-swapped twin; the rest is
    random.
    """
    rng = Random(TEST_SEED)
    scenes: dict[Scene, None] = {}
    for query in QUERIES:
        while sum(matches(query, scene) for scene in scenes) < PER_QUERY:
            scene = sample_scene(rng)
            if matches(query, scene):
                scenes[scene] = None
    while len(scenes) < TEST_IMAGES:
        scene = sample_scene(rng)
        scenes[scene] = None
        pairs = things_that_swap(scene)
        if pairs and len(scenes) < 700 and TEST_IMAGES - len(scenes) > 1 and rng.random() < 0.3:
            scenes[swap_colours(scene, *rng.choice(pairs))] = None
    ordered = list(scenes)[:TEST_IMAGES]
    rng.shuffle(ordered)
    return ordered


def swap_pairs(taken: frozenset[Scene]) -> list[SwapPair]:
    """SWAP_PAIRS pairs outside `taken`. Each caption names both things and colours, so it is true of one scene only."""
    rng = Random(SWAP_SEED)
    pairs: list[SwapPair] = []
    seen = set(taken)
    while len(pairs) < SWAP_PAIRS:
        scene = sample_scene(rng)
        choices = things_that_swap(scene)
        if not choices:
            continue
        i, j = rng.choice(choices)
        other = swap_colours(scene, i, j)
        if scene in seen or other in seen:
            continue
        seen |= {scene, other}
        kinds = (scene.things[i].kind, scene.things[j].kind)
        captions = (_caption_of_both(rng, scene, kinds), _caption_of_both(rng, other, kinds))
        pairs.append(SwapPair((scene, other), (rng.getrandbits(30), rng.getrandbits(30)), captions))
    return pairs


def _caption_of_both(rng: Random, scene: Scene, kinds: tuple[str, str]) -> Caption:
    while True:
        caption = describe(rng, scene, rng.choice((0.5, 0.75, 1.0)))
        if all(any(claim.startswith(f"{kind}.colour=") for claim in caption.claims) for kind in kinds):
            return caption


def held_out(folder: Path) -> frozenset[Scene]:
    """Every specification that training must not show: the test split and the swapped pairs, as stored."""
    swaps = {scene for pair in load_swaps(folder) for scene in pair.scenes}
    return frozenset({postcard.scene for postcard in load_test(folder)} | swaps)


def write_dataset(folder: Path) -> None:
    """Write images/, dataset_postcards.json, specifications.json, swaps.json and queries.json under the folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    write_queries(folder / "queries.json")
    rng = Random(TEST_SEED + 1)
    images: list[dict[str, Any]] = []
    specifications: list[dict[str, Any]] = []
    scenes = test_scenes()
    for imgid, scene in enumerate(scenes):
        filename, seed = f"postcard_{imgid:04d}.jpg", rng.getrandbits(30)
        (folder / "images" / filename).write_bytes(jpeg(render(scene, seed)))
        captions = caption_scene(rng, scene)
        sentids = list(range(imgid * CAPTIONS_PER_SCENE, (imgid + 1) * CAPTIONS_PER_SCENE))
        images.append(
            {
                "filename": filename,
                "imgid": imgid,
                "split": "test",
                "sentids": sentids,
                "sentences": [
                    {"raw": c.text, "tokens": tokens(c.text), "imgid": imgid, "sentid": sentid}
                    for c, sentid in zip(captions, sentids, strict=True)
                ],
            }
        )
        specifications.append(
            {
                "filename": filename,
                "seed": seed,
                "scene": scene_to_json(scene),
                "facts": sorted(facts(scene)),
                "claims": [sorted(c.claims) for c in captions],
            }
        )
    _write_rows(folder / "dataset_postcards.json", '{"dataset": "postcards", "images": [\n', images, "\n]}\n")
    _write_rows(folder / "specifications.json", "[\n", specifications, "\n]\n")
    swaps = [
        {
            "scenes": [scene_to_json(s) for s in pair.scenes],
            "seeds": pair.seeds,
            "captions": [{"raw": c.text, "claims": sorted(c.claims)} for c in pair.captions],
        }
        for pair in swap_pairs(frozenset(scenes))
    ]
    _write_rows(folder / "swaps.json", "[\n", swaps, "\n]\n")


def _write_rows(path: Path, head: str, rows: list[dict[str, Any]], tail: str) -> None:
    """JSON with a row a line: small in bytes, readable in a diff."""
    path.write_text(head + ",\n".join(json.dumps(row) for row in rows) + tail)


def load_test(folder: Path) -> list[TestPostcard]:
    """The test split as written, in order of image ids."""
    images = json.loads((folder / "dataset_postcards.json").read_text())["images"]
    specifications = json.loads((folder / "specifications.json").read_text())
    return [
        TestPostcard(
            image["filename"],
            scene_from_json(spec["scene"]),
            tuple(
                Caption(sentence["raw"], frozenset(claims))
                for sentence, claims in zip(image["sentences"], spec["claims"], strict=True)
            ),
        )
        for image, spec in zip(images, specifications, strict=True)
    ]


def load_swaps(folder: Path) -> list[SwapPair]:
    """The swapped pairs as written."""
    pairs = []
    for row in json.loads((folder / "swaps.json").read_text()):
        first, second = (scene_from_json(s) for s in row["scenes"])
        a, b = (Caption(c["raw"], frozenset(c["claims"])) for c in row["captions"])
        pairs.append(SwapPair((first, second), (row["seeds"][0], row["seeds"][1]), (a, b)))
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the postcards test split, its specifications, swaps and queries."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/postcards"))
    args = parser.parse_args()
    write_dataset(args.folder)
    size = sum(p.stat().st_size for p in args.folder.rglob("*") if p.is_file())
    print(f"{TEST_IMAGES} postcards in {args.folder}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
