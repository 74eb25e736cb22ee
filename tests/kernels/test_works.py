"""Works that stop at loops: side by side they come to what each comes to alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from bitspike.kernels.cpu.works import Work, alone, on_one_thread, side_by_side


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def counting(name: str, loops: int, said: list[str]) -> Work[str]:
    """Says when it is between loops and when in one; comes to its name with the number of loops that ran."""
    ran = []
    for number in range(loops):
        said.append(f"{name}{number}")
        yield lambda: ran.append(1)
    return f"{name} {len(ran)}"


def test_works_of_different_lengths_come_to_their_own_ends_in_order() -> None:
    said: list[str] = []
    works = [counting("a", 2, said), counting("b", 0, said), counting("c", 3, said)]
    assert side_by_side(works) == ["a 2", "b 0", "c 3"]
    assert sorted(said) == ["a0", "a1", "c0", "c1", "c2"]
    assert alone(counting("d", 2, said)) == "d 2"
    assert side_by_side([]) == []


def test_loops_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def work() -> Work[int]:
        yield lambda: meeting.wait() and None
        return 1

    assert side_by_side([work(), work()]) == [1, 1]  # each loop waits for the other one


def test_torch_has_one_thread_between_loops_and_all_in_them() -> None:
    seen: list[int] = []

    def work() -> Work[None]:
        seen.append(torch.get_num_threads())
        yield lambda: seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    alone(on_one_thread(work()))
    assert seen == [1, 2, 1]
    assert torch.get_num_threads() == 2


def test_works_of_works_and_on_one_thread_come_to_the_same() -> None:
    said: list[str] = []

    def outer() -> Work[list[str]]:
        found = side_by_side([counting("b", 2, said), counting("c", 2, said)])  # helpers are taken
        yield lambda: None
        return found

    assert side_by_side([outer(), outer()]) == [["b 2", "c 2"]] * 2
    torch.set_num_threads(1)
    assert side_by_side([counting(name, 3, said) for name in "abc"]) == ["a 3", "b 3", "c 3"]


@pytest.mark.parametrize("where", ["loop", "between"])
def test_an_error_ends_all_and_leaves_the_threads_as_they_were(where: str) -> None:
    ended: list[bool] = []

    def patient() -> Work[None]:
        try:
            while True:
                yield lambda: None
        finally:
            ended.append(True)

    def failing() -> None:
        raise ValueError("broken")

    def broken() -> Work[None]:
        yield failing if where == "loop" else lambda: None
        failing()

    with pytest.raises(ValueError, match="broken"):
        side_by_side([on_one_thread(patient()), on_one_thread(broken())])
    assert ended == [True]
    assert torch.get_num_threads() == 2
    assert side_by_side([counting("a", 1, []), counting("b", 1, [])]) == ["a 1", "b 1"]
