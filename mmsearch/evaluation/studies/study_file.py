"""Reads a study from TOML. What is wrong is said with the file and the line."""

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from mmsearch.benchmarks import DATA_SETS
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError, EncoderError
from mmsearch.evaluation.studies.records import Preprocessing, Study, StudyBenchmark, StudyModel, StudyVariant
from mmsearch.locations import expanded
from mmsearch.stores import read_whole

__all__ = ["describe_study", "read_study"]

_PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
_MOST_BYTES = 16 << 20  # of a file that people write
_SHOWN = "mmsearch guide studies shows what a study looks like"
_Made = TypeVar("_Made")


def read_study(file: Path) -> Study:
    """The study of a TOML file; paths in it are relative to its folder. Raises BenchmarkError.

    Keys: name, out, k, limit, device, ray; models (specs, or tables of model and name); benchmarks (tables of name,
    benchmark, images, annotations, language, split, split_file, captions_per_image, allow_missing, image_column,
    caption_column); options (tables of name, template, precision, preprocessing).
    """
    try:
        text = read_whole(expanded(file), _MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BenchmarkError(f"the study {file} cannot be read: {reason}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BenchmarkError(f"{file} is not valid TOML: {error}. {_SHOWN}") from None
    return _Reader(file, text).study(document)


def name_models(specs: Sequence[str]) -> tuple[StudyModel, ...]:
    """Models by their specs alone. A folder is called by its last name, where that tells it from the others."""
    short = [Path(spec.partition(":")[2]).name if spec.startswith("local-dir:") else spec for spec in specs]
    times = Counter(short)
    return tuple(
        StudyModel(spec, name if name and times[name] == 1 else spec) for spec, name in zip(specs, short, strict=True)
    )


def describe_study(study: Study | None, models: Sequence[str], benchmarks: Sequence[StudyBenchmark]) -> Study:
    """A study with these models and benchmarks in the place of its own, where there are any; without a study, of them
    alone, in "study-results". Benchmarks of one name are numbered. Raises BenchmarkError for a model named twice."""
    times = Counter(benchmark.name for benchmark in benchmarks)
    seen = Counter[str]()
    numbered = []
    for benchmark in benchmarks:
        seen[benchmark.name] += 1
        name = benchmark.name if times[benchmark.name] == 1 else f"{benchmark.name} {seen[benchmark.name]}"
        numbered.append(replace(benchmark, name=name))
    named = name_models(models)
    require_distinct([model.name for model in named], "models")
    if study is None:
        return Study("study", Path("study-results"), named, tuple(numbered))
    return replace(study, models=named or study.models, benchmarks=tuple(numbered) or study.benchmarks)


def require_distinct(names: Sequence[str], noun: str) -> None:
    """Raise BenchmarkError where two things of a study have one name: their rows could not be told apart."""
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise BenchmarkError(f"two {noun} are called {repeated[0]!r}: give one of them another name")


@dataclass(frozen=True, slots=True)
class _Reader:
    """What is wrong is told with a line: the first that holds the word in question, since TOML readers give none."""

    file: Path
    text: str

    def study(self, document: Mapping[str, Any]) -> Study:
        keys = ("name", "out", "k", "limit", "device", "ray", "models", "benchmarks", "options")
        self._require_known(document, keys, "a study")
        for needed in ("models", "benchmarks"):
            if not document.get(needed):
                raise BenchmarkError(f"{self.file} names no {needed}. {_SHOWN}")
        models = self._tables(document, "models", self._model)
        benchmarks = self._tables(document, "benchmarks", self._benchmark)
        variants = self._tables(document, "options", self._variant) or (StudyVariant(),)
        for named, noun in ((models, "models"), (benchmarks, "benchmarks"), (variants, "options")):
            try:
                require_distinct([each.name for each in named], noun)
            except BenchmarkError as error:
                raise BenchmarkError(f"{self.file}: {error}") from None
        ks = self._value(document, "k", list, [1, 5, 10])
        if not ks or not all(type(k) is int and k > 0 for k in ks):
            raise self._error("k", f"k is {ks!r}; it is a list of whole numbers from 1, as [1, 5, 10]")
        limit = self._value(document, "limit", int, None)
        if limit is not None and limit < 1:
            raise self._error("limit", f"limit is {limit}; it is at least 1")
        return Study(
            name=self._value(document, "name", str, self.file.stem),
            out=self._path(self._value(document, "out", str, f"{self.file.stem}-results")),
            models=models,
            benchmarks=benchmarks,
            variants=variants,
            ks=tuple(sorted(set(ks))),
            limit=limit,
            device=self._value(document, "device", str, "auto"),
            ray=self._value(document, "ray", str, None),
        )

    def _tables(self, document: Mapping[str, Any], key: str, make: Callable[[Any], _Made]) -> tuple[_Made, ...]:
        return tuple(make(entry) for entry in self._value(document, key, list, []))

    def _model(self, entry: Any) -> StudyModel:
        if isinstance(entry, str):
            return StudyModel(self._spec(entry), name_models([entry])[0].name)
        self._require_table(entry, "models", "a spec, or { model = …, name = … }")
        self._require_known(entry, ("model", "name"), "a model")
        spec = self._needed(entry, "model", "a model")
        return StudyModel(self._spec(spec), self._value(entry, "name", str, name_models([spec])[0].name))

    def _spec(self, spec: str) -> str:
        """Folders of models are relative to the file, as all paths in it; of providers where there are such."""
        prefix, colon, rest = spec.partition(":")
        is_folder = bool(rest) and (prefix == "local-dir" or self._path(rest).is_dir())
        return f"{prefix}:{self._path(rest)}" if colon and is_folder else spec

    def _benchmark(self, entry: Any) -> StudyBenchmark:
        self._require_table(entry, "benchmarks", "{ benchmark = …, images = …, annotations = … }")
        keys = ("name", "benchmark", "images", "annotations", "split", "split_file", "captions_per_image", "language")
        self._require_known(entry, (*keys, "allow_missing", "image_column", "caption_column"), "a benchmark")
        images = self._needed(entry, "images", "a benchmark")
        annotations = self._value(entry, "annotations", str, None)
        language = self._value(entry, "language", str, None)
        benchmark = self._one_of(entry, "benchmark", tuple(DATA_SETS), "custom")
        split_file = self._value(entry, "split_file", str, None)
        captions_per_image = self._value(entry, "captions_per_image", int, None)
        if captions_per_image is not None and captions_per_image < 1:
            raise self._error("captions_per_image", f"captions_per_image is {captions_per_image}; it is at least 1")
        default = benchmark if benchmark != "custom" else Path(annotations or images).stem
        default += f" ({language})" if language else ""
        return StudyBenchmark(
            name=self._value(entry, "name", str, default),
            benchmark=benchmark,
            images=self._location(images),
            annotations=None if annotations is None else self._location(annotations),
            split=self._value(entry, "split", str, "test"),
            split_file=None if split_file is None else self._path(split_file),
            captions_per_image=captions_per_image,
            allow_missing=self._value(entry, "allow_missing", bool, False),
            image_column=self._value(entry, "image_column", str, None),
            caption_columns=self._texts(entry, "caption_column"),
            language=language,
        )

    def _variant(self, entry: Any) -> StudyVariant:
        self._require_table(entry, "options", "{ name = …, template = … }")
        self._require_known(entry, ("name", "template", "precision", "preprocessing"), "options")
        templates = self._texts(entry, "template")
        try:
            templates_named(templates)
        except EncoderError as error:
            raise self._error("template", str(error)) from None
        precision = self._one_of(entry, "precision", _PRECISIONS, "fp32")
        preprocessing = self._one_of(entry, "preprocessing", get_args(Preprocessing), "benchmark")
        chosen = [*templates[:1], *(each for each in (precision, preprocessing) if each not in ("fp32", "benchmark"))]
        name = self._value(entry, "name", str, ", ".join(chosen) or "plain")
        return StudyVariant(name, templates, precision, "product" if preprocessing == "product" else "benchmark")

    def _one_of(self, entry: Mapping[str, Any], key: str, possible: Sequence[str], default: str) -> str:
        value: str = self._value(entry, key, str, default)
        if value not in possible:
            near = difflib.get_close_matches(value, possible, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise self._error(value, f"{key} is {value!r}; it is one of {', '.join(possible)}.{hint}")
        return value

    def _needed(self, entry: Mapping[str, Any], key: str, noun: str) -> str:
        if key not in entry:
            about = ", ".join(f"{name} = {value!r}" for name, value in entry.items()) or "an empty table"
            raise BenchmarkError(f"{self.file}: {noun} needs {key!r}, and this one has none: {about}")
        return str(self._value(entry, key, str, ""))

    def _texts(self, entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
        """A text or a list of texts."""
        value = entry.get(key, [])
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise self._error(key, f"{key} is {value!r}; it is a text or a list of texts")
        return tuple(texts)

    def _value(self, entry: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
        value = entry.get(key, default)
        if value is not default and type(value) is not kind:
            words = {str: "a text", int: "a whole number", bool: "true or false", list: "a list"}
            raise self._error(key, f"{key} is {value!r}; it is {words[kind]}")
        if kind is str and value == "":
            raise self._error(key, f"{key} is empty")
        return value

    def _require_table(self, entry: Any, key: str, form: str) -> None:
        if not isinstance(entry, dict):
            raise self._error(key, f"{entry!r} in {key} is not understood: write {form}")

    def _require_known(self, entry: Mapping[str, Any], keys: Collection[str], noun: str) -> None:
        for key in entry:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise self._error(key, f"{noun} has no key {key!r}; {hint}There are {', '.join(keys)}")

    def _error(self, word: str, message: str) -> BenchmarkError:
        """An error with the line: the first one, comments aside, in which the word stands."""
        for number, line in enumerate(self.text.splitlines(), 1):
            if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", line.partition("#")[0]):
                return BenchmarkError(f"{self.file}, line {number}: {message}")
        return BenchmarkError(f"{self.file}: {message}")

    def _location(self, text: str) -> str:
        return text if "://" in text else str(self._path(text))

    def _path(self, text: str) -> Path:
        return self.file.absolute().parent / expanded(text)
