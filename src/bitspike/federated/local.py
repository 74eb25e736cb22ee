"""The engine of one process: clients one after the other on one session. It is the rule, and the oracle of others.

Clients whose learners have loops that need no interpreter (circuits) are on a session each, several at a time; their
loops run side by side, on as many threads as there are (`kernels.cpu.works`). Replies are the same, bit for bit.
With `federation.stacked` clients learn side by side in one stack of tensors (`stacked`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from bitspike.federated.client import Client
from bitspike.federated.messages import Message, Order
from bitspike.federated.schedule import Round, settling
from bitspike.federated.server import Server
from bitspike.federated.stacked import Together
from bitspike.federated.store import Store
from bitspike.kernels.cpu.works import side_by_side

Tamper = Callable[[Message], Any]
EACH = 2  # clients for each thread, so that none waits long for the slowest


class Local:
    """Rounds of a federation. tamper: what becomes of a reply on its way, None if it is lost."""

    def __init__(self, server: Server, client: Client, store: Store, tamper: Tamper | None = None) -> None:
        self.server, self.client, self.store, self.tamper = server, client, store, tamper
        self.others: list[Client] = []
        self.together = Together(client) if client.part.stacked > 1 else None

    @property
    def watch(self) -> Callable[[], None]:
        """Called after each batch; what it raises ends the work."""
        return self.client.watch

    @watch.setter
    def watch(self, call: Callable[[], None]) -> None:
        for client in (self.client, *self.others):
            client.watch = call

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
        workers = self._workers()
        present = [k for k in now.asked if k not in now.silent]
        at_once = len(workers) if self.together is None else self.together.size
        for begin in range(0, len(present), at_once):
            some = present[begin : begin + at_once]
            for k, state, message in self._worked(now, order, some, workers):
                self.store.put(k, state)
                if message is not None and self.tamper is not None:
                    message = self.tamper(message)
                if k not in now.late and message is not None:
                    yield message

    def _workers(self) -> list[Client]:
        """Clients that are worked on at a time: some for each thread where their loops take but one, and else one."""
        client, threads = self.client, torch.get_num_threads()
        if not client.has_loops or threads == 1:
            return [client]
        several = min(EACH * threads, client.part.asked)
        while len(self.others) + 1 < several:
            self.others.append(client.another())
        return [client, *self.others[: several - 1]]

    def _worked(
        self, now: Round, order: Order, some: Sequence[int], workers: Sequence[Client]
    ) -> Iterator[tuple[int, dict[str, Any], Any]]:
        """(client, its state after the round, its reply), in order; None where its work would be thrown away."""
        begun = {k: self._begun(now, k) for k in some}
        at_work = [(k, state) for k, (state, idle) in begun.items() if not idle]
        if self.together is not None:
            messages = self.together.work(order, at_work)
        else:
            works = zip(workers, at_work, strict=False)
            messages = side_by_side([worker.working(order, k, state) for worker, (k, state) in works])
        replies = dict(zip((k for k, _ in at_work), messages, strict=True))
        yield from ((k, state, replies.get(k)) for k, (state, _) in begun.items())

    def _begun(self, now: Round, k: int) -> tuple[dict[str, Any], bool]:
        """A client's state, and whether it need not work: nobody would see that it had."""
        state = self.store.get(k)
        idle = k in now.late and self.client.leaves_nothing
        if idle:
            state |= {"turns": state.get("turns", 0) + 1, "round": now.number}
        return state, idle

    def settle(self) -> None:
        """Statistics of the finished network, from the clients that settle them (`schedule.settling`)."""
        server = self.server
        server.settle_at_home()
        order = server.order()
        if server.home or not order.roles.get("statistic"):
            return
        present = settling(server.part, server.recipe.seed)
        server.settle({k: (len(self.client.shares[k]), self.client.settle(order, k)) for k in present})
