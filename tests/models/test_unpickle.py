"""Pickles of arrays come back; anything that could run, or fill the memory, is refused in one line."""

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from segue.errors import CheckpointError
from segue.models.checkpoints import unpickle
from segue.models.checkpoints.unpickle import read_pickle

RNG = np.random.default_rng(0)
CONTENT = {
    "model": OrderedDict(
        floats=RNG.normal(size=(2, 3, 4)).astype("f4"),
        half=RNG.normal(size=5).astype("f2"),
        whole=np.arange(6, dtype="i8").reshape(3, 2),
        truth=np.array([True, False]),
        turned=np.asfortranarray(RNG.normal(size=(3, 4))),
        foreign=np.arange(4, dtype=">f4"),
        none=np.zeros((0, 4), "f4"),
        scalar=np.float32(2.5),
        point=np.array(1.5),
    ),
    "__author__": "someone",
    "iteration": 7,
    "more": [1.5, None, True, ("x", b"\x00\xff")],
}


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "file.pkl"
    path.write_bytes(data)
    return path


def refused(folder: Path, data: bytes) -> str:
    with pytest.raises(CheckpointError) as error:
        read_pickle(saved(folder, data))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(folder))
    return str(error.value)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_what_numpy_writes_comes_back(tmp_path: Path, protocol: int) -> None:
    content = read_pickle(saved(tmp_path, pickle.dumps(CONTENT, protocol)))
    assert isinstance(content, dict)
    assert {k: v for k, v in content.items() if k != "model"} == {k: v for k, v in CONTENT.items() if k != "model"}
    assert list(content["model"]) == list(CONTENT["model"])
    for name, array in CONTENT["model"].items():
        np.testing.assert_array_equal(content["model"][name], array)
        assert content["model"][name].dtype == array.dtype.newbyteorder("=")
        assert content["model"][name].shape == array.shape
        assert content["model"][name].flags.writeable


def python2(array: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> bytes:
    """An array as Python 2 writes it: its bytes are text."""
    data, count = array.tobytes(), struct.pack("<B", len(array))
    build = b"U\x01bq\x03\x87q\x04Rq\x05(K\x01K" + count + b"\x85q\x06cnumpy\ndtype\nq\x07U\x02f4K\x00K\x01\x87q\x08R"
    kind = b"q\x09(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0ab"
    rest = b"\x89U" + struct.pack("<B", len(data)) + data + b"tq\x0bb"
    start = b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nK\x00\x85"
    return start + build + kind + rest + b"s."


def test_text_of_python_2_is_bytes(tmp_path: Path) -> None:
    array = np.array([1.0, -2.5, 3e38], "f4")
    content = read_pickle(saved(tmp_path, python2(array)))
    assert isinstance(content, dict)
    np.testing.assert_array_equal(content["a"], array)


class Hostile:
    def __init__(self, call: object, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("call", [os.system, eval, exec, os.mkdir, getattr, np.fromfile, print])
def test_nothing_is_called(tmp_path: Path, protocol: int, call: object) -> None:
    made = tmp_path / "made"
    argument = f"__import__('os').mkdir({str(made)!r})" if call in (eval, exec) else str(made)
    text = refused(tmp_path, pickle.dumps({"model": {"a": Hostile(call, argument)}}, protocol))
    assert "which is no array" in text
    assert not made.exists()


def test_instances_and_persistent_names_are_refused(tmp_path: Path) -> None:
    assert "no array" in refused(tmp_path, pickle.dumps(Hostile(Path, "x")))
    assert "no array" in refused(tmp_path, pickle.dumps(io.BytesIO(b"x")))
    assert "more than arrays" in refused(tmp_path, b"\x80\x02U\x01xQ.")  # a persistent id
    assert "more than arrays" in refused(tmp_path, b"\x80\x02\x82\x01.")  # an extension
    assert "no array" in refused(tmp_path, b"\x80\x02cnumpy\nload\n(U\x01xtR.")
    assert "more than arrays" in refused(tmp_path, b"\x80\x02cnumpy\nndarray\n.")
    assert "array" in refused(tmp_path, pickle.dumps(np.array([{}, "x"], dtype=object)))
    assert "array" in refused(tmp_path, pickle.dumps(np.zeros(2, dtype=[("a", "f4")])))
    assert "key" in refused(tmp_path, pickle.dumps({(1, 2): 3}))


def test_cut_or_empty_files_are_not_whole(tmp_path: Path) -> None:
    whole = pickle.dumps(CONTENT, 4)
    for end in range(0, len(whole) - 1, 7):
        refused(tmp_path, whole[:end])


def test_damaged_bytes_never_end_in_another_error(tmp_path: Path) -> None:
    whole = bytearray(pickle.dumps(CONTENT, 2))
    rng = np.random.default_rng(1)
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        with contextlib.suppress(CheckpointError):
            read_pickle(saved(tmp_path, bytes(damaged)))


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
FLOATS = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
BOMBS = {
    "a claim of 2^62 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "a bytearray of 2^40": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "a shape without data": b"\x80\x02"
    + ARRAY
    + b"(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85"
    + FLOATS
    + b"\x89U\x00tb.",
    "a negative shape": b"\x80\x02" + ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + FLOATS + b"\x89U\x00tb.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "deep tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "long digits": b"I" + b"9" * 100_000 + b"\n.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_no_memory(tmp_path: Path, name: str) -> None:
    tracemalloc.start()
    try:
        refused(tmp_path, BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_a_distant_memo_takes_no_memory(tmp_path: Path) -> None:
    assert read_pickle(saved(tmp_path, b"\x80\x02]r\xff\xff\xff\x7f.")) == []


def test_too_many_instructions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "MOST_STEPS", 1000)
    assert "more values" in refused(tmp_path, b"\x80\x02" + b"(" * 1001 + b".")
    monkeypatch.undo()
    assert "more values" not in refused(tmp_path, b"\x80\x02" + b"(" * 1001 + b".")


def test_shared_parts_do_not_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "MOST_STEPS", 10_000)
    level: list[object] = [0]
    for _ in range(14):
        level = [level] * 10  # 10^14 values when walked
    assert "more values" in refused(tmp_path, pickle.dumps(level))


def test_copies_of_one_text_are_counted(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 100_000) + b"x" * 100_000 + b"q\x00"
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    assert "unpacks" in refused(tmp_path, b"\x80\x02(" + text + again * 1000 + b"t.")
