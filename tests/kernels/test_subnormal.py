"""Subnormal numbers are 0 in the loops that ask for it, on whichever thread, and what they were behind them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from bitspike.kernels.cpu.subnormal import flushed, is_flushed
from bitspike.learners.circuits import Vowel
from bitspike.models.circuits import Circuits

SMALL = np.float32(1e-39)


def half() -> float:
    """Half a subnormal number."""
    return float(SMALL * np.float32(0.5))


def test_only_inside_and_only_this_thread() -> None:
    seen: list[float] = []
    with flushed():
        assert is_flushed()
        assert half() == 0
        with flushed():
            pass
        assert half() == 0  # the inner one restores the outer one's
    assert not is_flushed()
    assert half() > 0

    def aside() -> None:
        with flushed():
            seen.append(half())

    thread = threading.Thread(target=aside)
    thread.start()
    thread.join()
    assert seen == [0.0]
    assert half() > 0
    with pytest.raises(ValueError, match="x"), flushed():
        raise ValueError("x")
    assert half() > 0


def test_circuits_learn_so_and_leave_it_as_it_was() -> None:
    """Biases of -95 make chances of 5e-42, and so are gradients of what stays silent: they count as 0."""
    model = Circuits(4, 2, hidden=1, symbols=1, mask="full")
    with torch.no_grad():
        model.own[0] = -95.0
    learner = Vowel(model, seed=1, rate=0.01)
    learner.fit_batch(torch.ones(6, 1, 4), torch.tensor([0]))
    assert learner.state is not None
    assert not is_flushed()
    traces = learner.state.arrays["traces"]
    assert traces.any()
    assert not ((traces != 0) & (np.abs(traces) < np.finfo(np.float32).tiny)).any()
