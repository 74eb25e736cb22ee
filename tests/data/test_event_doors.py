"""Events at every door: as the sensor has them, in order of time, counted one way; or refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bitspike
from bitspike.coding.events import EventBins, bin_events
from bitspike.data import Events, load, prepare
from bitspike.data.eventfiles import as_events
from bitspike.data.eventsummary import summarise
from bitspike.data.eventtools import denoise, time_slice, windows
from bitspike.data.formats import EVENT, open_events, read_events, write_events
from bitspike.data.givenevents import checked
from bitspike.errors import BitspikeError


def some(*rows: tuple[int, int, int, int]) -> Any:
    """Events (t, x, y, p)."""
    return np.array(list(rows), EVENT)


def two() -> Events:
    """Two recordings on a sensor of 2 x 3 pixels."""
    return as_events([some((5, 0, 1, 0), (9, 2, 0, 1)), some((1, 1, 1, 1), (1, 0, 0, 0))], (2, 2, 3))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("x", 3, r"recording 1: got event 0 of x=3, wanted 0 to 2"),
        ("x", -1, r"recording 1: got event 0 of x=-1"),
        ("y", 2, r"recording 1: got event 0 of y=2, wanted 0 to 1"),
        ("p", 2, r"recording 1: got event 0 of p=2, wanted 0 to 1"),
        ("t", -4, r"recording 1: got event 0 of t=-4"),
    ],
)
def test_events_off_the_sensor_are_refused_before_they_are_others(name: str, value: int, said: str) -> None:
    values = getattr(two(), name).clone()
    values[2] = value
    wrong = replace(two(), **{name: values})
    with pytest.raises(BitspikeError, match=rf"^predict x {said}"):
        checked(wrong, "predict x")
    with pytest.raises(BitspikeError, match=rf"^data {said}"):
        bitspike.fit(["4"], (wrong, [0, 1]), encoder={"name": "events", "steps": 4, "dt": 1.0}, epochs=1)


def test_events_of_another_form_are_refused() -> None:
    for change, said in (
        (
            {"offsets": torch.tensor([0, 3, 2, 4])},
            r"offsets: got \[0, 3, 2, 4\], wanted \(N \+ 1,\) rising from 0 to 4",
        ),
        ({"offsets": torch.tensor([0, 2])}, r"offsets: got \[0, 2\]"),
        ({"x": torch.zeros(3, dtype=torch.int16)}, r"x: got 3 values, wanted 4, as many as t"),
        ({"t": torch.zeros(4)}, r"t: got torch.float32 of shape \(4,\), wanted a tensor \(E,\) of whole numbers"),
        ({"p": [0, 1, 0, 1]}, r"p: got list"),
    ):
        with pytest.raises(BitspikeError, match=said):
            checked(replace(two(), **change), "x")


def test_recordings_out_of_order_are_sorted_each_by_itself() -> None:
    order = torch.tensor([1, 0, 2, 3])
    given = two()
    turned = replace(given, **{name: getattr(given, name)[order] for name in "txyp"})
    found = checked(turned, "x")
    for name in "txyp":
        assert torch.equal(getattr(found, name), getattr(given, name))
    for rule in ("or", "symbol"):
        assert torch.equal(bin_events(found, 3, 5.0, rule), bin_events(given, 3, 5.0, rule))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Class folders of Event Stream files that say 16 x 16: events on the left, events on the right."""
    draw = np.random.default_rng(0)
    for name, begin in (("left", 0), ("right", 8)):
        for number in range(6):
            events = np.empty(60, EVENT)
            for field, low, end in (("t", 0, 9000), ("x", begin, begin + 8), ("y", 0, 16), ("p", 0, 2)):
                events[field] = draw.integers(low, end, 60)
            events["t"].sort()
            write_events(tmp_path / "set" / name / f"{number}.es", events, size=(16, 16))
    return tmp_path / "set"


def test_a_file_of_another_sensor_is_refused_by_what_its_header_says(folders: Path, tmp_path: Path) -> None:
    form = load("folder", path=folders).form
    assert form["sensor"] == {"asked": False, "upward": False, "brighter": 1}
    small = write_events(tmp_path / "small.es", read_events(folders / "left" / "0.es"), size=(16, 20))
    with pytest.raises(BitspikeError, match=r"small.es: got a sensor of 16 x 20, wanted 16 x 16, as in training$"):
        prepare(small, form)
    asked = load("folder", path=folders, size=(16, 20)).form
    assert prepare(small, asked)[0].shape == (2, 16, 20)
    assert prepare(folders / "left" / "0.es", asked)[0].shape == (2, 16, 20)


def test_rows_and_signs_of_a_dvs128_are_turned_where_others_count_otherwise(folders: Path, tmp_path: Path) -> None:
    seen = some((10, 3, 100, 0), (20, 4, 101, 1), (30, 5, 102, 0))
    camera = write_events(tmp_path / "dvs.aedat", seen, "aedat2", size=(128, 128))
    before = summarise(open_events(camera))
    assert before.on == 2  # a DVS128 stores 0 for brighter
    converted = write_events(tmp_path / "dvs.es", open_events(camera), size=(128, 128))
    there = read_events(converted)
    assert there["y"].tolist() == [27, 26, 25]
    assert there["p"].tolist() == [1, 0, 1]
    after = summarise(open_events(converted))
    assert after.on == 2
    assert np.array_equal(before.image, after.image)
    back = write_events(tmp_path / "back.aedat", open_events(converted), "aedat2", size=(128, 128))
    assert read_events(back).tolist() == seen.tolist()
    # Of class folders that mix both, all count from above; alone, files stay as they are.
    for name in ("left", "right"):
        for number in range(3):
            write_events(tmp_path / "mixed" / name / f"{number}.aedat", seen, "aedat2", size=(128, 128))
    assert load("folder", path=tmp_path / "mixed").train.x.y.tolist()[:3] == [100, 101, 102]
    for name in ("left", "right"):
        write_events(tmp_path / "mixed" / name / "3.es", there, size=(128, 128))
    mixed = load("folder", path=tmp_path / "mixed")
    assert "6 files of aedat2 are turned to rows from above and 1 for brighter" in mixed.notes
    rows = torch.cat([part.x.y for part in (mixed.train, mixed.validation, mixed.test)])
    assert set(rows.tolist()) == {27, 26, 25}
    new, _ = prepare(tmp_path / "mixed" / "left" / "0.aedat", mixed.form)
    assert isinstance(new, Events)
    assert (new.y.tolist(), new.p.tolist()) == ([27, 26, 25], [1, 0, 1])


def test_hdf5_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    for row, said in (
        ((1, 5, 3, 0), r"^events y: got 3 to 3, wanted 0 to 0$"),
        ((1, 5, 0, 1), r"^events p: got 1 to 1, wanted 0 to 0$"),
        ((1, 700, 0, 0), r"^events x: got 700 to 700, wanted 0 to 699$"),
        ((1 << 53, 5, 0, 0), r"^events t: got "),
    ):
        with pytest.raises(BitspikeError, match=said):
            write_events(tmp_path / "a.h5", some(row), size=(4, 1000))
        assert not (tmp_path / "a.h5").exists()


def test_a_stream_stays_in_order_behind_a_fall_at_the_end_of_a_part(tmp_path: Path) -> None:
    count = 300_000
    events = np.zeros(count, EVENT)
    events["t"] = 100_000 + 10 * np.arange(count)
    events["t"][130_500:] -= 20_000  # one fall, near the end of what is read at once
    raw = np.empty((count, 2), "<u4")
    raw[:, 0], raw[:, 1] = events["t"], 0
    path = tmp_path / "a.dat"
    path.write_bytes(b"% Data file containing CD events.\n% Version 2\n" + bytes([12, 8]) + raw.tobytes())
    file = open_events(path)
    t = np.concatenate([part["t"] for part in file])
    assert np.array_equal(t, np.sort(events["t"]))
    assert file.notes == ("1 falls back in time, mended by sorting",)
    whole = [len(window) for window in windows(read_events(path), 500_000)]
    assert [len(window) for window in windows(open_events(path), 500_000)] == whole


def test_tools_that_need_order_refuse_events_without_it() -> None:
    falling = some(*((10 - k, k, 0, 0) for k in range(5)))
    for call in (
        lambda: time_slice(falling, 0, 20),
        lambda: list(windows(falling, 5)),
        lambda: denoise(falling, 5),
        lambda: list(time_slice(iter([falling[:1], falling[1:]]), 0, 20)),
        lambda: list(windows(iter([falling[:1], falling[1:]]), 5)),
    ):
        with pytest.raises(
            BitspikeError, match=r"events: got t=9 of event \d behind a later one, wanted events in ord"
        ):
            call()
    with pytest.raises(BitspikeError, match=r"^windows start: got 0.5, wanted a whole number$"):
        list(windows(some((1, 0, 0, 0)), 5, 0.5))  # type: ignore[arg-type]
    odd = np.zeros(2, [("t", object), ("x", "<i2"), ("p", "u1")])
    with pytest.raises(BitspikeError, match=r"^events t: got object of shape \(2,\), wanted whole numbers"):
        time_slice(odd, 0, 5)


def test_bins_begin_where_their_times_do_whatever_the_product_rounds_to() -> None:
    for tenths in (161, 322, 327, 150, 1):
        dt = tenths / 10
        events = as_events([some(*((100 * tenths * k, 0, 0, 0) for k in range(5)))], (1, 1, 1))
        frames = EventBins(5, dt, "count")(events, torch.zeros(1, dtype=torch.long))
        assert frames.flatten().tolist() == [1.0] * 5
