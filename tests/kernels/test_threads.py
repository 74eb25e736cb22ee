"""Every range is worked on once whoever does it, one held-up range holds up no other, and errors come through."""

import os
import threading

import pytest
import torch

from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.allowance import LONGEST, SHORTEST, Allowance
from bitspike.neurons import LIF

LONG = 120  # seconds to wait for a thread on a loaded machine before a test gives up


@pytest.fixture(params=["own", "torch"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Three threads: helpers of our own, or torch's as while they spin, where there are any to take."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setenv("BITSPIKE_THREADS", request.param)
    monkeypatch.setattr(threads, "_allowance", Always())
    monkeypatch.setattr(threads, "_team_spins", lambda: True)
    threads._team.cache_clear()
    yield request.param
    torch.set_num_threads(before)
    threads._team.cache_clear()


class Always(Allowance):
    """As on a machine of our own."""

    def learn(self, *_: float) -> None:
        pass


@pytest.mark.parametrize(
    ("count", "block", "lanes", "each", "least"),
    [(0, None, 16, 2, 1), (1, None, 16, 2, 1), (100, 7, 16, 2, 1), (100, 33, 1, 4, 1), (1000, None, 16, 4, 200)],
)
def test_every_index_once(workers, count, block, lanes, each, least):
    seen = []
    for _ in range(3):  # a helper that comes late finds the next call
        threads.run(
            lambda lo, hi: seen.extend(range(lo, hi)), count, threads.SMALL, block, lanes, each=each, least=least
        )
    assert sorted(seen) == sorted(3 * list(range(count)))


def test_a_thread_that_is_held_up_holds_one_range(workers):
    """The caller starts when a helper has, and the helper goes on when all other ranges are done."""
    caller, begun, others, done, held = threading.get_ident(), threading.Event(), threading.Event(), [], []

    def part(lo: int, hi: int) -> None:
        if threading.get_ident() == caller:
            assert begun.wait(LONG)
        elif not held:
            held.append((lo, hi))
            begun.set()
            assert others.wait(LONG)
        done.append((lo, hi))
        if len(done) == 5:
            others.set()

    threads.run(part, 6 * 16, threads.SMALL, each=2)
    assert len(done) == 6
    assert done[-1] == held[0]


def test_calls_inside_and_beside_a_call_are_complete(workers):
    """Helpers serve one caller: a call from within, or of another thread meanwhile, is done by who makes it."""
    seen = []

    def outer(lo: int, hi: int) -> None:
        threads.run(lambda a, b: seen.extend((i, j) for i in range(lo, hi) for j in range(a, b)), 50, threads.SMALL)

    callers = [threading.Thread(target=threads.run, args=(outer, 64, threads.SMALL)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LONG)
    assert sorted(seen) == sorted(3 * [(i, j) for i in range(64) for j in range(50)])


def test_an_error_comes_through_and_the_next_call_works(workers):
    def fail(lo: int, hi: int) -> None:
        raise ValueError(f"{lo} to {hi}")

    with pytest.raises(ValueError, match="to"):
        threads.run(fail, 1000, threads.SMALL)
    test_every_index_once(workers, 100, None, 16, 2, 1)


def test_parts_with_a_thread_each_are_all_made(workers):
    made = {}
    threads.run_in_team(lambda part: made.update({part: torch.full((2,), float(part))}), 5)
    assert {part: value.tolist() for part, value in made.items()} == {n: [n, n] for n in range(5)}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of every fork
def test_a_forked_process_has_threads_of_its_own(workers):
    """Torch's and our helpers are the parent's: a child that took them would wait for ever."""
    threads.run(lambda lo, hi: None, 1000, threads.SMALL)
    child = os.fork()
    if child == 0:
        seen = []
        threads.run(lambda lo, hi: seen.extend(range(lo, hi)), 1000, threads.SMALL)
        threads.run_in_team(seen.append, 2)
        os._exit(0 if sorted(seen) == sorted([*range(1000), 0, 1]) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_bits_do_not_depend_on_who_works(workers):
    """9000 neurons, so that ranges are of several lengths; the same values on one thread and on three."""
    source = torch.Generator().manual_seed(1)
    x, gs = 0.3 * torch.randn(25, 9, 1000, generator=source) + 0.25, torch.randn(25, 9, 1000, generator=source)
    found = []
    for number in (1, 3):
        torch.set_num_threads(number)
        layer, leaf = LIF(5.0), x.clone().requires_grad_()
        y = layer(leaf)
        y.backward(gs)
        found.append((y, leaf.grad, layer.log_tau.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True) if a is not None)


def test_threads_that_do_not_pay_are_left_alone_ten_times_as_long():
    allowance = Allowance()
    allowance._measures = True
    # Two of four ranges took the caller 1 s, the others their helper as long: nothing lost.
    allowance.learn(now=100.0, whole=1.0, own=1.0, share=0.5, threads=2)
    assert allowance.threads(2, 100.0) == 2
    # The caller had to wait: alone it would have taken 20 ms, three quarters of which would have been well.
    allowance.learn(now=200.0, whole=0.065, own=0.010, share=0.5, threads=2)
    assert allowance.threads(2, 200.49) == 1
    assert allowance.threads(2, 200.51) == 2
    assert allowance.threads(1, 200.51) == 1


def test_who_loses_again_and_again_tries_ever_more_rarely():
    allowance, pauses, now = Allowance(), [], 0.0
    allowance._measures = True
    for _ in range(12):
        allowance.learn(now, whole=0.0011, own=0.001, share=1.0, threads=8)
        assert allowance.threads(8, now) == 4
        pauses.append(allowance._until - now)
        now = allowance._until
        assert allowance.threads(8, now) == 8
    assert pauses[1] == pytest.approx(2 * SHORTEST)
    assert pauses[3] == pytest.approx(8 * SHORTEST)
    assert max(pauses) == pytest.approx(2 * LONGEST)
    allowance.learn(now, whole=0.001, own=0.001, share=0.2, threads=8)
    allowance.learn(now, whole=0.0011, own=0.001, share=1.0, threads=8)
    assert allowance._until - now < 2 * SHORTEST
