"""A gallery takes another text side: what the one before has encoded is encoded anew, all of it in one commit."""

from dataclasses import replace
from typing import Any

import numpy as np

from mmsearch.encoders import Encoder
from mmsearch.errors import EncoderMismatch
from mmsearch.gallery import GalleryWriter
from mmsearch.items import SKIPPED, AnyKind, kinds
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.versions import Provenance

__all__ = ["take_text_side"]

_ROWS_AT_A_TIME = 2_048


def take_text_side(writer: GalleryWriter, encoder: Encoder, progress: ProgressCallback) -> int:
    """Have a gallery be of an encoder that sees pictures as its own does and reads texts otherwise; how many texts were
    encoded anew. Pictures keep their vectors and their index; what was measured with the text side before goes.

    Raises EncoderMismatch where the gallery holds texts that only their files have.
    """
    writer.take_text_side(encoder.identity)
    known = {SKIPPED.name: None, **{each.name: each for each in kinds()}}
    held = [table for table, shards in writer.manifest.shards.items() if shards and writer.gallery.live_rows(table)]
    done = 0
    for table in held:
        if table not in known:
            raise EncoderMismatch(
                f"{writer.gallery.path} holds {table}, which this installation does not know and cannot encode anew; "
                "give it another text side where they are known"
            )
        kind = known[table]
        if kind is not None and kind.side == "text":
            done += _encode_anew(writer, encoder, kind, progress)
    writer.commit()
    return done


def _encode_anew(writer: GalleryWriter, encoder: Encoder, kind: AnyKind, progress: ProgressCallback) -> int:
    if kind.text is None or kind.files is not None:
        raise EncoderMismatch(
            f"{writer.gallery.path} holds {kind.name}, whose texts stand in their files alone: embed them with the "
            "other model into a new gallery with --gallery"
        )
    rows: list[tuple[int, Any]] = list(writer.gallery.all_records(kind))
    provenance = Provenance(encoder.device, encoder.precision, kind.side)
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        chunk = rows[start : start + _ROWS_AT_A_TIME]
        progress(Progress(f"encoding {kind.name} anew", start, len(rows)))
        encoded = encoder.text.encode([getattr(row, kind.text) for _, row in chunk])
        new = [row for _, row in chunk]
        if "truncated" in kind.columns:
            new = [replace(row, truncated=bool(cut)) for row, cut in zip(new, encoded.truncated, strict=True)]
        row_ids = np.array([row_id for row_id, _ in chunk], np.int64)
        writer.append(kind.name, new, encoded.vectors, provenance, replaces={kind.name: row_ids.tolist()})
    progress(Progress(f"encoding {kind.name} anew", len(rows), len(rows)))
    return len(rows)
