"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from segue.errors import UsageError

MARK = b"written by segue"
"""Stands in the first KiB of files of kinds that a later run may replace by its own; it replaces no others."""


def user_cache() -> Path:
    """The folder for what can be made or fetched again: ``SEGUE_CACHE``, else ``segue`` in the XDG cache folder."""
    own = os.environ.get("SEGUE_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "segue"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the ``with`` block of this lock file; on Windows there is no such lock.

    Raises `UsageError` where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which unlocks it


def atomic_write(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a crash at any moment leaves its old content or the new one whole.

    Folders are made as needed. Raises `UsageError` where the place cannot be written.
    """
    with atomic_file(path) as file:
        try:
            file.write(content)
        except OSError as error:
            raise cannot_write(path, error) from None


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to fill in the ``with`` block. It becomes ``path`` when the block ends, and vanishes when that raises.

    It lies beside ``path`` meanwhile; its bytes reach the disk (``fsync``) before the rename that shows them.
    Raises `UsageError` where the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp")
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            _publish(file, Path(temporary), path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UsageError:
    """The error to raise where ``path`` cannot be written."""
    return UsageError(f"cannot write: {error.strerror or error}", where=path, cure="choose another place or make room")


def _publish(file: BinaryIO, temporary: Path, path: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    try:
        file.flush()
        os.fsync(file.fileno())
        file.close()
        temporary.chmod(0o666 & ~mask)  # mkstemp's files are private
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last: it is an entry of the folder. Only POSIX can sync a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
