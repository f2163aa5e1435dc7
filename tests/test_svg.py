"""Drawings as pictures: rendered, and harmless."""

import base64
import io
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.images import decode, probe
from mmsearch.images.svg import is_svg

pytest.importorskip("resvg_py")

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED = '<rect width="30" height="20" fill="red"/>'


def svg(inside: str, *, before: str = "", root: str = 'width="30" height="20"') -> bytes:
    return f"{before}<svg {NAMESPACES} {root}>{inside}</svg>".encode()


def test_a_drawing_is_rendered_over_white() -> None:
    picture = decode(svg('<rect width="15" height="20" fill="#0000ff"/>'))
    assert (picture.format, picture.width, picture.height) == ("SVG", 1024, 683)
    assert picture.image.getpixel((100, 300)) == (0, 0, 255)
    assert picture.image.getpixel((900, 300)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('width="30" height="20"', (1024, 683)),
        ('viewBox="0 0 20 30"', (683, 1024)),
        ('width="100%" height="100%" viewBox="0,0,512,512"', (1024, 1024)),
        ('width="1in" height="96px"', (1024, 1024)),
        ('width="1e9" height="1e9"', (1024, 1024)),
        ('width="1000000" height="1"', (1024, 1)),
    ],
)
def test_the_size_of_what_is_rendered(root: str, size: tuple[int, int]) -> None:
    header = probe(io.BytesIO(svg("", root=root)))
    assert (header.width, header.height) == size
    assert decode(svg("", root=root)).image.size == size


def test_words_are_drawn() -> None:
    image = decode(svg('<text x="1" y="15" font-size="14" font-family="Anything">Hi</text>')).image
    assert min(image.convert("L").tobytes()) < 64


@pytest.mark.parametrize("element", ["image", "feImage", "use"])
@pytest.mark.parametrize("attribute", ["href", "xlink:href"])
def test_no_other_file_is_opened(element: str, attribute: str, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "secret.png")
    shown = f'<{element} {attribute}="{tmp_path}/secret.png" width="30" height="20"/>'
    inner = base64.b64encode(svg(shown)).decode()
    entity = f'<!DOCTYPE svg [<!ENTITY path "{tmp_path}/secret.png">]>'
    for drawing in (
        svg(shown),
        svg(shown.replace(str(tmp_path), f" {tmp_path}")),
        svg(f'<image href="data:image/svg+xml;base64,{inner}" width="30" height="20"/>'),
        svg(f'<{element} {attribute}="&path;" width="30" height="20"/>', before=entity),
    ):
        assert decode(drawing).image.getcolors() == [(1024 * 683, (255, 255, 255))]


def test_pictures_inside_of_a_drawing_are_shown() -> None:
    out = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    picture = decode(svg(f'<image xlink:href="data:image/png;base64,{data}" width="30" height="20"/>'))
    assert picture.image.getpixel((500, 300)) == (255, 0, 0)
    assert decode(svg(f'<defs><g id="a">{RED}</g></defs><use href="#a"/>')).image.getpixel((500, 300)) == (255, 0, 0)


def test_scripts_and_styles_from_elsewhere_do_nothing() -> None:
    drawing = svg(
        f'{RED}<script>alert(1)</script><script href="http://127.0.0.1:9/x.js"/><a href="http://127.0.0.1:9/">{RED}</a>',
        before='<?xml version="1.0"?><?xml-stylesheet href="http://127.0.0.1:9/x.css"?>',
    )
    assert decode(drawing).image.getpixel((500, 300)) == (255, 0, 0)


def test_drawings_that_ask_for_too_much_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.images.svg._SECONDS", 3)
    doubled = "".join(f'<g id="a{n}"><use href="#a{n - 1}"/><use href="#a{n - 1}"/></g>' for n in range(1, 40))
    started = time.monotonic()
    with pytest.raises(ImageError, match="SVG"):
        decode(svg(f'<defs><g id="a0">{RED}</g>{doubled}</defs><use href="#a39"/>'))
    assert time.monotonic() - started < 60
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(ImageError, match="damaged SVG"):
        decode(svg("<text>&a11;</text>", before=f'<!DOCTYPE svg [<!ENTITY a0 "ha">{laughs}]>'))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (svg(RED, root=""), "does not say how large"),
        (svg(RED)[:-9], "damaged SVG"),
        (svg(RED, root='width="0" height="20"'), "does not say how large"),
        (svg("", root='width="30" height="20"') + b"\0" * 100, "damaged SVG"),
    ],
)
def test_what_is_no_drawing_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_without_its_library_a_drawing_says_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ImageError, match=r"pip install 'mmsearch\[svg\]'"):
        decode(svg(RED))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", True),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<!DOCTYPE svg>\n<svg >", True),
        (b'<!DOCTYPE svg PUBLIC "x" "y" [ <!ENTITY a "b"> ]><svg:svg xmlns:svg="x">', True),
        (b"<html><svg></svg></html>", False),
        (b"<svgs>", False),
    ],
)
def test_a_drawing_is_told_by_its_first_bytes(head: bytes, expected: bool) -> None:
    assert is_svg(head) is expected
