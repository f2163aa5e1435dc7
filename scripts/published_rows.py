"""Collects published figures of retrieval and zero-shot classification from the repositories that published them.

    git clone https://github.com/mlfoundations/open_clip clones/open_clip    # and likewise those of REPOSITORIES
    python scripts/published_rows.py clones

writes data/published_retrieval.csv, data/published_zeroshot.csv and data/published_sources.csv anew, in place of those
that come along, which hold a few of these rows. Figures are written as their sources have them, in shares of 1; float32
noise is rounded away at six places. A file that no longer has the form it is known to have is an error, not fewer rows.
"""

import argparse
import csv
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORIES = {
    "open_clip": "mlfoundations/open_clip",
    "CLIP_benchmark": "LAION-AI/CLIP_benchmark",
    "big_vision": "google-research/big_vision",
    "ml-mobileclip": "apple/ml-mobileclip",
    "perception_models": "facebookresearch/perception_models",
    "EVA": "baaivision/EVA",
    "Chinese-CLIP": "OFA-Sys/Chinese-CLIP",
    "datacomp": "mlfoundations/datacomp",
}
DATA = Path(__file__).parents[1] / "data"
KS = (1, 5, 10)
_RETRIEVAL = ["benchmark", "language", "model", "pretrained"]
_RETRIEVAL += [f"{side}_r{k}" for side in ("t2i", "i2t") for k in KS] + ["source"]
_ZEROSHOT = ["benchmark", "model", "pretrained", "pictures", "top1", "top5", "mean_per_class", "map", "source"]

Row = dict[str, str]


@dataclass(frozen=True)
class Source:
    """Where rows come from, and how they were measured.

    Attributes:
        key: In the column `source` of the rows.
        precision: fp32, autocast, or empty where the source does not say.
        images: How pictures were prepared where that is not the checkpoint's own transform.
        captions: What was done to captions before they were encoded.
        places: To so many places of a share the figures are given.
        note: What else a reader has to know.
    """

    key: str
    clone: str
    file: str
    read: "Callable[[Source, Path], Iterator[tuple[list[str], Row]]]"
    precision: str = ""
    images: str = ""
    captions: str = ""
    places: int = 3
    note: str = ""


def show(clones: Path, clone: str, file: str) -> str:
    """A file of the newest commit of a clone."""
    command = ["git", "-C", str(clones / clone), "show", f"HEAD:{file}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def commit(clones: Path, clone: str) -> str:
    command = ["git", "-C", str(clones / clone), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def share(text: str | float | None) -> str:
    """A share as it is written here; empty where there is none."""
    return "" if text in ("", "-", None) else f"{float(text):.6f}".rstrip("0").ljust(6, "0")


def percent(text: str) -> str:
    value = text.strip().strip("*")
    return "" if value in ("", "-") else share(round(float(value) / 100, 6))


def retrieval(benchmark: str, language: str, model: str, pretrained: str, source: Source, **recalls: str) -> Row:
    return {
        "benchmark": benchmark,
        "language": language,
        "model": model,
        "pretrained": pretrained,
        **recalls,
        "source": source.key,
    }


_CALLED_HERE = {
    "imagenet1k": "imagenet",
    "imagenetv2": "imagenet-v2",
    "imagenet_sketch": "imagenet-sketch",
    "fgvc_aircraft": "fgvc-aircraft",
    "flowers": "flowers102",
    "renderedsst2": "rendered-sst2",
    "voc2007": "voc2007-one-class",
    "voc2007_multilabel": "voc2007",
}
"""What CLIP_benchmark calls a data set -> what `mmsearch eval zeroshot` does."""


def zeroshot(benchmark: str, model: str, pretrained: str, source: Source, **figures: str) -> Row:
    return {
        "benchmark": _CALLED_HERE.get(benchmark, benchmark),
        "model": model,
        "pretrained": pretrained,
        **figures,
        "source": source.key,
    }


# Of DataComp's 38 data sets (its tasklist.yml) those whose figure is an accuracy: name in tables -> benchmark, figure.
_DATACOMP = {
    "ImageNet 1k": ("imagenet1k", "top1"),
    "Caltech-101": ("caltech101", "mean_per_class"),
    "CIFAR-10": ("cifar10", "top1"),
    "CIFAR-100": ("cifar100", "top1"),
    "CLEVR Counts": ("clevr_count_all", "top1"),
    "CLEVR Distance": ("clevr_closest_object_distance", "top1"),
    "Country211": ("country211", "top1"),
    "Describable Textures": ("dtd", "top1"),
    "EuroSAT": ("eurosat", "top1"),
    "FGVC Aircraft": ("fgvc_aircraft", "mean_per_class"),
    "Food-101": ("food101", "top1"),
    "GTSRB": ("gtsrb", "top1"),
    "ImageNet Sketch": ("imagenet_sketch", "top1"),
    "ImageNet v2": ("imagenetv2", "top1"),
    "ImageNet-A": ("imagenet-a", "top1"),
    "ImageNet-O": ("imagenet-o", "top1"),
    "ImageNet-R": ("imagenet-r", "top1"),
    "KITTI Vehicle Distance": ("kitti_closest_vehicle_distance", "top1"),
    "MNIST": ("mnist", "top1"),
    "ObjectNet": ("objectnet", "top1"),
    "Oxford Flowers-102": ("flowers", "mean_per_class"),
    "Oxford-IIIT Pet": ("pets", "mean_per_class"),
    "Pascal VOC 2007": ("voc2007", "top1"),
    "PatchCamelyon": ("pcam", "top1"),
    "Rendered SST2": ("renderedsst2", "top1"),
    "RESISC45": ("resisc45", "top1"),
    "Stanford Cars": ("cars", "top1"),
    "STL-10": ("stl10", "top1"),
    "SUN397": ("sun397", "top1"),
    "SVHN": ("svhn", "top1"),
    "Camelyon17": ("camelyon17", "top1"),
}
"""Left out: WinoGAViL, iWildCam, FMoW, Dollar Street and GeoDE, whose figures are others (Jaccard, F1, worst group)."""


def read_open_clip_retrieval(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    for row in csv.DictReader(io.StringIO(show(clones, source.clone, source.file))):
        for benchmark, name in (("flickr30k", "Flickr"), ("coco", "MSCOCO")):
            recalls = {
                f"{short}_r{k}": share(row[f"{name} {side} retr. R@{k}"])
                for short, side in (("t2i", "image"), ("i2t", "text"))
                for k in KS
            }
            yield _RETRIEVAL, retrieval(benchmark, "en", row["name"], row["pretrained"], source, **recalls)


def count_pictures(clones: Path) -> dict[str, str]:
    """Name of a data set in DataComp's tables -> how many pictures it was measured on."""
    text = show(clones, "datacomp", "tasklist.yml")
    return dict(re.findall(r"^  name: (.*)\n  size: (\d+)$", text, re.M))


def read_open_clip_results(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    """Its classification figures stand in a file of their own too: they have to be the same."""
    pictures = count_pictures(clones)
    others = csv.DictReader(io.StringIO(show(clones, source.clone, "docs/openclip_classification_results.csv")))
    again = {(row["name"], row["pretrained"]): row for row in others}
    for row in csv.DictReader(io.StringIO(show(clones, source.clone, source.file))):
        same = again.pop((row["name"], row["pretrained"]))
        for name, (benchmark, figure) in _DATACOMP.items():
            if same[name] != row[name]:
                raise SystemExit(f"{row['name']}/{row['pretrained']}, {name}: {row[name]} and {same[name]}")
            figures = {figure: share(row[name]), "pictures": pictures[name]}
            yield _ZEROSHOT, zeroshot(benchmark, row["name"], row["pretrained"], source, **figures)
    if again:
        raise SystemExit(f"only among the classification results: {sorted(again)}")


_MULTILINGUAL = {"crossmodal3600": "xm3600", "multilingual_mscoco_captions": "xtd10"}


def read_multilingual(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    for row in csv.DictReader(io.StringIO(show(clones, source.clone, source.file))):
        by_language: dict[tuple[str, str], Row] = {}
        for column, value in row.items():
            match = re.fullmatch(r"(\w+) (image|text)_retrieval_recall@(\d+) (\w+)", column)
            if not match:
                if column not in ("model", "version", "avg"):
                    raise SystemExit(f"{source.file}: an unknown column {column!r}")
                continue
            benchmark, side, k, language = match.groups()
            key = f"{'t2i' if side == 'image' else 'i2t'}_r{k}"
            name = {"avg": "mean", "jp": "ja"}.get(language, language)
            by_language.setdefault((_MULTILINGUAL[benchmark], name), {})[key] = share(value)
        for (benchmark, language), recalls in by_language.items():
            yield _RETRIEVAL, retrieval(benchmark, language, row["model"], row["version"], source, **recalls)


def read_clip_benchmark(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    for row in csv.DictReader(io.StringIO(show(clones, source.clone, source.file))):
        model = row["model"], row["pretrained"]
        if row["task"] == "zeroshot_retrieval":
            benchmark = {"mscoco_captions": "coco"}.get(row["dataset"], row["dataset"])
            recalls = {
                "t2i_r5": share(row["image_retrieval_recall@5"]),
                "i2t_r5": share(row["text_retrieval_recall@5"]),
            }
            yield _RETRIEVAL, retrieval(benchmark, "en", *model, source, **recalls)
        else:
            figures = {
                "top1": share(row["acc1"]),
                "top5": share(row["acc5"]),
                "mean_per_class": share(row["mean_per_class_recall"]),
                "map": share(row["mean_average_precision"]),
            }
            yield _ZEROSHOT, zeroshot(row["dataset"].removeprefix("vtab/"), *model, source, **figures)


_SIGLIP2 = {"So400m/14": "SO400M-14", "So400m/16": "SO400M-16", "g-opt/16": "gopt-16"}
# open_clip names the model whose file says 384 by the 378 pixels that its patches of 14 cover.
_SIGLIP2_SIZES = {("SO400M-14", "384"): "-378", ("SO400M-14", "224"): "", ("B-16", "224"): ""}


def read_siglip2(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    for cells in table_rows(show(clones, source.clone, source.file), first=("SigLIP 2", "SigLIP 2 (NaFlex)")):
        name, vit, pixels, _, imagenet, text_to_image, image_to_text = cells
        size = _SIGLIP2.get(vit, vit.replace("/", "-"))
        if name == "SigLIP 2 (NaFlex)":
            model = f"ViT-{size}-SigLIP2-naflex"
        else:
            model = f"ViT-{size}-SigLIP2{_SIGLIP2_SIZES.get((size, pixels), f'-{pixels}')}"
        recalls = {"t2i_r1": percent(text_to_image), "i2t_r1": percent(image_to_text)}
        yield _RETRIEVAL, retrieval("coco", "en", model, "webli", source, **recalls)
        yield _ZEROSHOT, zeroshot("imagenet1k", model, "webli", source, top1=percent(imagenet))


def read_mobileclip(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    listed = subprocess.run(
        ["git", "-C", str(clones / source.clone), "ls-tree", "--name-only", "HEAD", "results/"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    pictures = count_pictures(clones)
    for file in listed:
        match = re.fullmatch(r"results/mobileclip(2?)_([a-z]\d*?)(14)?(_lt)?\.jsonl", file)
        if not match:
            raise SystemExit(f"an unknown file {file}")
        two, size, patch, longer = match.groups()
        model = f"MobileCLIP{two}-{size.upper()}{f'-{patch}' if patch else ''}"
        pretrained = ("dfndr2b" if two else "datacompdr") + (longer or "")
        for line in show(clones, source.clone, file).splitlines():
            record = json.loads(line)
            figures, name = record["metrics"], record["dataset"]
            if name in ("Flickr", "MSCOCO"):
                recalls = {
                    f"{short}_r{k}": share(figures[f"{side}_retrieval_recall@{k}"])
                    for short, side in (("t2i", "image"), ("i2t", "text"))
                    for k in KS
                }
                benchmark = {"Flickr": "flickr30k", "MSCOCO": "coco"}[name]
                yield _RETRIEVAL, retrieval(benchmark, "en", model, pretrained, source, **recalls)
            elif name in _DATACOMP:
                named = {"top1": "acc1", "top5": "acc5", "mean_per_class": "mean_per_class_recall"}
                shares = {ours: share(figures[theirs]) for ours, theirs in named.items()}
                shares["pictures"] = pictures[name]
                yield _ZEROSHOT, zeroshot(_DATACOMP[name][0], model, pretrained, source, **shares)


_PE = {"T/16": "T-16-384", "S/16": "S-16-384", "B/16": "B-16", "L/14": "L-14-336", "G/14": "bigG-14-448"}


def read_perception(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    text = show(clones, source.clone, source.file)
    header = "| IN-1k | IN-v2 | IN-A | ObjectNet | COCO-T2I |"
    for line in text[text.index(header) :].splitlines()[2:]:
        if not line.startswith("|"):
            return
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        match = re.fullmatch(r"\*\*(\w/\d+)\*\* \d+px", cells[1])
        if not match:
            raise SystemExit(f"{source.file}: an unknown row {line!r}")
        model = f"PE-Core-{_PE[match[1]]}"
        for benchmark, cell in zip(("imagenet1k", "imagenetv2", "imagenet-a", "objectnet"), cells[3:7], strict=True):
            yield _ZEROSHOT, zeroshot(benchmark, model, "meta", source, top1=percent(cell))
        yield _RETRIEVAL, retrieval("coco", "en", model, "meta", source, t2i_r1=percent(cells[7]))


_EVA = {
    "EVA01_CLIP_g_14_psz14_s11B": ("EVA01-g-14", "laion400m_s11b_b41k"),
    "EVA01_CLIP_g_14_plus_psz14_s11B": ("EVA01-g-14-plus", "merged2b_s11b_b114k"),
    "EVA02_CLIP_B_psz16_s8B": ("EVA02-B-16", "merged2b_s8b_b131k"),
    "EVA02_CLIP_L_psz14_s4B": ("EVA02-L-14", "merged2b_s4b_b131k"),
    "EVA02_CLIP_L_336_psz14_s6B": ("EVA02-L-14-336", "merged2b_s6b_b61k"),
    "EVA02_CLIP_E_psz14_s4B": ("EVA02-E-14", "laion2b_s4b_b115k"),
    "EVA02_CLIP_E_psz14_plus_s9B": ("EVA02-E-14-plus", "laion2b_s9b_b144k"),
}
"""As open_clip's list of pretrained models names the files."""


def read_eva(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    seen = set()
    for cells in table_rows(show(clones, source.clone, source.file), first=tuple(f"`{name}`" for name in _EVA)):
        if len(cells) != 11:
            continue  # what models begin with stands in another table
        model, pretrained = _EVA[cells[0].strip("`")]
        seen.add(model)
        yield _ZEROSHOT, zeroshot("imagenet1k", model, pretrained, source, top1=percent(cells[8]))
        yield _RETRIEVAL, retrieval("coco", "en", model, pretrained, source, t2i_r5=percent(cells[9]))
    if len(seen) != len(_EVA):
        raise SystemExit(f"{source.file}: {len(seen)} of {len(_EVA)} models")


_CHINESE = {
    "RN50": "chinese-clip-rn50",
    "ViT-B/16": "chinese-clip-vit-base-patch16",
    "ViT-L/14": "chinese-clip-vit-large-patch14",
    "ViT-L/14@336px": "chinese-clip-vit-large-patch14-336px",
    "ViT-H/14": "chinese-clip-vit-huge-patch14",
}


def read_chinese_clip(source: Source, clones: Path) -> Iterator[tuple[list[str], Row]]:
    """The zero-shot columns of its tables of Flickr30k-CN and COCO-CN, which are HTML."""
    text = show(clones, source.clone, source.file)
    for benchmark, title in (("flickr30k-cn", "**Flickr30K-CN Retrieval"), ("coco-cn", "**COCO-CN Retrieval")):
        table = text[text.index(title) :]
        table = table[: table.index("</table>")]
        count = 0
        for row in re.findall(r"<tr.*?</tr>", table, re.S):
            cells = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.S)]
            if len(cells) != 13 or not cells[0].startswith("CN-CLIP"):
                continue
            model = _CHINESE[cells[0].removeprefix("CN-CLIP").strip()]
            shares = [percent(cell) for cell in (*cells[1:4], *cells[7:10])]
            names = [f"{side}_r{k}" for side in ("t2i", "i2t") for k in KS]
            recalls = dict(zip(names, shares, strict=True))
            yield _RETRIEVAL, retrieval(benchmark, "zh", f"hf:OFA-Sys/{model}", "", source, **recalls)
            count += 1
        if count != len(_CHINESE):
            raise SystemExit(f"{source.file}: {count} models of {benchmark}")


def table_rows(text: str, first: tuple[str, ...]) -> Iterator[list[str]]:
    """The cells of the rows of Markdown tables whose first cell is one of these."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0] in first:
            yield cells


_DATACOMP_SAYS = "measured by DataComp's evaluation, says docs/PRETRAINED.md"
_COCO = "COCO with all 25,010 captions"
SOURCES = (
    Source(
        key="open_clip-retrieval",
        clone="open_clip",
        file="docs/openclip_retrieval_results.csv",
        read=read_open_clip_retrieval,
        precision="autocast",
        places=4,
        note=f"{_DATACOMP_SAYS}; {_COCO}",
    ),
    Source(
        key="open_clip-classification",
        clone="open_clip",
        file="docs/openclip_results.csv",
        read=read_open_clip_results,
        precision="fp32",
        places=4,
        note=f"{_DATACOMP_SAYS}; class names and templates of CLIP_benchmark; pictures as counted in its tasklist.yml",
    ),
    Source(
        key="open_clip-multilingual",
        clone="open_clip",
        file="docs/openclip_multilingual_retrieval_results.csv",
        read=read_multilingual,
        precision="autocast",
        places=4,
        note="xtd10 is CLIP_benchmark's multilingual_mscoco_captions: a caption for each of 1,000 images; the language "
        "mean is the source's own average",
    ),
    Source(
        key="clip_benchmark",
        clone="CLIP_benchmark",
        file="benchmark/benchmark.csv",
        read=read_clip_benchmark,
        precision="autocast",
        places=6,
        note=f"{_COCO}; the precision is the program's default",
    ),
    Source(
        key="big_vision-siglip2",
        clone="big_vision",
        file="big_vision/configs/proj/image_text/README_siglip2.md",
        read=read_siglip2,
        captions="lower-cased",
        note="COCO with all captions of its split; NaFlex models with 256 tokens",
    ),
    Source(
        key="mobileclip",
        clone="ml-mobileclip",
        file="results/",
        read=read_mobileclip,
        places=6,
        note=f"a file a model, in the form of DataComp's evaluation; {_COCO}",
    ),
    Source(
        key="perception",
        clone="perception_models",
        file="apps/pe/README.md",
        read=read_perception,
        images="squashed to a square",
    ),
    Source(key="eva-clip", clone="EVA", file="EVA-CLIP/README.md", read=read_eva),
    Source(key="chinese-clip", clone="Chinese-CLIP", file="Results.md", read=read_chinese_clip),
)


def write(file: Path, header: list[str], rows: Iterable[Row]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, help="a folder with a clone of each repository")
    clones = parser.parse_args().clones
    tables: dict[str, list[Row]] = {"retrieval": [], "zeroshot": []}
    for source in SOURCES:
        before = sum(map(len, tables.values()))
        for header, row in source.read(source, clones):
            tables["retrieval" if header is _RETRIEVAL else "zeroshot"].append(row)
        print(f"{source.key:26}{sum(map(len, tables.values())) - before:7,} rows")
    write(DATA / "published_retrieval.csv", _RETRIEVAL, tables["retrieval"])
    write(DATA / "published_zeroshot.csv", _ZEROSHOT, tables["zeroshot"])
    described = [
        {
            "source": source.key,
            "repository": REPOSITORIES[source.clone],
            "file": source.file,
            "commit": commit(clones, source.clone),
            "precision": source.precision,
            "images": source.images,
            "captions": source.captions,
            "places": str(source.places),
            "note": source.note,
        }
        for source in SOURCES
    ]
    write(DATA / "published_sources.csv", list(described[0]), described)


if __name__ == "__main__":
    main()
