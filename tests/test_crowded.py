"""Crowded postcards: what their captions claim."""

from random import Random

from scripts.postcards.captions import Mention, tokens
from scripts.postcards.crowded import (
    Claims,
    Relation,
    ceiling,
    describe_crowd,
    family,
    holds,
    true_words,
    truth,
)
from scripts.postcards.scene import Scene, Thing

HOUSE, TENT = Thing("house", 1, "red", "big", (0,)), Thing("tent", 1, "blue", "small", (2,))
OTHER_HOUSE = Thing("house", 1, "blue", "small", (1,))
SCENE = Scene("noon", "forest", (HOUSE, OTHER_HOUSE, TENT))


def said(thing: Thing, *, colour: bool = True, size: bool = False, place: bool = False) -> Mention:
    return Mention(thing, colour, size, place)


def test_claims_hold_of_things_and_not_of_their_parts() -> None:
    """A red house and a small house are two; a red small house is none."""
    small_red = Thing("house", 1, "red", "small", (0,))
    both = (said(HOUSE), said(small_red, colour=False, size=True))
    assert holds(Claims(None, None, both, ()), SCENE)
    assert not holds(Claims(None, None, (said(small_red, size=True),), ()), SCENE)
    assert not holds(Claims(None, None, (said(HOUSE), said(HOUSE)), ()), SCENE)  # there is one red house
    assert holds(Claims("noon", "forest", (said(HOUSE, place=True),), ()), SCENE)
    assert not holds(Claims("fog", None, (said(HOUSE),), ()), SCENE)
    left, right = Claims(None, None, (said(HOUSE), said(TENT)), (Relation(0, 1),)), Relation(1, 0)
    assert holds(left, SCENE)
    assert not holds(Claims(None, None, left.mentions, (right,)), SCENE)


def test_what_words_say_is_true_of_their_scene_and_not_of_all_others() -> None:
    rng = Random(4)
    for _ in range(40):
        scenes = family(rng)
        caption = describe_crowd(rng, scenes[0])
        assert len(tokens(caption.text)) == len(caption.said)
        assert None in true_words(caption, scenes[0])
        assert False not in true_words(caption, scenes[0])
        assert len(set(scenes)) == len(scenes) == 8
        for scene in scenes:
            if holds(caption.claims, scene):
                assert False not in true_words(caption, scene)
    true = truth([caption.claims], scenes)
    assert true[0].tolist() == [holds(caption.claims, scene) for scene in scenes]
    assert ceiling(true, 1) == 1 / true.sum()
