"""Clients' streams in a federation of circuits: one after the other, a thread each, and their loops in one call.

Run: python -m benchmarks.streams [--threads 2] [--quick] (needs MNIST in BITSPIKE_DATA). FL-SNN's setting: an exchange
comes every few time steps of 676 inputs (`mnist-dvs-sim`, digits 1 and 7), two outputs, filters sent whole. Rounds of
the three engines take turns in one process; they come to the same bits. Milliseconds for a client's part of a round,
the server's included, medians over rounds: of processor time of all threads, and of wall.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks import common
from bitspike.data import load
from bitspike.data.base import DataSet, Split
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.messages import Order
from bitspike.federated.schedule import Round
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.kernels.cpu.works import alone, one_thread
from bitspike.run.recipe_files import parse_recipe

RECIPE = """
name = "streams"
[data]
set = "mnist-dvs-sim"
[encoder]
name = "events"
rule = "or"
polarity = "merge"
steps = 80
dt = 25
[model]
kind = "circuits"
symbols = 1
topology = "full"
[learner]
rule = "glm"
rate = 0.05
[training]
batch = 1
validate_every = 100_000
[federation]
state = "kept"
rounds = 100_000
"""
DIGITS = (1, 7)
Worked = Iterator[tuple[int, dict[str, Any], Any]]


class OneByOne(Local):
    """One client after the other, on one session."""

    def _workers(self) -> list[Client]:
        return [self.client]


class Threads(Local):
    """Each client on a session and a thread of its own, as many at a time as torch has threads."""

    def _workers(self) -> list[Client]:
        return super()._workers()[: torch.get_num_threads()]

    def _worked(self, now: Round, order: Order, some: Sequence[int], workers: Sequence[Client]) -> Worked:
        states = [self.store.get(k) for k in some]
        # Threads that begin in here have one of torch's, as clients of the other engines have.
        with one_thread(), ThreadPoolExecutor(len(some)) as pool:
            works = [worker._working(order, k, s) for worker, k, s in zip(workers, some, states, strict=False)]
            messages = list(pool.map(alone, works))
        yield from zip(some, states, messages, strict=True)


ENGINES = {"one by one": OneByOne, "a thread each": Threads, "one call": Local}


def two_digits() -> DataSet:
    """Recordings of two digits."""
    whole = load("mnist-dvs-sim", seed=0, train_size=1000, validation=50, test_size=50)

    def of(part: Split) -> Split:
        rows = torch.isin(part.y, torch.tensor(DIGITS))
        return replace(part[rows], y=(part.y[rows] == DIGITS[1]).long())

    parts = {name: of(getattr(whole, name)) for name in ("train", "validation", "test")}
    return replace(whole, **parts, classes=tuple(map(str, DIGITS)))  # type: ignore[arg-type]


def measure(data: DataSet, clients: int, hidden: int, steps: int, rounds: int) -> dict[str, Any]:
    """All engines on the same federation."""
    changes = [f"federation.clients={clients}", f"model.hidden={hidden}", f"federation.steps={steps}"]
    recipe = parse_recipe(RECIPE, "streams", changes, 1)
    shares = [torch.arange(len(data.train))[k::clients] for k in range(clients)]
    engines = {
        name: engine(Server(recipe, data, [len(rows) for rows in shares]), Client(recipe, data, shares), Store())
        for name, engine in ENGINES.items()
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for number in range(rounds + 2):
        for name, engine in engines.items():
            processor, wall = time.process_time(), time.perf_counter()
            engine.round()
            if number > 1:  # the first compile, encode and start threads
                took = time.process_time() - processor, time.perf_counter() - wall
                spent[name].append((1e3 * took[0] / clients, 1e3 * took[1] / clients))
    ends = [engine.server.roles["real"] for engine in engines.values()]
    assert all(torch.equal(tensor, end[name]) for end in ends for name, tensor in ends[0].items())
    found: dict[str, Any] = {"clients": clients, "hidden": hidden, "steps": steps}
    for name, values in spent.items():
        processor, wall = np.median(np.array(values), 0).tolist()
        found[name] = {"processor_ms": processor, "wall_ms": wall}
    return found


def main() -> None:
    chosen = common.arguments(__doc__, argparse.ArgumentParser(description="streams of clients, by three engines"))
    data, rows = two_digits(), []
    for clients in (2, 20):
        for hidden in (0, 16):
            for steps in (5, 40):
                rounds = (4 if chosen.quick else 400 // steps + 20) * (2 if clients == 2 else 1)
                rows.append(measure(data, clients, hidden, steps, rounds))
    cells = [
        [*(str(row[key]) for key in ("clients", "hidden", "steps")),
         *(f"{row[name]['processor_ms']:.1f} ({row[name]['wall_ms']:.1f})" for name in ENGINES)]
        for row in rows
    ]  # fmt: skip
    print(common.table(cells, ["clients", "hidden", "steps", *(f"{name}, ms (wall)" for name in ENGINES)]))
    common.save("streams", {"cases": rows}, chosen)


if __name__ == "__main__":
    main()
