"""What is typed wrongly, and what is said to be typed instead."""

import ast
import re
from pathlib import Path

import pytest
import typer

from mmsearch.cli import COMMANDS
from tests.conftest import Command

# A click of 8.4 or later gives arguments a help of its own, and overwrites that of a typer that does not know of it.
_HELP_IS_LOST = tuple(map(int, typer.__version__.split(".")[:2])) < (0, 26)


@pytest.fixture
def gallery(photos: Path, mmsearch: Command) -> Path:
    assert mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g").code == 0
    return photos.parent / "g"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["search", "dog"], "No such command 'search'; this is: mmsearch query"),
        (["open", "3"], "No such command 'open'; this is: mmsearch show 3"),
        (["switch", "g"], "this is: mmsearch use GALLERY"),
        (["rm", "x"], "this is: mmsearch forget FOLDER"),
        (["embd", "x"], "Did you mean 'embed'"),
        (["query", "a", "dog"], "A text of several words takes quotes: mmsearch query 'a dog'"),
        (["query", "-k", "3", "a", "--exact", "dog"], "mmsearch query 'a dog'"),
        (["query", "-dog"], "No such option: -d; a text that begins with a dash comes last, after --: mmsearch query"),
        (["query", "--k", "3", "dog"], "No such option: --k. One letter takes one dash: -k"),
        (["query", "--in", "nothing", "dog"], "'nothing' is not one of 'images', 'captions', 'both'"),
        (["query", "--format", "latex", "dog"], "Invalid value for '--format': 'latex' is not one of 'table', 'jsonl'"),
        (["query", "--within", "2s", "dog"], "--within: goes with --rerank, which is not given"),
        (["query", "--depth", "128", "dog"], "--depth: goes with --rerank, which is not given"),
        (["query", "--rerank-by", "logit", "dog"], "--rerank-by: goes with --rerank, which is not given"),
        (["eval", "gallery", "--depth", "5"], "--depth: goes with --rerank, which is not given"),
        (["eval", "coco", "--images", "x", "--rerank-by", "logit"], "--rerank-by: goes with --rerank, which is not"),
        (["ask", "what colour?", "--query", "a car"], "Missing option '--model'. The model that answers: hf:org/name"),
        (["describe", "a.jpg"], "Missing option '--model'. The model that looks: hf:org/name"),
        pytest.param(
            *(["ask", "--model", "hf:x/y"], "Missing argument 'QUESTION'. What to ask, in words."),
            marks=pytest.mark.skipif(_HELP_IS_LOST, reason="this typer loses the help of arguments beside a new click"),
        ),
        (
            ["eval", "gallery", "-g", "x"],
            "No such option: -g; galleries are named without it: mmsearch eval gallery GALLERY",
        ),
        (["query", "-k", "five", "dog"], "'five' is not a"),
        (["query", "--min-score", "much", "dog"], "'much' is not a"),
        (["serve", "--port", "x"], "'x' is not a"),
        (["eval", "vectors", "-k", "x"], "'x' is not a"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_what_to_type_instead_is_said(typed: list[str], said: str, mmsearch: Command) -> None:
    done = mmsearch(*typed)
    shown = " ".join(re.sub("[│╭╮╰╯─]", " ", done.err).split())
    assert done.code == 2
    assert said in shown
    assert "Input should" not in shown


@pytest.mark.parametrize(
    ("option", "value"), [("-k", 0), ("--min-probability", 2), ("--min-probability", -1), ("--nprobe", 0)]
)
def test_a_number_out_of_range_is_said_with_its_range(option: str, value: float, mmsearch: Command) -> None:
    done = mmsearch("query", "dog", option, value)
    assert done.code == 2
    assert re.search(rf"{value}\D.*(must be|not in)", " ".join(done.err.split()))
    assert "Input should" not in done.err


def test_a_text_with_a_dash_and_one_of_several_words_are_searched(gallery: Path, mmsearch: Command) -> None:
    assert mmsearch("query", "-g", gallery, "--", "-red").code == 0
    assert mmsearch("query", "a red thing", "-g", gallery).code == 0


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("taken_at > 2024", "as in taken_at >= '2024-01-31'"),
        ("TAKEN_AT > last week", "as in taken_at >= '2024-01-31'"),
        ('path = "a.jpg"', "there is no column a.jpg; a text takes single quotes"),
        ("colour = 'red'", "there is no column colour. Columns:"),
    ],
)
def test_a_filter_that_is_written_wrongly_is_shown_written_rightly(
    where: str, said: str, gallery: Path, mmsearch: Command
) -> None:
    done = mmsearch("query", "red", "-g", gallery, "--where", where)
    assert done.code == 1
    assert said in done.err


def test_an_option_of_an_index_that_is_not_there_says_so(gallery: Path, mmsearch: Command) -> None:
    done = mmsearch("query", "red", "-g", gallery, "--nprobe", 4)
    assert "--nprobe does nothing here: it is for an IVF index, and the gallery has none" in done.err
    assert mmsearch("index", "-g", gallery, "--factory", "HNSW8").code == 0
    done = mmsearch("query", "red", "-g", gallery, "--nprobe", 4, "--ef-search", 8)
    assert "--nprobe does nothing here: it is for an IVF index, and the gallery has HNSW8" in done.err
    assert "--ef-search" not in done.err


def test_the_tag_that_is_named_first_is_the_one_to_take() -> None:
    from mmsearch.encoders.sources import resolve_tagged
    from mmsearch.errors import EncoderError

    for arch, tag in (("ViT-B-32", "laion2b_s34b_b79k"), ("ViT-L-14", "datacomp_xl_s13b_b90k")):
        with pytest.raises(EncoderError, match=f"There is {arch}/{tag}, "):
            resolve_tagged(arch, "")


_COMMAND = re.compile(rf"mmsearch (?:{'|'.join(COMMANDS)})\b.*?(?=[.;:,)](?:\s|$)| \(|\n|$)")
_PLACES = r"gallery|model|image|captions|include|exclude|local-dir|out"
_HOLE = "\N{OBJECT REPLACEMENT CHARACTER}"


def unquoted(source: str) -> list[str]:
    """What Python source puts into a command to be typed, as it is."""
    found: list[str] = []
    if re.search(rf"mmsearch |--(?:{_PLACES}) ", source) is None:
        return found  # most files are not worth a parse
    for text in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)):
        pieces = [each.value if isinstance(each, ast.Constant) else _HOLE for each in text.values]
        told = "".join(map(str, pieces))
        with_places = re.finditer(rf"(?:--(?:{_PLACES})|-g) {_HOLE}", told)
        typed = [range(*match.span()) for each in (_COMMAND.finditer(told), with_places) for match in each]
        places = [match.start() for match in re.finditer(_HOLE, told)]
        values = [each.value for each in text.values if isinstance(each, ast.FormattedValue)]
        for place, value in zip(places, values, strict=True):
            is_argument = told[place - 1 : place] == " " and any(place in one for one in typed)
            if is_argument and "quoted" not in ast.unparse(value):
                found.append(f"{ast.unparse(value)} in {told.replace(_HOLE, '…')}")
    return found


def test_a_command_that_a_message_tells_to_type_can_be_typed_whatever_its_places_are_called() -> None:
    assert unquoted('f"To drop it: mmsearch " f"forget {folder}"') == ["folder in To drop it: mmsearch forget …"]
    assert unquoted('f"Use --model {spec}, or {other}"') == ["spec in Use --model …, or …"]
    assert unquoted('f"{folder} is gone: mmsearch forget {shell_quoted(folder)}; {why}"') == []
    package = Path(__file__).resolve().parents[1] / "mmsearch"
    assert {str(file): found for file in package.rglob("*.py") if (found := unquoted(file.read_text("utf-8")))} == {}


def test_a_folder_with_a_space_is_quoted_in_what_is_to_be_typed(tmp_path: Path, mmsearch: Command) -> None:
    refused = mmsearch("query", "dog", "-g", tmp_path / "my gallery")
    assert f"mmsearch embed PICTURES --gallery '{tmp_path / 'my gallery'}'" in refused.err
