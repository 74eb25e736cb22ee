"""A run folder as one typed object.

Every part may be missing (its section is then left out of the page); a part that is there but cannot be
read is refused, because a page that quietly leaves out what it should show is worse than none.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import refuse

Array = NDArray[Any]
Content = TypeVar("Content")


@dataclass(frozen=True)
class Reliability:
    """Confidence bins: edges (K+1,), count (K,), and accuracy and mean confidence (K,), NaN where empty."""

    edges: Array
    count: Array
    accuracy: Array
    confidence: Array


@dataclass(frozen=True)
class RunData:
    """What is in a run folder; `arrays` and `history` map the names inside the .npz files to arrays."""

    path: Path
    recipe: dict[str, Any]
    recipe_text: str
    environment: dict[str, Any]
    epochs: list[dict[str, Any]]
    history: dict[str, Array]
    arrays: dict[str, Array]
    result: dict[str, Any]
    sweep: dict[str, Any] = field(default_factory=dict)
    spiking: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or self.path.resolve().name)

    @property
    def seed(self) -> object:
        return self.environment.get("seed", self.recipe.get("seed"))

    @property
    def is_regression(self) -> bool:
        validation = self.epochs[-1].get("validation") if self.epochs else None
        readings = (section(self.result, "test"), validation if isinstance(validation, dict) else {})
        return "prediction" in self.arrays or any("rmse" in reading for reading in readings)

    @property
    def data_name(self) -> str:
        named = section(self.environment, "data").get("name") or section(self.recipe, "data").get("set")
        return str(named or "")

    @property
    def test_size(self) -> int | None:
        """Number of test examples, from the environment or the stored targets."""
        stated = number(self.environment, "data", "examples", "test")
        if stated is not None:
            return int(stated)
        return len(self.arrays["targets"]) if "targets" in self.arrays else None

    def classes(self, count: int) -> list[str]:
        """`count` class names; numbers when the run does not name them all."""
        named = section(self.environment, "data").get("classes")
        if isinstance(named, list) and len(named) == count:
            return [str(name) for name in named]
        return [str(k) for k in range(count)]

    def curve(self, split: str, name: str) -> tuple[Array, Array]:
        """Epochs and values of one reading, both (E',): only the epochs that have it."""
        found = [(number(e, "epoch"), number(e, split, name)) for e in self.epochs]
        pairs = [(e, v) for e, v in found if e is not None and v is not None]
        return np.array([e for e, _ in pairs]), np.array([v for _, v in pairs])

    def over_time(self, name: str) -> tuple[Array, Array]:
        """Time steps and the test reading after each of them."""
        rows = self.result.get("over_time")
        found = [(number(r, "step"), number(r, name)) for r in rows] if isinstance(rows, list) else []
        pairs = [(s, v) for s, v in found if s is not None and v is not None]
        return np.array([s for s, _ in pairs]), np.array([v for _, v in pairs])

    def reliability(self, key: str = "reliability") -> Reliability | None:
        """The bins under `key` of result.json, or None; refuses bins that do not fit together."""
        bins = section(self.result, key)
        if not bins:
            return None
        try:
            edges, count, accuracy, confidence = (
                np.array([math.nan if v is None else v for v in bins[name]], dtype=float)
                for name in ("edges", "count", "accuracy", "confidence")
            )
        except (KeyError, TypeError, ValueError):
            refuse(f"{self.path / 'result.json'} {key}", "unreadable bins", "edges, count, accuracy, confidence")
        if not len(edges) - 1 == len(count) == len(accuracy) == len(confidence):
            refuse(f"{self.path / 'result.json'} {key}", "lists of other lengths", "K+1 edges and K bins")
        if not count.sum() > 0:
            return None
        return Reliability(edges, count, accuracy, confidence)

    def array(self, name: str, ndim: int) -> Array | None:
        """An array of predictions.npz, or None; refuses another number of dimensions."""
        found = self.arrays.get(name)
        if found is not None and found.ndim != ndim:
            refuse(f"{self.path / 'predictions.npz'} {name}", f"shape {found.shape}", f"{ndim} dimensions")
        return found


def number(values: object, *keys: str) -> float | None:
    """The finite number at values[k1][k2]..., or None."""
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    if isinstance(values, bool) or not isinstance(values, int | float) or not math.isfinite(values):
        return None
    return float(values)


def section(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """values[key] if it is a table, else an empty one."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def read_run(path: Path) -> RunData:
    """Read a run folder; refuses what is no run, and any file that is broken."""
    path = Path(path)
    if not path.is_dir():
        refuse("run", path, "a folder written by `bitspike train`")
    if not any((path / name).is_file() for name in ("result.json", "metrics.jsonl")):
        refuse("run", f"{path} without result.json or metrics.jsonl", "a folder written by `bitspike train`")
    recipe_text = _read(path / "recipe.toml", _text, "")
    return RunData(
        path=path,
        recipe=_read(path / "recipe.toml", _toml, {}),
        recipe_text=recipe_text,
        environment=_read(path / "environment.json", _json, {}),
        epochs=_read(path / "metrics.jsonl", _json_lines, []),
        history=_read(path / "history.npz", _npz, {}),
        arrays=_read(path / "predictions.npz", _npz, {}),
        result=_read(path / "result.json", _json, {}),
        sweep=_read(path / "sweep.json", _json, {}),
        spiking=_read(path / "spiking.json", _json, {}),
        rates=_read(path / "relu_spiking.json", _json, {}),
    )


def _read(path: Path, reader: Callable[[Path], Content], missing: Content) -> Content:
    if not path.exists():
        return missing
    try:
        return reader(path)
    except OSError as error:
        refuse(str(path), error.strerror or "an error", "a file that can be read")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        refuse(str(path), "bytes that are not UTF-8", "text")


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        refuse(str(path), f"broken TOML ({error})", "a resolved recipe")


def _json(path: Path) -> dict[str, Any]:
    return _object(_text(path), str(path))


def _json_lines(path: Path) -> list[dict[str, Any]]:
    lines = enumerate(_text(path).splitlines(), start=1)
    return [_object(line, f"{path} line {i}") for i, line in lines if line.strip()]


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        refuse(where, f"broken JSON ({error.msg}, column {error.colno})", "one JSON object")
    if not isinstance(found, dict):
        refuse(where, f"a JSON {type(found).__name__}", "one JSON object")
    return found


def _npz(path: Path) -> dict[str, Array]:
    from zipfile import BadZipFile
    from zlib import error as ZlibError

    try:
        # Opened here, so that it is closed even where numpy gives up on it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (BadZipFile, ZlibError, ValueError, EOFError, KeyError, AttributeError, TypeError):
        refuse(str(path), "a broken archive", "an .npz file of plain arrays")
