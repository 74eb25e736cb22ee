"""Overhead of a federation's engine: the local one and Flower's simulation, on one network in one run.

Run: python -m benchmarks.federation [--quick], in an environment with the extra `flower` (`make test-flower` makes one)
and MNIST in BITSPIKE_DATA. 784-1000-200-10, 1 M weights, 100 clients, 10 a round, one pass over a client's images.
Overhead is what a round takes beyond the clients' own learning (batches and updates): in seconds of wall, and of
processor time of this process and all that descend from it. Clients learn one after the other in both, with one thread
(--threads: more). Rounds are measured on validation after the last only, which is not timed; nor is the first round.

    both       the network is put into each client and taken out, a reply is checked and measured, replies are added up
    Flower     beside that: its processes and Ray's, orders and replies as sealed bytes, its messages, waiting for them

"start" is what comes before the first round: making clients, starting Flower and Ray. "whole" is all that is not
learning: start, first and last round and the last measurement too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import common
from bitspike.federated.client import Client
from bitspike.federated.flower.workers import Job, Worker, worker_of
from bitspike.federated.local import Local
from bitspike.federated.partition import share_out
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.kernels.cpu.works import Work
from bitspike.run.assemble import load_data
from bitspike.run.recipe_files import load_recipe
from bitspike.run.sockets import family

RECIPE = """
name = "benchmark"
[data]
set = "mnist"
[encoder]
name = "direct"
steps = 1
[model]
layers = ["1000", "200"]
[model.neuron]
kind = "lif"
tau = 1.4427
[weights]
precision = "full"
[optimizer]
name = "SGD"
lr = 0.05
[training]
batch = 60
validate_every = {rounds}
[federation]
clients = 100
participants = 10
rounds = {rounds}
epochs = 1
state = "reset"
checkpoint_every = {rounds}
measured = 500
"""
TICK = os.sysconf("SC_CLK_TCK")


def spent() -> float:
    """Processor seconds of this process and all that descend from it, those that have ended too."""
    total = 0
    for pid in family(os.getpid()):
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, words[11:15]))
    return total / TICK


def timed(client: Client, said: Path) -> Client:
    """The client, whose learning is written down as (wall, processor) seconds and batches, a line for each round of it.

    Nothing is written between batches, so that the notes are no overhead of theirs.
    """
    learning, work = client.session.learning, client.working
    spent = [0.0, 0.0, 0.0]

    def measured() -> Work[dict[str, float]]:
        wall, processor = time.perf_counter(), time.process_time()
        found = yield from learning()
        spent[1] += time.process_time() - processor
        spent[0] += time.perf_counter() - wall
        spent[2] += 1
        return found

    def noted(*given: Any) -> Work[Any]:
        spent[:] = 0.0, 0.0, 0.0
        found = yield from work(*given)
        with said.open("a") as file:
            file.write("{} {} {}\n".format(*spent))
        return found

    client.session.learning = measured  # type: ignore[method-assign]
    client.working = noted  # type: ignore[method-assign, assignment]
    return client


@lru_cache(maxsize=1)
def timed_worker(said: str, job: Job) -> Worker:
    """What Flower's processes use."""
    worker = worker_of(job)
    timed(worker.client, Path(said))
    return worker


def measure(engine: Any, server: Server, said: Path) -> dict[str, float]:
    """Means over the rounds between the first and the last."""
    engine.round()
    before = len(said.read_text().splitlines())
    wall, processor, first = time.perf_counter(), spent(), server.number
    while server.number < server.part.rounds - 1:
        engine.round()
    rounds = server.number - first
    wall, processor = (time.perf_counter() - wall) / rounds, (spent() - processor) / rounds
    own_wall, own_processor, batches = (total / rounds for total in learned(said, before))
    return {
        "rounds": rounds, "rounds_per_second": 1 / wall, "batches": batches,
        "wall": wall, "wall_learning": own_wall, "wall_overhead": wall - own_wall,
        "processor": processor, "processor_learning": own_processor, "processor_overhead": processor - own_processor,
    }  # fmt: skip


def learned(said: Path, begin: int = 0) -> list[float]:
    """Wall seconds, processor seconds and batches of all learning from line `begin` on."""
    lines = [list(map(float, line.split())) for line in said.read_text().splitlines()[begin:]]
    return [sum(column) for column in zip(*lines, strict=True)]


def main() -> None:
    """Both engines, one after the other."""
    chosen = common.arguments(__doc__, argparse.ArgumentParser(description="overhead of a federation's engines"))
    torch.set_num_threads(chosen.threads or 1)
    # By this name other processes find what they are given.
    from benchmarks import federation as named
    from bitspike.federated.flower.simulation import simulation

    rounds = 4 if chosen.quick else 22
    found: dict[str, Any] = {"clients": 100, "asked": 10, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        path, said = Path(folder) / "recipe.toml", Path(folder) / "said.txt"
        path.write_text(RECIPE.format(rounds=rounds))
        recipe = load_recipe(str(path))
        dataset = load_data(recipe)
        shares = share_out(recipe.federation, dataset.train, True, recipe.seed)
        ends = {}
        for name in ("local", "flower_simulation"):
            server = Server(recipe, dataset, [len(rows) for rows in shares])
            said.write_text("")
            began, processor = time.perf_counter(), spent()
            store = Store()
            opened: Any = nullcontext(None)
            if name == "flower_simulation":
                opened = simulation(server, store, None, "cpu", print, partial(named.timed_worker, str(said)), 1)
            with opened as engine:
                if engine is None:
                    engine = Local(server, timed(Client(recipe, dataset, shares), said), store)
                start = {"wall_start": time.perf_counter() - began, "processor_start": spent() - processor}
                found[name] = {**measure(engine, server, said), **start}
                engine.round()
                all_spent = spent() - processor
            own = learned(said)
            found[name]["wall_whole"] = time.perf_counter() - began - own[0]
            found[name]["processor_whole"] = all_spent - own[1]
            ends[name] = {role: dict(some) for role, some in server.roles.items()}
        found["weights"] = sum(t.numel() for t in ends["local"]["real"].values())
        pairs = (
            (some[name], ends["flower_simulation"][role][name]) for role, some in ends["local"].items() for name in some
        )
        found["same_bits"] = all(torch.equal(one, other) for one, other in pairs)
    ours, theirs = found["local"], found["flower_simulation"]
    kinds = ("wall", "processor")
    found["load"] = os.getloadavg()
    measures = [f"{kind}_{what}" for kind in kinds for what in ("overhead", "whole")]
    found["times_smaller"] = {name: theirs[name] / ours[name] for name in measures}
    rows = [
        [
            name,
            f"{found[name]['rounds_per_second']:.2f}",
            *(f"{found[name][f'{what}_{part}']:.3f}" for what in kinds for part in ("learning", "overhead")),
        ]
        for name in ("local", "flower_simulation")
    ]
    heads = ["engine", "rounds/s", "learning, s", "overhead, s", "learning, processor s", "overhead, processor s"]
    print(common.table(rows, heads))
    for name in ("local", "flower_simulation"):
        took = ", ".join(f"{found[name][f'{what}_start']:.2f} s of {what}" for what in kinds)
        print(f"{name}: start {took}")
    times = {name: f"{value:.1f}" for name, value in found["times_smaller"].items()}
    print(f"overhead of a round, times smaller: wall {times['wall_overhead']}, processor {times['processor_overhead']}")
    print(f"all but learning, with start and last measurement: wall {times['wall_whole']}, "
          f"processor {times['processor_whole']}; same bits: {found['same_bits']}")  # fmt: skip
    common.save("federation", found, chosen)


if __name__ == "__main__":
    main()
