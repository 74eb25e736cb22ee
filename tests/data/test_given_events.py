"""Recordings that are in memory, as Tonic's data sets hand them out: taken, trained on, measured; refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import bitspike
from bitspike.data import Events
from bitspike.data.given import given
from bitspike.errors import BitspikeError

XYTP = np.dtype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])


class Blinks:
    """As a data set of Tonic: class 0 blinks on the left, class 1 on the right."""

    sensor_size: Any = (6, 4, 2)

    def __init__(self, count: int = 40, dtype: Any = XYTP, jitter: bool = False) -> None:
        self.count, self.dtype, self.draw = count, dtype, np.random.default_rng(0) if jitter else None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Any:
        if not 0 <= i < self.count:
            raise IndexError(i)
        draw = self.draw or np.random.default_rng(i)
        events = np.zeros(30 + i, self.dtype)
        events["t"] = np.sort(draw.integers(0, 80_000, len(events)))
        events["x"] = draw.integers(0, 3, len(events)) + 3 * (i % 2)
        if "y" in self.dtype.names:
            events["y"] = draw.integers(0, 4, len(events))
        events["p"] = draw.integers(0, 2, len(events)) if self.sensor_size and self.sensor_size[2] == 2 else 1
        return events, i % 2


def test_recordings_are_read_as_they_are() -> None:
    data = Blinks()
    dataset, batch = given(data, time=True)
    assert (dataset.input, dataset.shape, dataset.classes, batch) == ("events", (2, 4, 6), ("0", "1"), None)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [28, 4, 8]
    assert isinstance(dataset.test.x, Events)
    for k, number in enumerate(dataset.test.index.tolist()):
        one = dataset.test.x[k : k + 1]
        events, label = data[number]
        assert int(dataset.test.y[k]) == label
        for name in ("t", "x", "y", "p"):
            assert getattr(one, name).tolist() == events[name].astype(int).tolist()
    loader: Any = DataLoader(data, batch_size=8, shuffle=True)  # type: ignore[arg-type]
    again, batch = given(loader, time=True)
    assert batch == 8
    assert isinstance(again.test.x, Events)
    assert torch.equal(again.test.x.t, dataset.test.x.t)


def test_a_cochlea_has_one_row_and_one_polarity_and_unsaid_sensors_are_seen() -> None:
    class Cochlea(Blinks):
        sensor_size = (700, 1, 1)

    dataset, _ = given(Cochlea(dtype=np.dtype([("t", int), ("x", int), ("p", int)])), time=True)
    assert dataset.shape == (1, 1, 700)
    assert isinstance(dataset.train.x, Events)
    assert int(dataset.train.x.p.max()) == 0

    class Unsaid(Blinks):
        sensor_size = None

    assert given(Unsaid(), time=True)[0].shape == (2, 4, 6)
    # One recording alone has fewer columns; the sensor is that of the other part.
    apart, _ = given(Blinks(), time=True, test=Unsaid(2))
    assert (apart.shape, len(apart.test)) == ((2, 4, 6), 2)


def test_a_network_learns_them_and_is_measured_on_others(tmp_path: Path) -> None:
    class Bins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read = nn.Linear(48, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.read(x.flatten(2)).mean(0)

    run = bitspike.fit(
        Bins, Blinks(), tmp_path / "run", encoder={"name": "events", "dt": 10.0, "steps": 8},
        epochs=15, batch_size=8, lr=0.02,
    )  # fmt: skip
    assert run.result["test"]["accuracy"] == 1.0
    assert run.evaluate(data=Blinks(20))["accuracy"] == 1.0
    assert run.environment["data"]["form"]["input"] == "events"

    class Wide(Blinks):
        sensor_size = (7, 4, 2)

    with pytest.raises(
        BitspikeError, match=r"^data x: got recordings of shape \(2, 4, 7\), wanted \(2, 4, 6\), as in tr"
    ):
        run.evaluate(data=Wide(20))


def test_recordings_that_cannot_be_taken_are_named() -> None:
    class Small(Blinks):
        sensor_size = (4, 4, 2)

    class Odd(Blinks):
        sensor_size = ("a", 4, 2)

    class Mixed(Blinks):
        def __getitem__(self, i: int) -> Any:
            return super().__getitem__(i) if i != 3 else (np.zeros(3), 0)

    class Empty(Blinks):
        def __getitem__(self, i: int) -> Any:
            events, label = super().__getitem__(i)
            return events[:0] if i == 2 else events, label

    class Values(Blinks):
        def __getitem__(self, i: int) -> Any:
            return super().__getitem__(i)[0], 0.5 * i

    for data, said in (
        (Small(), r"^data\[1\]: got event 0 of x=\d, wanted 0 to 3, the sensor's$"),
        (Odd(), r"^data.sensor_size: got \('a', 4, 2\), wanted \(columns, rows, polarities\)$"),
        (Mixed(), r"^data\[3\]: got tuple, wanted a pair \(events, label\), as the first one$"),
        (Empty(), r"^data\[2\]: got a recording without events, wanted one or more events$"),
        (Values(), r"^data y: got float64, wanted classes: whole numbers or texts$"),
        (Blinks(jitter=True), r"^data\[0\]: got other events the second time, wanted a dataset without random changes"),
    ):
        with pytest.raises(BitspikeError, match=said):
            given(data, time=True)
    with pytest.raises(
        BitspikeError, match=r"^data: got recordings of events in one part, arrays in another, wanted one"
    ):
        given(Blinks(), time=True, test=(torch.zeros(9, 3, 2), torch.zeros(9)))
    with pytest.raises(
        BitspikeError, match=r"^test x: got recordings of shape \(2, 4, 4\), wanted \(2, 4, 6\), as data$"
    ):
        given(Blinks(), time=True, test=Narrow())


class Narrow(Blinks):
    """A smaller sensor, and nothing beside it."""

    sensor_size = (4, 4, 2)

    def __getitem__(self, i: int) -> Any:
        events, label = super().__getitem__(i)
        events["x"] //= 2
        return events, label
