"""Tools on events: an array, recordings and a stream give the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitspike.data.eventfiles import as_events
from bitspike.data.eventtools import crop, denoise, downsample, time_slice, windows
from bitspike.data.formats import EVENT, arrays, open_events, write_events
from bitspike.errors import BitspikeError


def made(count: int, seed: int = 0, side: int = 30, last: int = 100_000) -> Any:
    draw = np.random.default_rng(seed)
    events = np.empty(count, EVENT)
    for name, end in (("t", last), ("x", side), ("y", side), ("p", 2)):
        events[name] = draw.integers(0, end, count)
    events["t"].sort()
    return events


def test_noise_is_what_no_neighbour_supports() -> None:
    def kept(*events: tuple[int, int, int, int], dt: int = 10) -> list[int]:
        return denoise(np.array(list(events), EVENT), dt)["t"].tolist()

    # Alone, supported across a corner up to dt, too late, by itself only, and at the other end of a row.
    assert kept((0, 5, 5, 1), (10, 6, 6, 0), (21, 5, 5, 1)) == [10]
    assert kept((0, 5, 5, 1), (1, 5, 5, 1)) == []
    assert kept((0, 0, 5, 1), (1, 65_535 // 2, 4, 1)) == []
    assert kept((3, 5, 5, 1), (3, 4, 5, 1)) == [3]


def test_denoise_says_what_a_plain_loop_says() -> None:
    events, dt = made(1500), 2_000
    seen: dict[tuple[int, int], int] = {}
    wanted = []
    for t, x, y, _ in events.tolist():
        near = [seen.get((x + dx, y + dy), -(10**9)) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
        wanted.append(max(near) >= t - dt)
        seen[x, y] = t
    assert 0 < sum(wanted) < len(events)
    assert np.array_equal(denoise(events, dt), events[wanted])


@pytest.mark.parametrize(
    "tool",
    [
        lambda events: denoise(events, 3_000),
        lambda events: crop(events, x=(3, 20), y=(10, 30)),
        lambda events: downsample(events, 4),
        lambda events: time_slice(events, 20_000, 70_000),
        lambda events: time_slice(events, 20_000, 70_000, from_zero=False),
    ],
)
def test_an_array_recordings_and_parts_give_the_same(tool: Any) -> None:
    events = [made(700, seed) for seed in range(3)]
    whole = [tool(one) for one in events]
    together = tool(as_events(events, (2, 30, 30)))
    for one, wanted in zip(arrays(together), whole, strict=True):
        assert np.array_equal(one, wanted)
    parts = list(tool(iter(np.array_split(events[0], 13))))
    assert all(len(part) for part in parts)
    assert np.array_equal(np.concatenate(parts), whole[0])


def test_cropped_and_coarser_recordings_have_a_sensor_of_their_own() -> None:
    events = as_events([made(50)], (2, 30, 30))
    assert crop(events, x=(3, 20), y=(10, 30)).shape == (2, 20, 17)
    coarse = downsample(events, 4)
    assert coarse.shape == (2, 8, 8)
    assert coarse.x.tolist() == (events.x // 4).tolist()
    with pytest.raises(
        BitspikeError, match=r"^crop: got columns up to 31 and rows up to 3, wanted at most 30 and 30, the"
    ):
        crop(events, x=(0, 31), y=(0, 3))


def test_options_without_sense_are_refused() -> None:
    events: Any = made(5)
    for call, said in (
        (lambda: denoise(events, 0), r"^denoise dt: got 0, wanted 1 us or more$"),
        (lambda: denoise(events, 1.5), r"^denoise dt: got 1.5, wanted a whole number$"),
        (lambda: downsample(events, 0), r"^downsample factor: got 0, wanted 1 to 32,767 pixels$"),
        (lambda: time_slice(events, 5, 5), r"^time_slice stop: got 5, wanted more than start, 5$"),
        (
            lambda: crop(events, x=(4, 4), y=(0, 3)),
            r"^crop x: got \(4, 4\), wanted \(first, end\) with 0 <= first < end, at most 32,768$",
        ),
        (
            lambda: denoise(np.zeros(3), 5),
            r"^events: got ndarray, wanted a structured array \(E,\) with fields t, x, y an",
        ),
    ):
        with pytest.raises(BitspikeError, match=said):
            call()


def test_a_file_passes_through_tools_into_another(tmp_path: Path) -> None:
    events = made(300_000, side=100, last=3_000_000)
    source = write_events(tmp_path / "a.dat", events, size=(100, 100))
    through = denoise(crop(time_slice(open_events(source), 500_000, 2_500_000), x=(10, 90), y=(0, 50)), 400)
    file = open_events(write_events(tmp_path / "b.es", through, size=(50, 80)))
    wanted = denoise(crop(time_slice(events, 500_000, 2_500_000), x=(10, 90), y=(0, 50)), 400)
    assert 1000 < len(wanted) < 100_000
    assert np.array_equal(file.read(), wanted)


def test_windows_of_a_stream_are_its_time_slices() -> None:
    events = made(900)
    events["t"][450:] += 60_000
    for start in (None, 5_000):
        begin = int(events["t"][0]) if start is None else start
        wanted, at = [], begin
        while at <= events["t"][-1]:
            wanted.append(time_slice(events, at, at + 7_000))
            at += 7_000
        assert any(len(one) == 0 for one in wanted)
        for given in (events, iter(np.array_split(events, 11))):
            found = list(windows(given, 7_000, start))
            assert len(found) == len(wanted)
            assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert list(windows(events[:0], 5)) == []
    with pytest.raises(BitspikeError, match=r"^windows span: got 0, wanted 1 us or more$"):
        list(windows(events, 0))
