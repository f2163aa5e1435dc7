"""`evaluate_regions`: which part of a picture an expression means, by the part's likeness to it."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.benchmarks import BoxForm, Expression, RegionBenchmark, load_regions
from mmsearch.boxes import intersection_over_union
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError, ImageError
from mmsearch.evaluation.benchmark_encoding import encode_texts
from mmsearch.evaluation.encoded_pairs import tables_of
from mmsearch.evaluation.figure_tables import FigureName, FigureReport, FigureRow, table_row
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.exact import scores_of_record
from mmsearch.images import decode_for_benchmark
from mmsearch.locations import located
from mmsearch.metrics import Vectors, resampled_means
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.sources import read_picture
from mmsearch.tiles import USUAL_SIDE, Tiling

__all__ = ["RegionOptions", "evaluate_regions"]

_Path = str | os.PathLike[str]

_AGREES = 0.5
_BATCH = 64
_PLAIN = ("{}",)

_PROTOCOL = (
    "Of the boxes of a picture the one whose crop has the highest cosine with the expression is the answer; it is "
    "right where its intersection over union with the box that is meant is at least .5. accuracy is the share of "
    "expressions that are answered rightly, chance what a box drawn blindly reaches, reachable the share of "
    "expressions for which any box is right. given: the boxes of the annotations; detections: those of a "
    "detector; tiles: overlapping tiles and the whole picture, which nothing has looked for things in. "
    "A picture without a box answers with the whole of it. Crops go through the model's own transform, one by one: "
    "where a thing stands, and what is beside it, is not seen. Pictures as they are stored, without EXIF orientation. "
    "Intervals are the middle 95 % of 2,000 bootstrap samples of pictures."
)


@dataclass(frozen=True, slots=True)
class RegionOptions:
    """What is measured, and how.

    Attributes:
        splits: None for all but "train".
        instances: The file of boxes that belongs to refs, where it does not stand beside them.
        detections: A file of a detector's boxes, which are measured too.
        tiles: How pictures are cut into tiles, which are measured too.
        box_form: What the boxes of records are, where they do not tell: "xyxy" or "xywh".
        templates: Each expression is put into each in the place of {}, and the mean counts.
        device, precision: As of `EvaluateOptions`.
    """

    splits: Sequence[str] = ()
    instances: _Path | None = None
    detections: _Path | None = None
    tiles: Tiling | None = None
    box_form: BoxForm | None = None
    templates: Sequence[str] = ()
    device: str = "auto"
    precision: str = "fp32"


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """One expression among one sort of boxes: whether the answer is right, and what share of the boxes would be."""

    right: bool
    right_share: float


def evaluate_regions(
    *,
    images: _Path,
    annotations: _Path,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: RegionOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure how often the part of a picture that an expression means is found among boxes, a row a split.

    annotations: refs(unc).p with its instances.json beside it, or one of the other layouts of
    `mmsearch.benchmarks.regions`. Raises BenchmarkError, EncoderError.
    """
    options = options or RegionOptions()
    loaded = load_regions(
        images=located(images),
        annotations=located(annotations),
        splits=options.splits,
        instances=None if options.instances is None else located(options.instances),
        detections=None if options.detections is None else located(options.detections),
        box_form=options.box_form,
    )
    problems = list(loaded.problems)

    def rows(opened: Encoder) -> Iterator[FigureRow]:
        texts = [expression.text for expression in loaded.expressions]
        vectors, cut = encode_texts(opened, texts, options.templates or _PLAIN, progress)
        if cut and not any("the model reads" in problem for problem in problems):
            problems.append(f"{cut:,} expressions are longer than the model reads; their ends were cut")
        judged = _judge_all(loaded, vectors, opened, options.tiles, progress)
        for split in loaded.splits:
            yield _row(split, loaded, judged)

    headline = (loaded.splits[0] or "all", ("given", "accuracy"))
    report = tables_of(
        *("regions", _title(loaded), "split", headline, loaded.source, _PROTOCOL),
        *(encoder, EvaluateOptions(device=options.device, precision=options.precision), rows, announce),
        problems=(),
    )
    return replace(report, problems=tuple(problems))


def _title(loaded: RegionBenchmark) -> str:
    boxes = sum(len(image.given) for image in loaded.images)
    return f"{len(loaded.expressions):,} expressions, {len(loaded.images):,} images, {boxes:,} given boxes"


def _judge_all(
    loaded: RegionBenchmark, texts: Vectors, encoder: Encoder, tiles: Tiling | None, progress: ProgressCallback
) -> dict[str, list[_Judged]]:
    """Sort of boxes -> what became of each expression. Each picture is decoded once, and forgotten."""
    of_image: dict[int, list[int]] = {}
    for number, expression in enumerate(loaded.expressions):
        of_image.setdefault(expression.image, []).append(number)
    judged: dict[str, dict[int, _Judged]] = {}
    for done, (position, numbers) in enumerate(sorted(of_image.items())):
        progress(Progress("encoding boxes", done, len(of_image)))
        image = _decode(str(loaded.root / loaded.images[position].path))
        sorts = {name: _clipped(boxes, image) for name, boxes in _boxes_of(loaded, position, image, encoder, tiles)}
        distinct = list(dict.fromkeys(box for boxes in sorts.values() for box in boxes))
        place = {box: row for row, box in enumerate(distinct)}
        vectors = _encode(image, distinct, encoder)
        for name, boxes in sorts.items():
            rows = np.array([place[box] for box in boxes])
            for number in numbers:
                scores = scores_of_record(texts, np.full(len(rows), number), vectors, rows)
                judged.setdefault(name, {})[number] = _judge(loaded.expressions[number], boxes, scores)
    progress(Progress("encoding boxes", len(of_image), len(of_image)))
    return {name: [each[number] for number in range(len(texts))] for name, each in judged.items()}


def _boxes_of(
    loaded: RegionBenchmark, position: int, image: Image.Image, encoder: Encoder, tiles: Tiling | None
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    yield "given", loaded.images[position].given
    if (detected := loaded.images[position].detected) is not None:
        yield "detections", detected
    if tiles is not None:
        side = max(encoder.image.size or (USUAL_SIDE,))
        cut = [box.pixels(*image.size) for box in tiles.boxes(*image.size, side)]
        yield "tiles", np.array([(0, 0, *image.size), *cut], np.float64)


def _clipped(boxes: NDArray[np.float64], image: Image.Image) -> list[tuple[int, int, int, int]]:
    """What of each box lies in the picture, in whole pixels, each once; the whole picture where there is no box."""
    width, height = image.size
    clipped = dict.fromkeys(
        (left, top, right, bottom)
        for left, top, right, bottom in np.rint(np.clip(boxes, 0, [width, height, width, height])).astype(int).tolist()
        if right > left and bottom > top
    )
    return list(clipped) or [(0, 0, width, height)]


def _decode(file: str) -> Image.Image:
    try:
        return decode_for_benchmark(read_picture(file))
    except (ImageError, OSError) as error:
        raise BenchmarkError(f"{file}: the picture cannot be read ({error})") from error


def _encode(image: Image.Image, boxes: Sequence[tuple[int, int, int, int]], encoder: Encoder) -> NDArray[np.float32]:
    """(n_boxes, dim): of each crop."""
    side = encoder.image
    batches = (boxes[first : first + _BATCH] for first in range(0, len(boxes), _BATCH))
    return np.concatenate([side.encode(np.stack([side.prepare(image.crop(box)) for box in some])) for some in batches])


def _judge(expression: Expression, boxes: Sequence[tuple[int, int, int, int]], scores: NDArray[np.float64]) -> _Judged:
    """Of boxes with the same score the first is the answer."""
    right = [max(intersection_over_union(box, meant) for meant in expression.boxes) >= _AGREES for box in boxes]
    return _Judged(right[int(np.argmax(scores))], sum(right) / len(right))


def _row(split: str, loaded: RegionBenchmark, judged: dict[str, list[_Judged]]) -> FigureRow:
    numbers = [number for number, expression in enumerate(loaded.expressions) if expression.split == split]
    image_of = np.array([loaded.expressions[number].image for number in numbers])
    figures: dict[FigureName, NDArray[np.float64]] = {}
    for name, every in judged.items():
        some = [every[number] for number in numbers]
        figures[name, "accuracy"] = np.array([float(each.right) for each in some])
        figures[name, "chance"] = np.array([each.right_share for each in some])
        figures[name, "reachable"] = np.array([float(each.right_share > 0) for each in some])
    flat = {f"{name} {figure}": value for (name, figure), value in figures.items()}
    drawn = resampled_means(flat, image_of, len(loaded.images))
    resampled = {(name, figure): drawn[f"{name} {figure}"] for name, figure in figures}
    pictures = len(np.unique(image_of))
    counts = {"expressions": len(numbers), "images": pictures}
    return table_row(split or "all", counts, figures, resampled, pictures)
