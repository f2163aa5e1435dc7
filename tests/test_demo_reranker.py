"""The demo re-ranker: what it reads in postcards, and that it tells apart what the demo model does not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from mmsearch.errors import EncoderError
from mmsearch.rerankers import Reranker, RerankerRequest, open_reranker
from mmsearch.rerankers.demo_network import CELLS, DemoNetwork
from mmsearch.rerankers.demo_reranker import DEMO, WEIGHTS, WORDS_FILE, DemoReranker, words_of
from scripts.postcards.captions import tokens
from scripts.postcards.crowded import FAMILY, describe_crowd, family, holds
from scripts.postcards.render import render
from scripts.postcards.scene import Scene, Thing
from scripts.postcards.train_reranker import batch_of, cells_of, claims_of_crowd, mirrored, vocabulary

SCENE = Scene(
    "moon",
    "sea",
    (
        Thing("boat", 1, "red", "big", (0,)),
        Thing("boat", 1, "white", "small", (2,)),
        Thing("balloon", 2, "blue", None, (1, 2)),
    ),
)


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return open_reranker("demo")


def fits(reranker: Reranker, text: str, scenes: list[Scene]) -> list[float]:
    pictures = reranker.look([reranker.prepare(render(scene, 5 + n)) for n, scene in enumerate(scenes)])
    return [*reranker.match([text] * len(scenes), pictures)]


def other(change: str) -> Scene:
    red, white, balloons = SCENE.things
    match change:
        case "colours":
            return replace(SCENE, things=(replace(red, colour="white"), replace(white, colour="red"), balloons))
        case "places":
            return replace(SCENE, things=(replace(red, slots=(2,)), replace(white, slots=(0,)), balloons))
        case "count":
            return replace(SCENE, things=(red, white, replace(balloons, count=3)))
        case _:
            return replace(SCENE, things=(red, white, replace(balloons, kind="tent")))


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("a big red boat and a small white sailboat by the sea", "colours"),
        ("a red boat to the left of a white boat", "places"),
        ("a white boat right of a red boat", "places"),
        ("two blue balloons in the moonlight", "count"),
        ("a pair of blue balloons over the ocean", "things"),
    ],
)
def test_what_differs_in_one_respect_is_told_apart(reranker: Reranker, text: str, change: str) -> None:
    right, wrong = fits(reranker, text, [SCENE, other(change)])
    assert right > wrong + 1


@pytest.mark.soak
def test_families_that_were_never_trained_on_are_ranked_well(reranker: Reranker) -> None:
    """All of them are measured by `mmsearch eval`; here nearly every caption finds a picture of which it is true."""
    rng = Random(77)
    good = 0
    for number in range(5):
        scenes = family(rng, FAMILY)
        pictures = reranker.look([reranker.prepare(render(scene, 100 * number + n)) for n, scene in enumerate(scenes)])
        for scene in scenes[:4]:
            caption = describe_crowd(rng, scene)
            best = int(np.argmax(reranker.match([caption.text] * FAMILY, pictures)))
            good += holds(caption.claims, scenes[best])
    assert good >= 17  # of 20


def test_a_pair_is_valued_the_same_beside_whatever_others(reranker: Reranker) -> None:
    texts = ["a red boat", "two blue balloons above a small white boat right of a big red boat", "", "zebra " * 90]
    picture = reranker.look([reranker.prepare(render(SCENE, 3))])[0]
    together = reranker.match(texts, [picture] * 4)
    fresh = open_reranker("demo")
    alone = [float(fresh.match([text], [picture])[0]) for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.isfinite(together).all()
    assert len(picture) * picture.element_size() == picture.nbytes == 700


def test_it_takes_pictures_of_any_size_and_says_what_it_knows() -> None:
    said: list[str] = []
    opened = open_reranker("demo", announce=said.append)
    (line,) = said
    assert "knows drawn postcards" in line
    assert "of other pictures its order means nothing" in line
    seen = opened.look([opened.prepare(Image.new("RGB", size, "red")) for size in ((1, 1), (500, 20), (96, 72))])
    assert np.isfinite(opened.match(["a red boat"] * 3, seen)).all()


def test_damaged_weights_are_said(tmp_path: Path) -> None:
    (tmp_path / WORDS_FILE).write_bytes((DEMO / WORDS_FILE).read_bytes())
    (tmp_path / WEIGHTS).write_bytes((DEMO / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(EncoderError, match=r"the demo re-ranker in .* is damaged"):
        DemoReranker(RerankerRequest("demo", "cpu", lambda _: None), tmp_path)


def test_it_is_small_and_its_words_are_those_of_the_captions() -> None:
    assert (DEMO / WEIGHTS).stat().st_size < 12e6
    text = 'A hot-air balloon, to the left of "two" tents.'
    assert words_of(text) == tokens(text)


# --- what it is taught ------------------------------------------------------------------------------------------------


def captions() -> Iterator[tuple[Scene, Random]]:
    rng = Random(3)
    for _ in range(30):
        yield family(rng, 1)[0], rng


def test_words_are_taught_what_their_thing_is() -> None:
    for scene, rng in captions():
        text = claims_of_crowd(rng, scene)
        for at, (left, right) in text.relations.items():
            assert text.words[at] in ("left", "right")
            before = max(place for place in text.things if place < at)
            assert before == (left if text.words[at] == "left" else right)
        cells = cells_of(scene)[:24].reshape(CELLS, 4)
        for kind, count, colour, size, place in text.things.values():
            same = [
                cell
                for cell, (own_kind, own_count, own_colour, own_size) in enumerate(cells)
                if (kind, count) == (own_kind, own_count)
                and colour in (own_colour, 6)
                and size in (own_size, 2)
                and place in (cell % 3, 3)
            ]
            assert same, (text, scene)


def test_a_mirrored_scene_has_its_cells_mirrored() -> None:
    cells = cells_of(mirrored(SCENE))[:24].reshape(2, 3, 4)
    own = cells_of(SCENE)[:24].reshape(2, 3, 4)
    np.testing.assert_array_equal(cells[0], own[0, ::-1])
    np.testing.assert_array_equal(cells[1, 0], own[1, 1])  # a group belongs to the left of its two cells
    assert mirrored(mirrored(SCENE)) == SCENE


def test_all_pairs_are_valued_as_each_of_them_is() -> None:
    torch.manual_seed(0)
    number = {word: at for at, word in enumerate(vocabulary(20))}
    network = DemoNetwork(len(number)).eval()
    texts = batch_of([claims_of_crowd(rng, scene) for scene, rng in list(captions())[:3]], number)["words"]
    claims, seen = network.read(texts).claims_made(), network.look(torch.rand(2, 3, 72, 96))
    every = network.score(claims, seen, pairs=False)
    assert every.shape == (3, 2)
    for text, picture in ((0, 1), (2, 0)):
        one = claims.changed(lambda each, row=text: each[row : row + 1])  # type: ignore[misc]
        packed = type(seen).unpacked(seen.packed()[picture : picture + 1])
        torch.testing.assert_close(network.score(one, packed, pairs=True)[0], every[text, picture])
