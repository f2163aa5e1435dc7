"""Tokenizers of the Hugging Face hub without the package transformers, beside open_clip, which uses it.

The tokenizers are trained by the tests, a kind for each that open_clip's models have.
"""

import importlib.util
import json
import random
import shutil
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_clip.tokenizer import HFTokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mmsearch.encoders import hub
from mmsearch.encoders.hub_tokenizer import read_hub_tokenizer
from mmsearch.errors import EncoderError
from mmsearch.towers import large_vocabulary, text_tokens
from mmsearch.towers.text_tokens import HubTokens, make_tokenizer, with_tables

SENTENCES = (
    "a photo of two dogs running along the beach at sunset",
    "Three children in RED coats fly a kite; it's windy!",
    "ein Käse-Brötchen & ein Glas Wein, bitte",
    "日本語の写真と猫 犬 海",
    "фотография собаки на пляже",
    "صورة كلب على الشاطئ",
    "an email: someone@example.org, 50% off (today only)",
    "l'été à la plage, où l'on voit des œufs",
)
SCRIPTS = (
    "abcdefghij",
    "ÄÖÜäöüßéèñç",
    "日本語写真猫犬海山川",
    "собакафото",
    "كلبصورة",
    "🐕😀👩‍👩‍👧🇨🇭👍🏽",
    "ﬁ①½ⅷＡｂ㎏",
    "\u0301\u0308\u200d\ufe0f\u200b",
)
ODD = (
    "",
    " ",
    "\n\t ",
    "\u2581",
    "\u2581red\u2581car",
    "a\u00a0b\u3000c\u2003d\u200be\u2028f",
    "\x00\x01\x7f\x1b[31m",
    "\ufeffBOM",
    "&amp;lt;b&amp;gt; &eacute; &#128512; &nbsp;",
    "Ã©tÃ© â€œquotedâ€\x9d",
    "don't can't I'll we've",
    "under_score__and---dashes...",
    "!!!???,,,",
    "{}[]()<>|\\/^~`",
    "x" * 5000,
    "ä" * 3000,
    "日" * 2000,
    "dog " * 2000,
    "🐕" * 500,
    "e" + "\u0301" * 300,
    "\U0010ffff\ue000\U0001f9ff",
    "İıŞş ΣΑΣ ǅ ẞ",
    "１２３ ⅓ ² ₃ 1e-5 0x1F",
    "שלום עולם",
    "หมาบนชายหาด",
    "हिन्दी कुत्ता",
    "tab\tnew\nline\r\nreturn",
    " leading and trailing ",
    "A" * 63,
    "a " * 62,
    "a " * 63,
    "a " * 64,
)
SPECIAL = (
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "<mask>",
    "<eos>",
    "<bos>",
    "[CLS]",
    "[SEP]",
    "[PAD]",
    "[MASK]",
    "[UNK]",
    "eng_Latn",
    "<0x41>",
    "<extra>",
)


def nasty_texts(count: int = 400) -> list[str]:
    """Odd ones, special tokens in all places, and random mixtures of scripts."""
    rng = random.Random(0)
    texts = [*ODD, *SENTENCES]
    for token in SPECIAL:
        texts += [token, f"{token}dog", f"dog{token}", f"a {token} dog", f" {token}  {token} ", token.upper()]
    pieces = [*SCRIPTS, *SENTENCES, *SPECIAL, string.punctuation, string.whitespace, string.ascii_letters]
    while len(texts) < count:
        text = ""
        for _ in range(rng.randint(1, 12)):
            piece = rng.choice(pieces)
            first = rng.randrange(len(piece))
            text += rng.choice(["", " ", "  "]) + piece[first : first + rng.randint(1, 9)]
        texts.append(text)
    return texts


# --- tokenizers -------------------------------------------------------------------------------------------------------


def t5_class_like(folder: Path) -> dict[str, Any]:
    """By the class of SigLIP's, which in later releases of transformers writes its own normalizer."""
    settings = t5_like(folder, normalized=False)
    del settings["pad_token"]  # the class knows
    return settings | {"tokenizer_class": "T5Tokenizer"}


def t5_like(folder: Path, normalized: bool = True) -> dict[str, Any]:
    """Sentencepiece's Unigram, as SigLIP has it."""
    made = Tokenizer(models.Unigram())
    if normalized:
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), spaces])
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator(
        SENTENCES * 20,
        trainers.UnigramTrainer(vocab_size=220, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
    }


def xlm_roberta_like(folder: Path) -> dict[str, Any]:
    """Unigram with a frame; the settings name nothing, the class does."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    made.train_from_iterator(
        SENTENCES * 20,
        trainers.UnigramTrainer(vocab_size=220, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    made.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "xlm-roberta"}')
    return {"model_max_length": 512}


def gemma_like(folder: Path) -> dict[str, Any]:
    """Byte-pair encoding with bytes for what is unknown, as SigLIP2 has it."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.train_from_iterator(
        SENTENCES * 5, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    )
    described = json.loads(made.to_str())
    described["added_tokens"] = described["added_tokens"][:5]  # bytes are plain pieces
    made = Tokenizer.from_str(json.dumps(described))
    pair = "$A:0 <eos>:0 $B:1 <eos>:1"
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", pair=pair, special_tokens=[("<eos>", 1)])
    made.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    listed = {str(number): {"content": token, "special": True} for number, token in enumerate(special[:4])}
    listed["99999"] = {"content": "<extra>", "normalized": False}
    return {
        "tokenizer_class": "GemmaTokenizer",
        "padding_side": "right",
        "add_bos_token": False,
        "add_eos_token": True,
        **tokens,
        "added_tokens_decoder": listed,
    }


def roberta_like(folder: Path) -> dict[str, Any]:
    """Byte-level byte-pair encoding."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        SENTENCES * 5,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    made.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    return {}


def nllb_like(folder: Path) -> dict[str, Any]:
    """Byte-pair encoding of sentencepiece; a text begins with its language, whatever the tables say."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "eng_Latn", "deu_Latn"]
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    made.train_from_iterator(
        SENTENCES * 5, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    made.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    made.post_processor = processors.TemplateProcessing(
        single="$A </s> eng_Latn", special_tokens=[("</s>", 2), ("eng_Latn", 4)]
    )
    made.save(str(folder / "tokenizer.json"))
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"sep_token": "</s>", "additional_special_tokens": ["eng_Latn", "deu_Latn"]})
    )
    return {"tokenizer_class": "NllbTokenizer"}


def bert_like(folder: Path) -> dict[str, Any]:
    """WordPiece, as CLIPA has it."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        SENTENCES * 5, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return {"do_lower_case": True}


KINDS = (t5_like, xlm_roberta_like, gemma_like, roberta_like, nllb_like, bert_like)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], dict[str, Any]]], Path]:
    """The folder of a kind of tokenizer, trained once."""
    folders: dict[str, Path] = {}

    def folder_of(kind: Callable[[Path], dict[str, Any]]) -> Path:
        if kind.__name__ not in folders:
            folder = tmp_path_factory.mktemp(kind.__name__)
            (folder / "tokenizer_config.json").write_text(json.dumps(kind(folder)))
            folders[kind.__name__] = folder
        return folders[kind.__name__]

    return folder_of


def ours(folder: Path, length: int, mode: str | None = None, **options: Any) -> Callable[[list[str]], Any]:
    return make_tokenizer(
        read_hub_tokenizer("org/name", folder, length, mode=mode, options=options, announce=pytest.fail)
    )


@pytest.mark.parametrize(
    ("kind", "length", "options"),
    [
        (t5_like, 64, {"clean": "canonicalize"}),  # SigLIP
        (t5_like, 16, {}),
        (gemma_like, 64, {"clean": "canonicalize"}),  # SigLIP2
        (gemma_like, 64, {"clean": "lower"}),
        (gemma_like, 64, {}),
        (bert_like, 32, {"strip_sep_token": True}),  # CLIPA
        (xlm_roberta_like, 77, {}),
        (xlm_roberta_like, 9, {"padding_side": "left", "truncation_side": "left"}),
        (roberta_like, 77, {}),
        (nllb_like, 77, {}),
        (nllb_like, 77, {"src_lang": "deu_Latn", "language": "eng_Latn"}),
        (nllb_like, 77, {"legacy_behaviour": True}),
        (t5_class_like, 64, {"clean": "canonicalize"}),
        (xlm_roberta_like, 20, {"tokenizer_mode": "clips"}),
    ],
)
def test_ids_equal_those_of_open_clip(kind: Any, length: int, options: dict[str, Any], made: Any) -> None:
    folder = made(kind)
    mode = options.pop("tokenizer_mode", None)
    theirs = HFTokenizer(str(folder), length, tokenizer_mode=mode, **options)
    tokenize, texts = ours(folder, length, mode, **options), nasty_texts()
    found, expected = tokenize(texts), theirs(texts).numpy()
    different = [text for text, a, b in zip(texts, found.ids, expected, strict=True) if a.tolist() != b.tolist()]
    assert different == []
    cleaned = [theirs.clean_fn(text) for text in texts]
    whole = theirs.tokenizer(cleaned, padding=False, truncation=False, add_special_tokens=mode is None).input_ids
    assert found.truncated.tolist() == [len(ids) + (3 if mode else 0) > length for ids in whole]
    assert 2 < found.truncated.sum() < len(texts)


@pytest.mark.parametrize("kind", [gemma_like, t5_like])
def test_the_tables_are_those_of_transformers(kind: Any, made: Any) -> None:
    """To the letter: they are in the fingerprint, and a gallery's model stays the one that it was."""
    folder = made(kind)
    theirs = HFTokenizer(str(folder), 64).tokenizer.backend_tokenizer.to_str()
    read = read_hub_tokenizer("org/name", folder, 64, mode=None, options={}, announce=pytest.fail)
    assert read.definition == theirs


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(gemma_like, None), (nllb_like, None), (roberta_like, None), (t5_like, None), (xlm_roberta_like, "clips")],
)
def test_of_a_large_vocabulary_only_what_is_needed_is_read(
    kind: Any, mode: str | None, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text by a tokenizer of its own pieces: the same ids. The whole one is for those with a special token."""
    monkeypatch.setattr(large_vocabulary, "_LARGE", 10)
    record = read_hub_tokenizer("org/name", made(kind), 64, mode=mode, options={}, announce=pytest.fail)
    stored, tables = with_tables(record)
    assert isinstance(stored, HubTokens)
    whole, vocabulary = make_tokenizer(record), large_vocabulary.LargeVocabulary(stored.definition, tables)
    read_whole: list[str] = []

    def refuse(self: object) -> object:
        raise AssertionError("the whole tokenizer is read")

    monkeypatch.setattr(large_vocabulary.LargeVocabulary, "whole", refuse)
    tokenize = make_tokenizer(stored, tables)
    monkeypatch.setattr(text_tokens, "_ASKED_OFTEN", 10_000)
    for text in nasty_texts():
        cleaned = text_tokens.CLEANERS[record.clean](text)
        if vocabulary.small([cleaned]) is None:
            read_whole.append(text)
            continue
        found, expected = tokenize([text]), whole([text])
        assert (found.ids.tolist(), found.truncated.tolist()) == (expected.ids.tolist(), expected.truncated.tolist())
    assert all(len(text) >= 500 or any(token in text for token in SPECIAL) for text in read_whole), read_whole
    together = tokenize(SENTENCES)
    assert together.ids.tolist() == whole(SENTENCES).ids.tolist()


def test_many_texts_read_a_large_vocabulary_whole(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; and a special token in a text does too."""
    monkeypatch.setattr(large_vocabulary, "_LARGE", 10)
    record = read_hub_tokenizer("org/name", made(gemma_like), 64, mode=None, options={}, announce=pytest.fail)
    stored, tables = with_tables(record)
    whole, read = large_vocabulary.LargeVocabulary.whole, list[object]()

    def counted(self: large_vocabulary.LargeVocabulary) -> object:
        read.append(self)
        return whole(self)

    monkeypatch.setattr(large_vocabulary.LargeVocabulary, "whole", counted)
    expected = make_tokenizer(record)
    for texts in (["a dog"] * 501, ["a <eos> dog"]):
        tokenize = make_tokenizer(stored, tables)
        for _ in range(2):
            assert tokenize(texts).ids.tolist() == expected(texts).ids.tolist()
    assert len(read) == 2


def test_small_vocabularies_are_kept_whole(made: Any) -> None:
    for kind in (gemma_like, t5_like, bert_like):
        record = read_hub_tokenizer("org/name", made(kind), 64, mode=None, options={}, announce=pytest.fail)
        assert with_tables(record) == (record, {})


def test_tables_that_are_read_whole(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """WordPiece marks what continues a word; and an id of a Unigram far behind would not keep its place."""
    monkeypatch.setattr(large_vocabulary, "_LARGE", 10)
    tables = {kind: (made(kind) / "tokenizer.json").read_text() for kind in (bert_like, t5_like)}
    assert large_vocabulary.split_tables(tables[bert_like], [0]) is None
    assert large_vocabulary.split_tables(tables[t5_like], [2_000]) is None
    assert large_vocabulary.split_tables(tables[t5_like], [0]) is not None


def test_no_texts_give_no_tokens(made: Any) -> None:
    found = ours(made(t5_like), 64)([])
    assert (found.ids.shape, found.truncated.shape) == ((0, 64), (0,))


def test_transformers_is_not_imported(made: Any) -> None:
    """Nor does anything else that takes seconds: neither to read the files nor to tokenise."""
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from pathlib import Path\n"
        "from mmsearch.encoders.hub_tokenizer import read_hub_tokenizer\n"
        "from mmsearch.towers.text_tokens import make_tokenizer\n"
        f"folder = Path({str(made(gemma_like))!r})\n"
        "read = read_hub_tokenizer('x', folder, 64, mode=None, options={}, announce=print)\n"
        "print(int((make_tokenizer(read)(['a dog']).ids > 0).sum() > 2), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1 False\n", "")


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_a_tokenizer_without_tables_is_converted(tmp_path: Path) -> None:
    """By transformers, which knows how the older files of a class become tables."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert ours(tmp_path, 6)(["A dogs"]).ids.tolist() == [[2, 5, 6, 7, 3, 0]]


def test_a_tokenizer_without_tables_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spiece.model").write_bytes(b"")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    with pytest.raises(EncoderError, match=r"no tokenizer.json, and the package transformers.*hf download org/name"):
        ours(tmp_path, 6)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", "{", "cannot use the tokenizer in"),
        ("tokenizer.json", "{}", "cannot use the tokenizer in"),
        ("tokenizer_config.json", "{", "cannot read"),
        ("tokenizer_config.json", "[]", "holds no object"),
        ("tokenizer_config.json", "{}", "has no pad_token: name one in its tokenizer_config.json"),
        ("tokenizer_config.json", '{"pad_token": 3, "added_tokens_decoder": 5}', "cannot use the tokenizer in"),
        ("tokenizer_config.json", '{"tokenizer_class": "GemmaTokenizer", "add_bos_token": true, "bos_token": ""}', ""),
    ],
)
def test_damaged_files_are_named(name: str, content: str, says: str, made: Any, tmp_path: Path) -> None:
    shutil.copytree(made(t5_like), tmp_path / "t")
    (tmp_path / "t" / name).write_text(content)
    if not says:
        assert ours(tmp_path / "t", 6)(["a"]).ids.shape == (1, 6)
        return
    with pytest.raises(EncoderError, match=says):
        ours(tmp_path / "t", 6)


def test_unknown_ways_are_named(made: Any) -> None:
    for options, says in (({"clean": "upper"}, "clean = 'upper'"), ({"strip_sep_token": True}, "no sep_token")):
        with pytest.raises(EncoderError, match=says):
            ours(made(t5_like), 64, **options)
    with pytest.raises(EncoderError, match="tokenizer_mode = 'words'"):
        ours(made(t5_like), 64, "words")


def test_files_of_the_hub_are_downloaded_once(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables last, so that a download that was interrupted is not taken for whole; then no network is asked."""
    import huggingface_hub

    cache, said = tmp_path / "snapshot", list[str]()
    cache.mkdir()
    served = made(t5_like)

    def cached(repo: str, name: str) -> str | None:
        return str(cache / name) if (cache / name).exists() else None

    def download(repo: str, name: str) -> str:
        shutil.copy(served / name, cache / name)
        return str(cache / name)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(hub, "_size", lambda repo, name: 5 if (served / name).exists() else None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    first = read_hub_tokenizer("org/name", None, 64, mode=None, options={}, announce=said.append)
    assert [line.split()[1] for line in said] == ["tokenizer_config.json", "tokenizer.json"]
    again = read_hub_tokenizer("org/name", None, 64, mode=None, options={}, announce=pytest.fail)
    assert again == first
