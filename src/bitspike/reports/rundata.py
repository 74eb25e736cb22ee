"""A run folder as one typed object.

Every part may be missing (its section is then left out of the page); a part that is there but cannot be
read is refused, because a page that quietly leaves out what it should show is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bitspike import registry
from bitspike.errors import BitspikeError, refuse
from bitspike.reports import checked
from bitspike.reports.checked import Array

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
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each measurement of the registry found, by its name; empty where it was not made."""

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or self.path.resolve().name)

    @property
    def files(self) -> list[str]:
        """Files of the measurements that were made."""
        return [registry.trait("measurement", k, "file", f"{k}.json") for k, found in self.measured.items() if found]

    @property
    def seed(self) -> object:
        return self.environment.get("seed", self.recipe.get("seed"))

    @property
    def is_regression(self) -> bool:
        validation = self.epochs[-1].get("validation") if self.epochs else None
        readings = (section(self.result, "test"), validation if isinstance(validation, dict) else {})
        return "prediction" in self.arrays or any("rmse" in reading for reading in readings)

    @property
    def warnings(self) -> list[str]:
        """What the run itself says against its result, one line each."""
        said = self.result.get("warnings")
        return [str(line) for line in said if str(line).strip()] if isinstance(said, list) else []

    @property
    def shipped_reading(self) -> dict[str, Any]:
        """The test reading of what `predict` answers: with its temperature, where it has one."""
        test = section(self.result, "test")
        return {**test, **section(test, "scaled")}

    @property
    def temperature(self) -> float:
        """That of what is shipped; 1 where there is none."""
        found = number(self.result, "shipped", "temperature"), number(self.result, "test", "scaled", "temperature")
        return next((value for value in found if value is not None and value > 0), 1.0)

    def tempered(self, probabilities: Array) -> Array:
        """Class probabilities (..., C) with the temperature that is shipped, as `predict` gives them."""
        logs = np.log(np.clip(probabilities.astype(float), 1e-30, None)) / self.temperature
        powers = np.exp(logs - logs.max(axis=-1, keepdims=True))
        tempered: Array = powers / powers.sum(axis=-1, keepdims=True)
        return tempered

    @property
    def data_name(self) -> str:
        data = section(self.recipe, "data")
        named = str(section(self.environment, "data").get("name") or data.get("set") or "")
        # A person's own file is known by its name; other sets may have a path of another kind.
        own = self.data_option("path") if data.get("set") == "folder" else None
        return Path(own).name or named if isinstance(own, str) else named

    def data_option(self, name: str) -> object:
        """What the data set was asked for, or would take; None where it has no such option, or is not here."""
        data = section(self.recipe, "data")
        given = section(data, "options")
        try:
            field = registry.options("data", str(data.get("set"))).model_fields.get(name)
        except BitspikeError:
            field = None
        return given.get(name, None if field is None or field.is_required() else field.default)

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
        return _known(self.epochs, "epoch", split, name)

    def over_time(self, name: str) -> tuple[Array, Array]:
        """Time steps and the test reading after each of them."""
        return _known(self.result.get("over_time") or [], "step", name)

    def shipped_reliability(self) -> Reliability | None:
        """The bins of what is shipped: after temperature scaling, where a run has it."""
        return self.reliability("reliability_scaled") or self.reliability()

    def reliability(self, key: str = "reliability") -> Reliability | None:
        """The bins under `key` of result.json, or None; refuses bins that do not fit together."""
        bins, where = section(self.result, key), f"{self.path / 'result.json'} {key}"
        if not bins:
            return None
        try:
            edges, count, accuracy, confidence = (
                np.array([math.nan if v is None else v for v in bins[name]], dtype=float)
                for name in ("edges", "count", "accuracy", "confidence")
            )
        except (KeyError, TypeError, ValueError):
            refuse(where, "unreadable bins", "edges, count, accuracy, confidence")
        if not len(edges) - 1 == len(count) == len(accuracy) == len(confidence):
            refuse(where, "lists of other lengths", "K+1 edges and K bins")
        if np.isnan(edges).any() or (np.diff(edges) <= 0).any() or not (count >= 0).all():
            refuse(where, "edges that do not rise, or no counts", "K+1 edges and K bins")
        if not count.sum() > 0:
            return None
        filled = count > 0
        shares = np.concatenate([accuracy[filled], confidence[filled]])
        if not ((shares >= 0) & (shares <= 1 + 1e-9)).all():
            refuse(where, "a share outside 0 to 1", "shares in every bin that has answers")
        return Reliability(edges, count, accuracy, confidence)

    def array(self, name: str, ndim: int) -> Array | None:
        """An array of predictions.npz, or None; refuses another number of dimensions."""
        found = self.arrays.get(name)
        if found is not None and found.ndim != ndim:
            refuse(f"{self.path / 'predictions.npz'} {name}", f"shape {found.shape}", f"{ndim} dimensions")
        return found


def _known(rows: list[dict[str, Any]], at: str, *keys: str) -> tuple[Array, Array]:
    """Places and values (R,) of one reading: only the rows that have both."""
    found = [(number(row, at), number(row, *keys)) for row in rows]
    pairs = np.array([pair for pair in found if None not in pair], dtype=float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def number(values: object, *keys: str) -> float | None:
    """The finite number at values[k1][k2]..., or None."""
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    if isinstance(values, bool) or not isinstance(values, int | float) or not abs(values) <= checked.LARGEST:
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
    return RunData(
        path=path,
        recipe_text=_read(path / "recipe.toml", checked.text_of, ""),
        recipe=_read(path / "recipe.toml", checked.toml_of, {}),
        environment=_read(path / "environment.json", checked.environment_of, {}),
        epochs=_read(path / "metrics.jsonl", checked.json_lines_of, []),
        history=_read(path / "history.npz", checked.arrays_of, {}),
        arrays=_read(path / "predictions.npz", checked.arrays_of, {}),
        result=_read(path / "result.json", checked.json_of, {}),
        measured={name: _measured(path, name) for name in registry.names("measurement")},
    )


def _measured(path: Path, name: str) -> dict[str, Any]:
    place = path / registry.trait("measurement", name, "file", f"{name}.json")
    found: dict[str, Any] = _read(place, checked.json_of, {})
    if found and (check := getattr(registry.find("measurement", name), "check", None)) is not None:
        check(found, str(place))
    return found


def _read(path: Path, reader: Callable[[Path], Content], missing: Content) -> Content:
    if not path.exists():
        return missing
    try:
        return reader(path)
    except OSError as error:
        refuse(str(path), error.strerror or "an error", "a file that can be read")
