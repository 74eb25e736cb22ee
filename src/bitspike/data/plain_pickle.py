"""Pickles of plain data: dicts, lists, tuples, numbers, text, bytes and NumPy arrays of whole numbers.

A pickle is a program: what it names, it can call. Here every name it may use stands for an object of this file
that can do nothing but collect the parts of an array; any other name is refused, and none is ever imported.

Before it is run, the program is read through once: only the operations that plain data need, at most `OPERATIONS` of
them, and places of its memory no higher than their number (a single byte could otherwise ask for 16 GB of it). What
comes out is walked through at most `OPERATIONS` steps and `DEPTH` deep, as parts may be shared many times over.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from bitspike.errors import BitspikeError, refuse

WHOLE_NUMBERS = frozenset(f"{sign}{size}" for sign in "ui" for size in (1, 2, 4, 8))
CONTENT = "dicts, lists, numbers, text, bytes and arrays of whole numbers only"

# CIFAR-100, the largest set read here, has 0.3 million.
OPERATIONS = 1_000_000
DEPTH = 50
LONGEST_NUMBER = 256  # bits
# What makes objects of other classes or takes them from elsewhere, and what plain data do without.
REFUSED_CLASSES = frozenset(("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"))
REFUSED = REFUSED_CLASSES | {"NEXT_BUFFER", "READONLY_BUFFER", "DUP", "EMPTY_SET", "ADDITEMS", "FROZENSET"}
PLACES = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))


class _Name:
    """What a name in the pickle stands for: callable at most, without attributes that a pickle could set."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a name is given a state")


class _Call(_Name):
    """A name that is called with parts of an array or with text."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class _Type:
    """An array's type; the pickle sets a state of it, of which the byte order is kept."""

    __slots__ = ("name", "order")

    def __init__(self, name: Any, *options: Any) -> None:
        self.name, self.order = _text(name), "|"
        if self.name not in WHOLE_NUMBERS:
            raise pickle.UnpicklingError(f"an array of type {self.name!r}")

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])
        if self.order not in ("|", "<", ">", "="):
            raise pickle.UnpicklingError(f"byte order {self.order!r}")


class _Array:
    """An array's parts until the whole pickle has been read."""

    __slots__ = ("bytes", "columns_first", "shape", "type")

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.type, self.columns_first, self.bytes = state

    def array(self) -> np.ndarray[Any, Any]:
        """The array itself."""
        if not isinstance(self.type, _Type) or not isinstance(self.bytes, bytes | bytearray):
            raise pickle.UnpicklingError("an array that is not made of bytes")
        kind = np.dtype(self.type.name).newbyteorder(self.type.order)  # type: ignore[arg-type]
        flat = np.frombuffer(self.bytes, kind)
        return flat.reshape(self.shape, order="F" if self.columns_first else "C")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _encoded(text: str, codec: str) -> bytes:
    """Protocol 2 writes bytes as text to encode."""
    if codec != "latin1":
        raise pickle.UnpicklingError(f"codec {codec!r}")
    return text.encode("latin1")


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.__setstate__((1, shape, kind, _text(order) == "F", buffer))
    return made


NAMES: dict[str, Callable[[], _Name]] = {
    "numpy.ndarray": _Name,
    "numpy.dtype": lambda: _Call(_Type),
    "_codecs.encode": lambda: _Call(_encoded),
    "__builtin__.bytes": lambda: _Call(lambda: b""),
    "builtins.bytes": lambda: _Call(lambda: b""),
    **{
        f"numpy.{core}.{name}": (lambda call=call: _Call(call))  # type: ignore[misc]
        for core in ("core", "_core")
        for name, call in (("multiarray._reconstruct", lambda *_: _Array()), ("numeric._frombuffer", _from_buffer))
    },
}


class _Reader(pickle.Unpickler):
    """Reads names as `NAMES` says."""

    def __init__(self, content: bytes, source: str) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.source = source

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name."""
        full = f"{module}.{name}"
        if full not in NAMES:
            refuse(self.source, f"a pickle that names {full}", CONTENT)
        return NAMES[full]()


def _checked(content: bytes) -> bytes:
    """The program itself, once every operation of it has been looked at."""
    for done, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if operation.name in REFUSED:
            raise pickle.UnpicklingError(f"operation {operation.name}")
        if done >= OPERATIONS:
            raise pickle.UnpicklingError(f"more than {OPERATIONS:,} operations")
        if operation.name in PLACES and isinstance(argument, int) and argument > done:
            raise pickle.UnpicklingError(f"place {argument} in a memory of {done}")
    return content


def _plain(value: Any, steps: Iterator[int], depth: int = 0) -> Any:
    """The content with its arrays made and text keys as str; anything that is not plain data is refused."""
    if next(steps) > OPERATIONS or depth > DEPTH:
        raise pickle.UnpicklingError("parts within parts without end")
    if isinstance(value, dict):
        return {_text(key): _plain(entry, steps, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(entry, steps, depth + 1) for entry in value)
    if isinstance(value, _Array):
        return value.array()
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        raise pickle.UnpicklingError(f"a number of {value.bit_length():,} bits")
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__.strip('_').lower()}")


def read_plain_pickle(path: Path) -> Any:
    """The content of a pickle file, keys of dicts as str; Python 2's text comes as bytes."""
    try:
        content = _checked(path.read_bytes())
        return _plain(_Reader(content, str(path)).load(), count(1))
    except BitspikeError:
        raise
    except OSError as error:
        refuse(str(path), f"a file that cannot be read ({error.strerror})", "a pickle")
    except (MemoryError, RecursionError):
        refuse(str(path), "a pickle that asks for too much memory", CONTENT)
    except Exception as error:
        # What a damaged pickle raises has no common class.
        refuse(str(path), f"a damaged pickle or one of other content ({error or type(error).__name__})", CONTENT)
