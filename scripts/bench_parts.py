"""Pages of documents: how many a second, beside a plain loop of pypdfium2 or Pillow, and what they take in memory.

    python scripts/bench_parts.py [--pages 120] [--rounds 3] [--threads 2]

Three files are made: a scan (a JPEG of 1,654 x 2,339 pixels a page, as a scanner at 200 dots per inch gives), a text
(40 lines a page), and a TIFF of the same scans, compressed by LZW. For each, in turn: the plain loop, which opens the
file and makes each page in this process, one after the other; and the loader of `mmsearch embed`, which also prepares
each page for a model. Of the loader also the peak of its memory and of the largest process that it started, and that
for a file with a tenth of the pages.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmsearch.cutting import list_spans, make_pictures
from mmsearch.images import MAX_PIXELS
from scripts.measuring import circumstances

_SIDE = 1600
_TOGETHER = 8


def main() -> None:
    """Measure, and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pages", type=int, default=120)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--load", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.load:
        print(json.dumps(load_and_weigh(Path(asked.load), asked.threads)))
        return
    figures: dict[str, object] = {**circumstances(), "pages": asked.pages, "threads": asked.threads}
    with tempfile.TemporaryDirectory() as folder:
        for name, write, plain in (
            ("scan.pdf", write_scan, plain_pdf),
            ("text.pdf", write_text, plain_pdf),
            ("scan.tif", write_tiff, plain_tiff),
        ):
            file, short = Path(folder) / name, Path(folder) / f"short-{name}"
            write(file, asked.pages)
            write(short, max(1, asked.pages // 10))
            figures[name] = measure(file, short, plain, asked.rounds, asked.threads, asked.pages)
    print(json.dumps(figures, indent=2))


def measure(
    file: Path, short: Path, plain: Callable[[Path], None], rounds: int, threads: int, pages: int
) -> dict[str, float]:
    """Pages a second of the plain loop, of making them one after the other, and of the loader; and memory in MB."""
    plain_seconds, made_seconds, loader_seconds = [], [], []
    for _ in range(rounds):  # in turn, since what else the machine does changes
        plain_seconds.append(seconds_of(lambda: plain(file)))
        made_seconds.append(seconds_of(lambda: make_all(file)))
        whole = weigh(file, threads)
        loader_seconds.append(whole["seconds"])
    few = weigh(short, threads)
    plain_rate, made_rate, rate = (
        pages / float(np.median(each)) for each in (plain_seconds, made_seconds, loader_seconds)
    )
    return {
        "plain_pages_a_second": round(plain_rate, 1),
        "made_pages_a_second": round(made_rate, 1),
        "loader_pages_a_second": round(rate, 1),
        "loader_to_plain": round(rate / plain_rate, 2),
        "made_to_plain": round(made_rate / plain_rate, 2),
        "peak_mb": round(whole["peak_mb"]),
        "peak_mb_of_a_tenth": round(few["peak_mb"]),
        "file_mb": round(file.stat().st_size / 1e6, 1),
    }


def seconds_of(work: Callable[[], None]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def plain_pdf(file: Path) -> None:
    """What a script would do."""
    import pypdfium2

    document = pypdfium2.PdfDocument(file)
    for number in range(len(document)):
        page = document[number]
        page.render(scale=_SIDE / max(page.get_size())).to_pil().convert("RGB")


def plain_tiff(file: Path) -> None:
    """What a script would do."""
    with Image.open(file) as image:
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            image.convert("RGB")


def make_all(file: Path) -> None:
    """Each page by the cutter, without the threads of the loader."""
    names = [span.name for span in list_spans(str(file), file.name) if span.name]
    for start in range(0, len(names), _TOGETHER):
        for _ in make_pictures(str(file), file.name, names[start : start + _TOGETHER], MAX_PIXELS):
            pass


def weigh(file: Path, threads: int) -> dict[str, float]:
    """`load_and_weigh` in a process of its own."""
    command = [sys.executable, __file__, "--load", str(file), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    weighed: dict[str, float] = json.loads(done.stdout)
    return weighed


def load_and_weigh(file: Path, threads: int) -> dict[str, float]:
    """Seconds of the loader, and the peak of memory of this process and of the largest that it started."""
    from mmsearch.cutting import cutting_word
    from mmsearch.encoders import open as open_encoder
    from mmsearch.images import AS_USUAL
    from mmsearch.loading import load
    from mmsearch.sources import file_in, list_pictures
    from mmsearch.workers import Workers

    encoder = open_encoder("demo", device="cpu")
    members = list_pictures(file_in(file.parent, file), cutting_word(file.name), AS_USUAL)
    started = time.perf_counter()
    with Workers(threads, "load") as workers:
        broken = [each.error for each in load(members, lambda: encoder.image, workers, threads) if each.error]
    taken = time.perf_counter() - started
    if broken:
        raise SystemExit(f"{file}: {broken[0]}")
    kilobytes = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": taken, "peak_mb": kilobytes / 1e3}


def _scans(pages: int) -> list[Image.Image]:
    """Pages of paper with some ink and some noise, each another."""
    rng = np.random.default_rng(0)
    found = []
    paper = rng.integers(225, 255, (2339 // 4, 1654 // 4, 3), np.uint8)
    for number in range(pages):
        page = Image.fromarray(np.roll(paper, number, axis=0)).resize((1654, 2339))
        draw = ImageDraw.Draw(page)
        for line in range(50):
            draw.text(
                (150, 150 + 40 * line),
                f"page {number} line {line} " + "of what was written here " * 5,
                fill=(20, 20, 40),
            )
        found.append(page)
    return found


def write_scan(file: Path, pages: int) -> None:
    """A PDF of JPEG pictures, eight different ones."""
    scans = _scans(min(pages, 8))
    first, *others = [scans[number % len(scans)] for number in range(pages)]
    first.save(file, "PDF", save_all=True, append_images=others, resolution=200, quality=80)


def write_tiff(file: Path, pages: int) -> None:
    """A TIFF of the same."""
    scans = _scans(min(pages, 8))
    first, *others = [scans[number % len(scans)] for number in range(pages)]
    first.save(file, "TIFF", save_all=True, append_images=others, compression="tiff_lzw")


def write_text(file: Path, pages: int) -> None:
    """A PDF of 40 lines of Helvetica a page."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for number in range(pages):
        kids.append(len(objects) + 1)
        lines = b"".join(b"(page %d line %d %s) ' " % (number, line, b"some words " * 7) for line in range(40))
        content = b"BT /F 11 Tf 18 TL 60 780 Td %sET" % lines
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F 3 0 R>>>>/Contents %d 0 R>>"
            % (len(objects) + 2)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(b"%d 0 R" % kid for kid in kids), len(kids))
    data, offsets = bytearray(b"%PDF-1.4\n"), []
    for at, each in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj%sendobj\n" % (at, each)
    start, size = len(data), len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n" % size + b"".join(b"%010d 00000 n \n" % each for each in offsets)
    data += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, start)
    file.write_bytes(data)


if __name__ == "__main__":
    main()
