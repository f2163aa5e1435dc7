"""The README and the guides say what is so: what they name exists, their options exist, their examples run."""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmsearch as package
from mmsearch.budget import REQUEST
from mmsearch.cli import make_app
from mmsearch.gallery.tables import schema
from mmsearch.guides import list_guides
from mmsearch.images import FORMATS
from scripts.options_guide import commands
from tests.conftest import Command

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
GUIDES = list_guides()
TEXTS = {README: README.read_text("utf-8"), **{guide.file: guide.text for guide in GUIDES}}
GENERATED = TEXTS[next(guide.file for guide in GUIDES if guide.topic == "options")]

each_file = pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.stem)


def test_the_readme_is_what_a_newcomer_reads() -> None:
    """Three hundred lines at most; all that is more stands in a guide."""
    assert len(TEXTS[README].splitlines()) <= 300


def test_the_readme_lists_every_guide_as_the_command_does(mmsearch: Command) -> None:
    listed = [tuple(re.split(r"\s{2,}", line)) for line in mmsearch("guide").out.splitlines()]
    rows = re.findall(r"^\| \[([a-z-]+)\]\(mmsearch/guides/\1\.md\) \| (.+) \|$", TEXTS[README], flags=re.MULTILINE)
    assert listed == rows == [(guide.topic, guide.summary) for guide in GUIDES]
    assert {guide.file for guide in GUIDES} == set((PROJECT / "mmsearch" / "guides").glob("*.md"))


def test_the_guide_to_options_is_up_to_date() -> None:
    script = PROJECT / "scripts" / "options_guide.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- command lines --------------------------------------------------------------------------------------------------


def code_of(text: str) -> Iterator[str]:
    """The lines of code blocks, and code within sentences."""
    inside = False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside or line.startswith("    "):
            yield line.strip().removeprefix("$ ")
        else:
            yield from re.findall(r"`([^`]+)`", line)


def command_lines(text: str) -> Iterator[str]:
    """What a reader could type: `mmsearch …` without comments."""
    for line in code_of(text):
        if re.match(r"mmsearch [a-z]", line) and "…" not in line and "|" not in line and "]..." not in line:
            yield re.sub(r"\s{2,}# .*| +# .*$", "", line)


def options_of() -> dict[str, set[str]]:
    """Command -> the options that its section of the guide to options lists."""
    sections = re.split(r"^## `mmsearch ([^`]+)`$", GENERATED, flags=re.MULTILINE)
    known: dict[str, set[str]] = {}
    for usage, section in zip(sections[1::2], sections[2::2], strict=True):
        names = set(re.findall(r"^- `([^`]+)`", section, flags=re.MULTILINE))
        options = {option for name in names for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", name)}
        words = [word for word in usage.split(" ") if re.match(r"[a-z]", word)]
        for verb in words[-1].split("|"):
            known[" ".join([*words[:-1], verb])] = options | {"--help", "-h"}
    return known


def test_every_variable_is_in_the_guide_to_options() -> None:
    sources = (file.read_text("utf-8") for file in (PROJECT / "mmsearch").rglob("*.py"))
    used = {name for source in sources for name in re.findall(r"\bMMSEARCH_[A-Z_]+", source)}
    assert set(re.findall(r"^\| `(MMSEARCH_[A-Z_]+)` \|", GENERATED, flags=re.MULTILINE)) == used


@each_file
def test_every_command_line_has_options_that_its_command_takes(file: Path) -> None:
    known = options_of()
    for line in command_lines(TEXTS[file]):
        words = shlex.split(line)[1:]
        command = next(name for size in (3, 2, 1) if (name := " ".join(words[:size])) in known)
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known[command], line


def test_the_lists_of_options_are_those_of_the_program() -> None:
    """The sections that the tests above go by are all there."""
    assert set(options_of()) == {name for names in commands(make_app()).values() for name in names}


def test_every_command_is_shown_and_every_shown_one_exists() -> None:
    app = make_app()
    existing = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    prose = [text.partition("<!-- commands")[0] for text in TEXTS.values()]
    shown = {found[1] for text in prose for code in code_of(text) if (found := re.match(r"mmsearch ([a-z]+)", code))}
    assert shown == existing


@each_file
def test_every_option_that_is_named_exists(file: Path) -> None:
    """Among those of the program, or of the scripts that the text names."""
    text = re.sub(r"`systemctl [^`]*`", "", TEXTS[file].partition("<!-- commands")[0])
    known = {option for options in options_of().values() for option in options} | {"--version", "--local-dir"}
    for script in (PROJECT / "scripts").glob("*.py"):
        if re.search(rf"\b{script.stem}\b", text):
            known |= set(re.findall(r"--[a-z-]+", script.read_text("utf-8")))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known


@each_file
def test_every_target_exists(file: Path) -> None:
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)\b", " ".join(code_of(TEXTS[file])))):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_tree_in_the_readme_is_that_of_the_project() -> None:
    """What it names is there: folders, each below the last one of a smaller indent, and files."""
    tree = TEXTS[README].partition("## How the code is laid out")[2]
    lines = re.findall(r"^    ( *)(\S+(?: \S+)*?)(?: …)?(?:  .*)?$", tree, flags=re.MULTILINE)
    top = PROJECT
    for indent, names in lines:
        folder = top if indent else PROJECT
        for name in names.split():
            assert (folder / name).is_dir() if name.endswith("/") else (folder / name).is_file(), name
        if not indent:
            top = PROJECT / names
    assert len(lines) > 25


# --- files, tests and links -----------------------------------------------------------------------------------------


@each_file
def test_every_file_that_is_named_exists(file: Path) -> None:
    """Modules, scripts, tests and data: `mmsearch/budget.py`, `python -m scripts.bench_index`, `bench_sync.py`."""
    for code in code_of(TEXTS[file]):
        for name in re.findall(r"\b((?:mmsearch|scripts|tests|data)/[\w./-]*\w)", code):
            assert (PROJECT / name).exists() or "shard" in name, f"{name} in {code}"
        for module in re.findall(r"python -m (scripts[\w.]+)", code):
            assert (PROJECT / f"{module.replace('.', '/')}.py").is_file(), module
        for script in re.findall(r"(?<![\w/.])(bench_\w+\.py)", code):
            assert (PROJECT / "scripts" / script).is_file(), script


@each_file
def test_every_test_that_is_named_exists(file: Path) -> None:
    for code in code_of(TEXTS[file]):
        if not re.match(r"pytest .*tests/", code):
            continue
        files = re.findall(r"tests/\w+\.py", code)
        for keyword in re.findall(r"-k (\w+)", code):
            assert any(keyword in (PROJECT / name).read_text("utf-8") for name in files), code


def anchors(text: str) -> set[str]:
    """What the headings of a text can be linked by, as code hosts make it."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_file
def test_links_lead_somewhere(file: Path) -> None:
    """To files and headings that exist. A link to a guide shows the guide's name, for who reads in a shell."""
    for shown, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", TEXTS[file]):
        if re.match(r"https?://", target):
            continue
        name, _, heading = target.partition("#")
        there = Path(os.path.normpath(file.parent / name)) if name else file
        assert there.exists(), target
        if heading:
            assert heading in anchors(there.read_text("utf-8")), target
        if there in TEXTS and there not in (file, README) and file != README:
            assert shown == there.stem, f"[{shown}]({target})"


def test_every_guide_can_be_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(mmsearch/guides/([a-z-]+)\.md", TEXTS[README]))
    assert linked == {guide.topic for guide in GUIDES}


def test_the_guide_to_sources_names_every_format() -> None:
    text = next(guide.text for guide in GUIDES if guide.topic == "sources")
    section = text[text.index("## Formats") :]
    named = set(re.findall(r"[A-Z0-9]{2,}", section.upper().replace("JPEG 2000", "JPEG2000")))
    assert set(FORMATS) - named == set()


def test_the_guide_to_python_names_all_that_the_package_exports() -> None:
    text = next(guide.text for guide in GUIDES if guide.topic == "python")
    named = set(re.findall(r"`(?:mmsearch\.)?(\w+)`", text))
    assert set(package.__all__) - {"__version__"} - named == set()
    rows = re.findall(r"^\| .+ \| (.+) \|$", text, flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} <= set(package.__all__)


def test_the_guide_to_searching_names_the_columns_of_an_answer(photos: Path, mmsearch: Command) -> None:
    text = next(guide.text for guide in GUIDES if guide.topic == "searching")
    paragraph = text[text.index("The columns of `jsonl` and `csv` are") :].partition("\n\n")[0]
    _, *parts = re.split(r"for pictures:|For captions:|For both:|of captions:|of pictures:|\(the guide", paragraph)
    images, captions, both, guessed, _, more, *_ = (re.findall(r"`(\w+)`", part) for part in parts)
    (photos.parent / "captions.csv").write_text("image,caption\nred.png,all red\n")
    gallery = photos.parent / "g"
    mmsearch("embed", photos, "--captions", photos.parent / "captions.csv", "--model", "fake", "-g", gallery)
    for table, columns in (("images", [*images, *both[:2], *more]), ("captions", [*captions, *both[:2], *guessed])):
        done = mmsearch("query", "red", "-k", 1, "--in", table, "--format", "jsonl", "-g", gallery)
        assert list(json.loads(done.out)) == columns


def test_the_guide_to_the_format_names_every_column() -> None:
    text = next(guide.text for guide in GUIDES if guide.topic == "format")
    images, captions = text.split("| of `images` |")[1].split("| of `captions` |")
    for columns, section in ((schema("images", 4, "float16"), images), (schema("captions", 4, "float16"), captions)):
        named = set(re.findall(r"`(\w+)`", section)) | {"path_bytes"}
        assert set(columns.names) - named == set()


def test_the_guide_to_serving_states_the_bounds_of_a_request() -> None:
    text = next(guide.text for guide in GUIDES if guide.topic == "serving")
    table = text[text.index("| of a request | at most |") : text.index("## How it answers")]
    numbers = {int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", table)}
    stated = dataclasses.asdict(REQUEST) | {"body_bytes": REQUEST.body_bytes >> 20, "pixels": REQUEST.pixels // 10**6}
    assert numbers == {*stated.values(), package.ServeOptions().upload_bytes >> 20}


# --- examples -------------------------------------------------------------------------------------------------------


EXAMPLES = {
    f"{file.stem}-{number}": example
    for file, text in TEXTS.items()
    for number, example in enumerate(re.findall(r"```python\n(import mmsearch.*?)```", text, flags=re.DOTALL))
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_python_examples_run(example: str, photos: Path, monkeypatch: pytest.MonkeyPatch, mmsearch: Command) -> None:
    """As they stand, with a fake encoder in the place of the model."""
    monkeypatch.chdir(photos.parent)
    (photos.parent / "captions.txt").write_text("image,caption\nred.png,all red\n")
    photos.joinpath("more").rename(photos.parent / "elsewhere")
    photos.parent.joinpath("Images").symlink_to(photos)
    exec(compile(example, "example", "exec"), {})  # the point of this test is to run what a reader is shown


def test_the_usual_scores_are_what_the_example_prints(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (guide,) = (guide for guide in GUIDES if guide.topic == "searching")
    (example,) = re.findall(r"```python\n(import numpy.*?)```", guide.text, flags=re.DOTALL)
    monkeypatch.chdir(shared_data / "modality_gap_clip_vitb16_coco500")
    exec(compile(example, "example", "exec"), {})  # the point of this test is to run what a reader is shown
    stated = re.findall(r"^\| .+ \| (0.\d+ to 0.\d+) \|$", guide.text, flags=re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == stated


def test_the_readme_and_the_guide_to_python_have_examples() -> None:
    assert {"README-0", "python-0"} <= set(EXAMPLES)


# --- the repository -------------------------------------------------------------------------------------------------


def test_the_repository_speaks_of_mmsearch_alone() -> None:
    """Nothing at the top level but what a reader expects there."""
    listed = subprocess.run(["git", "ls-tree", "--name-only", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    expected = {"pyproject.toml", "README.md", "Makefile", "LICENSE", "mmsearch", "tests", "scripts", "data"}
    assert {name for name in listed.stdout.split() if not name.startswith(".")} <= expected
