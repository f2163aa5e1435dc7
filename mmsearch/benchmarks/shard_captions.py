"""Reader of captions in shards, beside the pictures: webdataset and Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmsearch.benchmarks.json_files import find_caption_key
from mmsearch.benchmarks.model import Draft
from mmsearch.benchmarks.samples import Sample, Shard, Shards, read_shard
from mmsearch.errors import BenchmarkError
from mmsearch.sources import ColumnNames, container_form, numbered_captions

__all__ = ["read_shards"]


def read_shards(shards: Shards, split: str | None, names: ColumnNames) -> Draft:
    """The draft of the shards to read for a split, each image with its place.

    names: of columns, or endings of files, where they are not the usual ones. A caption is a text, a list of texts, an
    object with "raw", or a line of a `.txt`; columns may be numbered: caption_0, caption_1. Raises BenchmarkError.
    """
    chosen = shards.of_split(split)
    draft = Draft(_describe(chosen))
    first: Sample | None = None
    for sample in _samples(shards, chosen):
        first = first or sample
        captions = list(_captions(sample.fields, names))
        if not captions:
            draft.report("malformed_row", f"{sample.where}: without captions")
            continue
        image = draft.add_image(sample.name, "", sample.split, sample.image)
        for caption in captions:
            if isinstance(caption, str):
                draft.add_caption(image, caption, sample.where)
            else:
                draft.report("malformed_row", f"{sample.where}: the caption is {caption!r:.60}, not a text")
    if not draft.captions:
        raise BenchmarkError(_explain_no_captions(shards, chosen, first, names))
    return draft


def _samples(shards: Shards, chosen: Sequence[Shard]) -> Iterator[Sample]:
    for shard in chosen:
        yield from read_shard(shards.root, shard)


def _describe(shards: Sequence[Shard]) -> str:
    kind = "Parquet with images" if container_form(shards[0].name) == "parquet" else "webdataset"
    return f"{kind}, {len(shards):,} shard{'' if len(shards) == 1 else 's'}"


def _captions(fields: Mapping[str, Any], names: ColumnNames) -> Iterator[Any]:
    """The captions of one picture."""
    keys = [name for name in names.caption_names() if name in fields] if names.captions else []
    if not keys:
        key = find_caption_key(fields, (*names.caption_names(), "txt"))
        keys = [key] if key is not None else numbered_captions(fields)
    if not keys and isinstance(record := fields.get("json"), dict):
        yield from _captions({str(key).lower(): value for key, value in record.items()}, names)
    for key in keys:
        value = fields[key]
        for caption in value if isinstance(value, list) else [value]:
            yield caption.get("raw") if isinstance(caption, dict) else caption


def _explain_no_captions(shards: Shards, chosen: Sequence[Shard], first: Sample | None, names: ColumnNames) -> str:
    where = f"{shards.root}: {len(chosen):,} shards ({chosen[0].name}, …)"
    if first is None:
        return f"{where}, but no image in them"
    return (
        f"{where}, but no captions beside the images (looked for {', '.join((*names.caption_names(), 'txt'))}); beside "
        f"{first.where} stands {', '.join(first.fields) or 'nothing'}. --caption-column names others, and "
        "--annotations gives a file of captions."
    )
