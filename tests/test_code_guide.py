"""The guide to the code: every step of its three ways exists, and each way goes down the layers without coming back."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
TEXT = (PROJECT / "mmsearch" / "guides" / "code.md").read_text("utf-8")
STEP = re.compile(r"^(\d+)\. `(mmsearch/[\w/]+\.py)` `([\w.]+)`: \S", re.MULTILINE)
WAYS = {
    section.partition("\n")[0].strip(): STEP.findall(section)
    for section in TEXT.split("\n## ")[1:]
    if STEP.search(section)
}
LAYERS = next(
    contract["layers"]
    for contract in tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
)


def layer_of(file: str) -> int:
    """How far down a module stands."""
    package = ".".join(Path(file).with_suffix("").parts[:2])
    return next(number for number, layer in enumerate(LAYERS) if package in layer.split(" | "))


def test_there_are_three_ways() -> None:
    assert [len(steps) for steps in WAYS.values()] == [19, 15, 11]


@pytest.mark.parametrize("way", WAYS)
def test_every_step_exists(way: str) -> None:
    for _, file, name in WAYS[way]:
        found = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found), name


@pytest.mark.parametrize("way", WAYS)
def test_every_way_goes_down(way: str) -> None:
    steps = WAYS[way]
    assert [int(number) for number, _, _ in steps] == list(range(1, len(steps) + 1))
    layers = [layer_of(file) for _, file, _ in steps]
    assert layers == sorted(layers), [file for _, file, _ in steps]


def test_the_house_is_the_one_that_is_checked() -> None:
    """Its lines are the layers, in their order."""
    drawing = TEXT[TEXT.index("    cli") : TEXT.index("Records stand")]
    order = [
        layer_of(f"mmsearch/{name}") for name in re.findall(r"^    (\w+)", drawing, re.MULTILINE) if name != "errors"
    ]
    assert order == sorted(order)
    named = set(re.findall(r"\w+", " ".join(line[:48] for line in drawing.splitlines())))
    packages = {path.name for path in (PROJECT / "mmsearch").iterdir() if (path / "__init__.py").is_file()} - {"guides"}
    assert packages - named == set()


def test_the_front_doors_of_packages_hold_no_logic() -> None:
    """They export. That of the command line is the program itself."""
    doors = [door for door in (PROJECT / "mmsearch").rglob("__init__.py") if door.parent.name != "cli"]
    defined = {
        str(door.parent): [
            node.name for node in ast.parse(door.read_text("utf-8")).body if isinstance(node, DEFINITIONS)
        ]
        for door in doors
    }
    assert len(doors) > 20
    assert {package: names for package, names in defined.items() if names} == {}
