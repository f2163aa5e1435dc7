"""`mmsearch guide`: the guides that come with the package, listed, shown and laid out."""

import importlib.resources
import subprocess
import sys
from pathlib import Path

import pytest

import mmsearch as package
from mmsearch.errors import GuideNotFound
from mmsearch.guides import list_guides, read_guide
from tests.conftest import Command
from tests.terminals import in_a_terminal, without_styles

GUIDES = Path(package.__file__).parent / "guides"


def test_all_are_listed_with_a_line_each(mmsearch: Command) -> None:
    done = mmsearch("guide")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines][:2] == ["searching", "scores"]
    assert {line.split()[0] for line in lines} == {file.stem for file in GUIDES.glob("*.md")}
    for line in lines:
        assert len(line) <= 110, line
        assert line.endswith("."), line


def test_a_guide_is_a_title_a_line_and_a_text() -> None:
    for guide in list_guides():
        title, blank, summary, blank_too, *rest = guide.text.splitlines()
        assert title.startswith("# "), guide.topic
        assert (blank, blank_too) == ("", ""), guide.topic
        assert summary == guide.summary
        assert len(rest) > 5, guide.topic
        assert title.removeprefix("# ").lower().replace(" ", "-") == guide.topic


@pytest.mark.parametrize("topic", ["index", "object-stores"])
def test_where_there_is_no_terminal_a_guide_is_its_markdown(topic: str, mmsearch: Command) -> None:
    done = mmsearch("guide", topic)
    assert (done.code, done.err) == (0, "")
    assert done.out == (GUIDES / f"{topic}.md").read_text("utf-8")


def test_on_a_terminal_a_guide_is_laid_out(tmp_path: Path) -> None:
    shown = in_a_terminal(tmp_path, "guide", "searching", columns=100)
    assert "\x1b[" in shown
    plain = without_styles(shown)
    assert "# Searching" not in plain
    assert "Searching" in plain
    assert "**" not in plain
    assert "|---|" not in plain  # tables are tables
    assert "--distinct" in plain
    assert max(len(line) for line in plain.splitlines()) <= 100


def test_links_between_guides_are_names_on_a_terminal(tmp_path: Path) -> None:
    """A path below the package would be of no use there; addresses of the web stay."""
    text = read_guide("clusters").text
    assert "](costs.md" in text
    shown = in_a_terminal(tmp_path, "guide", "clusters")
    assert ".md" not in without_styles(shown)
    assert "https://docs.ray.io" in shown


@pytest.mark.parametrize(
    ("topic", "nearest"), [("indexing", "index"), ("Serve", "serving"), ("options.md", "options"), ("weather", None)]
)
def test_an_unknown_topic_is_an_error_that_lists_what_there_is(
    topic: str, nearest: str | None, mmsearch: Command
) -> None:
    done = mmsearch("guide", topic)
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert f"there is no guide {topic!r}" in done.err
    assert (f"did you mean {nearest}?" in done.err) is (nearest is not None)
    for guide in list_guides():
        assert guide.topic in done.err


def test_a_path_is_no_topic() -> None:
    for topic in ("../cli/guide", "", "/etc/passwd"):
        with pytest.raises(GuideNotFound):
            read_guide(topic)


@pytest.mark.parametrize("arguments", [["guide"], ["guide", "index"]])
def test_it_starts_in_a_blink(arguments: list[str]) -> None:
    """Nothing heavy is loaded, and nothing that lays out where there is no terminal."""
    code = (
        f"import sys\nfrom mmsearch.cli import main\nsys.argv = ['mmsearch', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'faiss', 'pyarrow', 'numpy', 'PIL', 'rich.markdown', 'markdown_it'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_guides_are_data_of_the_package() -> None:
    there = {file.name for file in importlib.resources.files("mmsearch.guides").iterdir() if file.name.endswith(".md")}
    assert there == {f"{guide.topic}.md" for guide in list_guides()}


def test_the_help_names_them(mmsearch: Command) -> None:
    assert "mmsearch guide" in mmsearch("--help").out


def test_from_python() -> None:
    assert next(guide.topic for guide in package.list_guides()) == "searching"
    assert package.read_guide("index").summary.startswith("An index")
