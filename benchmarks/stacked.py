"""Clients of a federation one after the other and side by side in one stack (`federation.stacked`), in one process.

Run: python -m benchmarks.stacked [--quick], with MNIST in BITSPIKE_DATA. 500 clients, 110 images each, or shares
by Dirichlet(0.5), 50 a round, one pass in batches of 20, one thread. What is timed is a round of all 50: networks are
put in, learned and taken out, and replies are written; adding up and measuring are the same lines and not in it. The
clock is the processor's, as other work may keep the machine busy; candidates take turns, and a ratio is the median of
turns. Each learns from the same network; the distance between all weights of the replies, in the length of what these
have learned, is "apart".
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks import common
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.partition import share_out
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.assemble import load_data
from bitspike.run.recipe_files import parse_recipe

RECIPE = """
name = "benchmark"
[data]
set = "mnist"
[encoder]
name = "direct"
steps = 4
[model]
layers = []
[model.neuron]
kind = "lif"
tau = 1.4427
[weights]
precision = "full"
[optimizer]
name = "SGD"
lr = 0.05
[training]
batch = 20
[federation]
clients = 500
participants = 50
rounds = 1
"""
BINARY = ["weights.precision=straight-through", "optimizer.name=Adam", "optimizer.lr=0.005"]
BAYES = ["weights.precision=bayesian", "optimizer.name=Adam", "optimizer.lr=0.005"]
ONLINE = [*BINARY, "learner.rule=online", "learner.burn_in=1", "model.neuron={kind='bisnn'}"]
SKEWED = ["federation.partition={kind='dirichlet', alpha=0.5, least=20}"]
CASES: dict[str, tuple[list[int], list[str]]] = {
    "784-32-10": ([32], []),
    "784-128-10": ([128], []),
    "784-1000-200-10": ([1000, 200], []),
    "784-128-10, binary": ([128], BINARY),
    "784-128-10, Bayesian": ([128], BAYES),
    "784-32-10, skewed shares": ([32], SKEWED),
    "784-128, online rule, binary": ([128], ONLINE),
}
AT_ONCE = (1, 5, 10, 25, 50)


def engines(dataset: Any, hidden: list[int], more: list[str], numbers: tuple[int, ...]) -> dict[int, Local]:
    """A federation for each number of clients at a time."""
    made = {}
    for stacked in numbers:
        given = [f"model.layers={[str(units) for units in hidden]}", f"federation.stacked={stacked}", *more]
        recipe = parse_recipe(RECIPE, "benchmark", given)
        shares = share_out(recipe.federation, dataset.train, True, recipe.seed)
        server = Server(recipe, dataset, [len(rows) for rows in shares])
        made[stacked] = Local(server, Client(recipe, dataset, shares), Store())
    return made


def replies(engine: Local) -> list[Any]:
    """Of the first round."""
    return list(engine._replies(engine.server.round(), engine.server.order()))


def weights(messages: list[Any]) -> torch.Tensor:
    """All that was learned, of all clients."""
    parts = (message.parts[role] for message in messages for role in ("latent", "real"))
    return torch.cat([tensors["value"].flatten() for some in parts for tensors in some.values()])


def measure(dataset: Any, hidden: list[int], more: list[str], quick: bool) -> dict[str, Any]:
    """Milliseconds of each number at a time, ratios, and how far their networks are apart."""
    federations = engines(dataset, hidden, more, (1, 10, 50) if quick else AT_ONCE)
    ends = {stacked: weights(replies(engine)) for stacked, engine in federations.items()}
    start = weights([_begun(federations[1])] * federations[1].client.part.asked)
    moved = float((ends[1] - start).norm())
    calls: dict[str, Callable[[], object]] = {str(n): partial(replies, one) for n, one in federations.items()}
    times = common.interleave(calls, 20 if quick else 60, 9, 3, time.process_time)
    apart = {str(n): float((end - ends[1]).norm()) / moved for n, end in ends.items()}
    return {**common.compared(times, "1"), "weights": len(ends[1]) // 50, "apart": apart}


def _begun(engine: Local) -> Any:
    """A reply of a client that has learned nothing."""
    order = engine.server.order()
    engine.client.begin(order, 0, {})
    return engine.client.end(order, 0, {})


def main() -> None:
    """All cases, one after the other."""
    parser = argparse.ArgumentParser(description="clients one after the other, and in one stack")
    parser.add_argument("--only", nargs="*", choices=CASES, help="these cases; others stay in the file as they are")
    chosen = common.arguments(__doc__, parser)
    torch.set_num_threads(chosen.threads or 1)
    dataset = load_data(parse_recipe(RECIPE, "benchmark"))
    folder = chosen.out or (common.QUICK if chosen.quick else common.RESULTS)
    known = folder / "stacked.json"
    found = json.loads(known.read_text())["cases"] if chosen.only and known.exists() else {}
    for name, (hidden, more) in CASES.items():
        if chosen.only and name not in chosen.only:
            continue
        found[name] = measure(dataset, hidden, more, chosen.quick)
        print(f"\n{name}: {found[name]['weights']:,} weights")
        faster = {n: 1 / ratio for n, ratio in found[name]["ratios"].items()}
        rows = [
            [n, f"{ms['median']:.0f}", f"{ms['least']:.0f}", f"{faster[n]:.2f}", f"{found[name]['apart'][n]:.1e}"]
            for n, ms in found[name]["milliseconds"].items()
        ]
        print(common.table(rows, ["at a time", "median ms", "least ms", "times as fast", "apart"]))
    common.save("stacked", {"clients": 500, "asked": 50, "threads": torch.get_num_threads(), "cases": found}, chosen)


if __name__ == "__main__":
    main()
