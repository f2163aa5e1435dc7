"""From an annotation file to a draft: its bytes, its text, and which reader it is for."""

from mmsearch.benchmarks.json_files import read_json
from mmsearch.benchmarks.model import Draft
from mmsearch.benchmarks.parquet_files import MAGIC, read_parquet
from mmsearch.benchmarks.text_files import Line, read_lines
from mmsearch.benchmarks.text_lines import decode, to_utf8
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location
from mmsearch.sources.caption_tables import TABLE_SUFFIXES, ColumnNames, UnknownColumns
from mmsearch.stores import MOST_TEXT_BYTES, is_folder, local_copy, read_whole, unpacked, without_gz

__all__ = ["read_annotations", "read_bytes"]

KNOWN = (
    "Karpathy's dataset_*.json, COCO's captions_*.json, a JSON list or JSON lines of {image, captions}, "
    "a Flickr token file (name.jpg#0<TAB>caption), or a table with a header (image,caption), also as Parquet"
)


def read_annotations(path: Location, names: ColumnNames) -> Draft:
    """The draft of an annotation file of any known kind. names: of its columns or keys, where they are not the usual
    ones. BenchmarkError says what else it is."""
    data = read_bytes(path, "annotations")
    if data.startswith(MAGIC):
        return _require_captions(read_parquet(local_copy(path), names), path)
    data = to_utf8(data)
    if not data.decode("latin-1").strip():  # as text: str.strip knows more kinds of space than bytes.strip
        raise BenchmarkError(f"{path}: empty. An annotation file is {KNOWN}.")
    if b"\0" in data:
        raise BenchmarkError(f"{path}: a binary file ({data[:12]!r}…). An annotation file is {KNOWN}.")
    latin1_lines: list[str] = []
    if data.lstrip()[:1] in (b"{", b"["):
        # Decoded line by line as well: one bad byte in a caption must not cost the file.
        draft = read_json("\n".join(decode(data, latin1_lines)), str(path), names)
    else:
        lines = [Line(n, text) for n, text in enumerate(decode(data, latin1_lines), 1) if text.strip()]
        try:
            line_draft = read_lines(lines, names, table=without_gz(path.name).lower().endswith(TABLE_SUFFIXES))
        except UnknownColumns as error:
            raise BenchmarkError(f"{path}: {error}") from None
        if line_draft is None:
            raise BenchmarkError(_explain_unknown_file(path, lines))
        draft = line_draft
    for item in latin1_lines:
        draft.report("decoded_as_latin1", item)
    return _require_captions(draft, path)


def _require_captions(draft: Draft, path: Location) -> Draft:
    if not draft.captions:
        raise BenchmarkError(f"{path}: a {draft.source}, but without a single caption.")
    return draft


def read_bytes(path: Location, noun: str) -> bytes:
    """The file's content. noun: "annotations" or "split list", for the message."""
    if is_folder(path):
        raise BenchmarkError(f"{noun}: {path} is a folder; give the file in it.")
    try:
        return unpacked(read_whole(local_copy(path), MOST_TEXT_BYTES), str(path))
    except FileNotFoundError:
        raise BenchmarkError(f"{noun}: there is no file {path}") from None
    except OSError as error:
        raise BenchmarkError(f"{noun}: {path} cannot be read: {error.strerror or error}") from None


def _explain_unknown_file(path: Location, lines: list[Line]) -> str:
    if all(len(line.text.split()) == 1 for line in lines) and len(lines) > 1:
        hint = " It looks like a list of names: that is a split list, not annotations."
    else:
        hint = ""
    return f"{path}: not an annotation file. Looked for {KNOWN}; the first line is {lines[0].text[:100]!r}.{hint}"
