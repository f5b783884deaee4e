"""Files of the web, from a server on the loopback interface that can be told to misbehave."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segue.errors import CheckpointError, UsageError
from segue.files import locked
from segue.models import download as module
from segue.models.download import WebFile, check, download

CONTENT = bytes(range(256)) * 2000 + b"the end"


@dataclass
class Behaviour:
    """What the server does: it closes after each number of ``breaks`` in turn, or answers as told."""

    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    length: bool = True
    status: int = 200
    shift: int = 0
    asked: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, behaviour: Behaviour, *arguments: object) -> None:
        self.behaviour = behaviour
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        does = self.behaviour
        asked = self.headers.get("Range")
        does.asked.append(asked)
        if does.status != 200:
            return self.send_error(does.status)
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and does.ranges else 0
        if begin >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        begin += does.shift if begin else 0
        self.send_response(206 if asked and does.ranges else 200)
        if does.length:
            self.send_header("Content-Length", str(len(CONTENT) - begin))
        if asked and does.ranges:
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        stop = does.breaks.pop(0) if does.breaks else len(CONTENT)
        self.wfile.write(CONTENT[begin : begin + stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def url(behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "CHUNK", 10_000)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, behaviour)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/models/weights.pth"
        server.shutdown()
        thread.join()


def web_file(url: str) -> WebFile:
    return WebFile(url, "sha256", hashlib.sha256(CONTENT).hexdigest()[:8])


def left(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def test_whole_and_with_the_bar_of_its_name(
    url: str, behaviour: Behaviour, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a" / "w.pth"
    download(web_file(url), path)
    assert path.read_bytes() == CONTENT
    assert left(path) == ["w.pth"]
    assert behaviour.asked == [None]
    assert "weights.pth: 100%" in capsys.readouterr().err


def test_a_broken_connection_is_gone_on_with_where_it_broke(url: str, behaviour: Behaviour, tmp_path: Path) -> None:
    behaviour.breaks = [200_000, 1, 100_000]
    download(web_file(url), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=200000-", "bytes=200001-", "bytes=300001-"]


def test_a_later_run_goes_on_where_a_killed_one_was(url: str, behaviour: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT[:1234])
    download(web_file(url), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert behaviour.asked == ["bytes=1234-"]


@pytest.mark.parametrize("length", [True, False])
def test_a_server_that_ignores_ranges_sends_it_anew(
    url: str, behaviour: Behaviour, tmp_path: Path, length: bool
) -> None:
    behaviour.ranges, behaviour.length = False, length
    (tmp_path / "w.pth.part").write_bytes(b"something that is older" * 30_000)
    download(web_file(url), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(url: str, behaviour: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    download(web_file(url), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert len(behaviour.asked) == 1


def test_a_part_that_is_longer_than_the_file_is_thrown_away(url: str, behaviour: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT + b"?")
    download(web_file(url), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert behaviour.asked == [f"bytes={len(CONTENT) + 1}-", None]


def test_an_answer_from_elsewhere_in_the_file_is_not_put_together(
    url: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.shift = 7
    (tmp_path / "w.pth.part").write_bytes(CONTENT[:1000])
    download(web_file(url), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_server_that_always_breaks_is_given_up_and_what_came_is_kept(
    url: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.breaks = [500, *[0] * 20]
    path = tmp_path / "w.pth"
    with pytest.raises(CheckpointError, match="connection was closed") as error:
        download(web_file(url), path)
    assert "\n" not in str(error.value)
    assert left(path) == ["w.pth.part"]
    assert (tmp_path / "w.pth.part").read_bytes() == CONTENT[:500]
    assert len(behaviour.asked) == 2 + module.RETRIES


def test_a_wrong_checksum_deletes_it(url: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(CheckpointError, match=r"SHA-256 begins with \w{8}, not 01234567") as error:
        download(WebFile(url, "sha256", "01234567"), path)
    assert left(path) == []
    assert url in str(error.value)
    assert "\n" not in str(error.value)


def test_md5_and_no_hash_at_all(url: str, tmp_path: Path) -> None:
    download(WebFile(url, "md5", hashlib.md5(CONTENT).hexdigest()[:6]), tmp_path / "a")
    download(WebFile(url), tmp_path / "b")
    with pytest.raises(CheckpointError, match="MD5 begins with"):
        check(WebFile(url, "md5", "000000"), tmp_path / "a")
    check(WebFile(url), tmp_path / "b")


@pytest.mark.parametrize(("status", "text"), [(404, "404 Not Found"), (403, "403"), (503, "503"), (416, "416")])
def test_what_the_server_says(url: str, behaviour: Behaviour, tmp_path: Path, status: int, text: str) -> None:
    behaviour.status = status
    with pytest.raises(CheckpointError, match=text):
        download(web_file(url), tmp_path / "w.pth")
    assert list(tmp_path.iterdir()) == []
    assert len(behaviour.asked) == 1


def test_offline_one_line_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    base, path = "http://127.0.0.1:1", tmp_path / "place" / "w.pth"
    with pytest.raises(CheckpointError) as error:
        download(WebFile(f"{base}/w.pth"), path)
    text = str(error.value)
    assert text.startswith(f"{base}/w.pth: cannot be downloaded (")
    assert text.endswith(f"put it at {path}")
    assert "\n" not in text
    assert left(path) == []


def test_a_place_that_cannot_be_written(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match="cannot write"):
        download(web_file(url), tmp_path / "file" / "w.pth")


def test_a_full_disk_is_not_taken_for_a_fault_of_the_network(url: str, behaviour: Behaviour, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "w.pth.part").symlink_to(full)
    with pytest.raises(UsageError, match="cannot write: No space left"):
        download(web_file(url), tmp_path / "w.pth")
    assert len(behaviour.asked) == 1


def test_one_at_a_time_under_a_lock(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
