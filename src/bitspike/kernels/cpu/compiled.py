"""Functions compiled by Numba, kept on disk by `cache` instead of by Numba's own index.

A kept function is named by a digest of all it depends on: its file, the files and numbers it takes from elsewhere, its
signature and options, the processor, Python, Numba and LLVM. So nothing that is kept can be out of date, and what
cannot be read is compiled again.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import platform
from collections.abc import Callable
from functools import cache as once
from numbers import Number
from pathlib import Path
from typing import Any, TypeVar

from bitspike.kernels import cache
from bitspike.notices import notice

COMPILING = "compiling kernels for this processor, which takes up to a minute and is kept for later"
# Functions from these are compiled into others; Numba would not notice that they have changed.
PARTS = ("draws.py", "half.py", "math.py", "circuit_parts.py", "circuit_updates.py", "../../draws.py")


Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(function: Loop, signature: Any = None, **options: Any) -> Loop:
    """numba.njit(signature, **options)(function), kept for later processes. Frees the interpreter lock.

    Without a signature it is compiled for the types of its first call, and for others as they come.
    """
    import numba

    made: Any = numba.njit(nogil=True, error_model="numpy", **options)(function)
    # Numba may be told not to compile (NUMBA_DISABLE_JIT), and a later one may name this otherwise: nothing is kept.
    if hasattr(made, "_cache"):
        made._cache = _Kept(function, repr(sorted(options.items(), key=str)))
    if signature is not None and hasattr(made, "compile"):
        made.compile(signature)
        made.disable_compile()
    loop: Loop = made
    return loop


def joined(function: Loop) -> Loop:
    """`compiled`, where no bits are promised: a multiplication may join an addition."""
    return compiled(function, fastmath={"contract"})


class _Kept:
    """What a dispatcher of Numba asks of its cache."""

    cache_path = None

    def __init__(self, function: Callable[..., Any], options: str) -> None:
        self._function, self._options = function, options

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The compile result of this signature, or None."""
        result: Any = importlib.import_module("numba.core.compiler").CompileResult
        context.refresh()
        content = cache.read(self._name(signature, context.codegen()))
        if content is None:
            notice(COMPILING)
            return None
        try:
            return result._rebuild(context, *pickle.loads(content))
        except Exception:  # whatever it is, a new one is made
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep it, unless it holds what is this process's alone."""
        serialize: Any = importlib.import_module("numba.core.serialize")
        if result.lifted or result.library.has_dynamic_globals:
            return
        cache.write(self._name(signature, result.codegen), serialize.dumps(result._reduce()))

    def _name(self, signature: Any, codegen: Any) -> str:
        numba: Any = importlib.import_module("numba")
        llvm: Any = importlib.import_module("llvmlite")
        code, known = self._function.__code__, self._function.__globals__
        cells = [cell.cell_contents for cell in self._function.__closure__ or ()]
        numbers = [known[name] for name in code.co_names if isinstance(known.get(name), Number | tuple)]
        parts = (
            self._function.__qualname__, code.co_firstlineno, code.co_code, numbers,
            [cell if isinstance(cell, Number | tuple) else type(cell).__name__ for cell in cells],
            _source(code.co_filename), _sources(), signature, self._options, numba.config.SLP_VECTORIZE,
            codegen.magic_tuple(), platform.python_version(), numba.__version__, llvm.__version__,
        )  # fmt: skip
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        return f"{self._function.__name__}-{digest}.kernel"

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...


@once
def _source(path: str) -> str:
    if path.startswith("<"):  # a module of `cache.module`, which its text names
        return path
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return path


@once
def _sources() -> tuple[str, ...]:
    here = Path(__file__).parent
    # A part that is not there is our mistake, and is said: its digest would be that of a name, for good.
    return tuple(hashlib.sha256((here / name).read_bytes()).hexdigest() for name in PARTS)
