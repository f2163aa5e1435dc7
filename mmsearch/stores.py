"""Durable files: where a gallery's bytes live, and the three operations that its crash safety rests on.

A file is written once under a name of its own, synced, and never changed. A version is committed by creating a name
that must not exist yet. Everything else (resume, racing writers, consistent readers) follows from these two.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mmsearch.errors import GalleryBusy, StoreError

__all__ = ["LocalStore", "NameTaken", "fsync_folder"]

# Reasons that an operating system gives and a person can act on.
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; put the gallery elsewhere with --gallery",
    errno.EACCES: "permission denied; put the gallery elsewhere with --gallery",
    errno.EPERM: "permission denied; put the gallery elsewhere with --gallery",
    errno.ENOTDIR: "a part of that path is a file, not a folder; name another with --gallery",
}


class NameTaken(Exception):
    """The name that was to be created exists already: somebody else committed first."""


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        reason = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise StoreError(f"cannot write {path}: {reason}. Nothing committed before is lost.") from error


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, as fsync of a file does for its bytes."""
    if os.name == "nt":  # Windows cannot open folders and syncs names with the file.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LocalStore:
    """A gallery's folder on a local file system. Names are POSIX paths relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the file `name` stands."""
        return self.folder / name

    def names(self, prefix: str) -> list[str]:
        """Names directly in the folder `prefix`, sorted; empty where there is no such folder."""
        try:
            return sorted(os.listdir(self.folder / prefix))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises FileNotFoundError."""
        return self.path(name).read_bytes()

    def make_folder(self, name: str) -> Path:
        """Create the folder `name` and its parents, durably; one that exists is left alone."""
        folder = self.path(name)
        with _storage_errors(folder):
            missing = []
            while not folder.is_dir():
                if folder.exists():
                    raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))
                missing.append(folder)
                folder = folder.parent
            for new in reversed(missing):
                try:
                    new.mkdir(exist_ok=True)
                except FileNotFoundError as error:  # in /proc, say, where nothing can be made
                    raise OSError(errno.EPERM, "cannot be made", str(new)) from error
                fsync_folder(new.parent)
        return self.path(name)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write the new file `name`; it is durable when the block ends, and gone when the block fails.

        Raises StoreError (disk full, read-only, ...).
        """
        path = self.path(name)
        self.make_folder(str(Path(name).parent))
        with _storage_errors(path):
            stream = path.open("xb")
            try:
                with stream as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                fsync_folder(path.parent)
            except BaseException:
                # Best effort: no manifest names this file, so a leftover is waste and never wrong.
                with contextlib.suppress(OSError):
                    path.unlink()
                raise

    def create_if_absent(self, name: str, data: bytes) -> None:
        """Create `name` holding all of `data`, atomically and durably. Raises NameTaken if it exists, StoreError."""
        path = self.path(name)
        temporary = f"{Path(name).parent.as_posix()}/.{secrets.token_hex(8)}.tmp"
        with self.create(temporary) as file:
            file.write(data)
        try:
            with _storage_errors(path):
                self._link(self.path(temporary), path)
        except FileExistsError:
            raise NameTaken(name) from None
        finally:
            with contextlib.suppress(OSError):
                self.path(temporary).unlink()
        with _storage_errors(path):
            fsync_folder(path.parent)

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

            with filelock.FileLock(self.path("lock.commit")):
                if path.exists():
                    raise FileExistsError(errno.EEXIST, "exists", str(path)) from None
                temporary.rename(path)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, in the place of what has it. For files outside of a gallery, such as an export."""
        path = self.path(new)
        with _storage_errors(path):
            self.path(name).replace(path)
            fsync_folder(path.parent)

    def delete(self, name: str) -> None:
        """Remove one file; one that is gone already is fine."""
        path = self.path(name)
        with _storage_errors(path):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Hold the advisory write lock. Raises GalleryBusy, at once, naming who holds it."""
        import filelock

        self.make_folder(".")
        path = self.path("lock")
        with _storage_errors(path):
            lock = filelock.FileLock(path)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                raise GalleryBusy(
                    f"{self.folder} is being written by {_holder(path)}. Readers are not affected; "
                    "wait for it to end, or stop it, and run the same command again."
                ) from None
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
