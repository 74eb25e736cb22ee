"""A federation as a member: its updates are rounds; its server rate, codec and all clients' rates evolve."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from bitspike.draws import Key
from bitspike.errors import damaged, refuse
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.partition import share_out
from bitspike.federated.record import content
from bitspike.federated.rows import is_learned, warnings, why_unused
from bitspike.federated.server import Server
from bitspike.federated.start import mixes
from bitspike.federated.store import Store
from bitspike.population.member import Learning, checked, costs, plain
from bitspike.population.space import Space, Values
from bitspike.population.turn import State
from bitspike.run.conclude import conclude
from bitspike.run.folder import RunFolder
from bitspike.run.recipe import Recipe
from bitspike.run.session import Place, Session

# What says who has which examples and how long it takes, or belongs to one federation alone.
FIXED = ("clients", "rounds", "partition", "privacy", "state", "statistics", "steps")
SOURCE = "a member's state"


class Federating:
    """One federation at a time, all clients in this process; their draws are named by the member too."""

    def __init__(self, recipe: Recipe, dataset: Any, place: Place | None = None) -> None:
        self.recipe, self.dataset, self.place = recipe, dataset, place
        part: Any = recipe.federation
        if part.state == "disk":
            refuse("federation.state", "'disk' with [population]", "'kept', which members carry with them")
        if part.privacy is not None:
            refuse(
                "federation.privacy", "it with [population]", "it left out: what members tell each other is not private"
            )
        self.watch: Callable[[], None] = lambda: None
        self.rows = share_out(part, dataset.train, dataset.kind == "classification", recipe.seed, None)
        self.total = part.rounds
        self.load(None, {}, ())

    @property
    def session(self) -> Session:
        """The server's."""
        return self.server.session

    def check(self, space: Space) -> None:
        """Refuse dimensions that a federation cannot change while it learns."""
        for path in space.dimensions:
            table, _, key = path.partition(".")
            if table == "federation" and key.split(".")[0] in FIXED:
                refuse("population.space", f"'{path}'", f"another one: federation.{key.split('.')[0]} stays as it is")
        checked(self.session, self.recipe, space)

    def load(self, state: State | None, values: Values, key: tuple[Key, ...]) -> None:
        """A server and clients with these values, where the state left them."""
        recipe, rows = plain(self.recipe, values), self.rows
        client = Client(recipe, self.dataset, rows, self.place)
        client.own, client.watch = key, lambda: self.watch()
        self.server = Server(recipe, self.dataset, [len(some) for some in rows], mixes(self.dataset, rows), self.place)
        self.store = Store()
        self.engine = Local(self.server, client, self.store)
        self.stepped = False
        if state is None:
            return
        state = copy.deepcopy(state)
        self.server.load({**state, "recipe_hash": recipe.recipe_hash()}, SOURCE)
        with damaged(SOURCE):
            self.store.small, self.store.large = (dict(state["clients"][name]) for name in ("small", "large"))

    def step(self, updates: int) -> int:
        """Rounds."""
        made = 0
        while made < updates and not self.server.finished:
            self.watch()
            self.engine.round()
            made += 1
            self.stepped = True
        return made

    def evaluate(self) -> dict[str, float]:
        """As the server measures its rounds."""
        session = self.session
        last = session.records[-1] if session.records else None
        known = self.stepped and last is not None and last["epoch"] == session.epoch
        measured = dict(last["validation"]) if known and last is not None else session.validate()
        return measured | costs(session, self.recipe)

    def save(self) -> State:
        """Server and clients."""
        clients = {"small": self.store.small, "large": self.store.large}
        return copy.deepcopy({**self.session.snapshot(), "federation": self.server.state_dict(), "clients": clients})

    def conclude(self, folder: RunFolder, seconds: float) -> dict[str, Any]:
        """As `bitspike federate` ends; refused where no round of the network that is shipped was added up."""
        rows = self.server.rows
        folder.write("federation.json", content(self.server))
        if not is_learned(rows):
            came = f"{len(rows)} rounds of the best member of which none was added up ({why_unused(rows)})"
            refuse("federation", came, "replies to learn from; federation.json has the rounds")
        self.engine.settle()
        return conclude(self.session, folder, seconds=seconds, settle=False, warnings=warnings(rows))


def member_of(recipe: Recipe, dataset: Any, place: Place | None = None) -> Learning | Federating:
    """What a recipe's members are."""
    return (Learning if recipe.federation is None else Federating)(recipe, dataset, place)
