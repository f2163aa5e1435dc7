"""The whole of mmsearch on pictures that one can look at: a thousand drawn postcards and the model that knows them.

    python scripts/demo.py [--out demo_out]

No network, no GPU. Every step is a command that is shown before it runs; the answers are left as a picture.
"""

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
POSTCARDS = PROJECT / "data" / "postcards"
QUERIES = ("sunset over mountains", "a lighthouse in a thunderstorm", "two red boats by the city at night")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "demo_out", help="where the gallery and the picture go")
    out = parser.parse_args().out.absolute()
    started = time.monotonic()
    shutil.rmtree(out / "gallery", ignore_errors=True)
    out.mkdir(exist_ok=True)
    os.environ["MMSEARCH_CACHE"] = str(out / "cache")
    captions = write_captions(out / "captions.csv")
    gallery = ["--gallery", str(out / "gallery")]
    run("embed", str(POSTCARDS / "images"), "--captions", str(captions), "--model", "demo", *gallery)
    run("index", *gallery)
    run("query", QUERIES[0], "-k", "5", *gallery)
    card = str(first_hit(QUERIES[1], gallery))
    run("query", "--image", card, "-k", "5", *gallery)
    run("query", "--image", card, "--in", "captions", "-k", "5", *gallery)
    benchmark = ("--images", str(POSTCARDS / "images"), "--annotations", str(POSTCARDS / "dataset_postcards.json"))
    run("eval", "custom", *benchmark, "--model", "demo", "--report", str(out / "report.json"))
    print(f"\nThe answers as a picture: {draw(out, card)}")
    print(f"All of them by month, in the browser (t): mmsearch serve --gallery {out / 'gallery'} --open")
    print(f"Copies, other sizes and bursts among them: mmsearch duplicates --gallery {out / 'gallery'}")
    print(f"All of it took {time.monotonic() - started:.0f} s. Now your own: mmsearch embed ~/Pictures")


def run(*arguments: str) -> None:
    shown = [argument.replace(f"{PROJECT}/", "") for argument in arguments]
    print(f"\n$ mmsearch {shlex.join(shown)}", flush=True)
    subprocess.run([sys.executable, "-m", "mmsearch", *arguments], check=True)


def write_captions(file: Path) -> Path:
    """The captions of the benchmark as a table, which is what `embed --captions` reads."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "caption"])
        for image in json.loads((POSTCARDS / "dataset_postcards.json").read_text("utf-8"))["images"]:
            for sentence in image["sentences"]:
                writer.writerow([image["filename"], sentence["raw"]])
    return file


def first_hit(query: str, gallery: list[str]) -> str:
    command = [sys.executable, "-m", "mmsearch", "query", query, "-k", "1", "--format", "paths", *gallery]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def draw(out: Path, card: str) -> Path:
    import mmsearch
    from mmsearch import ImagePart, Query

    opened = mmsearch.open_gallery(out / "gallery")
    queries = [Query.of(query, k=6) for query in QUERIES]
    queries.append(Query([ImagePart(card)], k=6, title="pictures like this one"))
    queries.append(Query([ImagePart(card)], k=6, table="captions", title="captions for this one"))
    return mmsearch.contact_sheet([opened.ask(query) for query in queries], out / "answers.png")


if __name__ == "__main__":
    main()
