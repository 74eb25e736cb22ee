"""What comes in at the doors of conversion: ordinary modules, and numbers in a precision that they are computed in.

Half precision is a way to store numbers: a network of it is computed in float32, and its answers are given back in the
input's own dtype. Whole numbers and booleans are taken as the numbers they are.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.errors import refuse

MOST_STEPS = 1_000_000  # of one presentation


def ordinary(field: str, model: Any) -> Any:
    """`model` without the wrappers that change nothing of it (torch.compile, data parallel); TorchScript is refused."""
    while True:
        if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
            refuse(field, "a TorchScript module, whose code cannot be looked into", "the Python module it was made of")
        if isinstance(model, str | Path):
            refuse(field, f"a file '{model}'", "a module (its class), with state=FILE for weights")
        if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif type(model).__name__ == "OptimizedModule" and isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        else:
            return model


def is_half(value: Tensor) -> bool:
    """Whether a tensor is of real numbers in less than 32 bits."""
    return value.is_floating_point() and value.element_size() < 4


def computing_dtype(model: nn.Module) -> torch.dtype | None:
    """The dtype that a model is computed in: that of its parameters, float32 at least; None without any."""
    for value in model.parameters():
        if value.is_floating_point():
            return torch.promote_types(value.dtype, torch.float32) if value.element_size() > 1 else torch.float32
    return None


def taken(field: str, x: Any, dtype: torch.dtype | None) -> Tensor:
    """x in the dtype that a network computes in (None: its own, float32 at least)."""
    if not isinstance(x, Tensor):
        refuse(field, type(x).__name__, "a tensor")
    if x.is_complex() or x.device.type == "meta":
        refuse(field, f"{x.dtype} on device '{x.device.type}'", "real numbers")
    if dtype is None:
        dtype = x.dtype if x.is_floating_point() and not is_half(x) else torch.float32
    return x.to(dtype)


def given_back(y: Tensor, x: Tensor) -> Tensor:
    """y in the dtype of x where that is a floating one."""
    return y.to(x.dtype) if x.is_floating_point() and y.is_floating_point() else y


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast on the device of x."""
    return torch.autocast(x.device.type, enabled=False)


@contextmanager
def without_listings() -> Iterator[None]:
    """Without the code that torch.fx prints before an error of a traced module goes up; other words on stderr stay."""
    said = io.StringIO()
    with redirect_stderr(said):
        yield
    sys.stderr.write(said.getvalue())


def plain_words(error: Exception) -> str:
    """The first line of what went wrong in torch."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
