"""A gallery's folder in an object store: an object can be seen when it is whole, a name is created by the store."""

import contextlib
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mmsearch.errors import StoreError
from mmsearch.file_ranges import RangedFile
from mmsearch.locations import Url
from mmsearch.names import random_name
from mmsearch.stores.files import exists
from mmsearch.stores.folder_locks import fill_folder
from mmsearch.stores.local_copies import LocalCopies
from mmsearch.stores.objects import Objects, TornObject, objects_of
from mmsearch.stores.store_entries import FolderEntry, NameTaken, ObjectListing, StoredObject

__all__ = ["ObjectStore"]

_FETCHED_WHOLE = 1 << 22  # a file of so few bytes costs a request, and parts of it would cost several
_PROBED = "store/creates"  # the name of a note in the cache: the store was found to refuse a second object of one name


@contextlib.contextmanager
def _storage_errors(location: Url) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:  # also where there is no such bucket
        failure = StoreError(f"cannot write {location}: {error.strerror or error}. Nothing committed before is lost.")
    else:
        return
    raise failure


class ObjectStore:
    """A folder in an object store, see `Store`.

    What is read is kept on this machine, see `LocalCopies`: whole files, or the parts that were read.
    There is no lock: of two writers the one that commits second fails.
    """

    def __init__(self, location: Url) -> None:
        self.location = location

    @property
    def _objects(self) -> Objects:
        return objects_of(self.location.scheme)  # not held: connections cannot be pickled

    @property
    def _copies(self) -> LocalCopies:
        return LocalCopies(self.location)

    def exists(self) -> bool:
        return exists(self.location)

    def require_reachable(self) -> None:
        try:
            with _reading_errors(self.location):
                self._objects.require_bucket(self.location)
        except FileNotFoundError as error:
            failure = StoreError(f"cannot read {self.location}: {error.strerror} as {error.filename}")
        else:
            return
        raise failure

    def names(self, folder: str) -> list[str]:
        listing = self._list_folder(folder)
        return sorted([*(file.name for file in listing.files), *listing.folders])

    def entries(self, folder: str) -> list[FolderEntry]:
        listing = self._list_folder(folder)
        files_of_folder = {name: self._list_folder(f"{folder}/{name}").files for name in listing.folders}
        entries = [_make_entry(file.name, [file], is_folder=False) for file in listing.files]
        entries += [_make_entry(name, files, is_folder=True) for name, files in files_of_folder.items() if files]
        return sorted(entries, key=lambda entry: entry.name)

    def _list_folder(self, folder: str) -> ObjectListing:
        with _reading_errors(self.location / folder):
            try:
                return self._objects.list(self.location / folder)
            except FileNotFoundError:
                return ObjectListing((), (), ())

    def read(self, name: str) -> bytes:
        with _reading_errors(self.location / name):
            return self._objects.read(self.location / name)

    def open(self, name: str, *, size: int | None = None, whole: bool = False) -> Path | RangedFile:
        url = self.location / name

        def read_range(start: int, end: int) -> bytes:
            copy_name = f"parts/{name.replace('/', '-')}-{start}-{end}"
            with _reading_errors(url):
                return self._copies.keep(copy_name, lambda path: self._fetch(url, path, start, end)).read_bytes()

        if size is not None and size > _FETCHED_WHOLE and not whole and self._copies.present(name) is None:
            return RangedFile(size, read_range)
        with _reading_errors(url):
            if size is None:
                return self._copies.keep(name, lambda path: self._fetch(url, path, 0, None))
            return self._copies.keep(name, lambda path: self._objects.download(url, path, size))

    def _fetch(self, url: Url, path: Path, start: int, end: int | None) -> None:
        data = self._objects.read(url, start, end)
        if end is not None and len(data) != end - start:
            raise TornObject(errno.EIO, f"it ends before byte {end:,}", str(url))
        path.write_bytes(data)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        self._require_creates()
        with self._write_object(name) as file:
            yield file

    @contextlib.contextmanager
    def _write_object(self, name: str) -> Iterator[BinaryIO]:
        # Written here first: fsspec's own files upload what there is when their block fails.
        copies, url = self._copies, self.location / name
        temporary = copies.temporary(name)
        try:
            with temporary.open("xb") as file:
                yield file
            with _storage_errors(url):
                self._objects.upload(temporary, url)
            copies.adopt(temporary, name)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def replace(self, name: str) -> Iterator[BinaryIO]:
        with self._write_object(name) as file:
            yield file
        self._copies.drop(name)  # it may be replaced again

    def create_if_absent(self, name: str, data: bytes) -> None:
        self._require_creates()
        url = self.location / name
        failure: StoreError | None = None
        try:
            with _storage_errors(url):
                self._objects.create(url, data)
                return
        except FileExistsError:
            pass
        except StoreError as error:
            failure = error
        # Either way an earlier try may have come through whose answer was lost.
        with contextlib.suppress(FileNotFoundError, StoreError):
            if self.read(name) == data:
                return
        raise failure or NameTaken(name)

    def local_folder(self, name: str) -> Path:
        url = self.location / name

        def fetch(folder: Path) -> None:
            folder.mkdir()
            for file in self._objects.list(url).files:
                self._objects.download(url / file.name, folder / file.name, file.size)

        with _reading_errors(url):
            return self._copies.keep(name, fetch)

    @contextlib.contextmanager
    def new_folder(self, name: str) -> Iterator[Path]:
        folder = self._copies.temporary(name).with_name(Path(name).name)
        with fill_folder(folder):
            yield folder

    def unfinished(self, folder: str) -> set[str]:
        """None: a folder is filled on the machine of its writer, and is in the store only once it is published."""
        return set()

    def publish(self, name: str) -> None:
        folder = self._copies.path(name)
        for file in sorted(folder.iterdir()):
            url = self.location / name / file.name
            with _storage_errors(url):
                self._objects.upload(file, url)

    def remove(self, name: str) -> None:
        with _storage_errors(self.location / name):
            self._objects.delete(self.location / name)
        self._copies.drop(name)

    def remove_folder(self, name: str) -> None:
        for file in self._list_folder(name).files:
            url = self.location / name / file.name
            with _storage_errors(url):
                self._objects.delete(url)
        self._copies.drop(name)

    @contextlib.contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Check that the bucket exists. Nothing keeps other writers out: `create_if_absent` decides between them."""
        self._require_scheme()
        with _storage_errors(self.location):
            self._objects.require_bucket(self.location)
        yield

    def abandon(self, folders: Sequence[str]) -> None:
        """Nothing: folders are but names of objects."""

    def _require_creates(self) -> None:
        """Raise StoreError unless the store refuses a second object of one name. Tried once for each gallery."""
        self._require_scheme()
        self._copies.keep(_PROBED, self._probe)

    def _require_scheme(self) -> None:
        if not self._objects.creates:
            raise StoreError(
                f"{self.location} cannot be written: fsspec has no way to create an object only if it is absent in "
                f"{self.location.scheme}:// stores, and without it two writers would overwrite each other. Make the "
                "gallery elsewhere and copy it; it can be read from there"
            )

    def _probe(self, note: Path) -> None:
        url = self.location / f"manifests/.probe-{random_name(8)}"
        with _storage_errors(url):
            try:
                with contextlib.suppress(FileExistsError):  # a try of ours whose answer was lost
                    self._objects.create(url, b"1")
                self._objects.create(url, b"2")
            except FileExistsError:
                note.write_text("this store creates objects only if they are absent\n")
                return
            finally:
                self._objects.delete(url)
        raise StoreError(
            f"{self.location} cannot be written: the store took a second object of one name although it was told to "
            "create it only if absent (If-None-Match), so that two writers would overwrite each other. Make the "
            "gallery elsewhere and copy it; it can be read from there"
        )


def _make_entry(name: str, files: Sequence[StoredObject], *, is_folder: bool) -> FolderEntry:
    newest = max((file.modified_ns for file in files), default=0)
    return FolderEntry(name, is_folder, len(files), sum(file.size for file in files), newest / 1e9)


@contextlib.contextmanager
def _reading_errors(location: Url) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, TornObject):
        raise
    except OSError as error:
        failure = StoreError(f"cannot read {location}: {error.strerror or error}")
    else:
        return
    raise failure
