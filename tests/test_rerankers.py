"""Re-rankers: each adapter gives the logits of the authors' own evaluation; what cannot be used is said."""

import csv
import io
import json
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mmsearch.embedding import embed
from mmsearch.errors import EncoderError, MmsearchWarning, QueryError
from mmsearch.evaluation import EvaluateOptions, EvaluationReport, evaluate, to_json
from mmsearch.reports import write_report
from mmsearch.reports.markdown import reranked_rows
from mmsearch.rerankers import LookedAt, Reranker, RerankerRequest, open_reranker
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.opened_rerankers import Rerankers
from mmsearch.search.query import ImagePart, Query, TextPart
from mmsearch.serve.client import Server
from mmsearch.serve.running import ServeOptions
from mmsearch.strict_json import json_text
from tests.colour_reranker import ColourReranker, provide_colour
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.servers import running

TEXTS = ["A red dog, on the left!", "two cats", "the (big) house: blue; a dog a cat a dog a cat " * 5]
WORDS = ["a", "the", "red", "blue", "dog", "cat", "##s", "two", "house", "big", "on", "left", ",", "!", "(", ")"]


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(50, 40), (40, 64), (33, 33)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for w, h in sizes]


def write_tokenizer(folder: Path, *extra: str) -> None:
    """A tokenizer of BERT's kind with a few words."""
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    folder.mkdir(parents=True, exist_ok=True)
    known = dict.fromkeys([*special, *WORDS, *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)])
    (folder / "vocab.txt").write_text("\n".join([*known, *extra]))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


def write_settings(folder: Path, size: dict[str, int], mean: Sequence[float], std: Sequence[float]) -> None:
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": size, "image_mean": [*mean], "image_std": [*std]})
    )


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BlipConfig, BlipForImageTextRetrieval

    torch.manual_seed(1)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BlipConfig(
        text_config={**small, "vocab_size": 30_524, "encoder_hidden_size": 32, "initializer_range": 0.5},
        vision_config={**small, "image_size": 48, "patch_size": 16},
        image_text_hidden_size=16,
    )
    folder = tmp_path_factory.mktemp("blip")
    model = BlipForImageTextRetrieval(config)
    _spread(model)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    write_settings(folder, {"height": 48, "width": 48}, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    return folder


@pytest.fixture(scope="module")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Blip2Config, Blip2ForImageTextRetrieval, OPTConfig

    torch.manual_seed(2)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Blip2Config(
        vision_config={**small, "image_size": 42, "patch_size": 14},
        qformer_config={**small, "vocab_size": 100, "encoder_hidden_size": 32, "use_qformer_text_input": True},
        text_config=OPTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16).to_dict(),
        num_query_tokens=5,
        image_text_hidden_size=16,
    )
    folder = tmp_path_factory.mktemp("blip2")
    model = Blip2ForImageTextRetrieval(config)
    _spread(model)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    write_settings(folder, {"height": 42, "width": 42}, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    return folder


@pytest.fixture(scope="module")
def vilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ViltConfig, ViltForImageAndTextRetrieval

    torch.manual_seed(3)
    config = ViltConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=64,
        patch_size=32,
        max_position_embeddings=40,
    )
    folder = tmp_path_factory.mktemp("vilt")
    model = ViltForImageAndTextRetrieval(config)
    _spread(model)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    write_settings(folder, {"shortest_edge": 64}, (0.5,) * 3, (0.5,) * 3)
    return folder


def _spread(model: torch.nn.Module) -> None:
    """Weights so large that pictures and words make a difference."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)


def resized(image: Image.Image, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """The published transform: resize (width, height) by Pillow, to [0, 1], normalise. (1, 3, H, W)"""
    values = (
        torch.from_numpy(np.array(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)).permute(2, 0, 1)
        / 255
    )
    return ((values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def captioned(text: str) -> str:
    """`pre_caption` of the authors: lower case, some signs to spaces, spaces to one."""
    text = re.sub(r"([.!\"()*#:;~])", " ", text.lower())
    return re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")


def ask(folder: Path, *, one_text_at_a_time: bool) -> NDArray[np.float64]:
    """(pictures, texts) of an adapter."""
    reranker = open_reranker(f"hf:{folder}")
    seen = reranker.look([reranker.prepare(image) for image in pictures()])
    if one_text_at_a_time:
        return np.stack([reranker.match([text] * len(seen), seen) for text in TEXTS], axis=1)
    pairs = [(text, state) for state in seen for text in TEXTS]
    values = reranker.match([text for text, _ in pairs], [state for _, state in pairs])
    return values.reshape(len(seen), len(TEXTS))


def check(folder: Path, expected: NDArray[np.float64]) -> None:
    assert np.ptp(expected, axis=0).min() > 1e-3  # pictures make a difference
    assert np.ptp(expected, axis=1).min() > 1e-3  # texts do
    for one_text_at_a_time in (True, False):
        got = ask(folder, one_text_at_a_time=one_text_at_a_time)
        np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_blip_is_asked_as_its_authors_did(blip: Path) -> None:
    """train_retrieval.py: captions padded to 35 tokens, [ENC] put at position 0, the matching head's second logit for
    each picture with the texts."""
    from transformers import BertTokenizer, BlipForImageTextRetrieval

    model: Any = BlipForImageTextRetrieval.from_pretrained(blip)
    tokens = BertTokenizer.from_pretrained(blip)(
        [captioned(t) for t in TEXTS], padding="max_length", truncation=True, max_length=35, return_tensors="pt"
    )
    ids = tokens.input_ids.clone()
    ids[:, 0] = 30_523
    rows = []
    for image in pictures():
        pixels = resized(image, (48, 48), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).repeat(len(TEXTS), 1, 1, 1)
        out = model(input_ids=ids, pixel_values=pixels, attention_mask=tokens.attention_mask, use_itm_head=True)
        rows.append(out.itm_score[:, 1].double().numpy())
    check(blip, np.array(rows))


@torch.no_grad()
def test_blip_2_is_asked_as_its_authors_did(blip2: Path) -> None:
    """compute_itm: 35 tokens, queries before words, the head's second logit averaged over the queries."""
    from transformers import BertTokenizer, Blip2ForImageTextRetrieval

    model: Any = Blip2ForImageTextRetrieval.from_pretrained(blip2)
    tokens = BertTokenizer.from_pretrained(blip2)(
        [captioned(t) for t in TEXTS], padding="max_length", truncation=True, max_length=35, return_tensors="pt"
    )
    rows = []
    for image in pictures():
        pixels = resized(image, (42, 42), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).repeat(len(TEXTS), 1, 1, 1)
        out = model(
            pixel_values=pixels,
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            use_image_text_matching_head=True,
        )
        rows.append(out.logits_per_image[:, 1].double().numpy())
    check(blip2, np.array(rows))


@torch.no_grad()
def test_vilt_is_asked_as_its_authors_did(vilt: Path) -> None:
    """compute_irtr_recall: each pair goes through the transformer, 40 tokens, pictures with their own shape: the
    shorter side 64, the longer at most 1333/800 of it, both multiples of 32."""
    from transformers import BertTokenizer, ViltForImageAndTextRetrieval

    model: Any = ViltForImageAndTextRetrieval.from_pretrained(vilt)
    tokens = BertTokenizer.from_pretrained(vilt)(
        TEXTS, padding="max_length", truncation=True, max_length=40, return_tensors="pt"
    )
    rows = []
    for image, size in zip(pictures(), [(64, 64), (64, 96), (64, 64)], strict=True):
        pixels = resized(image, size, (0.5,) * 3, (0.5,) * 3)
        mask = torch.ones(1, *pixels.shape[2:], dtype=torch.long)
        rows.append(
            [
                float(
                    model(
                        input_ids=tokens.input_ids[i : i + 1],
                        attention_mask=tokens.attention_mask[i : i + 1],
                        pixel_values=pixels,
                        pixel_mask=mask,
                    ).logits[0, 0]
                )
                for i in range(len(TEXTS))
            ]
        )
    check(vilt, np.array(rows))


def test_blip_without_its_token_is_refused(blip: Path, tmp_path: Path) -> None:
    """A vocabulary that ends before 30,523, and a tokenizer that does not name [ENC]; where it does, that counts."""
    from transformers import BlipConfig, BlipForImageTextRetrieval

    config: Any = BlipConfig.from_pretrained(blip)
    config.text_config.vocab_size = 200
    model = BlipForImageTextRetrieval(config)
    model.save_pretrained(tmp_path / "cut")
    write_tokenizer(tmp_path / "cut")
    with pytest.raises(EncoderError, match=r"has no token \[ENC\].*vocabulary of 200"):
        open_reranker(f"hf:{tmp_path / 'cut'}")
    write_tokenizer(tmp_path / "cut", "[ENC]")
    assert open_reranker(f"hf:{tmp_path / 'cut'}").spec == f"hf:{tmp_path / 'cut'}"


def test_what_cannot_be_used_is_said(blip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig, BertModel

    def copy(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in blip.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    damaged = copy("damaged")
    (damaged / "model.safetensors").write_bytes((blip / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(EncoderError, match="cannot be loaded as a BlipForImageTextRetrieval"):
        open_reranker(f"hf:{damaged}")
    headless = copy("headless")
    weights = {n: t for n, t in load_file(blip / "model.safetensors").items() if not n.startswith("itm_head")}
    save_file(weights, headless / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks weights.*itm_head\.bias, itm_head\.weight\. .*random"):
        open_reranker(f"hf:{headless}")
    settings = copy("settings")
    (settings / "preprocessor_config.json").write_text('{"size": "large"}')
    with pytest.raises(EncoderError, match="settings of its pictures are not understood"):
        open_reranker(f"hf:{settings}")
    code = copy("code")
    config = json.loads((code / "config.json").read_text())
    (code / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(EncoderError, match="asks for code of its own"):
        open_reranker(f"hf:{code}")

    text_only = tmp_path / "bert"
    small = BertConfig(vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertModel(small).save_pretrained(text_only)
    write_tokenizer(text_only)
    with pytest.raises(EncoderError, match=r'kind "bert".*BLIP, BLIP-2, ViLT'):
        open_reranker(f"hf:{text_only}")
    with pytest.raises(EncoderError, match="there is no such folder"):
        open_reranker(f"hf:{tmp_path / 'nowhere'}")
    with pytest.raises(EncoderError, match="no re-ranker is called 'nonsense'; there is hf:"):
        open_reranker("nonsense")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r'needs the package transformers: pip install "mmsearch\[rerank\]"'):
        open_reranker(f"hf:{blip}")
    with pytest.raises(EncoderError, match=r'sentence-transformers: pip install "mmsearch\[rerank\]"'):
        open_reranker(f"st:{blip}")


@pytest.fixture
def colour(monkeypatch: pytest.MonkeyPatch) -> list[ColourReranker]:
    return provide_colour(monkeypatch)


@pytest.fixture
def gallery(tmp_path: Path, fake: FakeEncoder) -> OpenGallery:
    """Four pictures of each of six colours."""
    for seed in range(4):
        for name in COLOURS:
            write_picture(tmp_path / "photos" / f"{name} {seed}.png", name, seed=seed)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)
    return open_gallery(tmp_path / "g", encoder=fake)


def test_the_best_come_in_the_order_of_the_re_ranker(gallery: OpenGallery, colour: list[ColourReranker]) -> None:
    plain = gallery.ask(Query([TextPart("red")], k=24)).hits
    answer = gallery.ask(Query([TextPart("red")], k=24, rerank="colour:x", depth=10))
    values = [hit.rerank for hit in answer.hits]
    first = [value for value in values[:10] if value is not None]
    assert len(first) == 10
    assert first == sorted(first, reverse=True)
    assert {hit.row_id for hit in answer.hits[:10]} == {hit.row_id for hit in plain[:10]}
    assert values[10:] == [None] * 14
    assert [hit.row_id for hit in answer.hits[10:]] == [hit.row_id for hit in plain[10:]]
    assert {hit.row_id: hit.score for hit in answer.hits} == {hit.row_id: hit.score for hit in plain}
    assert answer.reranked == 10
    assert [hit.rank for hit in answer.hits] == [*range(1, 25)]


def test_fewer_hits_than_candidates_and_pages_of_hits_agree(gallery: OpenGallery, colour: list[ColourReranker]) -> None:
    whole = gallery.ask(Query([TextPart("red")], k=24, rerank="colour:x", depth=12)).hits
    few = gallery.ask(Query([TextPart("red")], k=3, rerank="colour:x", depth=12))
    assert [hit.row_id for hit in few.hits] == [hit.row_id for hit in whole[:3]]
    assert few.more
    later = gallery.ask(Query([TextPart("red")], k=5, offset=10, rerank="colour:x", depth=12)).hits
    assert [(hit.rank, hit.row_id) for hit in later] == [(hit.rank, hit.row_id) for hit in whole[10:15]]
    assert not gallery.ask(Query([TextPart("red")], k=24, rerank="colour:x", depth=100)).more


def test_a_picture_is_looked_at_once(gallery: OpenGallery, colour: list[ColourReranker]) -> None:
    gallery.ask(Query([TextPart("red")], rerank="colour:x", depth=24))
    gallery.ask(Query([TextPart("blue")], rerank="colour:x", depth=24))
    assert [(each.looks, each.matches) for each in colour] == [(24, 48)]


def test_what_is_kept_stays_within_its_bytes(colour: list[ColourReranker]) -> None:
    reranker = ColourReranker(RerankerRequest("colour:x", "cpu", lambda _: None))
    looked_at = LookedAt(reranker, most_bytes=2 * 24)
    for key in (1, 2, 1, 3, 1, 2):
        looked_at.match(["red"], [key], lambda key: np.full(3, float(key)))
    assert reranker.looks == 4  # 1, 2, 3 and 2 again, which 3 drove out
    assert looked_at.match(["a", "b"], [1, 7], lambda key: None).tolist() == [1.0, -np.inf]


def test_the_score_can_be_added(gallery: OpenGallery, colour: list[ColourReranker]) -> None:
    plain = gallery.ask(Query([TextPart("red")], k=8, rerank="colour:x", depth=8)).hits
    both = gallery.ask(Query([TextPart("red")], k=8, rerank="colour:x", depth=8, rerank_by="logit+score")).hits
    values = {hit.row_id: hit.rerank for hit in plain}
    for hit in both:
        assert hit.rerank == pytest.approx((values[hit.row_id] or 0) + hit.score)


def test_time_ends_it_and_that_is_said(
    gallery: OpenGallery, colour: list[ColourReranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that moves on by a second at each call of the model."""
    now = [100.0]
    monkeypatch.setattr("mmsearch.search.rerank.time.monotonic", lambda: now[0])
    asked = Query([TextPart("red")], k=24, rerank="colour:x", depth=20, within=2.0)
    gallery.rerankers.reranker("colour:x")
    colour[0].when_matching = lambda: now.__setitem__(0, now[0] + 1)
    with pytest.warns(MmsearchWarning, match=r"re-ranked are the best 8 of 20: there was time for no more \(2 s\)"):
        answer = gallery.ask(asked)
    assert answer.reranked == 8
    assert [hit.rerank is not None for hit in answer.hits] == [True] * 8 + [False] * 16


def test_files_that_are_gone_come_after_those_that_were_looked_at(
    gallery: OpenGallery, colour: list[ColourReranker], tmp_path: Path
) -> None:
    best = gallery.ask(Query([TextPart("red")], k=1)).hits[0]
    Path(best.file or "").unlink()
    (answer,) = gallery.ask_all([Query([TextPart("red")], k=6, rerank="colour:x", depth=5)])
    assert not isinstance(answer, Exception)
    assert answer.hits[4].row_id == best.row_id
    assert answer.hits[4].rerank is None
    assert any("1 of 5 could not be re-ranked" in remark for remark in answer.remarks)


def test_a_filter_and_near_duplicates_come_before_it(gallery: OpenGallery, colour: list[ColourReranker]) -> None:
    asked = Query([TextPart("red")], k=24, where="path like 'red%' or path like 'blue%'", rerank="colour:x", depth=8)
    hits = gallery.ask(asked).hits
    assert [(hit.path or "")[:3] for hit in hits] == ["blu"] * 4 + ["red"] * 4
    assert colour[0].matches == 8


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"parts": [TextPart("a"), TextPart("b")]}, "one text together"),
        ({"parts": [ImagePart("x.png")]}, "one text together"),
        ({"templates": ["a photo of {}"]}, "one text together"),
        ({"table": "captions"}, "looks at pictures, not at captions"),
        ({"sort": "date"}, "not both"),
        ({"depth": 0}, "the depth is 0"),
        ({"within": 0.0}, "there has to be some time"),
        ({"rerank_by": "luck"}, "it is one of logit, logit"),
    ],
)
def test_what_cannot_be_re_ranked_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Query(**({"parts": [TextPart("a")], "rerank": "demo"} | asked))


def test_one_wrong_re_ranker_is_the_answer_to_its_query_alone(
    gallery: OpenGallery, colour: list[ColourReranker]
) -> None:
    wrong, right = gallery.ask_all(
        [Query([TextPart("red")], rerank="nobody:x"), Query([TextPart("red")], rerank="colour:x")]
    )
    assert isinstance(wrong, EncoderError)
    assert not isinstance(right, Exception)


def test_strangers_name_no_other_than_is_allowed(colour: list[ColourReranker]) -> None:
    with pytest.raises(QueryError, match="does not re-rank with 'hf:x', but with colour:x"):
        Rerankers(only="colour:x").reranker("hf:x")
    with pytest.raises(QueryError, match="but with nothing"):
        Rerankers(only="").reranker("colour:x")
    assert Rerankers(only="colour:x").reranker("colour:x").reranker.spec == "colour:x"


def test_the_command_tells_both_values(
    mmsearch: Command, gallery: OpenGallery, colour: list[ColourReranker], tmp_path: Path
) -> None:
    asked = ("query", "red", "--gallery", tmp_path / "g", "-k", 5, "--rerank", "colour:x", "--depth", 4)
    rows = [json.loads(line) for line in mmsearch(*asked, "--format", "jsonl").out.splitlines()]
    assert ["rerank" in row for row in rows] == [True] * 4 + [False]
    assert rows[0]["rerank"] == max(row["rerank"] for row in rows[:4])
    assert mmsearch(*asked, "--within", "soon").code == 2
    assert mmsearch(*asked, "--within", "1500ms").code == 0
    (tmp_path / "queries.txt").write_text("red\nblue\n")
    many = mmsearch(
        *("query", "--from-file", tmp_path / "queries.txt", "--gallery", tmp_path / "g", "-k", 3),
        *("--rerank", "colour:x", "--depth", 4),
    )
    assert many.code == 0
    assert all("rerank" in json.loads(line) for line in many.out.splitlines())


def test_a_server_re_ranks_with_its_own_and_with_no_other(
    gallery: OpenGallery, colour: list[ColourReranker], tmp_path: Path
) -> None:
    query = Query([TextPart("red")], k=6, rerank="colour:x", depth=4)
    expected = gallery.ask(query).hits
    with running(tmp_path / "g", options=ServeOptions(rerank="colour:x")) as server:
        assert server.get("/api/gallery").json()["reranker"] == "colour:x"
        answer = server.ask("red", k=6, rerank="colour:x", depth=4)
        told = [(hit["row_id"], hit.get("rerank")) for hit in answer["hits"]]
        assert told == [(hit.row_id, hit.rerank) for hit in expected]
        assert answer["reranked"] == 4
        assert server.ask("red")["reranked"] is None
        asked = {"parts": [{"text": "red"}], "rerank": "hf:/etc"}
        assert "does not re-rank with 'hf:/etc', but with colour:x" in server.error(asked)
        assert "depth" in server.error(asked | {"depth": 100_000})
        many = {"queries": [{"parts": [{"text": "red"}], "rerank": "colour:x", "depth": 300}] * 2}
        assert "600 candidates to re-rank" in server.post("/api/queries", many).text
        with Server(server.url) as client:
            assert [hit.rerank for hit in client.ask(query).hits] == [hit.rerank for hit in expected]
            assert [len(each.hits) for each in client.answer_in_batches([query] * 200)] == [6] * 200
    with running(tmp_path / "g") as server:
        assert server.get("/api/gallery").json()["reranker"] is None
        assert "with nothing" in server.error(asked)


# --- eval -------------------------------------------------------------------------------------------------------------


class _Words(Reranker):
    """Knows which caption belongs to which picture by a number that both carry: in the corner of the picture, and in
    the text; it is wrong about captions without a number."""

    pairs_at_once = 7

    def __init__(self) -> None:
        self.spec, self.looks = "words:x", 0

    def prepare(self, image: Image.Image) -> Any:
        return image.getpixel((0, 0))

    def look(self, prepared: Sequence[Any]) -> list[Any]:
        self.looks += len(prepared)
        return [each[0] for each in prepared]

    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        assert len(texts) <= self.pairs_at_once
        said = [int(text.rpartition(" ")[2]) if text[-1].isdigit() else -1 for text in texts]
        return np.array(
            [
                1.0 if number == picture else -abs(number - picture) / 256
                for number, picture in zip(said, pictures, strict=True)
            ]
        )


@pytest.fixture
def numbered(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve noisy red pictures, each with a number in its corner; two captions each, of which one says the number."""
    rng = np.random.default_rng(5)
    rows = ["image,caption"]
    (tmp_path / "images").mkdir()
    for number in range(12):
        pixels = rng.integers(0, 60, (16, 16, 3), np.uint8) + np.array([150, 0, 0], np.uint8)
        pixels[:2, :2] = number * 9
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        rows += [f"{number}.png,red thing {number * 9}", f"{number}.png,nothing of note"]
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "images", tmp_path / "captions.csv"


def by_hand(report: EvaluationReport, depth: int, ks: Sequence[int]) -> dict[str, dict[str, float]]:
    """R@k of both directions, and the share of queries whose candidates hold a relevant item: all of it by sorting."""
    system = report.systems[0]
    images, captions = system.evidence.images.astype(np.float64), system.evidence.captions.astype(np.float64)
    owner = np.repeat(np.arange(12), 2)
    found: dict[str, dict[str, float]] = {}
    for direction, scores, relevant in (
        ("text_to_image", captions @ images.T, owner[:, None] == np.arange(12)),
        ("image_to_text", images @ captions.T, np.arange(12)[:, None] == owner),
    ):
        ranks, reached = [], []
        for query, row in enumerate(scores):
            order = np.argsort(-row, kind="stable")
            first = order[:depth]

            def fits(item: int, query: int = query, direction: str = direction) -> float:
                image, caption = (item, query) if direction == "text_to_image" else (query, item)
                said = int(report.items.captions[caption].split()[-1]) if caption % 2 == 0 else -1
                return 1.0 if said == image * 9 else -abs(said - image * 9) / 256

            again = [*sorted(first.tolist(), key=lambda item: (-fits(item), item)), *order[depth:].tolist()]
            ranks.append(1 + min(again.index(item) for item in np.flatnonzero(relevant[query]).tolist()))
            reached.append(relevant[query][first].any())
        found[direction] = {f"R@{k}": float(np.mean(np.array(ranks) <= k)) for k in ks} | {
            "candidates": np.mean(reached)
        }
    return found


@pytest.mark.parametrize("depth", [1, 5, 64])
def test_eval_re_ranks_both_directions_as_by_hand(numbered: tuple[Path, Path], depth: int) -> None:
    reranker = _Words()
    options = EvaluateOptions(split="all", ks=(1, 5), rerank=reranker, depth=depth)
    report = evaluate("custom", images=numbered[0], annotations=numbered[1], encoder=FakeEncoder(), options=options)
    again = report.systems[0].reranked
    assert again is not None
    expected = by_hand(report, depth, (1, 5))
    for direction in again.directions:
        name = direction.result.direction
        assert {f"R@{k}": value for k, value in direction.result.recall.items()} == pytest.approx(
            {k: v for k, v in expected[name].items() if k != "candidates"}
        )
        assert direction.candidate_recall == pytest.approx(expected[name]["candidates"])
        plain = getattr(report.systems[0], name).recall[1]
        gain = direction.differences["R@1"]
        assert gain.value == pytest.approx(direction.result.recall[1] - plain)
        assert gain.interval.low <= gain.value <= gain.interval.high
        assert direction.result.recall[1] <= direction.candidate_recall
    assert reranker.looks == 12  # once a picture, for both directions
    assert json.loads(json_text(to_json(report), default=str))["systems"][0]["reranked"]["depth"] == depth


def test_eval_prints_both_rankings(
    numbered: tuple[Path, Path], colour: list[ColourReranker], mmsearch: Command, fake: FakeEncoder
) -> None:
    done = mmsearch(
        *("eval", "custom", "--images", numbered[0], "--annotations", numbered[1], "--split", "all"),
        *("--rerank", "colour:x", "--depth", 4, "--model", "fake"),
    )
    assert done.code == 0, done.err
    assert "fake, the best 4 re-ranked with colour:x on cpu" in done.out
    assert re.search(r"candidates: [\d.]+ % of queries \[[\d.]+, [\d.]+\] have a relevant item among them", done.out)
    assert done.out.count("text_to_image") >= 2


def test_reports_show_both_rankings(numbered: tuple[Path, Path], tmp_path: Path) -> None:
    options = EvaluateOptions(split="all", ks=(1, 5), rerank=_Words(), depth=5, correct=False)
    report = evaluate("custom", images=numbered[0], annotations=numbered[1], encoder=FakeEncoder(), options=options)
    again = report.systems[0].reranked
    assert again is not None
    header, rows = reranked_rows(report)
    assert [row[1:3] for row in rows] == [
        [direction, by]
        for direction in ("text_to_image", "image_to_text")
        for by in ("score", "words:x, logit, the best 5")
    ]
    for plain, second, direction in zip(rows[::2], rows[1::2], again.directions, strict=True):
        shown = dict(zip(header, second, strict=True))
        assert shown["R@1"].startswith(f"{100 * direction.result.recall[1]:.2f} [")
        assert shown["candidate recall"].startswith(f"{100 * direction.candidate_recall:.2f} [")
        assert shown["R@1 gain"].startswith(f"{100 * direction.differences['R@1'].value:+.2f} [")
        assert plain[-1] == ""
    for kind in ("md", "html", "csv"):
        write_report(report, tmp_path / f"report.{kind}")
    pages = [(tmp_path / f"report.{kind}").read_text("utf-8") for kind in ("md", "html")]
    assert all("Re-ranked" in page and "candidate recall" in page for page in pages)
    table = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    assert [row["scores"] for row in table] == ["score", "score", "rerank", "rerank"]
    assert float(table[2]["R@1"]) == again.text_to_image.result.recall[1]


def test_eval_gallery_re_ranks_the_pictures_that_it_holds(
    numbered: tuple[Path, Path], colour: list[ColourReranker], mmsearch: Command, tmp_path: Path
) -> None:
    embed([numbered[0]], captions=[numbered[1]], gallery=tmp_path / "numbered", encoder=FakeEncoder())
    done = mmsearch(
        *("eval", "gallery", tmp_path / "numbered", "--rerank", "colour:x", "--depth", 4, "--no-correct"),
        *("--device", "cpu", "--report", tmp_path / "report.json"),
    )
    assert done.code == 0, done.err
    assert "the best 4 re-ranked with colour:x on cpu" in done.out
    assert "not measured, nor what best scores tell (--no-correct)" in done.out
    system = json.loads((tmp_path / "report.json").read_text())["systems"][0]
    assert system["reranked"]["text_to_image"]["candidate_recall"]["value"] <= 1
    assert (system["corrected"]["measured"], system["calibration"]) == (False, None)
    assert colour[0].looks == 12
    (numbered[0] / "3.png").unlink()
    refused = mmsearch("eval", "gallery", tmp_path / "numbered", "--rerank", "colour:x", "--no-correct")
    assert refused.code == 1
    assert "cannot be read again to be re-ranked" in refused.err


def test_figures_are_the_same_without_the_corrections(numbered: tuple[Path, Path], tmp_path: Path) -> None:
    of = [
        evaluate(
            "custom",
            images=numbered[0],
            annotations=numbered[1],
            encoder=FakeEncoder(),
            options=EvaluateOptions(split="all", correct=correct),
        )
        for correct in (True, False)
    ]
    (full,), (plain,) = (each.systems for each in of)
    assert plain.directions == full.directions
    assert (plain.mean_recall, plain.mean_recall_interval) == (full.mean_recall, full.mean_recall_interval)
    assert full.corrected.measured
    assert not plain.corrected.measured
    assert plain.corrected.mean_recall == plain.mean_recall
    write_report(of[1], tmp_path / "all")
    assert "Corrected for hubs" not in (tmp_path / "all" / "report.md").read_text("utf-8")
