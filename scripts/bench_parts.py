"""Pages of documents: how many a second, beside a plain loop of pypdfium2 or Pillow, and what they take in memory.

    python -m scripts.bench_parts [--pages 120] [--rounds 3] [--threads 2] [--seconds 240]

Three files are made: a scan (a JPEG of 1,654 x 2,339 pixels a page, as a scanner at 200 dots per inch gives), a text
(40 lines a page), and a TIFF of the same scans, compressed by LZW. For each, in turn: the plain loop, which opens the
file and makes each page in this process, one after the other; the cutter alone; and the loader of `mmsearch embed`,
which also prepares each page for a model. Of each the pages a second, and the milliseconds of work of processors a
page, which other programs hardly change. Of the loader also the peak of its memory and of the largest process that it
started, and that for a file with a tenth of the pages.

--seconds bounds it: each measurement ends after its share with the pages that it made by then, no further round begins
when the share of its file is over, and what was left out is said. A line of JSON comes for each file as soon as it is
measured. Making the files and starting the loader's process comes on top: seconds on a quiet machine.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmsearch.cutting import list_spans, make_pictures
from mmsearch.cutting.pdf_pages import pdf_processes
from mmsearch.images import MAX_PIXELS
from scripts.measuring import circumstances

_SIDE = 1600
_TOGETHER = 8
_WAYS = 3  # in which the pages of a file are made: plain, the cutter, the loader


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is measured of one file: that many rounds, none of which begins after `seconds`, and in each way that
    many seconds at most."""

    rounds: int
    threads: int
    seconds: float

    @property
    def seconds_a_way(self) -> float:
        return self.seconds / (self.rounds * _WAYS + 1)


def main() -> None:
    """Measure, and print the figures as JSON, a line a file."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pages", type=int, default=120)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--seconds", type=float, default=240.0)
    options.add_argument("--load", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.load:
        print(json.dumps(asdict(load_and_weigh(Path(asked.load), asked.threads, asked.seconds))))
        return
    print(json.dumps({**circumstances(), "pages": asked.pages, "threads": asked.threads}), flush=True)
    files = (
        ("scan.pdf", write_scan, plain_pdf),
        ("text.pdf", write_text, plain_pdf),
        ("scan.tif", write_tiff, plain_tiff),
    )
    limits = Limits(asked.rounds, asked.threads, asked.seconds / len(files))
    with tempfile.TemporaryDirectory() as folder:
        for name, write, plain in files:
            file, short = Path(folder) / name, Path(folder) / f"short-{name}"
            write(file, asked.pages)
            write(short, max(1, asked.pages // 10))
            print(json.dumps({"file": name, **measure(file, short, plain, asked.pages, limits)}), flush=True)


def measure(
    file: Path, short: Path, plain: Callable[[Path], Iterator[None]], pages: int, limits: Limits
) -> dict[str, object]:
    """Pages a second of the plain loop, of making them one after the other, and of the loader; and memory in MB."""
    ways: dict[str, list[Made]] = {"plain": [], "made": [], "loader": []}
    until = time.perf_counter() + limits.seconds
    rounds = 0
    while rounds < limits.rounds and (not rounds or time.perf_counter() < until):
        rounds += 1
        ways["plain"].append(pages_within(plain(file), limits.seconds_a_way))  # in turn: what else the machine does
        ways["made"].append(pages_within(make_all(file), limits.seconds_a_way))  # changes
        whole = weigh(file, limits)
        ways["loader"].append(whole.made)
    few = weigh(short, limits)
    rates = {name: float(np.median([each.pages / each.seconds for each in made])) for name, made in ways.items()}
    most_pages = {name: max(each.pages for each in made) for name, made in ways.items()}
    works = {  # what a loader that was left early has begun is not counted
        name: float(np.median([each.work / each.pages for each in made if each.pages == most_pages[name]]))
        for name, made in ways.items()
        if name != "loader" or most_pages[name] == pages
    }
    left_out = {name: f"{count:,} of {pages:,} pages" for name, count in most_pages.items() if count < pages}
    return {
        **{f"{name}_pages_a_second": round(rate, 1) for name, rate in rates.items()},
        **{f"{name}_work_ms_a_page": round(1_000 * work, 1) for name, work in works.items()},
        "loader_to_plain": round(rates["loader"] / rates["plain"], 2),
        "made_to_plain": round(rates["made"] / rates["plain"], 2),
        "peak_mb": round(whole.peak_mb),
        "peak_mb_of_a_tenth": round(few.peak_mb),
        "file_mb": round(file.stat().st_size / 1e6, 1),
        "rounds": f"{rounds} of {limits.rounds}",
        **({"time_was_over_after": left_out} if left_out else {}),
    }


@dataclass(frozen=True, slots=True)
class Made:
    """Pages that were made, in how many seconds, and in how many seconds of work of processors."""

    pages: int
    seconds: float
    work: float


def pages_within(pages: Iterator[None], seconds: float) -> Made:
    """Make pages until so many seconds are over."""
    pdf_processes.end()
    started, before = time.perf_counter(), _work()
    count = 0
    for _ in pages:
        count += 1
        if time.perf_counter() - started > seconds:
            break
    taken = time.perf_counter() - started
    del pages  # what it has open is closed
    pdf_processes.end()
    return Made(count, taken, _work() - before)


def _work() -> float:
    """Of this process and of those that it started and that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def plain_pdf(file: Path) -> Iterator[None]:
    """What a script would do."""
    import pypdfium2

    document = pypdfium2.PdfDocument(file)
    for number in range(len(document)):
        page = document[number]
        page.render(scale=_SIDE / max(page.get_size())).to_pil().convert("RGB")
        yield


def plain_tiff(file: Path) -> Iterator[None]:
    """What a script would do."""
    with Image.open(file) as image:
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            image.convert("RGB")
            yield


def make_all(file: Path) -> Iterator[None]:
    """Each page by the cutter, without the threads of the loader."""
    names = [span.name for span in list_spans(str(file), file.name) if span.name]
    for start in range(0, len(names), _TOGETHER):
        for _ in make_pictures(str(file), file.name, names[start : start + _TOGETHER], MAX_PIXELS):
            yield


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the loader did, and its peak of memory, of its process and of the largest that it started."""

    made: Made
    peak_mb: float


def weigh(file: Path, limits: Limits) -> Weighed:
    """`load_and_weigh` in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench_parts", "--load", str(file)]
    command += ["--threads", str(limits.threads), "--seconds", str(limits.seconds_a_way)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    return Weighed(Made(**said["made"]), said["peak_mb"])


def load_and_weigh(file: Path, threads: int, seconds: float) -> Weighed:
    """The loader, in this process."""
    from mmsearch.cutting import cutting_word
    from mmsearch.encoders import open as open_encoder
    from mmsearch.images import AS_USUAL
    from mmsearch.loading import load
    from mmsearch.sources import file_in, list_pictures
    from mmsearch.workers import Workers

    encoder = open_encoder("demo", device="cpu")
    members = list_pictures(file_in(file.parent, file), cutting_word(file.name), AS_USUAL)

    def loaded(workers: Workers) -> Iterator[None]:
        for each in load(members, lambda: encoder.image, workers, threads):
            if each.error:
                raise SystemExit(f"{file}: {each.error}")
            yield

    with Workers(threads, "load") as workers:
        made = pages_within(loaded(workers), seconds)
    kilobytes = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Weighed(made, kilobytes / 1e3)


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
