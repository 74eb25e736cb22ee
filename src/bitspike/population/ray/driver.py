"""The process that drives a cluster: whose turn it is, what was taken is published, until all members are finished."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bitspike.errors import BitspikeError, one_line
from bitspike.population.local import others_of, waiting
from bitspike.population.ray import isolation, settings
from bitspike.population.ray.actors import Job, Pool, room, share_of_gpus
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, State, Turn
from bitspike.population.worker import end_with, mistake
from bitspike.population.workers import MOST_DEATHS, cores
from bitspike.run.sockets import born, ended, family

STOP_SECONDS = 5.0


def drive(rules: Evolution, store: Folder, pool: Pool) -> None:
    """Turns until every member is finished; only this process publishes, so that who was given up for lost cannot."""
    with ExitStack() as all_held:
        held: dict[int, ExitStack] = {}
        while candidates := waiting(rules, [store.latest(number) for number in range(rules.members)]):
            for number in candidates:
                if number in held or not pool.free:
                    continue
                lock = all_held.enter_context(ExitStack())
                if lock.enter_context(store.held(number)):
                    held[number] = lock
                    pool.give(number, *_turn(rules, store, number))
                else:  # a worker of before, that has not noticed yet
                    lock.close()
            for number, found in pool.wait():
                if found is not None:
                    store.publish(*found)
                held.pop(number).close()


def _turn(
    rules: Evolution, store: Folder, number: int
) -> tuple[Turn | None, list[Turn], dict[int, tuple[Turn, State]]]:
    """What a turn is taken from: the last one, those of the others, and the states that it may go on from."""
    before = store.latest(number)
    if before is None:
        return None, [], {}
    others = others_of(rules, store, number, before)
    found = rules.source(before, others)
    asked = [one for one in [before, *others] if one.member in (number, found) and not one.broken]
    return before, others, {one.member: store.state(one) for one in asked}


@contextmanager
def connected(told: dict[str, Any]) -> Iterator[Any]:
    """Ray, of the cluster that is asked for or of one that lives as long as this."""
    home, address = Path(told["home"]), told["address"]
    if told["alone"]:
        isolation.loopback_up()
    import ray

    cpus = told["threads"] * (told["workers"] or max(1, cores() // told["threads"]))
    where = settings.local(home, cpus) if address is None else {"address": address}
    try:
        settings.begin(ray, where)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        why = error.__cause__ if "InvalidAuthToken" in str(error.__cause__) else error
        said = "the cluster asks for another token" if why is not error else one_line(str(error))
        raise BitspikeError(f"--engine ray: {said}") from error
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield ray
    finally:
        here = {pid: born(pid) for pid in family(os.getpid()) - {os.getpid()}}
        ray.shutdown()
        ended(here, STOP_SECONDS)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main(told: dict[str, Any]) -> None:
    """The process. told: what `cluster.Cluster` says."""
    end_with(told["parent"], lambda: isolation.leave(told["home"]))
    from bitspike.paths import read_text
    from bitspike.run.recipe_files import parse_recipe

    folder, notes = Path(told["folder"]), Path(told["home"]) / "notes"

    def note(line: str) -> None:
        with notes.open("a") as file:
            file.write(line + "\n")

    asked = folder / "recipe.toml"
    text = read_text(asked, "run", "a recipe")
    recipe = parse_recipe(text, f"'{asked}'", stored=True)
    rules = Evolution(recipe.population, recipe.seed)
    threads, device = told["threads"], told["device"]
    with connected(told) as ray:
        if told["address"] is None:
            note(isolation.said(told["alone"]))
        machines = [node for node in ray.nodes() if node["Alive"]]
        hold = room(machines, threads)
        count = told["workers"] or min(hold, rules.members)
        note(f"machines of the cluster: {len(machines)}, with room for {hold} actors; wanted: {count}")
        if not count:
            raise BitspikeError(f"--threads: got {threads}, wanted no more than the cores of a machine of the cluster")
        gpus = 0.0 if device == "cpu" else ray.cluster_resources().get("GPU", 0.0)
        each = share_of_gpus(gpus, count) if gpus else 0.0
        job = Job(text, told["data"], device, threads)
        drive(rules, Folder(folder), Pool(ray, job, count, each, told["digests"], MOST_DEATHS))


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        print(mistake(error), file=sys.stderr, flush=True)
        os._exit(2)
