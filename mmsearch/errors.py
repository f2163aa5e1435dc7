"""Every error that mmsearch raises on purpose.

    MmsearchError
    ├── GalleryError            the gallery itself: missing, other format version, damaged
    │   ├── GalleryNotFound
    │   ├── GalleryBusy         somebody else is writing it
    │   └── CommitConflict      another writer committed first and the change cannot be replayed on top
    ├── StoreError              the disk: full, read-only, gone; or the object store: denied, no answer
    ├── SourceError             what was to be embedded: missing or empty root, root inside a root, bad caption file
    │   ├── PruneRefused        a run would delete suspiciously much
    │   └── FilesSkipped        files could not be embedded, and the caller said that this is an error
    ├── ImageError              one image that cannot be read; carries the stage at which it failed
    ├── EncoderError            the model: unknown, no weights, no such device
    │   ├── EncoderMismatch     vectors of another encoder than the gallery's
    │   └── ParityError         the quick way to its vectors does not agree with the exact one
    ├── AnnIndexError           the FAISS index: bad factory string, damaged, not for this gallery
    ├── ClusterError            the machines that were to help: not there, not set up, failing
    ├── QueryError              what was asked: empty, undecodable, nothing to search
    │   └── FilterError         its filter: no expression over the columns, or one that takes too long
    ├── TrainingError           a model cannot be trained as asked: pairs, settings or weights do not allow it
    ├── BenchmarkError          an annotation file or image folder that does not make a benchmark
    └── GuideNotFound           there is no guide to that topic

A message says what, where, and the next command. `mmsearch.cli` catches `MmsearchError` once, prints it and exits with
1; anything else is a bug and keeps its traceback.
"""

__all__ = [
    "MmsearchError",
    "MmsearchWarning",
    "MmsearchNote",
    "GalleryError",
    "GalleryNotFound",
    "GalleryBusy",
    "CommitConflict",
    "StoreError",
    "SourceError",
    "PruneRefused",
    "FilesSkipped",
    "ImageError",
    "EncoderError",
    "EncoderMismatch",
    "ParityError",
    "AnnIndexError",
    "ClusterError",
    "QueryError",
    "FilterError",
    "TrainingError",
    "BenchmarkError",
    "GuideNotFound",
]


class MmsearchError(Exception):
    """Root of the tree: an error in what was asked or in what was found, not in the program."""


class MmsearchWarning(UserWarning):
    """Something that the caller should know and that does not stop the work; `mmsearch.cli` prints it on stderr."""


class MmsearchNote(MmsearchWarning):
    """A warning of what is as it should be, for who watches: `mmsearch.cli` prints it where stderr is a terminal."""


class GalleryError(MmsearchError):
    """The gallery cannot be used as it is."""


class GalleryNotFound(GalleryError):
    """No gallery where one was looked for."""


class GalleryBusy(GalleryError):
    """Another process holds the gallery's write lock."""


class CommitConflict(GalleryError):
    """Another writer committed the next version first, and this change cannot be replayed on top of it."""


class StoreError(MmsearchError):
    """Storage failed: disk full, permission denied, read-only, no answer; or a place that is none."""


class SourceError(MmsearchError):
    """What was to be embedded is missing, empty or contradictory."""


class PruneRefused(SourceError):
    """A run would delete more than the guard allows without `--prune`."""


class FilesSkipped(SourceError):
    """Files could not be embedded in a strict run. All others were, and are committed."""


class ImageError(MmsearchError):
    """One image cannot be read.

    stage: where it failed: "read", "identify", "decode" or "resize".
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return ImageError, (self.stage, self.reason)  # an exception is pickled by its message alone


class EncoderError(MmsearchError):
    """The encoder cannot be loaded or run."""


class EncoderMismatch(EncoderError):
    """Vectors of one encoder were about to be mixed with, or compared to, those of another."""


class ParityError(EncoderError):
    """Fast decoding, or a precision, gives other vectors than the exact route."""


class AnnIndexError(MmsearchError):
    """An index cannot be built, loaded or trusted."""


class ClusterError(MmsearchError):
    """Workers on a cluster cannot be had, or cannot do what they are asked."""


class QueryError(MmsearchError):
    """A query that has no answer as asked."""


class FilterError(QueryError):
    """A filter that cannot be used."""


class TrainingError(MmsearchError):
    """A model cannot be trained as asked."""


class BenchmarkError(MmsearchError):
    """Annotations and images do not make a benchmark."""


class GuideNotFound(MmsearchError):
    """A guide to a topic that has none."""
