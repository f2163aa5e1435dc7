"""Training both towers: losses and gradients against open_clip's and against plain ones, weights that are merged, runs
that are killed, pairs that are no mistakes."""

import copy
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor, nn

from mmsearch.encoders.open_clip_encoder import causal_text_tower
from mmsearch.errors import TrainingError
from mmsearch.training.augmentation import crop, random_boxes
from mmsearch.training.batches import PairTexts, chosen_captions, shuffled_rows, split_evenly
from mmsearch.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from mmsearch.training.gradient_cache import Chunk, backward_in_chunks, repeatable_randomness
from mmsearch.training.hard_negatives import mine_hard_negatives, order_with_hard_negatives
from mmsearch.training.losses import sigmoid_loss, softmax_loss, untrained_softmax_loss
from mmsearch.training.low_rank import Adapters, adapted_weights
from mmsearch.training.schedule import learning_rate
from mmsearch.training.tower_settings import TowerMethod, TowerSettings
from mmsearch.training.tower_training import TrainedTowers, train_towers
from mmsearch.training.trainable_model import TrainableModel, open_trainable_model
from tests.models import write_tiny_model

NOUNS = ("cat", "dog", "boat", "house", "tree", "car", "sun", "moon", "bird", "fish", "kite", "tent")
SMALL = {"vision_cfg": {"layers": 1, "width": 32}, "text_cfg": {"layers": 1, "width": 16, "context_length": 16}}


def unit(rows: int, dim: int, seed: int) -> Tensor:
    vectors = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.functional.normalize(vectors, dim=-1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"), model=SMALL)


def a_task(count: int = 12) -> tuple[NDArray[np.uint8], list[list[str]], NDArray[np.int64]]:
    """Pictures of one colour each, and two captions of each."""
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(0, 256, (count, 1, 1, 3)), 32, axis=1).repeat(32, axis=2).astype(np.uint8)
    captions = [[f"a {NOUNS[row % 12]}", f"the {NOUNS[row % 12]} of {NOUNS[(row + 1) % 12]}"] for row in range(count)]
    return pixels, captions, np.arange(count)


@cache
def loaded(folder: Path) -> TrainableModel:
    return open_trainable_model(f"local-dir:{folder}", device="cpu")


def fresh(folder: Path) -> TrainableModel:
    """The model as it was before anybody trained it. Loading it again would take most of the time of these tests."""
    model = copy.deepcopy(loaded(folder).model)
    return replace(loaded(folder), model=model, short_texts=causal_text_tower(model))


def trained(folder: Path, settings: TowerSettings, **options: Any) -> TrainedTowers:
    return train_towers(fresh(folder), *a_task(), settings, **options)


def assert_same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


# --- losses -----------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_open_clip() -> None:
    images, texts, scale, bias = unit(9, 8, 0), unit(9, 8, 1), torch.tensor(14.0).double(), torch.tensor(-3.0).double()
    nothing = torch.zeros(9, 9, dtype=torch.bool)
    torch.testing.assert_close(softmax_loss(images, texts, scale, nothing), ClipLoss()(images, texts, scale))
    expected = SigLipLoss()(images, texts, scale, bias)
    torch.testing.assert_close(sigmoid_loss(images, texts, scale, nothing, bias), expected)


def biased(images: Tensor, texts: Tensor, scale: Tensor, left_out: Tensor) -> Tensor:
    return sigmoid_loss(images, texts, scale, left_out, torch.tensor(-1.0).double())


@pytest.mark.parametrize("loss", [softmax_loss, biased])
def test_a_pair_that_is_left_out_has_no_say(loss: Callable[..., Tensor]) -> None:
    """Wherever its text moves, so long as the others see no difference."""
    images, texts, scale = unit(3, 4, 0), unit(3, 4, 1), torch.tensor(5.0).double()
    out = torch.zeros(3, 3, dtype=torch.bool)
    out[0, 1] = True
    texts.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(images, texts, scale, out), texts)
    # What text 1 is pulled by does not depend on image 0 any more.
    moved = images.clone()
    moved[0] = unit(1, 4, 7)[0]
    (again,) = torch.autograd.grad(loss(moved, texts, scale, out), texts)
    torch.testing.assert_close(gradient[1], again[1])
    assert not torch.allclose(gradient[2], again[2])


def test_images_beyond_the_last_text_are_wrong_for_all() -> None:
    """Against plain loops; image 4 is left out for text 0, and image 1 for text 2."""
    images, texts = unit(5, 4, 0), unit(3, 4, 1)
    out = torch.zeros(5, 3, dtype=torch.bool)
    out[4, 0] = out[1, 2] = True
    logits = (5 * images @ texts.T).tolist()
    of_texts = [
        math.log(sum(math.exp(logits[image][text]) for image in range(5) if not out[image, text])) - logits[text][text]
        for text in range(3)
    ]
    of_images = [
        math.log(sum(math.exp(logits[image][text]) for text in range(3) if not out[image, text])) - logits[image][image]
        for image in range(3)
    ]
    scale = torch.tensor(5.0).double()
    assert float(softmax_loss(images, texts, scale, out)) == pytest.approx((sum(of_texts) + sum(of_images)) / 6)
    each = [
        math.log1p(math.exp((-1 if image == text else 1) * (logits[image][text] - 1)))
        for image in range(5)
        for text in range(3)
        if not out[image, text]
    ]
    assert float(biased(images, texts, scale, out)) == pytest.approx(sum(each) / 3)
    flat = torch.ones(5, 4).double() / 2
    assert untrained_softmax_loss(out) == pytest.approx(float(softmax_loss(flat, flat[:3], scale, out)))


def test_copies_and_shared_sentences_are_left_out() -> None:
    """Pictures 0 and 1 are copies; 2 and 3 share a sentence, but for case; 4 is alone."""
    captions = [["a red cat", "a cat"], ["something red"], ["a dog", "two dogs"], ["A  Dog"], ["a boat"]]
    texts = PairTexts.of(captions, [7, 7, 1, 2, 3])
    out = texts.left_out([0, 1, 2, 3, 4], np.array([0, 0, 1, 0, 0]))
    # Text 3 ("A  Dog") is said of picture 2 too; text 2 ("two dogs") is not said of picture 3.
    assert sorted(map(tuple, np.argwhere(out).tolist())) == [(0, 1), (1, 0), (2, 3)]


# --- gradient caching -------------------------------------------------------------------------------------------------


class Tower(nn.Module):
    """With dropout, which a second encoding has to draw alike."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Dropout(0.3), nn.Linear(32, 8))

    def forward(self, given: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(given), dim=-1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_chunks_give_the_gradient_of_the_whole_batch(dtype: torch.dtype, tolerance: float) -> None:
    """Against one graph over all chunks, which keeps everything in memory."""
    towers = [Tower(0).to(dtype), Tower(1).to(dtype)]
    log_scale = nn.Parameter(torch.tensor(1.2, dtype=dtype))
    given = [torch.randn(20, 6, dtype=dtype), torch.randn(20, 6, dtype=dtype)]
    rows = [torch.split(torch.randperm(20), 7), torch.split(torch.arange(20), 5)]
    parameters = [log_scale, *(each for tower in towers for each in tower.parameters())]

    def loss(images: Tensor, texts: Tensor) -> Tensor:
        return softmax_loss(images, texts, log_scale.exp(), torch.zeros(20, 20, dtype=torch.bool))

    def chunk(side: int, part: Tensor) -> Chunk:
        return Chunk(part, lambda: towers[side](given[side][part]))

    value = backward_in_chunks(loss, [[chunk(side, part) for part in rows[side]] for side in (0, 1)], seed=3)
    gradients = [parameter.grad for parameter in parameters]

    whole = []
    for side in (0, 1):
        encoded = torch.empty(20, 8, dtype=dtype)
        for number, part in enumerate(rows[side]):
            with repeatable_randomness(3, side, number):
                encoded[part] = towers[side](given[side][part])
        whole.append(encoded)
    expected = torch.autograd.grad(loss(*whole), parameters)
    torch.testing.assert_close(value, loss(*whole).detach())
    for gradient, other in zip(gradients, expected, strict=True):
        assert gradient is not None
        assert float((gradient - other).abs().max()) <= tolerance * float(other.abs().max().clamp(min=1))


def test_the_size_of_chunks_changes_nothing_but_the_memory(tiny: Path) -> None:
    """Without dropout the gradient of a batch of 12 is the same in chunks of 5 as at once."""
    from mmsearch.training.tower_training import TrainingRun

    gradients = []
    for chunk in (5, 64):
        trainable = fresh(tiny)
        _, captions, contents = a_task()
        pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)  # whose crops differ
        run = TrainingRun(trainable, pixels, PairTexts.of(captions, contents), TowerSettings("full", chunk=chunk))
        run.train_step()
        gradients.append({name: each.grad for name, each in trainable.model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=1e-4)


def test_randomness_inside_leaves_that_outside_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with repeatable_randomness(1, 2):
        inside = torch.rand(3)
    with repeatable_randomness(1, 2):
        torch.testing.assert_close(torch.rand(3), inside)
    with repeatable_randomness(2, 1):
        assert not torch.allclose(torch.rand(3), inside)
    torch.testing.assert_close(torch.rand(3), expected)


# --- LoRA -------------------------------------------------------------------------------------------------------------


def test_adapters_begin_as_nothing_and_are_merged_as_they_were(tiny: Path) -> None:
    trainable = fresh(tiny)
    names = list(trainable.state())
    ids = trainable.tokens(["a cat", "the dog of a boat"])
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def vectors() -> list[Tensor]:
        with torch.no_grad():
            return [trainable.encode_images(pixels), trainable.encode_texts(ids)]

    before = vectors()
    adapters = Adapters(trainable.model, rank=4, tokens=torch.unique(ids.long()), seed=0)
    for one, other in zip(before, vectors(), strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    adapted = vectors()
    assert all(not torch.allclose(one, other, atol=1e-3) for one, other in zip(before, adapted, strict=True))
    adapters.merge()
    for one, other in zip(adapted, vectors(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert sorted(trainable.state()) == sorted(names)


def test_attention_layers_and_convolutions_are_adapted_and_patches_are_not(tiny: Path) -> None:
    def names(model: Any) -> set[str]:
        of_module = {module: name for name, module in model.named_modules()}
        return {f"{of_module[module]}.{name}" for module, name in adapted_weights(model)}

    transformer = names(fresh(tiny).model)
    block = "visual.transformer.resblocks.0"
    expected = {"attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"}
    assert {f"{block}.{name}" for name in expected} <= transformer
    assert "visual.conv1.weight" not in transformer
    residual = names(open_trainable_model("demo", device="cpu").model)
    assert {"visual.layer1.0.conv2.weight", "visual.attnpool.q_proj.weight"} <= residual


# --- schedule, batches, crops -----------------------------------------------------------------------------------------


def test_every_row_comes_once_an_epoch_and_every_caption_in_turn() -> None:
    order = shuffled_rows(23, seed=1, epoch=4)
    assert sorted(order) == list(range(23))
    assert order != shuffled_rows(23, seed=1, epoch=5)
    batches = split_evenly(order, 10)
    assert [len(batch) for batch in batches] == [8, 8, 7]
    assert [row for batch in batches for row in batch] == order
    counts = np.array([1, 2, 3])
    seen = np.array([chosen_captions(counts, seed=0, epoch=epoch) for epoch in range(6)])
    assert [sorted(set(column)) for column in seen.T.tolist()] == [[0], [0, 1], [0, 1, 2]]


def test_the_rate_rises_for_a_share_of_the_steps_and_falls_to_nothing() -> None:
    rates = [learning_rate(step, 200, peak=2.0, warm_up=0.1) for step in range(200)]
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert max(rates) == rates[19] == 2.0
    assert rates[-1] < 0.001
    assert learning_rate(0, 1, peak=2.0, warm_up=0.1) == 2.0


def test_crops_are_parts_of_the_picture_at_its_size() -> None:
    def cropped(pixels: Tensor) -> Tensor:
        return crop(pixels, random_boxes(len(pixels), 0.5, torch.Generator().manual_seed(0)))

    ramp = torch.linspace(0, 1, 32).expand(2000, 3, 32, 32)
    parts = cropped(ramp)
    assert parts.shape == ramp.shape
    assert bool((parts.diff(dim=-1) >= -1e-6).all()), "never mirrored"
    width = (parts[:, 0, 0, -1] - parts[:, 0, 0, 0]) / (ramp[0, 0, 0, -1] - ramp[0, 0, 0, 0])
    assert 0.55 < float(width.min()) < 0.7
    assert 0.97 < float(width.max()) < 1.01
    assert torch.equal(parts, cropped(ramp))
    torch.testing.assert_close(cropped(torch.ones(4, 3, 8, 8)), torch.ones(4, 3, 8, 8))


# --- hard negatives ---------------------------------------------------------------------------------------------------


def test_what_may_be_right_is_no_hard_negative() -> None:
    """Of the text at 0 degrees, whose own picture stands at 40: pictures by their angle."""
    angles = np.deg2rad([40, 43, 46, 60, 75, 180])
    images = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    texts = np.tile(np.array([1, 0], np.float32), (6, 1))
    contents = np.array([0, 1, 2, 0, 4, 5])
    # 43 and 46 degrees score above or near 95 % of cos 40 = 0.766, whose share is 0.728 (43.3 degrees), and 46 is
    # nearly the same picture (cosine 0.995); 60 degrees is a copy of the text's own picture.
    mined = mine_hard_negatives(images, texts, contents, count=2)
    assert mined[0].tolist() == [4, 5]
    assert mine_hard_negatives(images, texts, np.arange(6), count=1)[0].tolist() == [3]
    # Whose own picture scores nothing has no measure of what is hard.
    assert mined[5].tolist() == [-1, -1]


def test_pictures_of_which_the_same_is_said_are_no_hard_negatives_of_towers(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever caption speaks for a picture: those of rows 0 and 3 share their second one."""
    from mmsearch.training import tower_training

    mined: list[NDArray[np.int64]] = []

    def mine(images: Any, texts: Any, contents: Any, **options: Any) -> NDArray[np.int64]:
        everything = np.tile(np.arange(len(images)), (len(texts), 1))
        texts = images  # each picture's own text is the most like it, all others come near
        found = mine_hard_negatives(images, texts, contents, **{**options, "share": 2.0, "nearly_the_same": 2.0},
                                    look=lambda texts, _: everything[: len(texts)])  # fmt: skip
        mined.append(found)
        return found

    monkeypatch.setattr(tower_training, "mine_hard_negatives", mine)
    pixels, captions, contents = a_task(8)
    captions[0][1] = captions[3][1] = "both of them"
    settings = TowerSettings("full", epochs=2, batch=8, chunk=8, hard_negatives=1)
    train_towers(fresh(tiny), pixels, captions, contents, settings)
    told = [chosen_captions(np.full(8, 2), seed=0, epoch=epoch) for epoch in range(2)]
    for found, captions_chosen in zip(mined, told, strict=True):
        for row, other in ((0, 3), (3, 0)):
            assert (other in found[row]) == (captions_chosen[row] == 0), "right for the shared caption alone"


def test_hard_negatives_stand_beside_their_row_and_all_come_once() -> None:
    rng = np.random.default_rng(0)
    mined = rng.integers(-1, 50, (50, 4))
    order = rng.permutation(50).tolist()
    ordered = order_with_hard_negatives(order, mined, each=2)
    assert sorted(ordered) == list(range(50))
    first = next(row for row in mined[order[0]].tolist() if row >= 0 and row != order[0])
    assert ordered[:2] == [order[0], first]


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_learns_and_the_same_seed_gives_the_same_weights(tiny: Path, method: Any) -> None:
    settings = TowerSettings(method, epochs=10, batch=12, chunk=5, peak_rate=3e-3, hard_negatives=1, rank=4)
    first = trained(tiny, settings)
    assert first.epochs[-1].loss < 0.7 * first.epochs[0].loss
    assert all(each.untrained_loss == pytest.approx(math.log(12)) and each.scale <= 100 for each in first.epochs)
    assert (first.steps, len(first.epochs)) == (10, 10)
    assert_same_weights(first.state, trained(tiny, settings).state)
    # An ordinary model: open_clip's own names and shapes.
    before = fresh(tiny).state()
    assert {name: each.shape for name, each in before.items()} == {n: each.shape for n, each in first.state.items()}


def test_embeddings_of_words_that_do_not_come_up_stay(tiny: Path) -> None:
    """Weight decay would wear them away."""
    before = fresh(tiny).state()["token_embedding.weight"]
    methods: tuple[TowerMethod, ...] = ("lora", "full")
    for method in methods:
        settings = TowerSettings(method, epochs=3, batch=6, peak_rate=3e-3)
        changed = (trained(tiny, settings).state["token_embedding.weight"] != before).any(dim=1)
        assert 10 < int(changed.sum()) < 30


def test_a_model_with_a_bias_is_trained_with_the_sigmoid_loss(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path, model={**SMALL, "init_logit_bias": -10, "custom_text": True})
    settings = TowerSettings("full", epochs=10, peak_rate=3e-3)
    before = fresh(folder).state()
    done = trained(folder, settings)
    assert done.epochs[0].untrained_loss is None
    assert done.epochs[-1].loss < done.epochs[0].loss
    assert not torch.equal(done.state["logit_bias"], before["logit_bias"])


def test_statistics_of_batch_normalisation_stay() -> None:
    trainable = open_trainable_model("demo", device="cpu")
    before = trainable.state()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    done = train_towers(trainable, pixels, [["a"], ["b"], ["c"], ["d"]], np.arange(4), TowerSettings("full", epochs=1))
    moved = {name for name in before if not torch.equal(before[name], done.state[name])}
    assert not [name for name in moved if "running" in name or "num_batches" in name]
    assert "visual.layer1.0.conv1.weight" in moved


class Killed(Exception):
    """In place of a kill: nothing after it runs."""


@pytest.mark.parametrize(("method", "hard", "after"), [("lora", 0, 1), ("lora", 1, 6), ("full", 2, 5)])
def test_a_run_that_goes_on_from_a_checkpoint_ends_as_one_that_was_never_stopped(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, hard: int, after: int
) -> None:
    """Stopped in the middle of an epoch or at its end."""
    from mmsearch.training import tower_training

    settings = TowerSettings(method, epochs=3, batch=4, chunk=3, peak_rate=1e-3, hard_negatives=hard, rank=2)
    whole = trained(tiny, settings)
    file, steps = tmp_path / "checkpoint.safetensors", 0
    step = tower_training.TrainingRun.train_step

    def stopped(run: Any) -> None:
        nonlocal steps
        if steps == after:
            raise Killed
        steps += 1
        step(run)

    with monkeypatch.context() as patched:
        patched.setattr(tower_training.TrainingRun, "train_step", stopped)
        with pytest.raises(Killed):
            trained(tiny, settings, checkpoint=file, every_seconds=0.0)
    found = read_checkpoint(file, json.loads(_about(file))["run"])
    assert found is not None
    assert found.step == after
    resumed = trained(tiny, settings, checkpoint=file)
    assert_same_weights(whole.state, resumed.state)
    assert resumed.epochs == whole.epochs


def _about(file: Path) -> str:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        about: str = opened.metadata()["checkpoint"]
        return about


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    trained(tiny, TowerSettings("lora", epochs=1), checkpoint=file)
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors is the checkpoint of a run with other"):
        trained(tiny, TowerSettings("lora", epochs=2), checkpoint=file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"is damaged .* delete it"):
        trained(tiny, TowerSettings("lora", epochs=1), checkpoint=file)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    assert read_checkpoint(file, "run") is None
    tensors = {"a": torch.arange(3), "b": torch.randn(2, 2).bfloat16()}
    write_checkpoint(file, Checkpoint("run", 5, "{}", tensors))
    found = read_checkpoint(file, "run")
    assert found is not None
    assert (found.step, found.log) == (5, "{}")
    assert_same_weights(dict(found.tensors), tensors)


def test_a_loss_that_is_no_number_stops_the_run_and_says_why(tiny: Path) -> None:
    with pytest.raises(TrainingError, match=r"no number any more in step .*--rate"):
        trained(tiny, TowerSettings("full", epochs=40, peak_rate=1e30, warm_up=0.0))


def test_one_picture_and_its_copies_are_nothing_to_compare(tiny: Path) -> None:
    trainable = fresh(tiny)
    pixels, captions, _ = a_task(3)
    with pytest.raises(TrainingError, match="two at least"):
        train_towers(trainable, pixels, captions, [4, 4, 4], TowerSettings("lora"))


def test_towers_of_others_are_refused() -> None:
    with pytest.raises(TrainingError, match="no model of open_clip"):
        open_trainable_model("hf:someone/something")


_RUN = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from mmsearch.training.tower_settings import TowerSettings
from tests.test_tower_training import trained
model, checkpoint, target = map(Path, sys.argv[1:])
settings = TowerSettings("lora", epochs=30, batch=4, chunk=3, peak_rate=1e-3, hard_negatives=1)
save_file(trained(model, settings, checkpoint=checkpoint, every_seconds=0.0).state, target)
"""


@pytest.mark.soak
def test_a_run_that_is_killed_and_begun_again_ends_as_one_that_never_was(tiny: Path, tmp_path: Path) -> None:
    """By SIGKILL, at two moments of the same run."""
    from safetensors.torch import load_file

    def begin(checkpoint: str, target: str) -> "subprocess.Popen[bytes]":
        paths = map(str, (tiny, tmp_path / checkpoint, tmp_path / target))
        return subprocess.Popen([sys.executable, "-c", _RUN, *paths])

    assert begin("never", "never.safetensors").wait(240) == 0
    for steps in (1, 50):
        child = begin("killed", "killed.safetensors")
        while child.poll() is None and _steps_in(tmp_path / "killed") < steps:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert begin("killed", "killed.safetensors").wait(240) == 0
    assert_same_weights(*(load_file(tmp_path / f"{name}.safetensors") for name in ("never", "killed")))


def _steps_in(file: Path) -> int:
    try:
        return int(json.loads(_about(file))["step"])
    except FileNotFoundError:
        return 0
