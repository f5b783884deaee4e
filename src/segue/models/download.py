"""Large files of the web: fetched once, gone on with after a break, checked, and renamed into their place.

The standard library does it: the small download libraries either start anew after a break or bring an HTTP stack along.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from segue.errors import CheckpointError
from segue.files import cannot_write

CHUNK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte
RETRIES = 4  # after breaks that brought nothing new
PAUSE = 1.0  # seconds before each


@dataclass(frozen=True)
class WebFile:
    """A file and what its publisher says to recognise it by.

    Attributes:
        url: where it is.
        hash: of which kind ``digest`` is; None where the publisher gives none.
        digest: how its hash begins, in hexadecimal digits.
    """

    url: str
    hash: Literal["sha256", "md5"] | None = None
    digest: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(urlsplit(self.url).path).name


def download(file: WebFile, path: Path) -> None:
    """Fetch a file to ``path``, with a progress bar; until it is whole and checked its bytes are in ``path`` + .part.

    Raises:
        CheckpointError: the server cannot be reached or has no such file, or the file is not the published one.
        UsageError: the place cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        out = part.open("ab", buffering=0)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        with out, tqdm(desc=file.name, unit="B", unit_scale=True) as bar:
            _transfer(file.url, out, bar, path)
            os.fsync(out.fileno())
    finally:
        if not part.stat().st_size:
            part.unlink()
    try:
        check(file, part)
    except CheckpointError:
        part.unlink()
        raise
    os.replace(part, path)


def check(file: WebFile, path: Path) -> None:
    """Raise `CheckpointError` where a file does not have the published hash."""
    if file.hash is None:
        return
    with path.open("rb") as content:
        found = hashlib.file_digest(content, file.hash).hexdigest()[: len(file.digest)]
    if found != file.digest:
        kind = {"sha256": "SHA-256", "md5": "MD5"}[file.hash]
        what = f"is not the file of {file.url}: its {kind} begins with {found}, not {file.digest}"
        raise CheckpointError(what, where=path, cure="remove it if it is still there, and fetch it again")


def _transfer(url: str, out: FileIO, bar: tqdm[Any], path: Path) -> None:
    """Get all bytes of a file that are not in ``out`` yet, in as many requests as it takes.

    Gives up where nothing is to be had at all, and after several breaks that brought nothing new.
    """
    furthest, idle, came = out.tell(), 0, False
    while True:
        reason, reached_server = "the connection was closed", True
        try:
            if _append(url, out, bar):
                return
        except HTTPError as error:
            error.close()
            raise _unavailable(url, path, f"the server says {error.code} {error.reason}") from None
        except (OSError, HTTPException) as error:
            reason, reached_server = _reason(error), False
        here = out.tell()
        came, idle = came or here > furthest, 0 if here > furthest else idle + 1
        furthest = max(here, furthest)
        if not (came or reached_server) or idle > RETRIES:
            raise _unavailable(url, path, reason)
        time.sleep(PAUSE)


def _append(url: str, out: FileIO, bar: tqdm[Any]) -> bool:
    """One request for what is missing; whether the file is whole now. A server that sends all anew is listened to."""
    begin = out.tell()
    headers = {"User-Agent": "segue", **({"Range": f"bytes={begin}-"} if begin else {})}
    try:
        answer = cast(HTTPResponse, urlopen(Request(url, headers=headers), timeout=TIMEOUT))
    except HTTPError as error:
        if error.code != 416 or not begin:
            raise
        error.close()
        if error.headers.get("Content-Range") == f"bytes */{begin}":
            return True  # nothing was missing
        _restart(out)  # more than the file has: another file
        return False
    with answer:
        begin, total = _extent(answer)
        if begin != out.tell():
            _restart(out)
            if begin:  # something else than what was asked for
                return False
        bar.total, bar.n = total, begin
        while chunk := answer.read1(CHUNK):
            _write(out, chunk)
            bar.update(len(chunk))
    return total is None or out.tell() == total


def _extent(answer: HTTPResponse) -> tuple[int, int | None]:
    """Where an answer begins in the file, and how long the file is if the server says so."""
    if answer.status == 206:
        bounds, _, total = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
        first = bounds.partition("-")[0]
        return (int(first), int(total) if total.isdecimal() else None) if first.isdecimal() else (-1, None)
    length = answer.headers.get("Content-Length") or ""
    return 0, int(length) if length.isdecimal() else None


def _restart(out: FileIO) -> None:
    out.truncate(0)
    out.seek(0)


def _write(out: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[out.write(rest) :]
    except OSError as error:  # not to be taken for a fault of the network
        raise cannot_write(Path(os.fsdecode(out.name)), error) from None


def _unavailable(url: str, path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"cannot be downloaded ({reason})", where=url, cure=f"try again, or fetch it elsewhere and put it at {path}"
    )


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return " ".join(text.split()) or type(error).__name__
