"""The scores of a table as files, and the means of its rows as searches need them.

record.json       what they are, see `ScoresRecord`
bank.npy          float32 (m, dim), the queries of the bank
bank_owners.npy   int64 (m,), the item that each of them belongs to; -1 for none
row_ids.npy       int64 (n,), ascending
means.npy         float32 (n,), the mean of each of these rows
moments.npy       float64 (dim + 2, dim + 1), the mean of all rows and their covariance, see `Moments`
"""

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.records import Effort, MeasuredRecall
from mmsearch.errors import GalleryError
from mmsearch.exact import Vectors
from mmsearch.scoring.correction import bank_means
from mmsearch.scoring.moments import Moments
from mmsearch.scoring.presence import Chances
from mmsearch.scoring.probability import Probability
from mmsearch.scoring.records import CorrectedEffort, CorrectionRecord, ScoresRecord
from mmsearch.whole_files import make_durable

__all__ = ["Bank", "TableScores", "open_scores", "read_scores_record", "rewrite_scores", "write_scores"]

FORMAT_VERSION = 1
_RECORD = "record.json"


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Queries that stand for all that may be asked. vectors: float32 (m, dim), unit. owners: int64 (m,), the row id of
    the item that each belongs to, for which it does not count; -1 for none."""

    vectors: NDArray[np.float32]
    owners: NDArray[np.int64]

    def means(
        self,
        vectors: Vectors,
        k: int,
        owners: NDArray[np.int64] | None,
        starts: NDArray[np.integer[Any]] | None = None,
    ) -> NDArray[np.float32]:
        """Of items with these vectors (n, dim). Rounded as it is stored, so that it does not matter when a mean was
        taken. owners: (n,), for whom what each of them owns does not count; None: all counts. starts: see
        `bank_means`."""
        taken = bank_means(vectors, self.vectors, (k,), owners=owners, bank_owners=self.owners, starts=starts)[k]
        return taken.astype(np.float32)


class TableScores:
    """What is known of the scores of one table, for any number of threads.

    Rows that came since are corrected too, each for itself: their means are taken from the bank when they are first
    met, and kept.
    """

    def __init__(
        self,
        record: ScoresRecord,
        bank: Bank,
        row_ids: NDArray[np.int64],
        means: NDArray[np.float32],
        moments: Moments,
    ) -> None:
        self.record, self.bank, self.moments = record, bank, moments
        self._row_ids, self._means = row_ids, means
        self._later_ids = np.empty(0, np.int64)
        self._later_means = np.empty(0, np.float32)
        self._adding = threading.Lock()

    def lowered(
        self, row_ids: NDArray[np.int64], fetch: Callable[[NDArray[np.intp]], Vectors], *, alpha: float
    ) -> NDArray[np.float64]:
        """What is taken from the score of each row: float64 (n,).

        fetch: positions in row_ids -> their vectors, asked only for rows that came since. alpha: the share of a mean.
        """
        means, is_known = _look_up(row_ids, self._row_ids, self._means)
        if not is_known.all():
            (missing,) = np.nonzero(~is_known)
            means[missing] = self._of_later(row_ids[missing], lambda chosen: fetch(missing[chosen]))
        lowered: NDArray[np.float64] = alpha * means.astype(np.float64)
        return lowered

    def most_lowered(self, alpha: float) -> float:
        """No row that was searched so far loses more."""
        return alpha * max(self.record.highest, float(self._later_means.max(initial=-np.inf)))

    def _of_later(
        self, row_ids: NDArray[np.int64], fetch: Callable[[NDArray[np.intp]], Vectors]
    ) -> NDArray[np.float32]:
        with self._adding:
            means, is_known = _look_up(row_ids, self._later_ids, self._later_means)
            (missing,) = np.nonzero(~is_known)
            if missing.size:
                new_ids = row_ids[missing]
                # Texts belong to the image that they are of; which image a new caption is of is not known here.
                owners = new_ids if self.record.asks == "text" else None
                means[missing] = self.bank.means(fetch(missing), self.record.correction.k, owners)
                ids = np.concatenate([self._later_ids, new_ids])
                order = np.argsort(ids)
                self._later_means = np.concatenate([self._later_means, means[missing]])[order]
                self._later_ids = ids[order]
            return means


def _look_up(
    row_ids: NDArray[np.int64], known_ids: NDArray[np.int64], values: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(values, whether there is one) of some row ids. known_ids: ascending."""
    if not len(known_ids) or not len(row_ids):
        return np.zeros(len(row_ids), np.float32), np.zeros(len(row_ids), bool)
    first = int(np.searchsorted(known_ids, row_ids[0]))
    run = known_ids[first : first + len(row_ids)]
    if np.array_equal(run, row_ids):  # a block of a table, as it mostly is
        return values[first : first + len(row_ids)].copy(), np.ones(len(row_ids), bool)
    positions = np.minimum(np.searchsorted(known_ids, row_ids), len(known_ids) - 1)
    is_known = known_ids[positions] == row_ids
    return np.where(is_known, values[positions], np.float32(0)), is_known


def write_scores(
    folder: Path,
    record: ScoresRecord,
    bank: Bank,
    row_ids: NDArray[np.int64],
    means: NDArray[np.float32],
    moments: Moments,
) -> None:
    """Fill an empty folder, durably. row_ids: ascending. Raises OSError."""
    arrays: dict[str, NDArray[Any]] = {
        "bank": bank.vectors,
        "bank_owners": bank.owners,
        "row_ids": row_ids,
        "means": means,
        "moments": np.vstack([moments.mean, moments.covariance]),
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    _write_record(folder, record)


def rewrite_scores(source: Path, folder: Path, record: ScoresRecord) -> None:
    """Fill an empty folder, durably, with the numbers of another and a record of their own. Raises OSError."""
    for file in source.iterdir():
        if file.name != _RECORD:
            shutil.copyfile(file, folder / file.name)
    _write_record(folder, record)


def _write_record(folder: Path, record: ScoresRecord) -> None:
    """The last of the files of a folder, which is durable then."""
    document = {"format_version": FORMAT_VERSION, **asdict(record)}
    (folder / _RECORD).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        make_durable(file)
    make_durable(folder)


def read_scores_record(folder: Path, *, table: str, fingerprint: str, dim: int) -> ScoresRecord:
    """What is known of the scores of a table, without the numbers. Raises as `open_scores` does."""
    with _raise_damage(folder):
        record = _record_of(json.loads((folder / _RECORD).read_text("utf-8")))
    if (record.table, record.fingerprint, record.dim) != (table, fingerprint, dim):
        raise GalleryError(f"{folder} belongs to other vectors; make it anew: mmsearch calibrate")
    return record


def open_scores(folder: Path, *, table: str, fingerprint: str, dim: int) -> TableScores:
    """The scores of a table. Raises GalleryError where they are damaged, missing or another encoder's."""
    record = read_scores_record(folder, table=table, fingerprint=fingerprint, dim=dim)
    names = ("bank", "bank_owners", "row_ids", "means")
    with _raise_damage(folder):
        vectors, owners, row_ids, means = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in names)
        # Mapped: few queries need them.
        moments = np.load(folder / "moments.npy", mmap_mode="r", allow_pickle=False)
    shapes = (vectors.shape, moments.shape) == ((len(owners), dim), (dim + 2, dim + 1))
    if len(row_ids) != len(means) or not shapes:
        raise GalleryError(f"{folder} is damaged: its files do not fit each other; make it anew: mmsearch calibrate")
    return TableScores(record, Bank(vectors, owners), row_ids, means, Moments(moments[0], moments[1:]))


@contextmanager
def _raise_damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GalleryError(f"{folder} is damaged ({error}); make it anew: mmsearch calibrate") from error


def _record_of(document: Mapping[str, Any]) -> ScoresRecord:
    fields = {name: value for name, value in document.items() if name in ScoresRecord.__slots__}
    correction = {name: value for name, value in fields.pop("correction").items() if name in CorrectionRecord.__slots__}
    if correction.get("gain") is not None:
        correction["gain"] = tuple(correction["gain"])
    if (chances := fields.pop("chances", None)) is not None:
        fields["chances"] = Chances(Probability.from_json(chances["of_hit"]), Probability.from_json(chances["of_any"]))
    fields["general"] = tuple(fields.get("general", ()))
    if (tuned := fields.pop("through_index", None)) is not None:
        effort, recall = Effort(**tuned.pop("effort")), MeasuredRecall(**tuned.pop("recall"))
        fields["through_index"] = CorrectedEffort(**tuned, effort=effort, recall=recall)
    return ScoresRecord(**fields, correction=CorrectionRecord(**correction))
