"""Tune a recipe into a run folder: members take turns, the winner ends as an ordinary RUN."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from bitspike.data import DataSet
from bitspike.errors import BitspikeError, check_name, refuse
from bitspike.kernels.cpu.works import on_threads
from bitspike.notices import notice
from bitspike.paths import read_text, run_name
from bitspike.population.federation import Federating, member_of
from bitspike.population.local import run_turns, waiting
from bitspike.population.member import Learning, plain
from bitspike.population.ray import settings
from bitspike.population.ray.cluster import Cluster
from bitspike.population.record import content
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, Turn, best, front_of
from bitspike.population.workers import Workers, cores, how_many
from bitspike.run.assemble import check_data, load_data
from bitspike.run.checkpoint import write_atomic
from bitspike.run.conclude import describe
from bitspike.run.finished import Run
from bitspike.run.folder import RunFolder
from bitspike.run.progress import Progress
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import parse_recipe, print_recipe
from bitspike.run.session import Place
from bitspike.run.signals import Handled, Interrupted
from bitspike.run.start import place_on, recipe_asked

ENGINES = ("local", "ray")
MOST_WORKERS = 256
ASKED = "population/recipe.toml"
FRONT = "front"


def tune(
    recipe: Recipe | str | Path,
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    seed: int | None = None,
    data: Path | str | None = None,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    threads: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    quiet: bool = True,
    dataset: DataSet | None = None,
) -> Run:
    """Search a recipe's [population] in folder `out` (default runs/NAME); returns the winner's run.

    As `train`. The run's recipe.toml is the winner's, with the hyperparameters that it ended with; what was asked for
    is population/recipe.toml, and population.json says how it went (see `lineage`, `replay`). Of several objectives
    every network of the front is a run too, front/K by its member K. workers: processes that take turns, by default as
    many as cores; 1: this one. threads: of each (0: the cores, shared out; of Ray's one); a resume goes on with those
    that the turns before were taken on. engine: local, or ray, whose actors take turns on the cluster at `address`, by
    default one of this machine's own.
    """
    if resume and overwrite:
        refuse("--resume", "--overwrite as well", "one of the two")
    check_name("--engine", engine, ENGINES)
    recipe = recipe_asked("tune", recipe, overrides, seed)
    if recipe.population is None:
        refuse(f"recipe '{recipe.name}'", "no table [population]", "one; `bitspike train` learns it without members")
    folder = RunFolder(Path(out) if out is not None else Path("runs") / run_name(recipe.name))
    check_data(data)
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        refuse("--workers", workers, f"1 to {MOST_WORKERS}")
    if dataset is not None and (workers or 1) > 1:
        refuse("--workers", workers, "1 with examples in memory")
    if engine == "ray":
        settings.check(address, device, dataset is not None)
    elif address is not None:
        refuse("--address", f"'{address}' with --engine {engine}", "it with --engine ray")
    if resume:
        _as_asked(folder, recipe)
        if folder.finished:
            found = Run(folder.path, dataset=dataset)
            found.dataset(None if data is None else Path(data))  # which refuses other data than it was learned from
            return found
    folder.check(recipe, resume, overwrite)
    given = dataset
    if dataset is None:
        dataset = load_data(recipe, None if data is None else Path(data))
    tuning = Tuning(recipe, folder, dataset, place_on(device), quiet)
    count = how_many(workers, tuning.rules.members, given is not None)
    usual = 1 if engine == "ray" else max(1, cores() // count) if count > 1 else torch.get_num_threads()
    threads = _threads(threads, usual, tuning.before() if resume else 0)
    given_to = tuning.store.path, None if data is None else Path(data), device, threads
    if engine == "ray":
        tuning.workers = Cluster(workers, *given_to, address, dict(dataset.digests))
    elif count > 1:
        tuning.workers = Workers(count, *given_to)
    try:
        folder.create(recipe, resume, overwrite)
        with on_threads(threads):
            tuning.run()
    finally:
        folder.unlock()
    return Run(folder.path, dataset=given)


def _as_asked(folder: RunFolder, recipe: Recipe) -> None:
    """--resume: the recipe that was asked for stands in recipe.toml again; a finished run's is its winner's."""
    path = folder.path / ASKED
    if not path.exists():
        return
    before = parse_recipe(read_text(path, "run", "a recipe"), f"'{path}'", stored=True)
    if before != recipe:
        raise BitspikeError(
            f"--resume: '{folder.path}' holds a population of another recipe; --out DIR writes elsewhere"
        )
    if not folder.finished:
        write_atomic(folder.path / "recipe.toml", print_recipe(recipe).encode())


def _threads(asked: int, usual: int, before: int) -> int:
    """Of each process: those asked for (0: `usual`), but those of the turns `before` where there are any."""
    if before and asked not in (0, before):
        refuse("--threads", f"{asked} with --resume", f"{before}, which the turns before were taken on, or none")
    if before and before != (asked or usual):
        notice(f"--resume: it goes on with --threads {before}, as the turns before were taken")
    return before or asked or usual


class Tuning:
    """One population in a folder."""

    def __init__(self, recipe: Recipe, folder: RunFolder, dataset: Any, place: Place, quiet: bool) -> None:
        self.recipe, self.folder, self.quiet = recipe, folder, quiet
        self.rules = Evolution(recipe.population, recipe.seed)
        self.member = member_of(recipe, dataset, place)
        self.member.check(self.rules.space)
        self.member.watch = self._watch
        self.store = Folder(folder.path / "population")
        self.workers: Workers | None = None
        self.stop_asked = 0

    def before(self) -> int:
        """The threads that published turns were taken on; 0 where there are none, or nobody knows."""
        latest = map(self.store.latest, range(self.rules.members))
        return max((turn.threads for turn in latest if turn is not None), default=0)

    def run(self) -> dict[str, Any]:
        """All turns (after those that are published), then measure the winner; returns result.json."""
        folder, store = self.folder, self.store
        resumed = (folder.path / ASKED).exists()
        describe(self.member.session, folder, resumed)
        earlier = folder.read("environment.json").get("earlier", [])
        store.path.mkdir(exist_ok=True)
        if not resumed:
            write_atomic(folder.path / ASKED, print_recipe(self.recipe).encode())
        with Handled(self._ask):
            self._turns()
        last = [turn for turn in map(store.latest, range(self.rules.members)) if turn is not None]
        winner, turns = best(self.rules, last), store.turns()
        seconds = sum(turn.seconds for turn in turns)
        for turn in front_of(self.rules, last):
            self._hand_back(turn, seconds, earlier)
        self._load(winner)
        folder.write("population.json", content(self.recipe, self.rules, turns, winner))
        return finish(self.member, folder, self.recipe, winner, seconds, earlier)

    def _load(self, turn: Turn) -> None:
        _, state = self.store.state(turn)
        self.member.load(state, turn.values, self.rules.key(turn.member))

    def _hand_back(self, turn: Turn, seconds: float, earlier: list[Any]) -> None:
        """A network of the front as a run of its own, by its member's number."""
        own = RunFolder(self.folder.path / FRONT / str(turn.member))
        if own.finished:
            return
        try:
            own.create(plain(self.recipe, turn.values), False, True)
            self._load(turn)
            finish(self.member, own, self.recipe, turn, seconds, earlier)
        finally:
            own.unlock()

    def _turns(self) -> None:
        latest = [self.store.latest(number) for number in range(self.rules.members)]
        each = -(-self.member.total // self.rules.part.every)
        done = sum(turn.generation for turn in latest if turn is not None)
        progress = Progress(self.recipe.name, each * self.rules.members, done, self.quiet, "turns")
        for note in (*self.member.dataset.notes, *self.member.session.notes):
            progress.line(f"{self.recipe.name}  note: {note}")

        seen = [0 if turn is None else turn.generation for turn in latest]

        def watch(turn: Turn) -> None:
            progress.advance(turn.generation - seen[turn.member])
            seen[turn.member] = turn.generation
            progress.line(f"{self.recipe.name}  {line(turn, self.rules.part.metric, self.rules.part.objectives)}")

        try:
            if self.workers is None or not waiting(self.rules, latest):
                run_turns(self.rules, self.store, self.member, self.member.total, watch)
            else:
                self.workers.note = progress.line
                self.workers.run(self.rules, self.store, watch, self._watch)
        finally:
            progress.close()

    def _ask(self, number: int) -> None:
        self.stop_asked = number

    def _watch(self) -> None:
        """Stop where a signal asked for it: a turn that has begun begins anew."""
        if self.stop_asked:
            where = f"every turn that was published is saved in '{self.folder.path}'"
            raise Interrupted(f"stopped; {where}", self.stop_asked)


def finish(
    member: Learning | Federating,
    folder: RunFolder,
    recipe: Recipe,
    turn: Turn,
    seconds: float,
    earlier: Sequence[Any] = (),
) -> dict[str, Any]:
    """End a folder as the ordinary run of a member that is loaded: its recipe, its records, what it measures.

    earlier: what stretches of learning stood on that were not done where it ends.
    """
    write_atomic(folder.path / "recipe.toml", print_recipe(plain(recipe, turn.values)).encode())
    describe(member.session, folder)
    if earlier:
        folder.write("environment.json", {**folder.read("environment.json"), "earlier": list(earlier)})
    folder.write_epochs(member.session.records)
    return member.conclude(folder, seconds)


def line(turn: Turn, metric: str, beside: Sequence[str] = ()) -> str:
    """A turn in a line; beside: other metrics that are said."""
    score = "–" if turn.score is None else f"{turn.score:.4f}"
    said = f"member {turn.member}  updates {turn.updates}  {metric} {score}  "
    said += "".join(f"{name} {shown(turn.metrics.get(name))}  " for name in beside if name != metric)
    said += "  ".join(f"{path} {shown(value)}" for path, value in turn.values.items())
    if turn.took is not None:
        said += f"  from member {turn.took}"
    return said + (f"  broke: {turn.broken}" if turn.broken else "")


def shown(value: Any) -> str:
    """A hyperparameter, shortly."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
