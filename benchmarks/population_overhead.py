"""Overhead of a population: ours in local workers and on Ray, and Ray Tune's own, on the same members in one run.

Run: python -m benchmarks.population_overhead [--quick], in an environment with the extra `ray` (`make test-ray` makes
one). Eight members are sessions of digits-st with the same updates and more than 40 ready points each, two at a time in
two processes of one thread. Ray Tune runs them in two ways: "paused", two trials at a time that are paused and restored
at each ready point, and "resident", all eight at once with a quarter of a core each.

Members' own work is learning and measuring, in seconds of wall and of processor time. Outside it is what the engine
takes: of wall, that of the run less own work / processes at a time; of processor time, that of all processes that
descend from this one less own work. "after_start" is from the moment when the last of the processes at a time has
begun its first own work until the last own work ends; "whole" from the call to its return; "turns" are ready points of
all members, of which there are more where copies are of younger members. On a machine that other work
keeps busy only processor time says much; "ideal_wall" asks of the wall what own processor time needs of two cores.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import common
from bitspike.population.ray.cluster import Cluster
from bitspike.population.ray.scheduled import scheduled
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution
from bitspike.population.workers import Workers
from bitspike.run.assemble import load_data
from bitspike.run.recipe_files import load_recipe, print_recipe
from bitspike.run.sockets import family

AT_A_TIME = 2
EVERY = 10
SPACE = """population={size = 8, every = 10, exploit = {kind = "truncation", fraction = 0.25}, space = {
"optimizer.lr" = {kind = "log-uniform", low = 1e-4, high = 0.1},
"latent_optimizer.lr" = {kind = "log-uniform", low = 1e-3, high = 1.0},
"model.neuron.tau" = {kind = "uniform", low = 1.0, high = 4.0}}}"""
TICK = os.sysconf("SC_CLK_TCK")
# A plug-in, so that every process of every engine writes down its members' work: when it began, its seconds.
TIMED = """
import os, time
from bitspike.population.member import Learning

def timed(name):
    method = getattr(Learning, name)

    def measured(self, *given):
        began, wall, processor = time.time(), time.perf_counter(), time.process_time()
        try:
            return method(self, *given)
        finally:
            took = time.perf_counter() - wall, time.process_time() - processor
            with open(os.path.join({folder!r}, str(os.getpid())), "a") as file:
                file.write(f"{{began}} {{took[0]}} {{took[1]}} {{int(name == 'step')}}\\n")

    setattr(Learning, name, measured)

for name in ("step", "evaluate"):
    timed(name)
"""


class Spent:
    """Processor seconds of all that descends from this process while it is entered, looked up often."""

    def __enter__(self) -> Spent:
        self.times: dict[int, float] = {}
        self.series: list[tuple[float, float]] = []
        self.first = {pid: seconds for pid in family(os.getpid()) if (seconds := _seconds(pid)) is not None}
        self.over, self.own = threading.Event(), 0.0
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.over.wait(0.25):
            self.now()
            self.own = time.thread_time()

    def now(self) -> None:
        """Look."""
        for pid in family(os.getpid()):
            if (seconds := _seconds(pid)) is not None:
                self.times[pid] = seconds
        self.series.append((time.time(), self.seconds))

    def __exit__(self, *error: object) -> None:
        self.now()
        self.over.set()
        self.thread.join()

    def until(self, moment: float) -> float:
        """Those up to a moment."""
        return min(self.series, key=lambda pair: abs(pair[0] - moment))[1]

    @property
    def seconds(self) -> float:
        """In all, without what the looking took."""
        return sum(seconds - self.first.get(pid, 0.0) for pid, seconds in self.times.items()) - self.own


def _seconds(pid: int) -> float | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(words[11]) + int(words[12])) / TICK


def measure(run: Callable[[Path], int], folder: Path) -> dict[str, float]:
    """Run one engine in `folder`; it returns how many processes work at a time."""
    said = folder / "said"
    said.mkdir(parents=True)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "timed.py").write_text(TIMED.format(folder=str(said)))
    os.environ["BITSPIKE_PLUGINS"] = str(folder / "plugins")
    with Spent() as spent:
        called = time.time()
        processes = run(folder / "run")
        returned = time.time()
    del os.environ["BITSPIKE_PLUGINS"]
    lines = {
        path: [tuple(map(float, line.split())) for line in path.read_text().splitlines()] for path in said.iterdir()
    }
    first = sorted(lines[path][0][0] for path in lines)[:processes]
    begun = first[-1]
    ended = max(began + wall for some in lines.values() for began, wall, *_ in some)
    work = [one for some in lines.values() for one in some]
    own_wall, own_processor = (sum(one[at] for one in work) for at in (1, 2))
    # What of a piece of work lies behind that moment.
    shares = [min(1.0, max(0.0, began + wall - begun) / wall) for began, wall, *_ in work]
    after_wall, after_processor = (
        sum(share * one[at] for share, one in zip(shares, work, strict=True)) for at in (1, 2)
    )
    return {
        "processes": processes, "started": len(lines), "turns": sum(int(one[3]) for one in work),
        "wall": returned - called, "start": begun - called,
        "own_wall": own_wall, "own_processor": own_processor, "processor": spent.seconds,
        "outside_after_start": ended - begun - after_wall / processes,
        "outside_whole": returned - called - own_wall / processes,
        "outside_ideal_after_start": ended - begun - after_processor / AT_A_TIME,
        "outside_ideal_whole": returned - called - own_processor / AT_A_TIME,
        "outside_processor_after_start": spent.until(ended) - spent.until(begun) - after_processor,
        "outside_processor_whole": spent.seconds - own_processor,
    }  # fmt: skip


def main() -> None:
    """All engines, one after the other."""
    parser = argparse.ArgumentParser(description="overhead of a population's engines")
    parser.add_argument("--only", default="", help="one engine")
    chosen = common.arguments(__doc__, parser)
    os.environ["OMP_NUM_THREADS"] = "1"
    importlib.import_module("torch").set_num_threads(1)
    epochs = 2 if chosen.quick else 24
    recipe = load_recipe("digits-st", [SPACE.replace("\n", " "), f"training.epochs={epochs}"])
    dataset = load_data(recipe)
    rules = Evolution(recipe.population, recipe.seed)

    def turns(make: Callable[[Path], Workers]) -> Callable[[Path], int]:
        def run(folder: Path) -> int:
            folder.mkdir()
            (folder / "recipe.toml").write_text(print_recipe(recipe))
            make(folder).run(rules, Folder(folder), lambda turn: None, lambda: None)
            ready.update({sum(turn.member == 0 for turn in Folder(folder).turns())})
            return AT_A_TIME

        return run

    def tune(at_a_time: int, each: float) -> Callable[[Path], int]:
        def run(folder: Path) -> int:
            done = scheduled(recipe, folder, cpus=AT_A_TIME, each=each)
            ready.update({trial["ready"] for trial in done["trials"]})
            return at_a_time

        return run

    ready: set[int] = set()
    digests = dict(dataset.digests)
    engines = {
        "local": turns(lambda folder: Workers(AT_A_TIME, folder, None, "cpu", 1)),
        "ray": turns(lambda folder: Cluster(AT_A_TIME, folder, None, "cpu", 1, None, digests)),
        "ray_tune_paused": tune(AT_A_TIME, 1.0),
        "ray_tune_resident": tune(rules.members, AT_A_TIME / rules.members),
    }
    found: dict[str, Any] = {"members": rules.members, "every": EVERY, "at_a_time": AT_A_TIME}
    with tempfile.TemporaryDirectory() as folder:
        for name in engines if not chosen.only else [chosen.only]:
            found[name] = measure(engines[name], Path(folder) / name)
            print(name, {key: round(value, 3) for key, value in found[name].items()}, flush=True)
    found["ready_points"] = sorted(ready)
    tried = [found[name] for name in engines if name in found and name.startswith("ray_tune")]
    if "local" in found and tried:
        kinds = [name for name in found["local"] if name.startswith("outside")]
        found["times_smaller"] = {kind: min(one[kind] for one in tried) / found["local"][kind] for kind in kinds}
        # After a copy a trial goes on from the age of what it copied, so engines do not take equally many turns.
        found["times_smaller_of_a_turn"] = {
            kind: min(one[kind] / one["turns"] for one in tried) / (found["local"][kind] / found["local"]["turns"])
            for kind in kinds
        }
        for of in ("times_smaller", "times_smaller_of_a_turn"):
            print(of, {kind: f"{value:.1f}" for kind, value in found[of].items()})
    common.save("population", found, chosen)


if __name__ == "__main__":
    main()
