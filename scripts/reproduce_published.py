"""Runs published comparisons again: models whose figures are known, on Flickr30k or COCO, set beside them.

    python scripts/reproduce_published.py flickr30k --images flickr30k-images --annotations dataset_flickr30k.json
    python scripts/reproduce_published.py coco --images val2014 --annotations captions_val2014.json --out reports

Needs a network (the weights are fetched) and the photos; a GPU where patience is short. Exits with 1 where a figure
lies outside of our interval and more than 0.3 points from the published one, which is what autocast is worth.
"""

import argparse
import sys
from pathlib import Path

import mmsearch
from mmsearch.evaluation import EvaluateOptions, EvaluationReport
from mmsearch.reports import write_report

MODELS = (
    "ViT-B-32/openai",
    "ViT-B-32/laion2b_s34b_b79k",
    "ViT-B-32-256/datacomp_s34b_b86k",
    "ViT-L-14/openai",
    "ViT-B-16-SigLIP/webli",
)
"""Small enough to be run anywhere; of each family that is preprocessed, tokenised or activated in its own way."""
ALLOWED = 0.003


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=["flickr30k", "coco"])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--model", action="append", help="in the place of the usual ones; repeatable")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--out", type=Path, help="a folder for the reports")
    asked = parser.parse_args()
    wrong = 0
    for model in asked.model or MODELS:
        report = mmsearch.evaluate(
            asked.benchmark,
            images=asked.images,
            annotations=asked.annotations,
            encoder=model,
            options=EvaluateOptions(compare=True, device=asked.device, precision=asked.precision),
            announce=lambda line: print(line, file=sys.stderr),
        )
        wrong += compared(report)
        if asked.out:
            write_report(report, asked.out / model.replace("/", "_"))
    sys.exit(bool(wrong))


def compared(report: EvaluationReport) -> int:
    """Print each figure beside the published one; how many are off."""
    (system,) = report.systems
    print(f"\n{system.name}: {report.title}" + "".join(f"\n  not comparable: {one}" for one in report.departures))
    if not system.published:
        print("  nothing published that the project knows of")
    off = 0
    for figure in system.published:
        difference = figure.ours - figure.published
        right = figure.inside or abs(difference) <= ALLOWED
        off += not right
        print(
            f"  {figure.direction} R@{figure.k:<2} {100 * figure.ours:6.2f}  published {100 * figure.published:6.2f}  "
            f"{100 * difference:+.2f}{'' if right else '  OFF'}"
        )
    return off


if __name__ == "__main__":
    main()
