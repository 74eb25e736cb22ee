"""Arrays of an .npz: x and y under the names people give them, and `lengths` of sequences of different lengths.

    x (N, ...), y (N, ...)                         examples
    x (N, T, ...), lengths (N,)                    sequences padded to T: what lies behind a length is not read
    x (sum of lengths, ...), lengths (N,)          one sequence after the other

Pickled objects are never loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.base import filled
from bitspike.data.cells import LARGEST
from bitspike.data.tables import padded
from bitspike.errors import BitspikeError, refuse

Array = np.ndarray[Any, Any]

X_NAMES = ("x", "X", "samples", "data", "inputs", "features")
Y_NAMES = ("y", "Y", "labels", "label", "targets", "target")
LENGTH_NAMES = ("lengths", "length", "seq_lengths", "sequence_lengths")


@dataclass(frozen=True)
class Arrays:
    """What an .npz holds: x (N, ...) or (N, T, ...), lengths (N,) or None, the other arrays asked for, notes."""

    x: Tensor
    x_name: str
    lengths: Tensor | None
    ragged: bool
    others: dict[str, Array]
    y_name: str | None
    counted: str | None
    notes: tuple[str, ...]


def _is_broken_text(array: Array) -> bool:
    """True for text of a damaged file: numbers above the last character, or halves of pairs."""
    if array.dtype.kind != "U" or array.size == 0:
        return False
    points = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1).view(np.uint32)
    return bool(((points > 0x10FFFF) | ((points >= 0xD800) & (points <= 0xDFFF))).any())


def read_npz(path: Path, *, target: bool, extra: tuple[str, ...] = (), padding: str | None = None) -> Arrays:
    """x, its lengths, and (where `target`) y and the arrays `extra`, checked for shape and finite numbers.

    padding: "nan" or "zero" says that steps at the end which hold nothing else are no part of a sequence.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = list(archive.files)
            x_name = _named(path, names, X_NAMES, "x")
            y_name: str | None = _named(path, names, Y_NAMES, "y") if target else None
            if missing := [name for name in extra if name not in names]:
                refuse(f"{path}", f"arrays {', '.join(names)}", f"one named {missing[0]}")
            counted = next((name for name in LENGTH_NAMES if name in names), None)
            taken = [name for name in (x_name, y_name, counted, *extra) if name is not None]
            arrays = {name: archive[name] for name in dict.fromkeys(taken)}
            if bare := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
                refuse(f"{path} {bare[0]}", "a member that is no array", "an array saved by NumPy")
            if wrong := [name for name, array in arrays.items() if _is_broken_text(array)]:
                refuse(f"{path} {wrong[0]}", "text with characters that do not exist", "text")
    except BitspikeError:
        raise
    except FileNotFoundError:
        refuse(str(path), "no such file", "an .npz file")
    except ValueError:
        refuse(str(path), "an object array or no .npz file", "arrays of numbers or strings (nothing pickled)")
    except Exception:
        # A damaged archive or header fails in many ways, each with its own exception.
        refuse(str(path), "a damaged or truncated file", "a whole .npz file")
    x = arrays[x_name]
    if x.dtype.kind not in "biuf" or x.ndim == 0 or x.size == 0:
        refuse(f"{path} {x_name}", f"{x.dtype} of shape {x.shape}", "numbers of shape (N, ...)")
    notes = []
    if x_name != "x" or y_name not in ("y", None) or counted not in ("lengths", None):
        roles = {"x": x_name, "y": y_name, "lengths": counted}
        notes.append(f"{path.name}: " + ", ".join(f"{role} is '{name}'" for role, name in roles.items() if name))
    if target and (unread := [name for name in names if name not in arrays]):
        notes.append(f"{path.name}: not read: {', '.join(unread)}")
    values, lengths, ragged = _sequences(path, x_name, x, None if counted is None else (counted, arrays[counted]))
    if padding is not None and lengths is None:
        lengths = _found_ends(path, x_name, values, padding)
    count = len(values) if lengths is None else len(lengths)
    others = {name: array for name, array in arrays.items() if name not in (x_name, counted)}
    for name, some in others.items():
        if some.ndim == 0 or (len(some) != count and not (ragged and name == y_name and len(some) == len(x))):
            refuse(f"{path} {name}", f"shape {some.shape}", f"{count} rows, as many as {x_name}")
        check_finite(f"{path} {name}", some)
    check_finite(f"{path} {x_name}", x if ragged else values, None if ragged else lengths)
    ends = None if lengths is None else torch.from_numpy(lengths)
    return Arrays(filled(as_numbers(values), ends), x_name, ends, ragged, others, y_name, counted, tuple(notes))


def _named(path: Path, names: list[str], known: tuple[str, ...], role: str) -> str:
    """The array that plays a role: the one called so, or the only one of the names it goes by."""
    found = [name for name in known if name in names]
    if role in found or len(found) == 1:
        return role if role in found else found[0]
    came = f"arrays {', '.join(names) or 'none'}"
    refuse(str(path), came, f"one named {role}" + (f" (or only one of {', '.join(found)})" if found else ""))


def _sequences(
    path: Path, x_name: str, x: Array, counted: tuple[str, Array] | None
) -> tuple[Array, Array | None, bool]:
    """x padded to (N, T, ...), the lengths int64 (N,), and whether x held one sequence after the other."""
    if counted is None:
        return x, None, False
    name, given = counted
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim != 1 or given.dtype.kind not in "iuf" or not (given == np.round(given)).all() or not len(given):
        refuse(f"{path} {name}", f"{given.dtype} of shape {given.shape}", "whole numbers (N,), one for each sequence")
    if not 1 <= given.min() <= given.max() <= x.size:
        wrong = int(np.argmax((given < 1) | (given > x.size)))
        refuse(f"{path} {name}[{wrong}]", given[wrong], "lengths from 1 to the steps there are")
    lengths = given.astype(np.int64)
    longest, total = int(lengths.max()), int(lengths.sum())
    if len(x) == len(lengths) and x.ndim >= 2 and longest <= x.shape[1] and len(x) != total:
        return x, lengths, False
    if len(x) == total:
        if len(lengths) * longest * (x.size // len(x)) > 2**31:
            came = f"{len(lengths)} sequences of up to {longest} steps"
            refuse(f"{path} {name}", came, "lengths that fit into memory when padded to the longest")
        rows = torch.from_numpy(np.ascontiguousarray(x))
        return padded(rows, torch.from_numpy(lengths), longest).numpy(), lengths, True
    wanted = f"({len(x)},) up to T, or a sum of {len(x)}, as {x_name} of shape {x.shape} has rows"
    refuse(f"{path} {name}", f"{len(lengths)} lengths up to {longest}, in sum {total}", wanted)


def _found_ends(path: Path, x_name: str, values: Array, padding: str) -> Array:
    """The last step of each sequence that is not all NaN (or zero), from 1."""
    if values.ndim < 2:
        refuse(f"{path} {x_name}", f"shape {values.shape}", f"(N, T, ...), as padding = {padding!r} says")
    steps = values.reshape(*values.shape[:2], -1)
    holds = steps != 0 if padding == "zero" else ~np.isnan(steps.astype(np.float64))
    empty: Array = np.logical_not(holds.any(axis=2))
    lengths = np.where(empty.all(1), 0, values.shape[1] - np.argmax(~empty[:, ::-1], axis=1))
    if (lengths == 0).any():
        refuse(f"{path} {x_name}[{int(np.argmin(lengths))}]", f"nothing but padding ({padding})", "at least one step")
    return lengths.astype(np.int64)


def check_finite(field: str, values: Array, lengths: Array | None = None) -> None:
    """Refuse the first number that is not finite, of sequences (N, T, ...) within their lengths (N,), by its place."""
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if values.dtype.itemsize > 4:
        finite &= np.abs(values) <= LARGEST
    if finite.all():
        return
    if lengths is not None:
        behind = np.arange(values.shape[1]) >= lengths[:, None]
        finite |= behind.reshape(*behind.shape, *(1,) * (values.ndim - 2))
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        wanted = "a finite number" + (f" up to {LARGEST:g}" if np.isfinite(values[place]) else "")
        refuse(f"{field}{list(place)}", values[place], wanted)


def as_numbers(values: Array) -> Tensor:
    """A tensor of a numeric array: float32 stays, the rest becomes float64."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=None if values.dtype == np.float32 else np.float64))
