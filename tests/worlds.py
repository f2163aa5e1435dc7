"""A folder with a gallery, pictures, captions and odd files, and a shell in it in which `mmsearch` is the program."""

import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmsearch.embedding import embed
from tests.archives import make_tar, make_zip
from tests.fakes import COLOURS, FakeEncoder, write_picture

__all__ = ["make_world", "png_of", "run_in"]

_HERE = Path(__file__).parents[1]

# mmsearch: every model is the fake one. really_mmsearch: with the encoders that there are. weakly: as one who may not
# pass by permissions. theirs: another user's, whom nobody else may look at.
_PRELUDE = """
mmsearch() { timeout 100 "$PYTHON" -m tests.fake_program "$@"; }
really_mmsearch() { timeout 100 "$PYTHON" -m mmsearch "$@"; }
weakly() { setpriv --bounding-set=-dac_override,-dac_read_search timeout 100 "$PYTHON" -m tests.fake_program "$@"; }
theirs() { chown -R 65534:65534 "$@" && chmod -R go= "$@"; }
export -f mmsearch
ulimit -v 12000000
ulimit -t 60
"""


def run_in(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's command line in a folder, within limits of memory and of processor seconds.

    `mmsearch`, `really_mmsearch` and `weakly` are the program. What comes out is text with undecodable bytes as
    surrogates.
    """
    inherited = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MMSEARCH_", "AWS_"))},
        "COLUMNS": "200",
        "HF_HUB_OFFLINE": "1",
        "MMSEARCH_CACHE": str(folder / "cache"),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(_HERE),
    }
    return subprocess.run(
        ["bash", "-c", _PRELUDE + command],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def make_world(folder: Path) -> Path:
    """Twelve pictures in photos/, their gallery g, what evaluations want, and odd/. Returns folder."""
    photos = folder / "photos"
    for number, colour in enumerate(COLOURS):
        write_picture(photos / f"{colour}.png", colour, seed=number)
        write_picture(photos / "more" / f"{colour}.png", colour, seed=number + 100)
    embed([photos], gallery=folder / "g", encoder=FakeEncoder("fake"))
    write_picture(folder / "asked.png", "red", seed=77)
    (folder / "captions.csv").write_text("image,caption\nred.png,red\nblue.png,blue\ngreen.png,green\n")
    (folder / "texts.txt").write_text("red\nblue\n")
    for name, colour in {"a": "red", "b": "blue"}.items():
        (folder / "classes" / name).mkdir(parents=True)
        shutil.copy(photos / f"{colour}.png", folder / "classes" / name)
    np.save(folder / "v.npy", np.eye(3, dtype=np.float32))
    members = [(file.name, file.read_bytes()) for file in sorted(photos.glob("*.png"))[:3]]
    make_tar(folder / "a.tar", members)
    _make_odd_files(folder / "odd", members)
    return folder


def _make_odd_files(odd: Path, members: list[tuple[str, bytes]]) -> None:
    odd.mkdir()
    name, picture = members[0]
    make_tar(odd / "backslash.tar", [(rf"trip\{name}", picture)])
    make_zip(odd / "backslash.zip", [(rf"trip\{name}", picture)])
    make_tar(odd / "nameless.tar", [("", picture), (name, picture)])
    make_tar(odd / "climbing.tar", [("../../x.png", picture), ("/etc/passwd.png", picture), (name, picture)])
    make_tar(odd / "empty.tar", [])
    make_tar(odd / "nested.tar", [("a.zip", b"PK\3\4"), (name, picture)])
    make_zip(odd / "twice.zip", [(name, picture), (members[1][0], members[1][1])])
    with tarfile.open(odd / "links.tar", "w") as archive:
        for target in ("a.png", "b.png"):  # each a link to the other
            info = tarfile.TarInfo(target)
            info.type, info.linkname = tarfile.LNKTYPE, "ab.png".replace(target[0], "", 1)
            archive.addfile(info)
        info = tarfile.TarInfo(name)
        info.size = len(picture)
        archive.addfile(info, io.BytesIO(picture))
    make_zip(odd / "bomb.zip", [("zeros.png", bytes(200_000_000)), (name, picture)])
    encrypted = bytearray(make_zip(odd / "encrypted.zip", [(name, picture)], zipfile.ZIP_STORED).read_bytes())
    encrypted[encrypted.index(b"PK\1\2") + 8] |= 1
    (odd / "encrypted.zip").write_bytes(encrypted)
    (odd / "cut.tar").write_bytes((odd.parent / "a.tar").read_bytes()[:2500])
    _make_odd_pictures(odd / "pictures", picture)
    _make_odd_tables(odd, picture)


def _make_odd_pictures(folder: Path, picture: bytes) -> None:
    folder.mkdir()
    (folder / "good.png").write_bytes(picture)
    (folder / "empty.jpg").touch()
    (folder / "noise.jpg").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "zeros.jpg").write_bytes(bytes(5000))
    (folder / "cut.png").write_bytes(picture[: len(picture) // 2])
    (folder / "vast.png").write_bytes(png_of(200_000, 200_000))
    (folder / "hollow.png").write_bytes(png_of(0, 10))
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7\n%%EOF")
    (folder / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (folder / "a page.jpg").write_text("<!doctype html><title>404</title>")
    (folder / "pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1\n")
    Image.new("RGB", (1, 20_000), "red").save(folder / "ribbon.png")
    tiff = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(tiff, "TIFF", compression="tiff_lzw")
    (folder / "torn.tif").write_bytes(tiff.getvalue().replace(b"\x80", b"\x7f"))


def png_of(width: int, height: int) -> bytes:
    """A PNG that says to be so large and holds no pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _make_odd_tables(odd: Path, picture: bytes) -> None:
    tables: dict[str, dict[str, Any]] = {
        "ragged": {"embedding": [[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]]},
        "onlypaths": {"image": [{"bytes": None, "path": "red.png"}]},
        "pictures": {"image": [{"bytes": picture, "path": "x.png"}, {"bytes": None, "path": "gone.png"}]},
        "numbers": {"x": [1, 2, 3]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), odd / f"{name}.parquet")
    nan = np.eye(3, dtype=np.float32)
    nan[1, 1] = np.nan
    np.save(odd / "nan.npy", nan)
    np.save(odd / "objects.npy", np.array([{}]), allow_pickle=True)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 512), }"
    header = header.ljust(117) + b"\n"
    (odd / "boundless.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
