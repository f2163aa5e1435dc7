"""The text side of a model is taught on the vectors that a gallery holds, and the gallery stays good."""

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from mmsearch import encoders
from mmsearch.embedding import embed
from mmsearch.encoders.model_folders import licence_in
from mmsearch.encoders.sources import resolve
from mmsearch.encoders.specs import demo_folder, parse_spec
from mmsearch.encoders.weight_licences import licence_of_source
from mmsearch.errors import EncoderMismatch, StoreError, TrainingError
from mmsearch.gallery import Gallery
from mmsearch.indexing import IndexOptions, index
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.search.open_gallery import open_gallery
from mmsearch.training.batches import RightGroups
from mmsearch.training.finetune_run import finetune
from mmsearch.training.hard_negatives import Look, mine_hard_negatives
from mmsearch.training.looking import look_in_gallery
from mmsearch.training.model_card import model_card
from mmsearch.training.pairs import gallery_pairs
from mmsearch.training.records import FinetuneOptions, FinetuneReport, TrainingPairs
from mmsearch.training.text_map import STRENGTHS, fit_text_map, mapped
from mmsearch.training.text_training import TextSettings, encode_texts, train_texts
from mmsearch.training.trainable_model import TrainableModel, open_trainable_model
from tests.conftest import Command
from tests.models import write_tiny_model
from tests.test_tower_training import SMALL
from tests.vectors import random_unit_vectors

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards"
MAP_ALONE = FinetuneOptions(epochs=0)

pytestmark = pytest.mark.filterwarnings("ignore:the demo model knows drawn postcards")


def write_data(folder: Path, count: int) -> tuple[Path, Path]:
    """Some postcards and their captions."""
    (folder / "images").mkdir(parents=True)
    lines = ["image,caption"]
    for image in json.loads((POSTCARDS / "dataset_postcards.json").read_text())["images"][:count]:
        shutil.copy(POSTCARDS / "images" / image["filename"], folder / "images")
        lines += [f"{image['filename']},{json.dumps(sentence['raw'])}" for sentence in image["sentences"]]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder / "images", folder / "captions.csv"


def write_spoilt_model(folder: Path) -> str:
    """The demo model, whose texts point elsewhere by a rotation: a linear map is all that it needs to learn."""
    shutil.copytree(demo_folder(), folder)
    tensors = load_file(folder / "open_clip_model.safetensors")
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(256, 256)))[0]
    projection = tensors["text_projection"].double() @ torch.from_numpy(matrix)
    save_file({**tensors, "text_projection": projection.float()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


class Taught:
    """A gallery of a spoilt model, and the model that was taught with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures, captions = write_data(folder / "data", 120)
        self.spoilt = write_spoilt_model(folder / "spoilt")
        self.gallery = folder / "gallery"
        embed([self.pictures], captions=[captions], gallery=self.gallery, encoder=self.spoilt)
        self.model = folder / "taught"
        self.spec = f"local-dir:{self.model}"
        self.report: FinetuneReport = finetune(self.model, gallery=self.gallery, options=MAP_ALONE)

    def copy_of_gallery(self, place: Path) -> Path:
        """Beside the pictures, as they are found from it."""
        return Path(shutil.copytree(self.gallery, place))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return Taught(tmp_path_factory.mktemp("finetune"))


def first_of_own(gallery: Path, encoder: str | None, texts: list[tuple[str, str]]) -> int:
    """How many texts find their picture among the first ten."""
    opened = open_gallery(gallery, encoder=encoder)
    return sum(any(hit.path == name for hit in opened.query(text, k=10)) for text, name in texts)


def some_texts() -> list[tuple[str, str]]:
    images = json.loads((POSTCARDS / "dataset_postcards.json").read_text())["images"][:120]
    return [(image["sentences"][0]["raw"], image["filename"]) for image in images[::6]]


def test_what_a_linear_map_can_mend_is_mended_and_said_to_be_better(taught: Taught) -> None:
    report = taught.report
    assert report.verdict == "better"
    assert report.method == "a linear map on the text vectors"
    assert report.held_out.mean_recall.interval.low > 0
    assert report.held_out.mean_recall.second > report.held_out.mean_recall.first + 0.2
    assert report.counts["training"][0] + report.counts["validation"][0] + report.counts["held_out"][0] == 120
    assert report.keeps_images


def test_pairs_come_from_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Command) -> None:
    """They are embedded into the cache as they are now, and a gallery that the environment names is let be."""
    pictures, captions = write_data(tmp_path / "data", 4)
    asked: list[tuple[Gallery, str]] = []

    def teach(out: Path, *, gallery: Path, data: str, **_: object) -> None:
        asked.append((Gallery.open(gallery), data))
        raise TrainingError("seen")

    monkeypatch.setattr("mmsearch.training.gallery_training.train_on_gallery", teach)
    monkeypatch.setenv("MMSEARCH_GALLERY", str(tmp_path / "another"))
    named = ("--pairs", captions, "--images", pictures, "--model", "demo")
    assert "seen" in command_line("finetune", "--out", tmp_path / "taught", *named).err
    (pictures / "postcard_0000.jpg").unlink()
    assert "seen" in command_line("finetune", "--out", tmp_path / "taught", *named).err
    (first, data), (second, _) = asked
    assert data == f"captions of {captions}, pictures of {pictures}"
    assert first.manifest.encoder.spec == "demo"
    assert [len(gallery_pairs(each).texts) for each in (first, second)] == [20, 15]
    assert first.path == second.path
    assert not (tmp_path / "another").exists()
    for wrong in (("--pairs", captions), (*named, "--gallery", tmp_path / "g")):
        refused = command_line("finetune", "--out", tmp_path / "taught", *wrong)
        assert (refused.code, "--pairs" in refused.err) == (2, True)
    with pytest.raises(TrainingError, match="name one of them"):
        finetune(tmp_path / "taught", gallery=tmp_path / "g", pairs=[captions], images=pictures)


def test_the_gallery_is_asked_through_the_new_texts_without_torch_and_without_a_new_vector(
    taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Gallery.open(taught.gallery).manifest
    poor = first_of_own(taught.gallery, None, some_texts())
    encoders.open(taught.spec, ["text"], device="cpu", precision="fp32")  # lays it out, in the cache of this test

    def never(*_: object, **__: object) -> None:
        raise AssertionError("torch was asked")

    monkeypatch.setattr("mmsearch.encoders.open_clip_encoder.load", never)
    assert first_of_own(taught.gallery, taught.spec, some_texts()) > poor + 5
    assert Gallery.open(taught.gallery).manifest == before


def test_captions_of_the_other_text_side_are_refused_with_what_to_do(taught: Taught) -> None:
    opened = open_gallery(taught.gallery, encoder=taught.spec)
    with pytest.raises(EncoderMismatch, match=f"captions.*cannot be compared.*embed --model {taught.spec}"):
        opened.query("a red boat", table=CAPTIONS.name)


def test_the_gallery_takes_the_text_side_and_gives_it_back(taught: Taught) -> None:
    gallery = taught.copy_of_gallery(taught.folder / "taken")
    pictures = Gallery.open(gallery).manifest.shards[IMAGES.name]
    said: list[str] = []
    report = embed(gallery=gallery, encoder=taught.spec, announce=said.append)
    assert (report.images.added, report.images.updated, report.total_captions) == (0, 0, 600)
    assert any("takes the text side" in line for line in said)
    assert any("600 texts encoded anew" in line for line in said)
    newest = Gallery.open(gallery)
    assert newest.manifest.encoder.spec == taught.spec
    assert newest.manifest.shards[IMAGES.name] == pictures
    opened = open_gallery(gallery)
    assert opened.query("a red boat", table=CAPTIONS.name)
    assert first_of_own(gallery, None, some_texts()) == first_of_own(taught.gallery, taught.spec, some_texts())
    pairs = gallery_pairs(newest)
    texts = encoders.open(taught.spec, ["text"], device="cpu").text.encode(pairs.texts[:20]).vectors
    assert np.allclose(pairs.text_vectors[:20], texts, atol=2e-3)
    embed(gallery=gallery, encoder=taught.spec)  # again, and nothing is left to do
    embed(gallery=gallery, encoder=taught.spoilt)
    assert Gallery.open(gallery).manifest.encoder == Gallery.open(taught.gallery).manifest.encoder


def test_a_model_whose_record_was_lost_is_still_the_gallerys_own(taught: Taught, tmp_path: Path) -> None:
    gallery = taught.copy_of_gallery(taught.folder / "recordless")
    embed(gallery=gallery, encoder=taught.spec)
    before = Gallery.open(gallery).manifest.encoder
    shutil.copytree(taught.model, tmp_path / "copy")
    (tmp_path / "copy" / "mmsearch_finetune.json").unlink()
    spec = f"local-dir:{tmp_path / 'copy'}"
    assert open_gallery(gallery, encoder=spec).query("a red boat")
    embed(gallery=gallery, encoder=spec)
    now = Gallery.open(gallery).manifest.encoder
    assert (now.fingerprint, now.image_of) == (before.fingerprint, before.image_of)


def test_who_calibrates_or_compares_with_another_text_side_is_told(taught: Taught) -> None:
    with pytest.raises(EncoderMismatch, match=r"sees pictures alike and reads texts otherwise.*mmsearch embed --model"):
        encoders.open(taught.spec, ["text"], device="cpu", for_gallery=Gallery.open(taught.gallery))


def test_an_impostor_with_another_image_side_is_refused(taught: Taught, tmp_path: Path) -> None:
    folder = tmp_path / "impostor"
    shutil.copytree(taught.model, folder)
    tensors = load_file(folder / "open_clip_model.safetensors")
    name = next(name for name in sorted(tensors) if name.startswith("visual.") and name.endswith("weight"))
    save_file({**tensors, name: tensors[name] * 1.001}, folder / "open_clip_model.safetensors")
    with pytest.raises(EncoderMismatch, match="vectors of two models cannot be compared"):
        open_gallery(taught.gallery, encoder=f"local-dir:{folder}").query("a red boat")
    (folder / "mmsearch_finetune.json").write_text("{")
    with pytest.raises(EncoderMismatch):
        embed(gallery=taught.copy_of_gallery(taught.folder / "impostor"), encoder=f"local-dir:{folder}")


def test_the_folder_is_a_model_of_open_clip_with_a_card_and_a_record(taught: Taught) -> None:
    names = {file.name for file in taught.model.iterdir()}
    assert {"README.md", "mmsearch_finetune.json", "open_clip_config.json", "open_clip_model.safetensors"} <= names
    assert not [name for name in os.listdir(taught.folder) if ".tmp" in name]
    card = (taught.model / "README.md").read_text()
    assert "**Better** than before" in card
    assert "| mean recall |" in card
    record = json.loads((taught.model / "mmsearch_finetune.json").read_text())
    assert record["verdict"] == "better"
    assert record["image_side"]["of"] == Gallery.open(taught.gallery).manifest.encoder.fingerprint


def test_the_card_carries_on_the_licence_that_the_card_of_the_base_model_states(taught: Taught, tmp_path: Path) -> None:
    """And invents none: the spoilt model has no card."""
    own = (taught.model / "README.md").read_text()
    assert own.startswith("# A model")
    assert "| licence | unknown; see the base model |" in own
    shutil.copytree(demo_folder(), tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: other\nlicense_name: of ours\n---\n# A model\n")
    source = resolve(parse_spec(f"local-dir:{tmp_path / 'base'}"), announce=print)
    licence = licence_of_source(source)
    (tmp_path / "README.md").write_text(model_card(taught.report, data="captions", licence=licence))
    assert "| licence | other (of ours): that of the base model, by its card |" in (tmp_path / "README.md").read_text()
    assert licence_in(tmp_path) == licence == "other (of ours)"
    assert licence_of_source(replace(source, spec="ViT-B-32/openai")) == licence  # weights of a repository in the cache
    assert licence_of_source(replace(source, spec=f"RN50/{source.weights}")) is None  # a file among others
    assert licence_of_source(resolve(parse_spec("demo"), announce=print)) == "apache-2.0"


@pytest.mark.parametrize(
    ("alpha", "said"), [(1.0, "all of the training"), (0.4, "0.4 of the way from before to after")]
)
def test_how_much_of_the_training_is_kept_is_said_plainly(
    taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Command, alpha: float, said: str
) -> None:
    (tmp_path / "out").mkdir()
    report = replace(taught.report, alpha=alpha, out=str(tmp_path / "out"))
    monkeypatch.setattr("mmsearch.training.finetune_run.finetune", lambda *_, **__: report)
    done = command_line("finetune", "--out", tmp_path / "out")
    assert f"trained   a linear map on the text vectors; {said} kept\n" in done.out
    assert f"| kept | {said}, chosen on" in model_card(report, data="captions", licence=None)


def test_where_nothing_is_gained_nothing_is_written_and_the_exit_code_is_3(
    taught: Taught, command_line: Command
) -> None:
    gallery = taught.folder / "known"
    embed([taught.pictures], captions=[taught.folder / "data" / "captions.csv"], gallery=gallery, encoder="demo")
    done = command_line("finetune", "--out", taught.folder / "nothing", "-g", gallery, "--epochs", "0")
    assert done.code == 3
    assert "not surely better: nothing was written" in done.out
    assert not (taught.folder / "nothing").exists()


def test_an_out_that_exists_is_left_alone(taught: Taught, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(TrainingError, match="exists already"):
        finetune(tmp_path / "model", gallery=taught.gallery, options=MAP_ALONE)
    assert os.listdir(tmp_path / "model") == ["mine.txt"]


def test_a_disk_that_is_full_leaves_nothing(taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StoreError, match=r"cannot write the model.*No space left"):
        finetune(tmp_path / "model", gallery=taught.gallery, options=MAP_ALONE)
    assert os.listdir(tmp_path) == []


def test_what_should_be_kept_is_another_gallery(taught: Taught, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is another gallery"):
        finetune(tmp_path / "model", gallery=taught.gallery, retention=taught.gallery, options=MAP_ALONE)


def test_a_model_that_is_not_the_gallerys_is_refused(taught: Taught, tmp_path: Path) -> None:
    with pytest.raises(EncoderMismatch):
        finetune(tmp_path / "model", gallery=taught.gallery, encoder="demo", options=MAP_ALONE)
    assert os.listdir(tmp_path) == []


def test_a_map_of_nothing_is_the_identity() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(50, 8)).astype(np.float32)
    held = fit_text_map(texts, rng.normal(size=(50, 8)).astype(np.float32), strength=1e9)
    assert np.allclose(held, np.eye(8), atol=1e-6)
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    assert np.allclose(mapped(texts, held), unit, atol=1e-6)


def test_a_map_of_texts_that_are_all_the_same_is_the_identity() -> None:
    rng = np.random.default_rng(0)
    texts = np.repeat(rng.normal(size=(1, 8)).astype(np.float32), 50, axis=0)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    images = rng.normal(size=(50, 8)).astype(np.float32)
    for strength in STRENGTHS:
        assert np.array_equal(fit_text_map(texts, images, strength=strength), np.eye(8))


def test_the_same_seed_trains_the_same_tower_and_touches_neither_pictures_nor_words_that_do_not_come_up(
    taught: Taught,
) -> None:
    pairs = gallery_pairs(Gallery.open(taught.gallery)).of_images(np.arange(8))
    settings = TextSettings(epochs=2, batch=16)
    states = []
    for _ in range(2):
        trainable = open_trainable_model(taught.spoilt, device="cpu")
        before = trainable.state()
        trained = train_texts(trainable, pairs, settings)
        assert trained.log.losses[1] < trained.log.losses[0]
        states.append(trained.weights(1.0))
    changed = {name for name, tensor in states[0].items() if not torch.equal(tensor, before[name])}
    assert "text_projection" in changed
    assert not [name for name in changed if name.startswith("visual.")]
    assert "logit_scale" not in changed
    rows = (states[0]["token_embedding.weight"] != before["token_embedding.weight"]).any(dim=1)
    assert set(torch.nonzero(rows).flatten().tolist()) <= set(trainable.tokens(pairs.texts).flatten().tolist())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    half = trained.weights(0.5)["text_projection"]
    assert torch.allclose(half, (before["text_projection"] + states[0]["text_projection"]) / 2, atol=1e-6)


def told_apart(scores: list[float], right: int, left_out: set[int]) -> float:
    """Minus the logarithm of the softmax of one score among all that are not left out."""
    return math.log(sum(math.exp(each - scores[right]) for row, each in enumerate(scores) if row not in left_out))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_text_side_learns_by_the_loss_that_its_model_was_trained_with(tmp_path: Path, loss: str) -> None:
    """Pictures 0 and 1 share a sentence, and 2 and 3 show the same: those are no mistakes, wherever the picture is."""
    bias = {"init_logit_bias": -3.0, "custom_text": True} if loss == "sigmoid" else {}
    folder = write_tiny_model(tmp_path / "model", model={**SMALL, **bias})
    trainable = open_trainable_model(f"local-dir:{folder}", device="cpu")
    texts = ("a cat", "A  cat", "a dog", "two dogs", "a boat")
    images = random_unit_vectors(np.random.default_rng(0), 5, int(trainable.source.model_cfg["embed_dim"]))
    pairs = TrainingPairs(texts, np.arange(5), (None,) * 5, np.array([4, 5, 6, 6, 7]), images, images)
    scale = float(trainable.scale())
    scores = (scale * encode_texts(trainable, texts).astype(np.float64) @ images.T).tolist()
    left_out = {0: {1}, 1: {0}, 2: {3}, 3: {2}, 4: set[int]()}
    added = float(trainable.bias()) if loss == "sigmoid" else 0.0
    if loss == "softmax":
        columns = [list(each) for each in zip(*scores, strict=True)]
        each = [told_apart(row[number], number, left_out[number]) for row in (scores, columns) for number in range(5)]
        expected = sum(each) / 10
    else:
        expected = sum(
            math.log1p(math.exp((1 if image != text else -1) * (scores[text][image] + added)))
            for text in range(5)
            for image in range(5)
            if image not in left_out[text]
        ) / 5  # fmt: skip
    before = trainable.state()
    trained = train_texts(trainable, pairs, TextSettings(epochs=1, batch=8))
    assert trained.log.losses[0] == pytest.approx(expected, rel=1e-5)
    assert trained.settings["loss"] == loss
    assert (trained.log.untrained_loss is None) == (loss == "sigmoid")
    after = trained.weights(1.0)
    assert {"logit_scale", "logit_bias"} & {n for n in before if not torch.equal(before[n], after[n])} == set()
    assert any(not torch.equal(before[name], after[name]) for name in before if "token_embedding" in name)


def test_where_not_all_pictures_are_told_apart_the_hardest_are(tmp_path: Path) -> None:
    """One text at a time, its picture and one other: the best below 95 % of its own that is not nearly the same."""
    trainable = open_trainable_model(f"local-dir:{write_tiny_model(tmp_path / 'model', model=SMALL)}", device="cpu")
    texts = ("a cat", "one dog", "two boats", "red", "the sun at sea", "a big house")
    before = encode_texts(trainable, texts)
    images = before + 0.4 * random_unit_vectors(np.random.default_rng(1), 6, before.shape[1])
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    images[5] = images[4]  # copies
    pairs = TrainingPairs(texts, np.arange(6), (None,) * 6, np.array([0, 1, 2, 3, 4, 4]), images, before)
    scale, scores = float(trainable.scale()), before.astype(np.float64) @ images.T
    expected = []
    for text, row in enumerate(scores):
        same = {4, 5} if text in (4, 5) else {text}
        hard = [score for image, score in enumerate(row) if image not in same and score <= 0.95 * row[text]]
        assert hard
        expected.append(math.log1p(math.exp(scale * (max(hard) - row[text]))) / 2)
    settings = TextSettings(epochs=1, batch=1, rate=1e-12, told_apart=2, hard_negatives=1)
    trained = train_texts(trainable, pairs, settings)
    assert trained.log.losses[0] == pytest.approx(np.mean(expected), rel=1e-4)
    assert trained.settings["hard_negatives"] == 1


def small_pairs(folder: Path, texts: tuple[str, ...]) -> tuple[TrainableModel, TrainingPairs]:
    """A tiny model, and a picture for each text that lies near to it."""
    trainable = open_trainable_model(f"local-dir:{write_tiny_model(folder, model=SMALL)}", device="cpu")
    before = encode_texts(trainable, texts)
    images = before + 0.4 * random_unit_vectors(np.random.default_rng(1), *before.shape)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    count = len(texts)
    return trainable, TrainingPairs(texts, np.arange(count), (None,) * count, np.arange(count), images, before)


def test_hard_negatives_are_looked_for_before_each_epoch_by_the_texts_as_they_are_then(tmp_path: Path) -> None:
    trainable, pairs = small_pairs(tmp_path / "model", ("a cat", "one dog", "two boats", "red", "the sun", "a house"))
    asked: list[NDArray[np.float32]] = []

    def look(texts: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        asked.append(texts)
        return np.argsort(-texts @ pairs.image_vectors.T, axis=1)[:, :count]

    told: list[str] = []
    settings = TextSettings(epochs=3, batch=2, rate=1e-3, told_apart=4, hard_negatives=2)
    train_texts(trainable, pairs, settings, look=look, progress=lambda state: told.append(state.task))
    assert len(asked) == 3
    assert np.allclose(asked[0], pairs.text_vectors, atol=1e-6)
    assert not np.allclose(asked[1], asked[0], atol=1e-4)
    assert not np.allclose(asked[2], asked[1], atol=1e-4)
    assert list(dict.fromkeys(told)) == ["reading the texts", "looking for hard negatives", "training the text side"]


def test_pictures_of_which_the_same_is_said_take_no_place_of_hard_negatives() -> None:
    """Picture 1 has the caption of picture 0, and 2 shows the same as 1: what is said of 1 is true of it."""
    images = np.array([[1, 0], [0.9, 0.44], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    groups = np.array([0, 1, 1, 2, 3])
    texts = ("a dog", "A  dog", "two dogs", "a cat", "a boat")
    right = RightGroups.of(texts, np.arange(5), groups)
    mined = mine_hard_negatives(images, images, groups, count=2, nearly_the_same=2, right=right)
    assert mined[:3].tolist() == [[3, 4], [3, 4], [0, 4]]
    assert mine_hard_negatives(images, images, groups, count=2, nearly_the_same=2)[0].tolist() == [1, 2]


def test_each_text_is_told_apart_from_as_many_as_was_said_none_of_them_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable, pairs = small_pairs(tmp_path / "model", tuple(f"{number} boats" for number in range(12)))
    steps: list[tuple[list[int], list[int]]] = []
    mask = RightGroups.mask

    def record(right: RightGroups, texts: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.bool_]:
        steps.append((texts.tolist(), images.tolist()))
        return mask(right, texts, images)

    def look(texts: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        return np.tile(np.array([3, 8, 11]), (len(texts), 1))

    monkeypatch.setattr(RightGroups, "mask", record)
    train_texts(trainable, pairs, TextSettings(epochs=5, batch=4, told_apart=8, hard_negatives=2), look=look)
    drawn = set[int]()
    for texts, images in steps:
        assert images[:4] == texts
        assert len(images) == len(set(images)) == 8
        drawn |= set(images[4:])
    assert len(steps) == 15
    assert drawn == set(range(12))


def test_hard_negatives_are_looked_for_in_the_index_among_what_is_learned_from(
    taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = taught.copy_of_gallery(taught.folder / "indexed")
    index(gallery, options=IndexOptions(factory="HNSW32"))
    seen: list[tuple[TrainingPairs, Look]] = []

    def stop(_: object, pairs: TrainingPairs, __: object, *, look: Look, **___: object) -> None:
        seen.append((pairs, look))
        raise TrainingError("seen")

    monkeypatch.setattr("mmsearch.training.gallery_training.train_texts", stop)
    with pytest.raises(TrainingError, match="seen"):
        finetune(tmp_path / "model", gallery=gallery, options=FinetuneOptions(hard_negatives=2))
    (pairs, look) = seen[0]
    found = look(pairs.text_vectors[:40], 36)
    for text, rows in zip(pairs.text_vectors[:40], found, strict=True):
        inside = rows[rows >= 0]
        best = np.argsort(-(pairs.image_vectors @ text), kind="stable")[: len(inside)]
        assert 24 < len(inside) < 60 == len(rows)  # the others are held out, or chosen by
        assert len(set(inside.tolist()) & set(best.tolist())) >= len(inside) - 1


def test_hard_negatives_are_looked_for_exactly_where_the_index_finds_few_that_are_learned_from(taught: Taught) -> None:
    gallery = taught.copy_of_gallery(taught.folder / "few")
    pairs = gallery_pairs(Gallery.open(gallery))
    assert look_in_gallery(Gallery.open(gallery), pairs) is None
    index(gallery, options=IndexOptions(factory="Flat"))
    assert look_in_gallery(Gallery.open(gallery), pairs.of_images(np.arange(29))) is None
    assert look_in_gallery(Gallery.open(gallery), pairs.of_images(np.arange(30))) is not None
    assert look_in_gallery(Gallery.open(gallery), replace(pairs, rows=None)) is None
