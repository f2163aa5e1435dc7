"""Benchmarks: annotation files as people have them, read into one record.

    load_benchmark(name, images=…, annotations=…) -> Benchmark

What a file is gets decided by looking into it, never by its name. Read are:

    Karpathy's JSON       dataset_flickr8k.json, dataset_flickr30k.json, dataset_coco.json
    COCO's JSON           captions_val2014.json, captions_val2017.json, coco_test_karpathy.json
    a list of records     [{split, image_name, file_path, captions}] and its likes, as a JSON array or JSON lines
    Flickr's token files  Flickr8k.token.txt, results_20130124.token: name.jpg#0<TAB>caption
    tables with a header  captions.txt (image,caption), results.csv (image_name| comment_number| comment),
                          flickr30k_test_karpathy.txt (bare commas in captions), flickr_annotations_30k.csv (a JSON list
                          in a cell), any CSV or TSV of image and caption
    tables without one    name.jpg,caption or name.jpg<TAB>caption
    Parquet               columns of image and caption, or of image and a list of captions

Pictures with classes are read by `labelled_images`; what the usual data sets call their classes stands in `class_sets`.
Without annotations the images are shards that hold captions too (`samples`). Data sets whose captions lie otherwise are
records of `data_sets`, with a layout of `layouts`.
"""

from mmsearch.benchmarks.composed import (
    COMPOSED_SETS,
    ComposedBenchmark,
    ComposedGroup,
    ComposedQuery,
    ComposedSet,
    load_composed,
)
from mmsearch.benchmarks.data_sets import DATA_SETS, DataSet, data_set
from mmsearch.benchmarks.film_files import (
    FilmCaptions,
    FilmMoments,
    MomentQuery,
    load_film_captions,
    load_film_moments,
)
from mmsearch.benchmarks.instances import INSTANCE_SETS, InstanceBenchmark, InstanceQuery, load_instances
from mmsearch.benchmarks.load import languages_of, load_benchmark
from mmsearch.benchmarks.model import Benchmark, Problem, ProblemKind
from mmsearch.benchmarks.official import OFFICIAL_CAPTIONS, OFFICIAL_TEST, official_order
from mmsearch.benchmarks.positives import CXC_POSITIVE, Positives, find_positives, image_number
from mmsearch.benchmarks.published import (
    PublishedAccuracy,
    PublishedRow,
    PublishedSource,
    find_published,
    find_published_accuracy,
    require_published,
)
from mmsearch.benchmarks.regions import BOX_FORMS, BoxForm, Expression, RegionBenchmark, RegionImage, load_regions

__all__ = [
    "Benchmark",
    "BoxForm",
    "BOX_FORMS",
    "FilmCaptions",
    "FilmMoments",
    "MomentQuery",
    "load_film_captions",
    "load_film_moments",
    "COMPOSED_SETS",
    "CXC_POSITIVE",
    "ComposedBenchmark",
    "ComposedGroup",
    "ComposedQuery",
    "ComposedSet",
    "DATA_SETS",
    "DataSet",
    "INSTANCE_SETS",
    "Expression",
    "InstanceBenchmark",
    "InstanceQuery",
    "OFFICIAL_CAPTIONS",
    "OFFICIAL_TEST",
    "Positives",
    "Problem",
    "ProblemKind",
    "PublishedAccuracy",
    "PublishedRow",
    "PublishedSource",
    "find_positives",
    "find_published",
    "RegionImage",
    "RegionBenchmark",
    "find_published_accuracy",
    "data_set",
    "image_number",
    "languages_of",
    "load_benchmark",
    "load_composed",
    "load_instances",
    "load_regions",
    "official_order",
    "require_published",
]
