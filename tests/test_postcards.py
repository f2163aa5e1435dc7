"""The drawn world: deterministic, ambiguous by a known amount, and known to the model that was trained on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from scripts.postcards.cache import training_scenes
from scripts.postcards.captions import caption_scene
from scripts.postcards.dataset import held_out, load_swaps, load_test
from scripts.postcards.oracle import (
    ceiling_image_to_text,
    ceiling_text_to_image,
    chance_image_to_text,
    informed_image_to_text,
    recall_image_to_text,
    recall_text_to_image,
)
from scripts.postcards.queries import QUERIES, matches
from scripts.postcards.render import PICTURE_SIZE, jpeg, render
from scripts.postcards.scene import (
    FACTS,
    Scene,
    Thing,
    facts,
    neighbour,
    sample_scene,
    sample_scene_of,
    scene_from_json,
    scene_to_json,
    swap_colours,
    things_that_swap,
)

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data" / "postcards"
MODEL = ROOT / "mmsearch" / "encoders" / "demo"
RED_HOUSE_BLUE_BOAT = Scene(
    "sunset", "sea", (Thing("boat", 1, "blue", "small", (0,)), Thing("house", 1, "red", "big", (2,)))
)


def some_scenes(count: int) -> Iterator[Scene]:
    rng = Random(5)
    return (sample_scene(rng) for _ in range(count))


def test_same_scene_and_seed_draw_the_same_bytes() -> None:
    for scene in some_scenes(12):
        assert jpeg(render(scene, 7)) == jpeg(render(scene, 7))


def test_another_seed_moves_the_accidents() -> None:
    assert render(RED_HOUSE_BLUE_BOAT, 1).tobytes() != render(RED_HOUSE_BLUE_BOAT, 2).tobytes()


def test_stored_pictures_are_small_and_complete() -> None:
    pictures = sorted((DATA / "images").glob("*.jpg"))
    assert [p.name for p in pictures] == [postcard.filename for postcard in load_test(DATA)]
    assert sum(p.stat().st_size for p in pictures) < 8e6
    with Image.open(pictures[0]) as picture:
        assert picture.size == PICTURE_SIZE


def test_stored_pictures_show_their_specifications() -> None:
    """Other builds of Pillow may round a pixel differently, so pictures are compared as an eye would."""
    for row in json.loads((DATA / "specifications.json").read_text())[:20]:
        drawn = np.asarray(render(scene_from_json(row["scene"]), row["seed"]), dtype=float)
        stored = np.asarray(Image.open(DATA / "images" / row["filename"]), dtype=float)
        assert np.abs(drawn - stored).mean() < 6


def test_five_distinct_captions_that_are_true() -> None:
    rng = Random(3)
    for scene in some_scenes(300):
        captions = caption_scene(rng, scene)
        assert len({caption.text for caption in captions}) == 5
        assert all(caption.claims <= facts(scene) for caption in captions)
        assert all(len(caption.claims) >= 2 for caption in captions)


def test_captions_are_a_function_of_the_seed() -> None:
    assert caption_scene(Random(9), RED_HOUSE_BLUE_BOAT) == caption_scene(Random(9), RED_HOUSE_BLUE_BOAT)


def test_the_first_caption_names_everything() -> None:
    text = caption_scene(Random(1), RED_HOUSE_BLUE_BOAT)[0]
    assert {"time=sunset", "land=sea", "boat.colour=blue", "house.colour=red", "boat.size=small"} <= text.claims


def test_every_fact_of_a_scene_has_a_name_in_the_list() -> None:
    assert all(facts(scene) <= set(FACTS) for scene in some_scenes(500))


def test_scenes_survive_json() -> None:
    assert all(scene_from_json(json.loads(json.dumps(scene_to_json(s)))) == s for s in some_scenes(50))


def test_swapping_exchanges_two_colours_and_nothing_else() -> None:
    swapped = swap_colours(RED_HOUSE_BLUE_BOAT, 0, 1)
    boat, house = RED_HOUSE_BLUE_BOAT.things
    assert swapped.things == (replace(boat, colour="red"), replace(house, colour="blue"))
    assert swap_colours(swapped, 0, 1) == RED_HOUSE_BLUE_BOAT


def test_a_neighbour_is_another_scene() -> None:
    rng = Random(2)
    assert all(neighbour(rng, scene) != scene for scene in some_scenes(500))


def test_swapped_twins_stand_in_the_test_split() -> None:
    scenes = {postcard.scene for postcard in load_test(DATA)}
    twins = [s for s in scenes if any(swap_colours(s, i, j) in scenes for i, j in things_that_swap(s))]
    assert len(twins) >= 50


def test_swapped_pairs_hold_one_true_caption_each() -> None:
    pairs = load_swaps(DATA)
    assert len(pairs) == 200
    for pair in pairs:
        for i in (0, 1):
            assert pair.captions[i].claims <= facts(pair.scenes[i])
            assert not pair.captions[i].claims <= facts(pair.scenes[1 - i])


def test_test_specifications_are_all_different() -> None:
    scenes = [postcard.scene for postcard in load_test(DATA)]
    assert len(scenes) == len(set(scenes)) == 1000


def test_training_never_shows_a_held_out_specification() -> None:
    held = held_out(DATA)
    for number in range(3):
        assert held.isdisjoint(scene for scene, _ in training_scenes(number, held))


def test_training_scenes_leave_out_whatever_is_held() -> None:
    """With the stream's own first scenes held out, they are gone: the filter works, not luck."""
    first = {scene for scene, _ in islice(training_scenes(0, frozenset()), 20)}
    assert first.isdisjoint(scene for scene, _ in training_scenes(0, frozenset(first)))


def test_captions_file_is_karpathy_json() -> None:
    content = json.loads((DATA / "dataset_postcards.json").read_text())
    assert content["dataset"] == "postcards"
    for imgid, image in enumerate(content["images"]):
        assert (image["imgid"], image["split"]) == (imgid, "test")
        assert image["sentids"] == [s["sentid"] for s in image["sentences"]]
        assert all(s["imgid"] == imgid and s["raw"] and s["tokens"] for s in image["sentences"])


def test_each_query_has_enough_right_scenes() -> None:
    scenes = [postcard.scene for postcard in load_test(DATA)]
    assert len(QUERIES) == 21
    assert all(sum(matches(query, scene) for scene in scenes) >= 15 for query in QUERIES)
    stored = json.loads((DATA / "queries.json").read_text())
    assert [(row["query"], tuple(row["requires"])) for row in stored] == [(q.text, q.requires) for q in QUERIES]


def test_ceilings_by_hand() -> None:
    """Two images with two captions each. Caption 1 is true of both images, the others only of their own."""
    consistent = np.array([[1, 0], [1, 1], [0, 1], [0, 1]], bool)
    owner = np.array([0, 0, 1, 1])
    assert ceiling_text_to_image(consistent, 1) == pytest.approx((1 + 1 / 2 + 1 + 1) / 4)
    assert ceiling_text_to_image(consistent, 2) == 1
    # Image 0: captions 0 and 1 fit, both its own: 1. Image 1: captions 1, 2, 3 fit, two its own: 2/3.
    assert ceiling_image_to_text(consistent, owner, 1) == pytest.approx((1 + 2 / 3) / 2)
    assert ceiling_image_to_text(consistent, owner, 2) == 1
    # Caption 1 fits two images, so the informed oracle puts 2 and 3 before it.
    assert informed_image_to_text(consistent, owner, 1) == 1
    assert chance_image_to_text(captions=4, own=2, k=1) == pytest.approx(1 / 2)


def test_recall_by_hand() -> None:
    """Rows are captions, columns images. Caption 1 prefers the wrong image; caption 2 ties, and the lower id wins."""
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.1, 0.7]])
    owner = np.array([0, 0, 1, 1])
    assert recall_text_to_image(scores, owner, 1) == 0.5
    assert recall_text_to_image(scores, owner, 2) == 1.0
    assert recall_image_to_text(scores, owner, 1) == 0.5  # image 1's best caption is caption 1, which is image 0's
    assert recall_image_to_text(scores, owner, 2) == 1.0


needs_model = pytest.mark.skipif(
    not (MODEL / "open_clip_model.safetensors").exists(),
    reason="the demo model is not there: python -m scripts.postcards.train writes it",
)


@pytest.mark.soak
@needs_model
def test_plain_open_clip_loads_the_model_and_it_knows_postcards() -> None:
    """On 200 postcards with all their captions; ceilings are those of the same 200."""
    from scripts.postcards.score import Scorer, recalls, swap_accuracy

    scorer = Scorer(MODEL)
    subset = load_test(DATA)[:200]
    captions = [p.captions for p in subset]
    images = scorer.images(Image.open(DATA / "images" / p.filename) for p in subset)
    texts = scorer.texts([c.text for own in captions for c in own])
    for row in recalls(images, texts, [p.scene for p in subset], captions):
        if row.k in (1, 10):
            assert row.model >= {1: 0.90, 10: 0.95}[row.k] * row.ceiling, row
    assert swap_accuracy(scorer, load_swaps(DATA)[:50]) >= 0.85


@pytest.mark.soak
@needs_model
def test_sunset_over_mountains_finds_sunsets_over_mountains() -> None:
    """Every fixed query, by plain open_clip. That mmsearch's own route brings them too is tried in test_demo."""
    from scripts.postcards.score import Scorer, queries_right

    scorer, test = Scorer(MODEL), load_test(DATA)
    images = scorer.images(Image.open(DATA / "images" / p.filename) for p in test)
    assert set(queries_right(images, scorer, [p.scene for p in test]).values()) == {10}


@needs_model
def test_the_model_is_small() -> None:
    assert (MODEL / "open_clip_model.safetensors").stat().st_size <= 32_000_000


def test_what_is_left_out_of_a_picture_changes_nothing_else() -> None:
    rng = Random(5)
    scene = sample_scene_of(rng, 4)
    picture = np.asarray(render(scene, 11), np.int16)
    hidden = [np.abs(picture - np.asarray(render(scene, 11, frozenset({t.kind})))).max(2) > 0 for t in scene.things]
    assert all(0.001 < each.mean() < 0.5 for each in hidden)
    assert np.sum(hidden, axis=0).max() == 1 or np.mean(np.sum(hidden, axis=0) > 1) < 0.02
    assert (np.asarray(render(scene, 11, frozenset())) == picture).all()
