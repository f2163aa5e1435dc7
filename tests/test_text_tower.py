"""The text tower without torch: the same tokens and the same vectors as open_clip's, or it is not used."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.embedding import EmbedOptions, embed
from mmsearch.encoders import Encoder, EncoderRequest, laying_out
from mmsearch.encoders.open_clip_provider import without_torch
from mmsearch.encoders.text_layout import lay_out_texts
from mmsearch.encoders.tokens import _ClipTokenizer
from mmsearch.encoders.torch_parts import Unsuited
from mmsearch.identity import EncoderIdentity
from mmsearch.search.open_gallery import open_gallery
from mmsearch.towers import large_vocabulary, transformer
from mmsearch.towers import text_tokens as tokens
from mmsearch.towers import tower_files as files
from mmsearch.towers.sides import TEXT, AnyTextDesign, make_text_tower
from mmsearch.towers.text_tokens import CLEANERS, HubTokens, TokenizerRecord, make_tokenizer
from mmsearch.towers.tower_files import NoTower, StoredTower
from mmsearch.towers.transformer import ACTIVATIONS
from tests.models import random_weights, write_random_model, write_tiny_model

CONFIGS = Path(open_clip.__file__).parent / "model_configs"
TINY_VISION = {"image_size": 8, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
END = 49407  # what CLIP's tokenizer ends texts with
FINGERPRINT = "sha256:" + "0" * 64
IDENTITY = EncoderIdentity("small", FINGERPRINT, 24)

Stored = StoredTower[AnyTextDesign, TokenizerRecord]


def write_tower(tower: Stored) -> None:
    files.write_tower(TEXT, tower)


def read_tower(fingerprint: str) -> Stored:
    return files.read_tower(TEXT, fingerprint)


def text_side_of(identity: EncoderIdentity, announce: Callable[[str], object]) -> Encoder | None:
    """What a query on a CPU opens for the texts of a gallery; None where torch has to be loaded."""
    said = cast(Callable[[str], None], announce)
    return without_torch(EncoderRequest(identity.spec, frozenset({"text"}), "cpu", "fp32", identity, said))


# --- vectors ----------------------------------------------------------------------------------------------------------


def own_text_configs() -> Iterator[Any]:
    """The distinct text sides among open_clip's configs, those of the package transformers left out; small of width,
    layers and vocabulary."""
    seen = set()
    for file in sorted(CONFIGS.glob("*.json")):
        config = json.loads(file.read_text())
        text = config["text_cfg"]
        if "hf_model_name" in text:
            continue
        kept = {key: config[key] for key in ("custom_text", "quick_gelu") if config.get(key)}
        kept["kind"] = "CoCa" if "multimodal_cfg" in config else "CustomTextCLIP" if "custom_text" in config else "CLIP"
        aside = ("hf_tokenizer_name", "tokenizer_kwargs", "layers", "width", "vocab_size")
        kept["text_cfg"] = {key: value for key, value in text.items() if key not in aside}
        kept["hub"] = "hf_tokenizer_name" in text
        if kept["hub"] and text.get("pool_type") == "eos":  # so that CLIP's tokenizer, which tests have, ends texts so
            kept["text_cfg"]["eos_id"] = END
        key = json.dumps(kept, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield pytest.param(kept, id=file.stem)


def small_model(config: dict[str, Any]) -> Any:
    """A model with random weights whose text side is as the config says, but for its size."""
    text = {**config["text_cfg"], "layers": 2, "width": 4 * config["text_cfg"]["heads"], "vocab_size": 49408}
    parts: dict[str, Any] = {"embed_dim": 24, "text_cfg": text, "vision_cfg": TINY_VISION}
    if config["kind"] == "CoCa":
        parts["vision_cfg"] = {**TINY_VISION, "output_tokens": True}
        parts["multimodal_cfg"] = {"context_length": text["context_length"], "width": 16, "heads": 2, "layers": 1}
    return with_random_weights(getattr(open_clip, config["kind"])(**parts, quick_gelu=config.get("quick_gelu", False)))


def with_random_weights(model: Any) -> Any:
    rng = np.random.default_rng(0)
    state = model.state_dict()
    model.load_state_dict(
        {name: torch.from_numpy(random_weights(rng, name, tuple(state[name].shape))) for name in state}
    )
    return model.eval()


WORDS = "a photo of two brown dogs , and 17 children in red coats ! on the beach isn't it ? sunset & café 日本"


def captions() -> list[str]:
    """100 of all lengths: empty ones, one of each number of words to beyond every context, and two enormous ones."""
    rng = np.random.default_rng(0)
    lengths = [0, 0, *range(1, 97), 150, 5000]
    return [" ".join(rng.choice(WORDS.split(), length)) for length in lengths]


def hub_ids(context: int, eos_id: int) -> NDArray[np.int64]:
    """Token ids as tokenizers of the hub frame them: text, end of text, padding; cut at the context."""
    rng = np.random.default_rng(0)
    ids = np.full((100, context), 0 if eos_id else 1, np.int64)
    for row, length in enumerate(np.linspace(0, context + 9, 100).astype(int)):
        text = [*rng.integers(3, 1000, length).tolist(), eos_id]
        ids[row, : min(len(text), context)] = [*text[: context - 1], eos_id][: min(len(text), context)]
    return ids


@cache
def clip_tokenizer(context_length: int) -> Any:
    return _ClipTokenizer({"context_length": context_length}, {}, None)


def relative_error(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Of normalised vectors, centred: the greatest distance as a share of the distance from the mean."""
    ours, theirs = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (ours, theirs))
    apart = np.linalg.norm((ours - ours.mean(axis=0)) - (theirs - theirs.mean(axis=0)), axis=1)
    return float((apart / np.linalg.norm(theirs - theirs.mean(axis=0), axis=1)).max())


@pytest.mark.parametrize("config", list(own_text_configs()))
def test_vectors_equal_torchs(config: dict[str, Any]) -> None:
    model, text = small_model(config), config["text_cfg"]
    tokenizer = clip_tokenizer(text["context_length"])
    tower = lay_out_texts(model, tokenizer, IDENTITY)
    ids = hub_ids(text["context_length"], text.get("eos_id", 1)) if config["hub"] else tokenizer(captions()).ids
    with torch.inference_mode():
        expected = model.encode_text(torch.from_numpy(ids)).numpy()
    assert relative_error(make_text_tower(tower.design, tower.weights).encode(ids), expected) < 2e-5


@pytest.mark.soak
@pytest.mark.parametrize("arch", ["ViT-B-32", "ViT-L-14"])
def test_full_size_vectors_equal_torchs(arch: str, tmp_path: Path) -> None:
    folder = write_random_model(tmp_path / "model", arch)
    encoder = encoders.open(f"local-dir:{folder}", device="cpu")
    tower = text_side_of(encoder.identity, announce=pytest.fail)
    assert tower is not None
    ours, theirs = tower.text.encode(captions()), encoder.text.encode(captions())
    assert relative_error(ours.vectors, theirs.vectors) < 1e-4
    assert ours.truncated.tolist() == theirs.truncated.tolist()


def test_gelu_is_right_to_the_seventh_digit() -> None:
    x = np.linspace(-6, 6, 10_001, dtype=np.float32)
    exact = torch.nn.functional.gelu(torch.from_numpy(x.astype(np.float64))).numpy()
    assert (np.abs(ACTIVATIONS["gelu"](x) - exact) / np.maximum(1, np.abs(x))).max() < 2e-7
    far = np.array([-1e4, 1e4], np.float32)  # nothing overflows
    for activate in ACTIVATIONS.values():
        assert activate(far).tolist() == [0, 1e4]


# --- tokens -----------------------------------------------------------------------------------------------------------

ODD_TEXTS = [
    "",
    " \t\n ",
    "A photo of a Dog's   tail; it'll WAG, they're 42 and 3.14!",
    "don't DON'T I'M we've 'S",
    "caf\u00e9 na\u00efve \u00c3\u00a9 \ufb01ne \uff2c\uff2f\uff35\uff24 \u201cquoted\u201d it\u2019s",
    "AT&amp;T &lt;b&gt; &amp;amp; & &hellip; <b>&amp;</b>",
    "日本語 русский ελληνικά हिन्दी العربية 한국어",
    "😀👍🏽 👨‍👩‍👧 e\u0301 \u200b\u2028x\u00a0y",
    "x\x00y\x07z\x1b[31mred\x1b[0m \x0b \x0c \r\n \x1c \x85",
    "<start_of_text>dog<end_of_text> <START_OF_TEXT>",
    "a_b __init__ snake_case",
    "word" * 500,
    "!!! ??? ... ---- ½ ² ⅷ ٣",
    "\u212a \u017f K s",
    "\ud83d lone surrogate",
]


@pytest.mark.parametrize("clean", CLEANERS)
def test_texts_are_cleaned_as_open_clip_does(clean: str) -> None:
    expected = open_clip.tokenizer.get_clean_fn(clean)
    for text in ODD_TEXTS:
        assert CLEANERS[clean](text) == expected(text)


def tokens_of(text: str, clean: str = "lower") -> tuple[Any, Any]:
    """(ours, open_clip's) token ids of a text, in a context that holds it."""
    ours, theirs = tokenizers_of(clean)
    return ours([text]).ids.tolist(), theirs([text]).tolist()


@cache
def tokenizers_of(clean: str) -> tuple[Any, Any]:
    record = _ClipTokenizer({"context_length": 77}, {"clean": clean}, None).record()
    return make_tokenizer(record), open_clip.SimpleTokenizer(clean=clean)


@pytest.mark.parametrize("clean", CLEANERS)
def test_odd_texts_have_open_clips_tokens(clean: str) -> None:
    for text in ODD_TEXTS:
        if text.isprintable() or "\ud83d" not in text:  # a lone surrogate is no text; neither tokenizer takes it
            ours, theirs = tokens_of(text, clean)
            assert ours == theirs, text


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=60) | st.text(st.characters(max_codepoint=0x17F), max_size=60))
def test_any_text_has_open_clips_tokens(text: str) -> None:
    try:
        expected = tokens_of(text)[1]
    except UnicodeEncodeError:
        return
    assert tokens_of(text)[0] == expected


def test_real_captions_have_open_clips_tokens(shared_data: Path) -> None:
    lines = (shared_data / "flickr8k" / "captions.txt").read_text("utf-8").splitlines()[1:4001]
    texts = [line.partition(",")[2] for line in lines]
    ours, theirs = tokenizers_of("lower")
    assert np.array_equal(ours(texts).ids, theirs(texts).numpy())


def test_a_long_text_is_tokenised_as_far_as_the_model_reads() -> None:
    """As open_clip does it, which tokenises all of it: texts of many words, and one word of thousands of letters."""
    rng = np.random.default_rng(5)
    word = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 4_000))
    texts = [word, "snow" * 2_000, f"a dog {word}", "red dog, " * 12_000, " " * 100_000 + "dog", "&amp;" * 20_000]
    ours, theirs = tokenizers_of("lower")
    assert np.array_equal(ours(texts).ids, theirs(texts).numpy())
    reference = _ClipTokenizer({"context_length": 77}, {}, None)(texts)
    assert np.array_equal(reference.ids, ours(texts).ids)
    assert reference.truncated.tolist() == ours(texts).truncated.tolist() == [True, True, True, True, False, True]


def test_a_word_without_end_costs_no_more_than_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joining its letters is quadratic work, and a stranger may send one."""
    ours, _ = tokenizers_of("lower")
    joined = []

    def last_letter(letters: Sequence[str]) -> list[str]:
        joined.append(len(letters))
        return [f"{letters[-1]}</w>"]

    monkeypatch.setattr(ours, "_parts", last_letter)
    ours(["x" * 1_000_000])
    assert joined == [77 * 32]


def test_words_of_strangers_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = tokenizers_of("lower")
    monkeypatch.setattr("mmsearch.towers.text_tokens._MOST_KNOWN", len(ours._known) + 5)
    ours([f"{'abcdefghij'[number]}qxz" for number in range(10)])
    assert len(ours._known) == tokens._MOST_KNOWN


def test_what_does_not_fit_is_reported() -> None:
    ours, _ = tokenizers_of("lower")
    assert ours(["dog " * 75, "dog " * 76, "", "dog " * 500]).truncated.tolist() == [False, True, False, True]


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "text_towers"


@pytest.fixture(scope="module")
def small_tower() -> Stored:
    config = {"kind": "CLIP", "text_cfg": {"context_length": 77, "heads": 2}}
    return lay_out_texts(small_model(config), clip_tokenizer(77), IDENTITY)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_tower_is_readable_for_whom_the_user_lets_read(
    towers: Path, small_tower: Stored, umask: int, mode: int
) -> None:
    """Of a cache that several users share, each must read what another laid out."""
    before = os.umask(umask)
    try:
        write_tower(small_tower)
    finally:
        os.umask(before)
    (file,) = towers.glob("*.safetensors")
    assert file.stat().st_mode & 0o777 == mode


def of(tower: Stored, fingerprint: str) -> Stored:
    return replace(tower, fingerprint=fingerprint)


def numbered(number: int) -> str:
    return f"sha256:{number:064x}"


def test_a_tower_comes_back_as_it_was(small_tower: Stored, towers: Path) -> None:
    write_tower(small_tower)
    found = read_tower(FINGERPRINT)
    assert (found.fingerprint, found.dim, found.design, found.input) == (
        FINGERPRINT,
        24,
        small_tower.design,
        small_tower.input,
    )
    assert found.weights.keys() == small_tower.weights.keys()
    assert all(np.array_equal(found.weights[name], small_tower.weights[name]) for name in found.weights)
    assert sorted(file.suffix for file in towers.iterdir()) == [".hash", ".safetensors"]


def damage_by_cutting(file: Path, _: Stored | None = None) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def damage_by_emptying(file: Path, _: Stored) -> None:
    file.write_bytes(b"")


def damage_by_zeros(file: Path, _: Stored) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def damage_in_the_header(file: Path, _: Stored) -> None:
    content = bytearray(file.read_bytes())
    content[20:40] = b"\xff" * 20
    file.write_bytes(content)


def damage_by_a_bit(file: Path, _: Any) -> None:
    """In the middle of the weights, by whom keeps the file's time: as a copy of a failing disk would."""
    state, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def damage_by_another_encoders(file: Path, tower: Stored) -> None:
    write_tower(of(tower, numbered(7)))
    (file.parent / f"{7:064x}.safetensors").replace(file)


@pytest.mark.parametrize(
    "damage",
    [
        damage_by_cutting,
        damage_by_emptying,
        damage_by_zeros,
        damage_by_a_bit,
        damage_in_the_header,
        damage_by_another_encoders,
    ],
)
def test_a_damaged_tower_is_not_used(damage: Any, small_tower: Stored, towers: Path) -> None:
    write_tower(small_tower)
    damage(towers / f"{'0' * 64}.safetensors", small_tower)
    with pytest.raises(NoTower, match="made anew"):
        read_tower(FINGERPRINT)
    write_tower(small_tower)
    assert read_tower(FINGERPRINT).dim == 24


def test_a_tower_is_hashed_again_only_where_its_file_is_another(
    small_tower: Stored, towers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy, or one that a release laid out which noted no hash, is taken once it was hashed; and hashed no more."""
    write_tower(small_tower)
    hashed: list[int] = []
    make = hashlib.blake2b

    def count(*arguments: Any, **options: Any) -> Any:
        hashed.append(1)
        return make(*arguments, **options)

    monkeypatch.setattr(hashlib, "blake2b", count)
    tower, note = (towers / f"{'0' * 64}.{kind}" for kind in ("safetensors", "hash"))

    def hashes() -> int:
        hashed.clear()
        read_tower(FINGERPRINT)
        return len(hashed)

    assert [hashes(), hashes()] == [0, 0]
    copy = tower.with_name("copy")
    copy.write_bytes(tower.read_bytes())
    copy.replace(tower)
    assert [hashes(), hashes()] == [1, 0]
    note.unlink()
    assert [hashes(), hashes()] == [1, 0]
    note.write_text("{")
    assert [hashes(), hashes()] == [1, 0]


def test_a_tower_that_was_not_used_for_days_is_marked_as_used(small_tower: Stored, towers: Path) -> None:
    """So that it is not dropped as unused; a mark a day, since each makes its file another."""
    write_tower(small_tower)
    tower = towers / f"{'0' * 64}.safetensors"
    days_ago = time.time() - 3 * 24 * 3600
    os.utime(tower, (days_ago, days_ago))
    read_tower(FINGERPRINT)
    marked = tower.stat()
    assert time.time() - marked.st_mtime < 3600
    read_tower(FINGERPRINT)
    assert tower.stat().st_ctime_ns == marked.st_ctime_ns


def test_a_tower_of_another_format_is_not_used(
    small_tower: Stored, towers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tower(small_tower)
    files.write_reason(TEXT, numbered(1), "because")
    monkeypatch.setattr(files, "FORMAT_VERSION", 99)
    for fingerprint in (FINGERPRINT, numbered(1)):
        assert not files.is_decided(TEXT, fingerprint)
    with pytest.raises(NoTower, match="format 4 instead of 99"):
        read_tower(FINGERPRINT)


def test_several_may_write_and_read_at_once(small_tower: Stored, towers: Path) -> None:
    write_tower(small_tower)
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(5):
                write_tower(small_tower)
        except BaseException as error:  # noqa: BLE001 - a thread's own would be lost
            failures.append(error)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert np.array_equal(read_tower(FINGERPRINT).weights["ln_final.bias"], small_tower.weights["ln_final.bias"])
    assert failures == []
    assert len(list(towers.glob("*.safetensors"))) == 1
    assert len(list(towers.iterdir())) == 2


def test_towers_are_bounded_and_the_longest_unused_go_first(
    small_tower: Stored, towers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        write_tower(of(small_tower, numbered(number)))
        os.utime(towers / f"{number:064x}.safetensors", (number, number))
    read_tower(numbered(1))  # used now
    abandoned = towers / ".0123456789abcdef.tmp.safetensors"
    abandoned.touch()
    os.utime(abandoned, (1, 1))
    size = (towers / f"{1:064x}.safetensors").stat().st_size
    monkeypatch.setattr(files, "MOST_BYTES", 2 * size + 100)
    write_tower(of(small_tower, numbered(4)))
    left = [f"{each:064x}.{kind}" for each in (1, 4) for kind in ("hash", "safetensors")]
    assert sorted(file.name for file in towers.iterdir()) == left


def test_a_cache_that_cannot_be_written_costs_time_only(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for cause in ("a file where the folder would be", "a full disk"):
        with monkeypatch.context() as patch:
            if cause == "a full disk":
                patch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
            else:
                patch.setenv("MMSEARCH_CACHE", str(tmp_path / "file"))
            encoder = encoders.open(f"local-dir:{tiny}", device="cpu")
            assert text_side_of(encoder.identity, announce=lambda _: None) is None
            assert encoder.text.encode(["a dog"]).vectors.shape == (1, 32)


# --- from a model to a query ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("spec", ["tiny", "demo"])
def test_a_model_that_was_loaded_once_answers_without_torch(spec: str, tiny: Path) -> None:
    encoder = encoders.open(f"local-dir:{tiny}" if spec == "tiny" else "demo", device="cpu")
    tower = text_side_of(encoder.identity, announce=pytest.fail)
    assert tower is not None
    assert tower.identity == encoder.identity
    ours, theirs = tower.text.encode(captions()), encoder.text.encode(captions())
    assert relative_error(ours.vectors, theirs.vectors) < 2e-5
    assert ours.truncated.tolist() == theirs.truncated.tolist()
    assert tower.text.encode([]).vectors.shape == (0, encoder.identity.dim)


def test_a_tower_that_disagrees_is_not_used_and_not_tried_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**ACTIVATIONS, "gelu": lambda x: np.float32(1.01) * ACTIVATIONS["gelu"](x)}
    monkeypatch.setattr(transformer, "ACTIVATIONS", wrong)
    encoder = encoders.open(f"local-dir:{tiny}", device="cpu")
    said: list[str] = []
    assert text_side_of(encoder.identity, announce=said.append) is None
    assert "gives other vectors without torch (relative error 0.0" in said[0]
    monkeypatch.setattr(laying_out, "lay_out_texts", lambda *_: pytest.fail("tried again"))
    encoders.open(f"local-dir:{tiny}", device="cpu")


def test_a_damaged_tower_is_laid_out_anew_by_the_next_load(tiny: Path) -> None:
    encoder = encoders.open(f"local-dir:{tiny}", device="cpu")
    (file,) = (Path(os.environ["MMSEARCH_CACHE"]) / "text_towers").glob("*.safetensors")
    damage_by_cutting(file)
    said: list[str] = []
    assert text_side_of(encoder.identity, announce=said.append) is None
    assert "damaged" in said[0]
    encoders.open(f"local-dir:{tiny}", device="cpu")
    assert text_side_of(encoder.identity, announce=pytest.fail) is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: setattr(text, "pool_type", "none"), "pooling is 'none'"),
        (lambda text: setattr(text.transformer.resblocks[0].mlp, "gelu", torch.nn.SiLU()), "activation is SiLU"),
        (lambda text: setattr(text.transformer.resblocks[0].ln_1, "eps", 1e-3), "layer norms"),
        (lambda text: text.transformer.resblocks.append(torch.nn.Identity()), "blocks are of another kind"),
        (lambda text: setattr(text, "use_pad_mask", True), "masks its padding"),
    ],
)
def test_a_text_side_of_another_kind_goes_through_torch(change: Callable[[Any], object], reason: str) -> None:
    """Whatever a later open_clip brings is refused by what it is."""
    model = small_model({"kind": "CustomTextCLIP", "text_cfg": {"context_length": 77, "heads": 2}})
    lay_out_texts(model, clip_tokenizer(77), IDENTITY)
    change(model.text)
    with pytest.raises(Unsuited, match=reason):
        lay_out_texts(model, clip_tokenizer(77), IDENTITY)


def test_a_text_side_of_the_package_transformers_goes_through_torch() -> None:
    model = small_model({"kind": "CustomTextCLIP", "text_cfg": {"context_length": 77, "heads": 2}})
    model.text = torch.nn.Linear(2, 2)
    with pytest.raises(Unsuited, match=r"not one of open_clip's own \(Linear\)"):
        lay_out_texts(model, clip_tokenizer(77), IDENTITY)


@pytest.mark.parametrize(
    ("text_cfg", "framing"),
    [
        ({"tokenizer_kwargs": {"clean": "canonicalize"}}, {}),  # SigLIP
        ({"tokenizer_kwargs": {"strip_sep_token": True}}, {}),  # CLIPA
        ({"pool_type": "eos", "eos_id": 1, "no_causal_mask": False}, {}),  # MetaCLIP 2
        ({}, {"padding_side": "left", "truncation_side": "left"}),
    ],
)
def test_a_tokenizer_of_the_hub_needs_no_transformers(
    text_cfg: dict[str, Any], framing: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to load the model with torch nor to answer: its tables are in the tower's file; padding, cutting and
    cleaning are what open_clip asks of the package."""
    base = {"no_causal_mask": True, "pool_type": "last", "context_length": 8, "vocab_size": 16}
    folder = write_tiny_model(
        tmp_path / "model",
        model={"custom_text": True, "text_cfg": {**base, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP", **text_cfg}},
    )
    words = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", "red", "car", "Red", ",", "!"))}
    table = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    table.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    table.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>"}
    table.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(special | framing))
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = encoders.open(f"local-dir:{folder}", device="cpu")
    tower = text_side_of(encoder.identity, announce=pytest.fail)
    assert tower is not None
    texts = ["", "red car", "car " * 7, "car " * 8, "red " * 99, "Red, CAR!", "&amp; café"]
    ours, theirs = tower.text.encode(texts), encoder.text.encode(texts)
    assert np.abs(ours.vectors - theirs.vectors).max() < 2e-6
    assert ours.truncated.tolist() == theirs.truncated.tolist() == [False, False, False, True, True, False, False]


def test_the_tables_of_a_large_vocabulary_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie in the tower's file, and nothing of the vocabulary is read for a text but what is in it."""
    monkeypatch.setattr(large_vocabulary, "_LARGE", 10)
    text_cfg = {"no_causal_mask": True, "pool_type": "last", "context_length": 8, "vocab_size": 300}
    text_cfg["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP2"
    folder = write_tiny_model(tmp_path / "model", model={"custom_text": True, "text_cfg": text_cfg})
    pieces = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    pieces |= {piece: 259 + number for number, piece in enumerate(("r", "e", "d", "▁", "re", "red", "▁c", "c", "a"))}
    model = tokenizers.models.BPE(
        pieces, [("r", "e"), ("re", "d"), ("▁", "c")], unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    table = tokenizers.Tokenizer(model)
    table.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    table.post_processor = tokenizers.processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    table.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"pad_token": "<pad>", "eos_token": "<eos>"}')
    encoder = encoders.open(f"local-dir:{folder}", device="cpu")
    stored = files.read_tower(TEXT, encoder.identity.fingerprint)
    assert isinstance(stored.input, HubTokens)
    assert "red" not in stored.input.definition
    assert all(array.flags.aligned and not array.flags.owndata for array in stored.tables.values())
    monkeypatch.setattr(large_vocabulary.LargeVocabulary, "whole", lambda self: pytest.fail("read whole"))
    tower = text_side_of(encoder.identity, announce=pytest.fail)
    assert tower is not None
    texts = ["", "red car", "car " * 7, "Käse"]
    ours, theirs = tower.text.encode(texts), encoder.text.encode(texts)
    assert np.abs(ours.vectors - theirs.vectors).max() < 2e-6
    assert ours.truncated.tolist() == theirs.truncated.tolist() == [False, False, True, False]


@pytest.mark.parametrize("asked_often", [0, 1_000], ids=["by a dictionary", "among the lines"])
def test_a_line_is_found_as_in_a_dictionary(asked_often: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal lines the last; in any script."""
    monkeypatch.setattr(tokens, "_ASKED_OFTEN", asked_often)
    written = ["t h", "th e</w>", "é ß", "日 本", "t h", "", "a", "th e", "h t", "😀 a"]
    lines = tokens._Lines("\n".join(written).encode())
    expected = dict(zip(written, range(len(written)), strict=True))
    for text in [*written, "t", "th e</w", "é s", "日本", "b", "t h e", "zz z"]:
        assert lines.place(text) == expected.get(text), text
    assert len(lines) == len(written)


def test_vectors_from_elsewhere_have_no_tower() -> None:
    said: list[str] = []
    assert text_side_of(EncoderIdentity("x", "declared:x", 3), announce=said.append) is None
    assert "declared:x" in said[0]
    assert text_side_of(EncoderIdentity("x", FINGERPRINT, 3), announce=said.append) is None
    assert "laid out for quick queries now" in said[1]


def test_a_query_from_the_shell_needs_no_torch(tiny: Path, photos: Path) -> None:
    """Nor anything else that takes long to import; and it answers as torch does."""
    gallery, encoder = photos.parent / "g", encoders.open(f"local-dir:{tiny}", device="cpu")
    embed([photos], gallery=gallery, encoder=encoder)
    program = "import sys; from mmsearch.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    command = [sys.executable, "-c", program, "query", "a red picture", "-g", str(gallery), "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    expected = open_gallery(gallery, encoder=encoder).query("a red picture")
    assert [(json.loads(line)["path"], json.loads(line)["rank"]) for line in lines] == [
        (hit.path, hit.rank) for hit in expected
    ]
    np.testing.assert_allclose(
        [json.loads(line)["score"] for line in lines], [hit.score for hit in expected], atol=1e-6
    )
    slow = {
        "torch",
        "open_clip",
        "transformers",
        "pandas",
        "pyarrow.compute",
        "pyarrow.dataset",
        "numpy.ma",
        "pydantic",
    }
    assert not set(modules.split()) & (slow | {"faiss", "PIL", "ftfy", "regex"})
    assert done.stderr == ""


def test_the_first_query_on_a_machine_says_why_it_is_slow(tiny: Path, photos: Path) -> None:
    gallery = photos.parent / "g"
    embed([photos], gallery=gallery, encoder=encoders.open(f"local-dir:{tiny}", device="cpu"))
    for file in (Path(os.environ["MMSEARCH_CACHE"]) / "text_towers").iterdir():
        file.unlink()
    said: list[str] = []
    first = open_gallery(gallery, announce=said.append).query("a red picture")
    assert said == [
        f"loading local-dir:{tiny} with torch, which takes seconds: its text side is laid out for quick queries now, "
        "this once"
    ]
    second = open_gallery(gallery, announce=pytest.fail).query("a red picture")
    assert [hit.path for hit in second] == [hit.path for hit in first]


def test_an_index_is_measured_with_texts_without_torch(tiny: Path, photos: Path) -> None:
    """What the model's first load laid out asks the general captions too."""
    gallery = photos.parent / "g"
    embed([photos], gallery=gallery, encoder=f"local-dir:{tiny}", options=EmbedOptions(device="cpu"))
    code = (
        "import sys, mmsearch\n"
        "from mmsearch.indexing import IndexOptions\n"
        f"report = mmsearch.index({str(gallery)!r}, options=IndexOptions(factory='IVF4,Flat', k=3))\n"
        "assert 'torch' not in sys.modules\n"
        "print([recall.source for recall in report.recall if recall.mean is not None])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['general captions']\n", "")
