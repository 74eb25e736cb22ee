"""Clients that learn side by side: their networks are one stack (`learners.stacked`), each with its own batches.

    batches    each client goes through its own in their order, and all take a step at a time, until each has done its
               number; smaller ones are filled up with rows that count nowhere
    the rest   a client is put in and taken out, and replies are written, by the lines that do so for one client

Batches, draws, updates and states are those of clients one after the other; sums may end in other bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bitspike import registry
from bitspike.draws import Key
from bitspike.errors import BitspikeError, refuse
from bitspike.federated.client import Client, State
from bitspike.federated.messages import Message, Order
from bitspike.learners.stacked import stack_of
from bitspike.run.batches import Batches


@dataclass
class Seat:
    """A client in a row of the stack: where it is in its batches, and how many are left of this round."""

    row: int
    client: int
    state: State
    key: tuple[Key, ...]
    train: Batches
    per_epoch: int
    epoch: int
    batch: int
    left: int
    sums: dict[str, float] = field(default_factory=dict)

    def draw(self) -> tuple[Any, Any]:
        """The next batch: events and targets."""
        if self.batch == self.per_epoch:
            self.epoch, self.batch = self.epoch + 1, 0
        events, targets, _ = self.train.batch(self.epoch + 1, self.batch, self.key)
        self.batch, self.left = self.batch + 1, self.left - 1
        return events, targets


class Together:
    """`federation.stacked` clients at a time on the session of `client`; what cannot be stacked is refused."""

    def __init__(self, client: Client) -> None:
        self.client, part = client, client.part
        check(client.recipe, client.dataset)
        self.size = min(part.stacked, part.asked)
        self.stack = stack_of(client.session.learner, self.size, "federation.stacked")
        names = {id(parameter): name for name, parameter in client.session.model.named_parameters()}
        roles = client.session.learner.places.parameters()
        self.names = {role: {own: names[id(p)] for own, p in some.items()} for role, some in roles.items()}

    def work(self, order: Order, some: Sequence[tuple[int, State]]) -> list[Message]:
        """As `Client.work` of each (client, state), at most `size`, in their order."""
        client, session = self.client, self.client.session
        seats = [self._seated(order, row, k, state) for row, (k, state) in enumerate(some)]
        while open_seats := [seat for seat in seats if seat.left]:
            self._step(order, open_seats)
        messages = []
        for seat in seats:
            self.stack.give(seat.row)
            session.sums = seat.sums
            messages.append(client.end(order, seat.client, seat.state))
        return messages

    def _seated(self, order: Order, row: int, k: int, state: State) -> Seat:
        """Put a client into a row."""
        session = self.client.session
        self.client.begin(order, k, state)
        self.stack.take(row)
        left = self.client.turn(session.per_epoch)
        return Seat(row, k, state, session.key, session.train, session.per_epoch, session.epoch, session.batch, left)

    def _step(self, order: Order, seats: Sequence[Seat]) -> None:
        """One batch of each."""
        client, session = self.client, self.client.session
        client.watch()
        rows = [seat.row for seat in seats]
        drawn = [seat.draw() for seat in seats]
        before = [(self.stack.factor(row), self.stack.rows[row].updates) for row in rows]
        try:
            with session.place.autocast():
                found = self.stack.fit(rows, [events for events, _ in drawn], [targets for _, targets in drawn])
        except BitspikeError as error:
            names = ", ".join(str(seat.client) for seat in seats)
            who = f"client {names}" if len(seats) == 1 else f"one of clients {names}"
            raise BitspikeError(f"{who}: {error}") from error
        for seat, metrics in zip(seats, found, strict=True):
            session.sums = seat.sums
            session.count(metrics)
        if client.mu:
            now = [self.stack.rows[row].updates for row in rows]
            self._pull(order, rows, [(factor, new - old) for new, (factor, old) in zip(now, before, strict=True)])

    def _pull(self, order: Order, rows: Sequence[int], made: Sequence[tuple[float, int]]) -> None:
        """FedProx's, after some updates of each row, whose rate had this factor; see `client`."""
        for role, rate in self.client.usual_rates().items():
            left = [1 - (1 + rate * factor * self.client.mu) ** -updates for factor, updates in made]
            for own, name in self.names[role].items():
                self.stack.pull(name, rows, order.roles[role][own], left)


def check(recipe: Any, dataset: Any) -> None:
    """Refuse, by name, what clients side by side cannot learn."""
    came = str(recipe.federation.stacked)
    if not registry.trait("learner", recipe.learner.rule, "stacks", False):
        refuse(
            "federation.stacked", f"{came} with learner.rule '{recipe.learner.rule}'", "1, or 'backprop' or 'online'"
        )
    if not registry.trait("model", recipe.model.kind, "stacks", False):
        refuse("federation.stacked", f"{came} with model.kind '{recipe.model.kind}'", "1, or 'feedforward'")
    if recipe.federation.steps is not None:
        refuse("federation.stacked", f"{came} with federation.steps", "1, or federation.epochs or updates")
    if dataset.lengths or dataset.per_step:
        kind = "a class for each step" if dataset.per_step else "sequences of different lengths"
        refuse("federation.stacked", f"{came} with {kind}", "1")
