"""The data sets that are known by name: what their files look like, a record each."""

from dataclasses import dataclass

from mmsearch.benchmarks.layouts import AlignedLines, CaptionLayout, LanguageRecords, RecordFiles, TextFiles
from mmsearch.errors import BenchmarkError
from mmsearch.sources import USUAL_NAMES, ColumnNames

__all__ = ["DATA_SETS", "DataSet", "data_set"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set of images and captions.

    Attributes:
        about: What it is, in a line.
        columns: What the columns or keys of its annotation file are called, where none of the usual names serve.
        ending: What the names of its images lack.
        layout: How its captions lie, where that is not a single annotation file.
        languages: Whether it has captions in several languages.
    """

    name: str
    about: str
    columns: ColumnNames = USUAL_NAMES
    ending: str = ""
    layout: CaptionLayout | None = None
    languages: bool = False


_XTD = AlignedLines("test_image_names.txt", "test_1kcaptions_{language}.txt")

DATA_SETS = {
    each.name: each
    for each in (
        DataSet("flickr8k", "Flickr8k: 1,000 test images, 5,000 captions."),
        DataSet("flickr30k", "Flickr30k: 1,000 test images, 5,000 captions."),
        DataSet("coco", "COCO, Karpathy's test split: 5,000 images, 25,010 captions."),
        DataSet("custom", "Images and captions of your own."),
        DataSet("flickr30k-cn", "Flickr30k in Chinese.", ending=".jpg"),
        DataSet("coco-cn", "COCO in Chinese.", ending=".jpg"),
        DataSet(
            "xm3600",
            "Crossmodal-3600: 3,600 images in 36 languages.",
            ending=".jpg",
            layout=LanguageRecords("image/key", "caption"),
            languages=True,
        ),
        DataSet("xtd10", "XTD: 1,000 images of COCO in 11 languages.", layout=_XTD, languages=True),
        DataSet(
            "xtd200",
            "XTD translated into 200 languages.",
            layout=AlignedLines("test_image_names.txt", "{language}.txt"),
            languages=True,
        ),
        DataSet(
            "flickr30k-200",
            "Flickr30k translated into 200 languages.",
            layout=AlignedLines("filenames.txt", "{language}.txt"),
            languages=True,
        ),
        DataSet(
            "multi30k",
            "Multi30k: 1,000 test images of Flickr30k in four languages.",
            layout=AlignedLines("test_2016_flickr.txt", "test_2016_flickr.{language}"),
            languages=True,
        ),
        DataSet("urban1k", "Urban1k: 1,000 images with a long caption each.", ending=".jpg", layout=TextFiles()),
        DataSet(
            "docci",
            "DOCCI: 5,000 test images with a long caption each.",
            columns=ColumnNames("image_file", ("description",)),
        ),
        DataSet(
            "dci",
            "Densely Captioned Images: 7,805 images with a very long caption each.",
            layout=RecordFiles("image", ("short_caption", "extra_caption")),
        ),
    )
}
"""By name."""


def data_set(name: str) -> DataSet:
    """The record of a name. Raises BenchmarkError."""
    try:
        return DATA_SETS[name]
    except KeyError:
        raise BenchmarkError(f"no benchmark {name!r}: choose one of {', '.join(DATA_SETS)}") from None
