"""Sessions as members: the same lines for every way of learning."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bitspike.draws import Key
from bitspike.energy import activation_bits
from bitspike.errors import BitspikeError, refuse
from bitspike.population.space import Choice, Space, Values
from bitspike.population.turn import State
from bitspike.run import assemble
from bitspike.run.conclude import conclude
from bitspike.run.evaluation import energy_of
from bitspike.run.folder import RunFolder
from bitspike.run.recipe import Recipe
from bitspike.run.session import Place, Session, changed, going_on


def plain(recipe: Recipe, values: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a member: without [population], with these hyperparameters."""
    alone = recipe.model_copy(update={"population": None})
    return changed(alone, values, f"recipe '{recipe.name}' with population.space")


# What says how long members learn, by what they are measured, and with what they begin: the same for all.
FIXED = ("name", "about", "seed", "training", "evaluation", "population", "weights.init", "weights.init_at_ends")
MOST_TRIED = 64


def checked(session: Session, recipe: Recipe, space: Space) -> None:
    """Refuse a metric that is not measured, and dimensions that a session cannot change on its way.

    Each is tried at both ends (a choice at each of its values), and choices in every combination, up to `MOST_TRIED`.
    Where members copy one another, what a copy brings along in its tensors (initial gains, ranges) is refused too.
    """
    part = recipe.population
    classes = session.dataset.kind == "classification"
    measured = ("accuracy", "nll", "ece", "brier") if classes else ("rmse", "nll")
    if part is not None and part.metric not in measured:
        refuse("population.metric", f"'{part.metric}'", f"one that is measured: {', '.join(measured)}")
    ends: dict[str, list[Any]] = {}
    for path, one in space.dimensions.items():
        table = path.partition(".")[0]
        if table in FIXED or path in FIXED or getattr(session.recipe, table, "") is None:
            wanted = "one that changes how members learn" if table in FIXED or path in FIXED else f"[{table}] beside it"
            refuse("population.space", f"'{path}'", wanted)
        ends[path] = list(one.of) if isinstance(one, Choice) else [one.at(0.0), one.at(1.0)]
        for number, value in enumerate(ends[path]):
            with _tried(path):
                if number < MOST_TRIED:
                    going_on(session, {path: value})
                else:
                    plain(session.recipe, {path: value})
        if part is not None and part.strategy == "pbt" and table in ("model", "weights"):
            _not_begun_with(session, path, ends[path])
    several = [path for path, one in space.dimensions.items() if isinstance(one, Choice)]
    for point in itertools.islice(itertools.product(*(ends[path] for path in several)), MOST_TRIED):
        values = {path: tried[0] for path, tried in ends.items()} | dict(zip(several, point, strict=True))
        with _tried():
            going_on(session, values)


@contextmanager
def _tried(path: str = "") -> Iterator[None]:
    """In the body, where values are tried: a refusal begins with the dimension (several at once: with the space)."""
    try:
        yield
    except BitspikeError as error:
        said = re.sub(r"^(with_values|--set|recipe '.*?' with population\.space)(: | )", "", str(error))
        where = f"population.space.{path}" if path else "population.space"
        raise BitspikeError(f"{where}: {said.removeprefix(f'{path}: ')}") from error


def _not_begun_with(session: Session, path: str, values: list[Any]) -> None:
    """Refuse a dimension whose values stand in the tensors of a new network: one that is copied keeps its own."""
    some = [plain(session.recipe, {path: value}) for value in values[:MOST_TRIED]]
    if (tensor := assemble.begins_otherwise(some, session.form)) is not None:
        came = f"'{path}', which says what '{tensor}' begins with"
        refuse("population.space", came, "one that changes how members learn, or strategy 'random' or 'grid'")


def costs(session: Session, recipe: Recipe) -> dict[str, float]:
    """What an inference costs on validation inputs, where the population of `recipe` has that as an objective."""
    wanted = set() if recipe.population is None else {"energy", "bits"} & set(recipe.population.objectives)
    if not wanted:
        return {}
    members = session.recipe.evaluation.validation_draws if session.learner.bayesian else 1
    found = energy_of(session.recipe, session.learner, session.validation, members)
    joules = found.network.joules_compute + found.network.joules_neurons
    known = {"energy": joules, "bits": activation_bits(found.counts)["significant"]}
    return {name: known[name] for name in sorted(wanted)}


class Learning:
    """One session at a time, which is a member's while it has a turn; any number of them share a data set."""

    def __init__(self, recipe: Recipe, dataset: Any, place: Place | None = None) -> None:
        self.recipe, self.dataset, self.place = recipe, dataset, place
        self.watch: Callable[[], None] = lambda: None  # called between updates
        self.session = Session(plain(recipe), dataset, place=place)
        self.total, self.stepped = self.session.total_updates, False

    def check(self, space: Space) -> None:
        """Refuse dimensions that a member cannot change while it learns."""
        checked(self.session, self.recipe, space)

    def load(self, state: State | None, values: Values, key: tuple[Key, ...]) -> None:
        """A session with these values, at the weights, moments and position of the state."""
        recipe = plain(self.recipe, values)
        self.session = Session(recipe, self.dataset, key=key, place=self.place, notes=self.session.notes)
        self.stepped = False
        if state is not None:
            self.session.restore({**state, "recipe_hash": recipe.recipe_hash(), "key": list(key)}, "a member's state")

    def step(self, updates: int) -> int:
        """See `Session.advance`."""
        made = 0
        while made < updates and not self.session.finished:
            self.watch()
            made += self.session.advance(1)
            self.stepped = True
        return made

    def evaluate(self) -> dict[str, float]:
        """On validation; what was measured at the end of an epoch is not measured again."""
        session = self.session
        last = session.records[-1] if session.records else None
        if self.stepped and session.batch == 0 and last is not None and last["epoch"] == session.epoch:
            measured = dict(last["validation"])
        else:
            measured = session.validate()
        return measured | costs(session, self.recipe)

    def save(self) -> State:
        """A snapshot."""
        return self.session.snapshot()

    def conclude(self, folder: RunFolder, seconds: float) -> dict[str, Any]:
        """End the folder as this network's run."""
        return conclude(self.session, folder, seconds=seconds)
