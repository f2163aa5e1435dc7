"""Parts of pictures at their own pixels: the same as those of the whole picture, of one that is decoded once."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import images
from mmsearch.boxes import PixelBox
from mmsearch.embedding import embed
from mmsearch.errors import ImageError, QueryError
from mmsearch.gallery import Gallery
from mmsearch.serve import crops
from mmsearch.serve.crops import Crops
from tests.fakes import FakeEncoder
from tests.servers import Running, running

SIZE = (700, 300)


def tiff(size: tuple[int, int] = SIZE, orientation: int = 1) -> bytes:
    """A smooth picture, as a file that browsers do not show."""
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    pixels = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "TIFF", exif=exif)
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("crops")
    for name, orientation in (("a.tif", 1), ("b.tif", 6)):
        (folder / "photos").mkdir(exist_ok=True)
        (folder / "photos" / name).write_bytes(tiff(orientation=orientation))
    embed([folder / "photos"], gallery=folder / "g", encoder=FakeEncoder())
    with running(folder / "g") as found:
        yield found


def part_of(server: Running, row: int, **box: int) -> Image.Image:
    got = server.get(f"/api/images/{row}/crop", params=box)
    assert (got.status_code, got.headers["content-type"]) == (200, "image/jpeg")
    assert "immutable" in got.headers["cache-control"]
    return Image.open(io.BytesIO(got.content))


@pytest.mark.parametrize("row", [0, 1])
def test_a_part_has_the_pixels_of_the_upright_picture(row: int, server: Running) -> None:
    item = server.get(f"/api/images/{row}").json()
    file = Path(item["file"])
    whole = images.decode(file.read_bytes()).image
    assert whole.size == (item["width"], item["height"])
    for box in ((0, 0, 256, 256), (40, 10, 31, 17), (200, 250, 256, 256), (0, 0, 1024, 1024)):
        left, top, width, height = box
        expected = whole.crop((left, top, min(left + width, whole.width), min(top + height, whole.height)))
        part = part_of(server, row, left=left, top=top, width=width, height=height)
        assert part.size == expected.size
        away = np.abs(np.asarray(part, np.int16) - np.asarray(expected, np.int16))
        assert away.mean() < 2, box


def test_parts_that_there_are_not_are_refused(server: Running) -> None:
    outside = server.get("/api/images/0/crop?left=700&width=10")
    assert (outside.status_code, outside.json()["error"]) == (
        422,
        "the picture has 700 x 300 pixels, and none of them in this part",
    )
    for asked in ("width=1025", "width=0", "left=-1", "top=99999999999"):
        assert server.get(f"/api/images/0/crop?{asked}").status_code == 422
    assert server.get("/api/images/99/crop").status_code == 404


def test_a_file_that_was_changed_gives_no_part(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.tif").write_bytes(tiff())
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    (tmp_path / "photos" / "a.tif").write_bytes(tiff((80, 70)))
    with running(tmp_path / "g") as server:
        assert server.get("/api/images/0/crop").status_code == 410
    assert Gallery.open(tmp_path / "g").live_rows("images") == 1


def test_a_picture_is_decoded_once_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "_KEPT_PIXELS", 2 * SIZE[0] * SIZE[1])
    reads: list[int] = []
    drawer = Crops()

    def draw(number: int, left: int = 0) -> bytes:
        def read() -> bytes:
            reads.append(number)
            return tiff()

        return drawer.draw(bytes([number]), PixelBox(left, 0, 100, 100), read)

    for left in range(5):
        draw(1, 100 * left)
    assert reads == [1]
    draw(2)
    draw(1)
    assert reads == [1, 2]
    draw(3)  # for which 2 makes room: it was looked at longest ago
    assert drawer.kept_pixels == 2 * SIZE[0] * SIZE[1]
    draw(1)
    assert reads == [1, 2, 3]
    draw(2)
    assert reads == [1, 2, 3, 2]
    with pytest.raises(QueryError, match="none of them"):
        draw(2, 9_000)
    with pytest.raises(ImageError):
        drawer.draw(b"no picture", PixelBox(0, 0, 1, 1), lambda: b"no picture")
    drawer.close()


def test_a_picture_is_let_go_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "_KEPT_SECONDS", 0.05)
    drawer = Crops()
    drawer.draw(b"a", PixelBox(0, 0, 10, 10), tiff)
    assert drawer.kept_pixels == SIZE[0] * SIZE[1]
    until = time.monotonic() + 10
    while drawer.kept_pixels and time.monotonic() < until:
        time.sleep(0.02)
    assert drawer.kept_pixels == 0


MEASURED = """
import sys
from pathlib import Path
from PIL import Image
from mmsearch.boxes import PixelBox
from mmsearch.serve.crops import Crops

def held(name):
    # ru_maxrss of a fresh program begins with what the one that started it held.
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

file, drawer, before = Path(sys.argv[1]), Crops(), held("VmRSS")
for place in range(12):
    drawer.draw(b"a", PixelBox(1_000 * place, 900 * place, 512, 512), file.read_bytes)
most = held("VmHWM")
drawer.close()
print(most - before, held("VmRSS") - before)
"""


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_largest_picture_takes_four_bytes_a_pixel_and_gives_them_back(tmp_path: Path) -> None:
    tiny = Image.fromarray(np.indices((125, 160)).sum(0).astype(np.uint8)).convert("RGB")
    tiny.resize((16_000, 12_500)).save(tmp_path / "large.jpg", quality=70)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "large.jpg")]
    most, after = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert most < 1.1 * 4 * images.MAX_PIXELS + (64 << 20), most
    assert after < 100 << 20, after
