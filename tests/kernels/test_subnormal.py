"""Subnormal numbers are 0 in the loops that ask for it, on whichever thread, and what they were behind them."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from bitspike import Session, load_recipe
from bitspike.kernels.cpu import threads
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


def by_two_threads() -> set[float]:
    """What `half` is to all that have worked, once a helper has."""
    for _ in range(50):
        seen: list[tuple[int, float]] = []

        def work(lo: int, hi: int, seen: list[tuple[int, float]] = seen) -> None:
            time.sleep(0.005)  # so that a helper takes some of the ranges
            seen.append((threading.get_ident(), half()))

        threads.run(work, 8, work=8 * threads.SMALL, block=1, lanes=1)
        if len({thread for thread, _ in seen}) > 1:
            return {value for _, value in seen}
    pytest.skip("no helper got a core")


def test_helpers_take_over_the_mode_of_their_caller() -> None:
    """Whoever works on a range, its values are the same; a thread that begins has the mode of who began it."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        as_they_are = by_two_threads()
        with flushed():
            assert by_two_threads() == {0.0}
        assert by_two_threads() == as_they_are == {half()}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("rule", ["backprop", "online"])
def test_on_while_a_learner_learns_forth_and_back(rule: str) -> None:
    session = Session(load_recipe("two-moons-full", [f"learner.rule={rule}", "encoder.steps=12", "model.layers=['8']"]))
    modes: list[bool] = []
    session.model.register_forward_hook(lambda *_: modes.append(is_flushed()))
    for parameter in session.model.parameters():
        parameter.register_hook(lambda _: modes.append(is_flushed()))
    session.learn()
    assert len(modes) > 2
    assert all(modes)
    assert not is_flushed()


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
