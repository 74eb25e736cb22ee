"""The engine of one process: clients one after the other on one session. It is the rule, and the oracle of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bitspike.federated.client import Client
from bitspike.federated.messages import Message, Order
from bitspike.federated.schedule import Round, round_of
from bitspike.federated.server import Server
from bitspike.federated.store import Store

Tamper = Callable[[Message], Any]


class Local:
    """Rounds of a federation. tamper: what becomes of a reply on its way, None if it is lost."""

    def __init__(self, server: Server, client: Client, store: Store, tamper: Tamper | None = None) -> None:
        self.server, self.client, self.store, self.tamper = server, client, store, tamper

    @property
    def watch(self) -> Callable[[], None]:
        """Called after each batch; what it raises ends the work."""
        return self.client.watch

    @watch.setter
    def watch(self, call: Callable[[], None]) -> None:
        self.client.watch = call

    def round(self) -> dict[str, Any]:
        """One round; returns its row."""
        server, client = self.server, self.client
        now = server.round()
        if now.number == 1:
            first = next((k for k in now.asked if k not in now.silent), now.asked[0])
            server.calibrated(client.calibration(server.order(), first))
        return server.close(now, self._replies(now, server.order()))

    def _replies(self, now: Round, order: Order) -> Iterator[Any]:
        """Each as it is there, so that it is read while the processor still has it."""
        client = self.client
        for k in now.asked:
            if k in now.silent:
                continue
            state = self.store.get(k)
            if k in now.late and client.leaves_nothing:
                # Its work would be thrown away.
                state |= {"turns": state.get("turns", 0) + 1, "round": now.number}
                self.store.put(k, state)
                continue
            message: Any = client.work(order, k, state)
            self.store.put(k, state)
            if self.tamper is not None:
                message = self.tamper(message)
            if k not in now.late and message is not None:
                yield message

    def settle(self) -> None:
        """Statistics of the finished network, from clients drawn as in a round."""
        server, part = self.server, self.server.part
        server.settle_at_home()
        order = server.order()
        if server.home or not order.roles.get("statistic"):
            return
        asked = round_of(part, server.recipe.seed, part.rounds + 1)
        present = [k for k in asked.asked if k not in asked.silent] or list(asked.asked)
        server.settle([(len(self.client.shares[k]), self.client.settle(order, k)) for k in present])
