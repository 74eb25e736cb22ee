"""Every range is covered once whoever does the work, and an error comes through."""

import os

import pytest
import torch

from bitspike.kernels import threads


@pytest.fixture(params=["torch", "own"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Three threads, torch's where there are any to take, or ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setenv("BITSPIKE_THREADS", request.param)
    threads._team.cache_clear()
    yield request.param
    torch.set_num_threads(before)
    threads._team.cache_clear()


@pytest.mark.parametrize(("count", "block", "lanes"), [(0, None, 16), (1, None, 16), (100, 7, 16), (100, 33, 1)])
def test_every_index_once(workers, count, block, lanes):
    seen = []
    threads.run(lambda lo, hi: seen.extend(range(lo, hi)), count, threads.SMALL, block, lanes)
    assert sorted(seen) == list(range(count))


def test_an_error_comes_through(workers):
    def fail(lo: int, hi: int) -> None:
        raise ValueError(f"{lo} to {hi}")

    with pytest.raises(ValueError, match="to"):
        threads.run(fail, 1000, threads.SMALL)


def test_a_forked_process_has_threads_of_its_own(workers):
    """Torch's are the parent's: a child that took them would wait for ever."""
    threads.run(lambda lo, hi: None, 1000, threads.SMALL)
    child = os.fork()
    if child == 0:
        seen = []
        threads.run(lambda lo, hi: seen.extend(range(lo, hi)), 1000, threads.SMALL)
        os._exit(0 if sorted(seen) == list(range(1000)) else 1)
    assert os.waitpid(child, 0)[1] == 0
