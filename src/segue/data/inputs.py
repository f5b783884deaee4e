"""What a user names on the command line, files, folders and patterns, to a list of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from segue.errors import UsageError

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".webp", ".bmp", ".gif"),
    *(".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")


def find_inputs(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files that ``inputs`` name, in their order, each once.

    An input is a file, taken as it is; a folder, which stands for the pictures and videos directly inside it, sorted
    by name, hidden files left out; or a pattern such as ``photos/*.jpg`` or ``photos/**/*.png``, which stands for the
    files that it matches, sorted.

    Raises:
        UsageError: nothing is named, an input does not exist or matches no file, or a folder has no picture.
    """
    if not inputs:
        raise UsageError("no input is named", cure="name pictures, a folder, a pattern or a video")
    return list(dict.fromkeys(path for name in inputs for path in _files_of(Path(name))))


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether the file's name ends like that of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _files_of(path: Path) -> list[Path]:
    if "\0" in str(path):
        raise UsageError("a file name holds a zero byte", where=repr(str(path)), cure="check the path")
    if path.is_dir():
        return _files_in(path)
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
        files = [name for name in found if name.is_file()]
        if not files:
            raise UsageError("the pattern matches no file", where=path, cure="check the folder and the ending")
        return files
    raise UsageError("no such file or folder", where=path, cure="check the path")


def _files_in(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except PermissionError as error:
        raise UsageError("the folder may not be read", where=folder, cure="change its permissions") from error
    visible = [path for path in entries if not path.name.startswith(".") and path.is_file()]
    files = [path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES or is_video(path)]
    if not files:
        below = any(entry.is_dir() for entry in entries)
        cure = f"for its subfolders pass '{folder}/**/*.png'" if below else "name a folder that holds pictures"
        raise UsageError("the folder holds no picture", where=folder, cure=cure)
    return files
