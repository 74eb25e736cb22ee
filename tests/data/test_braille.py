from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike.data import Events, load
from bitspike.data.delta import send_on_delta
from bitspike.errors import BitspikeError


def test_events_are_sent_where_the_line_crosses_the_levels() -> None:
    # Up to 5 by levels of 2: 2 and 4; from there down to -1: 2 and 0. Channel 1 moves less than a level.
    one = [[0.0, 7.0], [5.0, 8.5], [5.0, 7.0], [-1.0, 6.0]]
    # What lies behind the second recording's end is not read.
    two = [[0.0, 0.0], [0.0, -2.0], [9.0, 9.0], [9.0, 9.0]]
    events = send_on_delta(torch.tensor([one, two]), torch.tensor([4, 2]), 2.0, 1000.0)
    assert events.t.tolist() == [400, 800, 2500, 2833, 1000]
    assert events.p.tolist() == [1, 1, 0, 0, 0]
    assert events.x.tolist() == [0, 0, 0, 0, 1]
    assert events.offsets.tolist() == [0, 4, 5]
    assert events.shape == (2, 1, 2)
    still = send_on_delta(torch.zeros(3, 2, 4), torch.full((3,), 2), 1.0, 1.0)
    assert still.offsets.tolist() == [0] * 4


def test_the_sum_of_events_is_the_move() -> None:
    walk = torch.randn(5, 60, 3, generator=torch.Generator().manual_seed(0)).cumsum(1)
    events = send_on_delta(walk, torch.full((5,), 60), 0.25, 10.0)
    who = torch.repeat_interleave(torch.arange(5), events.offsets.diff())
    net = torch.zeros(15).index_add_(0, who * 3 + events.x.long(), events.p.float() * 2 - 1).view(5, 3)
    assert ((walk[:, -1] - walk[:, 0] - 0.25 * net).abs() < 0.25 + 1e-5).all()
    assert all((one.diff() >= 0).all() for one in events.t.tensor_split(events.offsets[1:-1]))


def written(folder: Path, count: int = 27 * 10, **other: np.ndarray) -> Path:
    """Readings in the form of the real file; the taxel of number (label % 12) falls, the faster the later."""
    labels, repetition = np.arange(count) % 27, np.arange(count) // 27
    lengths = 8 + repetition % 2
    samples = np.full((lengths.sum(), 12), 255, np.float32)
    for start, length, label in zip(np.cumsum(lengths) - lengths, lengths, labels, strict=True):
        samples[start : start + length, label % 12] -= 10 * np.arange(length)
    arrays = {"samples": samples, "lengths": lengths, "labels": labels.astype(np.uint8), "repetition": repetition}
    (folder / "braille").mkdir()
    np.savez(folder / "braille" / "braille.npz", **(arrays | other))  # type: ignore[arg-type]
    return folder


def test_readings_become_events_and_repetitions_stay_whole(tmp_path: Path) -> None:
    data = load("braille", folder=written(tmp_path), delta=10.0, step=5.0)
    assert (data.shape, data.steps, len(data.classes)) == ((2, 1, 12), None, 27)
    repetitions = [set((part.index // 27).tolist()) for part in (data.train, data.validation, data.test)]
    assert [len(some) for some in repetitions] == [7, 1, 2]
    assert len(set.union(*repetitions)) == 10
    assert isinstance(data.test.x, Events)
    assert data.test.x.offsets.diff().tolist() == (7 + data.test.index // 27 % 2).tolist()
    assert data.test.x.t[:7].tolist() == [5000 * k for k in range(1, 8)]
    assert not data.test.x.p.any()
    fold = load("braille", folder=tmp_path, fold=(1, 5))
    assert len(fold.test) == 54


def test_a_braille_file_that_is_another_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match=rf"^braille: not found .*; put braille.npz .* into {tmp_path}/braille$"):
        load("braille", folder=tmp_path)
    written(tmp_path, labels=np.full(270, 27, np.uint8))
    with pytest.raises(BitspikeError, match=r"braille.npz labels: got 27 to 27, wanted 0 to 26$"):
        load("braille", folder=tmp_path)
