"""Reader of annotations in Parquet: a row an image with its captions, or a row a caption."""

from pathlib import Path

from mmsearch.benchmarks.json_files import FOLDER_COLUMNS, read_records
from mmsearch.benchmarks.model import Draft
from mmsearch.errors import BenchmarkError
from mmsearch.sources.caption_tables import ColumnNames
from mmsearch.stores import utf8_name

__all__ = ["MAGIC", "read_parquet"]

MAGIC = b"PAR1"


def read_parquet(file: Path, names: ColumnNames) -> Draft:
    """The draft of a Parquet file. Columns are called as in JSON; others, such as the pictures themselves, are not
    read."""
    # Imported late: nobody else here needs it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = {*names.image_names(), *names.caption_names(), *FOLDER_COLUMNS, "split"}
    try:
        with utf8_name(file) as path, pq.ParquetFile(path) as opened:
            columns = [name for name in opened.schema_arrow.names if name.lower() in wanted]
            rows = opened.read(columns=columns).to_pylist() if columns else [dict.fromkeys(opened.schema_arrow.names)]
    except (pa.ArrowException, OSError) as error:
        raise BenchmarkError(f"{file}: Parquet, but damaged: {error}") from None
    return read_records(((f"row {number}", row) for number, row in enumerate(rows)), "Parquet", str(file), names)
