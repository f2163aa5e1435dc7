"""Writes the swapped pairs of the postcards as Winoground has its examples: two pictures that differ only in which
thing has which colour, and a caption of each.

    python -m scripts.postcards.probe /tmp/pairs
    mmsearch eval probe winoground --images /tmp/pairs/images --annotations /tmp/pairs/examples.jsonl --model demo
"""

import argparse
import json
from pathlib import Path

from scripts.postcards.dataset import load_swaps
from scripts.postcards.render import render

POSTCARDS = Path(__file__).resolve().parents[2] / "data" / "postcards"


def write_pairs(folder: Path, pairs: int | None = None) -> Path:
    """Write images/ and examples.jsonl under a folder; returns that file. pairs: only the first so many."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, pair in enumerate(load_swaps(POSTCARDS)[:pairs]):
        example: dict[str, object] = {"id": number, "collapsed_tag": "Object"}
        for place in (0, 1):
            name = f"ex_{number}_img_{place}"
            render(pair.scenes[place], pair.seeds[place]).save(folder / "images" / f"{name}.png")
            example |= {f"image_{place}": name, f"caption_{place}": pair.captions[place].text}
        lines.append(json.dumps(example))
    file = folder / "examples.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print(write_pairs(parser.parse_args().folder))


if __name__ == "__main__":
    main()
