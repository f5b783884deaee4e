"""Pickles of numpy arrays, read without running anything in them.

Python's own unpickler calls what a file names. Here a small machine follows the file's instructions itself: it knows
plain values, and the few names by which numpy writes an array. Whatever else a file asks for is an error.
"""

from __future__ import annotations

import math
import mmap
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.errors import CheckpointError

MOST_STEPS = 1_000_000
"""Instructions and values of a file; published weights have some ten thousand."""

DEEPEST = 16
"""Containers inside each other."""

VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
SKIPPED = {"PROTO", "FRAME", "STOP"}

ARRAY, TYPE = "numpy ndarray", "numpy dtype"
RECONSTRUCT, SCALAR, FROM_BUFFER = "numpy _reconstruct", "numpy scalar", "numpy _frombuffer"
ENCODE, BYTES, ORDERED = "_codecs encode", "bytes", "collections OrderedDict"
NAMES = {
    **{f"numpy.{core}.multiarray _reconstruct": RECONSTRUCT for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray scalar": SCALAR for core in ("core", "_core")},
    **{f"numpy.{core}.numeric _frombuffer": FROM_BUFFER for core in ("core", "_core")},
    **{f"{module} bytes": BYTES for module in ("builtins", "__builtin__")},
    **{name: name for name in (ARRAY, TYPE, ENCODE, ORDERED)},
}
"""What a file may name, by module and name; none of it is ever called."""


class _Refused(Exception):
    """What is wrong with a file."""


class _Mark:
    """Where the values of a container begin on the stack."""


@dataclass(frozen=True)
class _Name:
    """One of the values of `NAMES`."""

    name: str


@dataclass
class _Type:
    """A numpy dtype in the making: its code, such as ``f4``, and byte order."""

    code: str
    order: str = "<"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


@dataclass
class _Array:
    """A numpy array, empty until the file fills it."""

    values: NDArray[Any] | None = None


def read_pickle(path: Path) -> object:
    """What a pickle holds: dicts, lists, tuples, plain values and numpy arrays of numbers; nothing in it is run.

    Text of Python 2 is read as Latin-1.

    Raises:
        CheckpointError: the file is cut short or no pickle, names anything but arrays, or would take much more memory
            than it has bytes.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Machine(len(content)).run(content)
    except _Refused as error:
        raise CheckpointError(f"{error}", where=path, cure="use weights from a source that you trust") from None
    except (ValueError, IndexError, OSError, TypeError, KeyError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"not a whole pickle of arrays ({reason})", where=path, cure="fetch it again") from None


class _Machine:
    """A stack and a memo, as every unpickler has; ``budget`` is how many bytes it may still copy."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = 2 * size
        self.steps = 0
        self.actions: dict[str, Callable[[Any], object]] = {
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._get),
            "MEMOIZE": lambda _: self._put(len(self.memo)),
            "MARK": lambda _: self.stack.append(_Mark()),
            "POP": lambda _: self._pop(),
            "POP_MARK": lambda _: self._since_mark(),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "LIST": lambda _: self.stack.append(self._since_mark()),
            "DICT": lambda _: self.stack.append(_filled({}, self._since_mark())),
            "TUPLE": lambda _: self.stack.append(tuple(self._since_mark())),
            "TUPLE1": lambda _: self.stack.append(self._last(1)),
            "TUPLE2": lambda _: self.stack.append(self._last(2)),
            "TUPLE3": lambda _: self.stack.append(self._last(3)),
            "APPEND": lambda _: self._extend(list(self._last(1))),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "SETITEM": lambda _: self._set(list(self._last(2))),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "GLOBAL": lambda name: self.stack.append(_named(name)),
            "STACK_GLOBAL": lambda _: self.stack.append(_named(" ".join(map(str, self._last(2))))),
            "REDUCE": lambda _: self._reduce(),
            "BUILD": lambda _: self._build(),
        }

    def run(self, content: Any) -> object:
        """Follow all instructions; the last value on the stack."""
        for code, argument, _ in pickletools.genops(content):
            self._count()
            if code.name in VALUES:
                self.stack.append(argument)
            elif code.name in CONSTANTS:
                self.stack.append(CONSTANTS[code.name])
            elif code.name in self.actions:
                self.actions[code.name](argument)
            elif code.name not in SKIPPED:
                raise _Refused(f"holds more than arrays (pickle instruction {code.name})")
        return self._settled(self._pop(), 0)

    def _count(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise _Refused("has more values than any weights")

    def _pop(self) -> Any:
        return self.stack.pop()

    def _last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("its stack is empty")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        values: list[Any] = []
        while not isinstance(value := self._pop(), _Mark):
            values.append(value)
        return values[::-1]

    def _put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def _get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("it appends to what is no list")
        self.stack[-1].extend(values)

    def _set(self, values: list[Any]) -> None:
        _filled(self.stack[-1], values)

    def _reduce(self) -> None:
        """What would be a call: one of the few ways in which numpy writes arrays."""
        target, given = self._last(2)
        name = target.name if isinstance(target, _Name) else None
        if not isinstance(given, tuple):
            raise TypeError("a call without arguments")
        if name == RECONSTRUCT and given and given[0] == _Name(ARRAY):
            self.stack.append(_Array())
        elif name == TYPE and given and _is_code(given[0]):
            self.stack.append(_Type(given[0].lstrip("<>|="), given[0][0] if given[0][0] in "<>" else "<"))
        elif name == SCALAR and len(given) == 2:
            self.stack.append(_Array(self._array(given[1], given[0], (), False)))
        elif name == FROM_BUFFER and len(given) == 4:
            self.stack.append(_Array(self._array(given[0], given[1], given[2], given[3] == "F")))
        elif name == ENCODE and given and isinstance(given[0], str):
            self._spend(len(given[0]))
            self.stack.append(given[0].encode("latin1"))
        elif name == BYTES and not given:  # how protocol 2 writes none
            self.stack.append(b"")
        elif name == ORDERED:
            rows = given[0] if given else []
            self.stack.append(_filled({}, [value for row in rows for value in row]))
        else:
            raise _Refused(f"asks for a call that makes no array ({name or type(target).__name__})")

    def _build(self) -> None:
        """Fill the value before the last with the last."""
        target, state = self._last(2)
        if isinstance(target, _Array):
            _, shape, kind, fortran, data = state[-5:]
            target.values = self._array(data, kind, shape, bool(fortran))
        elif isinstance(target, _Type):
            if any(part is not None for part in state[2:5]):
                raise _Refused("has an array of records")
            target.order = ">" if state[1] == ">" else "<"
        elif not isinstance(target, dict):  # an ordered dict's attributes say nothing
            raise _Refused("holds more than arrays")
        self.stack.append(target)

    def _array(self, data: Any, kind: Any, shape: Any, fortran: bool) -> NDArray[Any]:
        raw = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(kind, _Type) or not isinstance(raw, bytes | bytearray):
            raise _Refused("has an array that is not of numbers")
        if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
            raise ValueError("the shape of an array makes no sense")
        if math.prod(shape) * kind.dtype.itemsize != len(raw):
            raise ValueError(f"an array of shape {shape} has {len(raw)} bytes"[:120])
        self._spend(len(raw))
        values = np.frombuffer(bytearray(raw), kind.dtype).reshape(shape, order="F" if fortran else "C")
        return np.ascontiguousarray(values, kind.dtype.newbyteorder("=")).reshape(shape)

    def _spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise _Refused("unpacks to much more than it has bytes")

    def _settled(self, value: Any, depth: int) -> Any:
        """The value with its arrays in place; shared parts come out as often as they are named."""
        self._count()
        if depth > DEEPEST:
            raise _Refused(f"has more than {DEEPEST} containers inside each other")
        if isinstance(value, dict):
            return {key: self._settled(part, depth + 1) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._settled(part, depth + 1) for part in value)
        if isinstance(value, _Array):
            if value.values is None:
                raise ValueError("an array without values")
            return value.values
        if isinstance(value, _Name | _Type | _Mark):
            raise _Refused("holds more than arrays")
        return value


def _named(name: str) -> _Name:
    if name not in NAMES:
        raise _Refused(f"asks for {name.replace(' ', '.')!r:.80}, which is no array")
    return _Name(NAMES[name])


def _is_code(code: Any) -> bool:
    """Whether a dtype's code is of numbers or truth values."""
    return isinstance(code, str) and re.fullmatch(r"[<>|=]?([fiu][248]|[iu]1|b1)", code) is not None


def _filled(target: Any, values: list[Any]) -> Any:
    """A dict with keys and values, one after the other, added."""
    if not isinstance(target, dict) or len(values) % 2:
        raise TypeError("keys and values of no dict")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str | int | float | bytes | None):
            raise _Refused(f"has a {type(key).__name__} for a key")
        target[key] = value
    return target
