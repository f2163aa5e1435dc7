"""A gallery's folder on a file system: files are synced before they can be seen, a name is created by a hard link."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mmsearch.errors import GalleryBusy, GalleryError, StoreError
from mmsearch.names import random_name
from mmsearch.stores.folder_locks import fill_folder, list_unfinished
from mmsearch.stores.store_entries import FolderEntry, NameTaken
from mmsearch.whole_files import make_durable

__all__ = ["LocalStore"]

_MOST_TRIES = 10  # each that fails means that a file of this moment was removed by somebody else
# Reasons that an operating system gives and a person can act on.
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; put the gallery elsewhere with --gallery",
    errno.EACCES: "permission denied; put the gallery elsewhere with --gallery",
    errno.EPERM: "permission denied; put the gallery elsewhere with --gallery",
    errno.ENOTDIR: "a part of that path is a file, not a folder; name another with --gallery",
}


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        reason = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise StoreError(f"cannot write {path}: {reason}. Nothing committed before is lost.") from error


class LocalStore:
    """A folder on a file system, see `Store`."""

    def __init__(self, location: Path) -> None:
        self.location = location

    def _path(self, name: str) -> Path:
        return self.location / name

    def exists(self) -> bool:
        if self.location.exists() and not self.location.is_dir():
            raise GalleryError(f"{self.location} is a file; name a folder with --gallery")
        return self.location.exists()

    def require_reachable(self) -> None:
        """Nothing: whether a disk is connected cannot be told from a folder that was never made."""

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self._path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def entries(self, folder: str) -> list[FolderEntry]:
        entries = []
        for name in self.names(folder):
            path = self._path(f"{folder}/{name}")
            try:
                files = [path, *path.rglob("*")] if path.is_dir() else [path]
                states = [file.stat() for file in files]
            except FileNotFoundError:  # removed meanwhile
                continue
            sizes = [state.st_size for file, state in zip(files, states, strict=True) if file.is_file()]
            entries.append(
                FolderEntry(name, path.is_dir(), len(sizes), sum(sizes), max(state.st_mtime for state in states))
            )
        return entries

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def open(self, name: str, *, size: int | None = None, whole: bool = False) -> Path:
        return self._path(name)

    def local_folder(self, name: str) -> Path:
        return self._path(name)

    @contextlib.contextmanager
    def new_folder(self, name: str) -> Iterator[Path]:
        path = self._path(name)
        self._make_folder(str(Path(name).parent))
        with contextlib.ExitStack() as lock_stack:
            with _storage_errors(path):
                lock_stack.enter_context(fill_folder(path))
                make_durable(path.parent)
            yield path

    def unfinished(self, folder: str) -> set[str]:
        return list_unfinished(self._path(folder))

    def publish(self, name: str) -> None:
        """Nothing: it lies where it belongs."""

    def _make_folder(self, name: str) -> Path:
        """Create the folder `name` and its parents, durably; one that exists is left alone."""
        folder = self._path(name)
        with _storage_errors(folder):
            missing = []
            while not folder.is_dir():
                if folder.exists():
                    raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))
                missing.append(folder)
                folder = folder.parent
            for folder_to_make in reversed(missing):
                try:
                    folder_to_make.mkdir(exist_ok=True)
                except FileNotFoundError as error:  # in /proc, say, where nothing can be made
                    raise OSError(errno.EPERM, "cannot be made", str(folder_to_make)) from error
                make_durable(folder_to_make.parent)
        return self._path(name)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        path = self._path(name)
        self._make_folder(str(Path(name).parent))
        with _storage_errors(path):
            stream = path.open("xb")
            try:
                with stream as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                make_durable(path.parent)
            except BaseException:
                # Best effort: no manifest names this file, so a leftover is waste and never wrong.
                with contextlib.suppress(OSError):
                    path.unlink()
                raise

    @contextlib.contextmanager
    def replace(self, name: str) -> Iterator[BinaryIO]:
        path = self._path(name)
        if path.exists() and not path.is_file():
            # A rename would put a file in the place of /dev/null, for whoever may write there.
            raise StoreError(f"cannot write {path}: it is {'a folder' if path.is_dir() else 'no file, but a device'}")
        temporary = f"{Path(name).parent.as_posix()}/.{random_name(8)}.tmp"
        try:
            with self.create(temporary) as file:
                yield file
            with _storage_errors(path):
                self._path(temporary).replace(path)
                make_durable(path.parent)
        finally:
            with contextlib.suppress(OSError):
                self._path(temporary).unlink(missing_ok=True)

    def create_if_absent(self, name: str, data: bytes) -> None:
        path = self._path(name)
        for _ in range(_MOST_TRIES):
            temporary = f"{Path(name).parent.as_posix()}/.{random_name(8)}.tmp"
            with self.create(temporary) as file:
                file.write(data)
            try:
                with _storage_errors(path):
                    self._link(self._path(temporary), path)
                    make_durable(path.parent)
                return
            except FileExistsError:
                raise NameTaken(name) from None
            except FileNotFoundError:  # a compaction took the temporary file for a leftover, and removed it
                continue
            finally:
                with contextlib.suppress(OSError):
                    self._path(temporary).unlink()
        raise StoreError(
            f"cannot write {path}: what is written beside it is removed. Nothing committed before is lost."
        )

    def _link(self, temporary: Path, path: Path) -> None:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            # File systems without hard links (exFAT, some network mounts): a rename shows the whole file at once too,
            # but would replace, so that a lock has to see to it that the name is free.
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            import filelock

            with filelock.FileLock(self._path("lock.commit")):
                if path.exists():
                    raise FileExistsError(errno.EEXIST, "exists", str(path)) from None
                temporary.rename(path)

    def remove(self, name: str) -> None:
        path = self._path(name)
        with _storage_errors(path):
            path.unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        shutil.rmtree(self._path(name), ignore_errors=True)

    def abandon(self, folders: Sequence[str]) -> None:
        # Still under the lock, so that whoever comes next starts from an empty folder too.
        with contextlib.suppress(OSError):
            for name in folders:
                if self._path(name).is_dir():
                    self._path(name).rmdir()
            self._path("lock").unlink(missing_ok=True)
            self.location.rmdir()

    @contextlib.contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        import filelock

        self._make_folder(".")
        path = self._path("lock")
        with _storage_errors(path):
            lock = filelock.FileLock(path)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                raise GalleryBusy(
                    f"{self.location} is being written by {_holder(path)}. Readers are not affected; "
                    "wait for it to end, or stop it, and run the same command again."
                ) from None
        import socket  # late: only writers lock

        try:
            with contextlib.suppress(OSError):  # who holds the lock is a courtesy, not a condition
                path.write_text(
                    json.dumps(
                        {
                            "pid": os.getpid(),
                            "host": socket.gethostname(),
                            "command": purpose,
                            "since": datetime.now(UTC).isoformat(timespec="seconds"),
                        }
                    )
                )
            yield
        finally:
            with contextlib.suppress(OSError):
                path.write_text("")
            lock.release()


def _holder(path: Path) -> str:
    try:
        note = json.loads(path.read_text())
        return f"process {note['pid']} on {note['host']} (mmsearch {note['command']}, since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
