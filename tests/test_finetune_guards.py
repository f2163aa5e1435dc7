"""Pairs are divided by picture before anything is learnt, and whether training helped is judged on what nobody saw."""

import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.embedding import embed
from mmsearch.errors import TrainingError
from mmsearch.gallery import Gallery
from mmsearch.training.finetune_run import finetune
from mmsearch.training.guards import choose_alpha, compare, deciding_figure, judge, neighbours_kept, notice_problems
from mmsearch.training.model_folder import new_folder
from mmsearch.training.pairs import gallery_pairs
from mmsearch.training.records import FinetuneOptions, LossLog, PairVectors, TrainingPairs
from mmsearch.training.splitting import group_images, split_pairs
from mmsearch.training.work_folder import held_work_folder
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.vectors import random_unit_vectors


def make_pairs(images: int, *, texts_each: int = 2, seed: int = 0, groups: list[int] | None = None) -> TrainingPairs:
    rng = np.random.default_rng(seed)
    image_of_text = np.repeat(np.arange(images), texts_each)
    return TrainingPairs(
        texts=tuple(f"text {number}" for number in range(len(image_of_text))),
        image_of_text=image_of_text,
        files=tuple(f"{number}.jpg" for number in range(images)),
        groups=np.arange(images) if groups is None else np.array(groups),
        image_vectors=random_unit_vectors(rng, images, 16),
        text_vectors=random_unit_vectors(rng, len(image_of_text), 16),
    )


def test_no_group_of_pictures_is_in_two_parts() -> None:
    pairs = make_pairs(200, groups=[number // 3 for number in range(200)])
    split = split_pairs(pairs, seed=3)
    parts = [set(part.groups.tolist()) for part in (split.training, split.validation, split.held_out)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert sum(part.images for part in (split.training, split.validation, split.held_out)) == 200
    assert 40 <= split.held_out.images <= 50
    assert 25 <= split.validation.images <= 35


def test_each_part_keeps_the_texts_of_its_pictures() -> None:
    pairs = make_pairs(60, texts_each=3)
    split = split_pairs(pairs)
    for part in (split.training, split.validation, split.held_out):
        for text, image, vector in zip(part.texts, part.image_of_text, part.text_vectors, strict=True):
            number = int(text.removeprefix("text "))
            assert part.files[image] == f"{number // 3}.jpg"
            np.testing.assert_array_equal(vector, pairs.text_vectors[number])
            np.testing.assert_array_equal(part.image_vectors[image], pairs.image_vectors[number // 3])


def test_the_same_seed_divides_alike_and_another_does_not() -> None:
    pairs = make_pairs(100)
    first, same, other = (split_pairs(pairs, seed=seed).held_out.files for seed in (1, 1, 2))
    assert first == same != other


def test_pictures_that_are_nearly_the_same_and_copies_are_of_one_group() -> None:
    vectors = random_unit_vectors(np.random.default_rng(0), 60, 16)
    vectors[7] = vectors[3] + 0.01
    vectors[9] = vectors[7] + 0.01
    contents = np.arange(60)
    contents[20] = contents[11]
    groups = group_images(vectors, contents)
    assert groups[3] == groups[7] == groups[9]
    assert groups[20] == groups[11]
    assert len(set(groups.tolist())) == 60 - 3


def test_vectors_that_call_everything_the_same_do_not_make_one_group_of_it() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([np.tile(rng.normal(size=16), (40, 1)), rng.normal(size=(20, 16))]).astype(np.float32)
    assert len(set(group_images(vectors, np.arange(60)).tolist())) == 60


@pytest.mark.parametrize("images", [1, 12, 29])
def test_too_few_pictures_are_an_error_that_says_how_many_are_needed(images: int) -> None:
    with pytest.raises(TrainingError, match="at least 30"):
        split_pairs(make_pairs(images))


def test_pictures_that_are_all_the_same_are_too_few() -> None:
    with pytest.raises(TrainingError, match="100, of which 1 differ"):
        split_pairs(make_pairs(100, groups=[0] * 100))


def test_mean_recall_by_hand() -> None:
    """Three pictures, a text each: the first two texts find theirs first, the third finds it last."""
    pairs = make_pairs(3, texts_each=1)
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [0, 1, 0], [0.8, 0.6, 0]], np.float32)
    # R@1 by text 2/3, by picture: picture 2 scores 0 with all texts, and the first text comes first; R@5, R@10: 1.
    assert deciding_figure(PairVectors(images, texts), pairs) == pytest.approx((2 / 3 + 1 + 1 + 2 / 3 + 1 + 1) / 6)


@pytest.mark.parametrize(("better", "verdict"), [(1, "better"), (0, "not surely better"), (-1, "worse")])
def test_the_verdict_follows_the_interval(better: int, verdict: str) -> None:
    pairs = make_pairs(60, texts_each=1)
    right = PairVectors(pairs.image_vectors, pairs.image_vectors)
    wrong = PairVectors(pairs.image_vectors, pairs.text_vectors)
    before, after = {1: (wrong, right), 0: (wrong, wrong), -1: (right, wrong)}[better]
    comparison = compare("held-out pairs", before, after, pairs)
    assert judge(comparison) == verdict
    assert np.sign(comparison.mean_recall.value) == better
    assert comparison.figures["text_to_image R@1"].second == (1.0 if better == 1 else pytest.approx(1 / 60, abs=0.1))


def test_alpha_is_the_best_on_validation_that_loses_little_and_the_smallest_of_equals() -> None:
    alphas = (0.0, 0.5, 1.0)
    gains = {0.0: 0.2, 0.5: 0.6, 1.0: 0.7}
    assert choose_alpha(gains.__getitem__, lambda _: None, alphas)[0] == 1.0
    assert choose_alpha(gains.__getitem__, {0.0: 1.0, 0.5: 0.99, 1.0: 0.5}.__getitem__, alphas)[0] == 0.5
    assert choose_alpha(lambda _: 0.5, lambda _: 1.0, alphas)[0] == 0.0


def test_neighbours_of_random_vectors_are_not_kept() -> None:
    rng = np.random.default_rng(0)
    one, other = random_unit_vectors(rng, 300, 16), random_unit_vectors(rng, 300, 16)
    assert neighbours_kept(one, one) == 1.0
    assert neighbours_kept(one, other) < 0.1


@pytest.mark.parametrize(
    ("log", "name"),
    [
        (LossLog((4.8, math.log(128) - 0.01), math.log(128), 50.0, 1.0), "nothing learnt"),
        (LossLog((4.8, float("nan")), math.log(128), 50.0, 1.0), "broken"),
        (LossLog((4.8, 0.1), math.log(128), 100.0, 1.0), "runaway temperature"),
    ],
)
def test_what_went_wrong_is_named(log: LossLog, name: str) -> None:
    rng = np.random.default_rng(0)
    sound = PairVectors(random_unit_vectors(rng, 20, 16), random_unit_vectors(rng, 20, 16))
    (problem,) = notice_problems(log, sound, sound)
    assert problem.startswith(f"{name}:")


def test_a_sigmoid_loss_is_not_judged_by_that_of_a_softmax() -> None:
    rng = np.random.default_rng(0)
    sound = PairVectors(random_unit_vectors(rng, 20, 16), random_unit_vectors(rng, 20, 16))
    assert notice_problems(LossLog((9.7, 9.1), None, 10.0, 1.0), sound, sound) == ()


def test_collapse_is_named_with_its_side() -> None:
    rng = np.random.default_rng(0)
    sound, one = random_unit_vectors(rng, 20, 16), np.tile(random_unit_vectors(rng, 1, 16), (20, 1))
    good = LossLog((4.8, 0.5), math.log(128), 50.0, 1.0)
    assert notice_problems(good, PairVectors(sound, sound), PairVectors(sound, sound)) == ()
    (problem,) = notice_problems(good, PairVectors(sound, sound), PairVectors(sound, one))
    assert problem.startswith("collapse: the vectors of all texts")


def test_names_that_are_alike_from_the_first_have_not_collapsed() -> None:
    """ "a photo of a …" of six classes: near to each other before, and no nearer after."""
    rng = np.random.default_rng(0)
    sound, alike = random_unit_vectors(rng, 20, 16), 3 + random_unit_vectors(rng, 20, 16)
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    good = LossLog((4.8, 0.5), math.log(128), 50.0, 1.0)
    assert notice_problems(good, PairVectors(sound, alike), PairVectors(sound, alike)) == ()
    (problem,) = notice_problems(good, PairVectors(sound, sound), PairVectors(sound, alike))
    assert problem.startswith("collapse: the vectors of all texts")


def test_pairs_come_from_a_gallery_with_the_vectors_that_it_holds(tmp_path: Path) -> None:
    lines = []
    for number, colour in enumerate(list(COLOURS) * 2):
        write_picture(tmp_path / "pictures" / f"{number}.png", colour, seed=number)
        lines += [f"{number}.png,{colour} number {number}", f"{number}.png,a {colour} one"]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *lines, "nowhere.png,nobody"]) + "\n")
    encoder = FakeEncoder()
    embed([tmp_path / "pictures"], captions=[tmp_path / "captions.csv"], gallery=tmp_path / "g", encoder=encoder)
    pairs = gallery_pairs(Gallery.open(tmp_path / "g"))
    assert pairs.images == 12
    assert len(pairs.texts) == 24
    for text, image, vector in zip(pairs.texts, pairs.image_of_text, pairs.text_vectors, strict=True):
        file = pairs.files[image]
        assert file is not None
        if " number " in text:
            assert Path(file).name == f"{text.split()[-1]}.png"
        assert np.allclose(vector, encoder.text.encode([text]).vectors[0], atol=2e-3)
    assert np.allclose(np.linalg.norm(pairs.image_vectors, axis=1), 1, atol=1e-6)


def test_a_gallery_without_captions_is_an_error_that_says_how_to_add_some(tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "a.png")
    embed([tmp_path / "pictures"], gallery=tmp_path / "g", encoder=FakeEncoder())
    with pytest.raises(TrainingError, match=r"has no captions.*mmsearch embed --captions"):
        gallery_pairs(Gallery.open(tmp_path / "g"))


def test_captions_of_no_picture_are_said_to_name_none(tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\nb.png,a red one\n")
    embed([tmp_path / "pictures"], captions=[tmp_path / "captions.csv"], gallery=tmp_path / "g", encoder=FakeEncoder())
    with pytest.raises(TrainingError, match="1 captions by people, none of which names a picture"):
        gallery_pairs(Gallery.open(tmp_path / "g"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": 0.0}, "the learning rate is 0; it is a number above 0"),
        ({"rate": float("nan")}, "the learning rate is nan"),
        ({"rate": float("inf")}, "the learning rate is inf"),
        ({"epochs": -1}, "epochs is -1, and must be at least 0"),
        ({"method": "lora", "epochs": 0}, "epochs is 0, and must be at least 1"),
        ({"batch": 1}, "batch is 1, and must be at least 2"),
        ({"chunk": 0}, "chunk is 0, and must be at least 1"),
        ({"hard_negatives": 9}, "hard_negatives is 9, and must be at most 8"),
    ],
)
def test_numbers_with_which_nothing_is_trained_are_refused_and_not_replaced(options: Any, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        FinetuneOptions(**options)


@pytest.mark.parametrize("out", ["", " ", ".", "..", "../"])
def test_the_model_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    with pytest.raises(TrainingError, match="is no new folder"):
        new_folder(out)


def test_a_name_that_leads_back_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_folder("a/../taught/") == tmp_path / "taught"


@pytest.fixture
def small_gallery(tmp_path: Path) -> Path:
    write_picture(tmp_path / "pictures" / "a.png")
    embed([tmp_path / "pictures"], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


def test_two_runs_of_the_text_side_do_not_write_into_one_folder(
    small_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(out: Path, **given: Any) -> None:
        monkeypatch.setattr("mmsearch.training.gallery_training.train_on_gallery", lambda *_, **__: "trained")
        finetune(out, gallery=given["gallery"])

    monkeypatch.setattr("mmsearch.training.gallery_training.train_on_gallery", meanwhile)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TrainingError, match="another run is training"):
        finetune(tmp_path / "new" / "taught", gallery=small_gallery)
    assert sorted(tmp_path.iterdir()) == before  # nor is the folder above it left


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "interrupted; no model was written; the same command begins the training anew"),
        (["--lora"], "interrupted; no model was written yet, and the same command continues from the last epoch"),
    ],
)
def test_who_ends_a_run_is_told_what_is_left_of_it(
    small_gallery: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_line: Command,
    ending: signal.Signals,
    given: list[str],
    said: str,
) -> None:
    def ended(*_: object, **__: object) -> None:
        assert signal.getsignal(ending) is signal.default_int_handler  # else this process would die now
        signal.raise_signal(ending)

    monkeypatch.setattr("mmsearch.training.gallery_training.train_on_gallery", ended)
    done = command_line("finetune", "--out", tmp_path / "taught", "-g", small_gallery, *given)
    assert (done.code, done.err) == (130, f"mmsearch: {said}\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_two_runs_do_not_write_the_same_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "taught"
    with held_work_folder(out) as folder:
        with pytest.raises(TrainingError, match="another run is training"), held_work_folder(out):
            raise AssertionError
        (folder / "checkpoint").touch()
    assert [each.name for each in folder.iterdir()] == ["checkpoint"]  # what a run goes on from
    (folder / "checkpoint").unlink()
    with held_work_folder(out):
        pass
    assert list(tmp_path.iterdir()) == []
