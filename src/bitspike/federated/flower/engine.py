"""Rounds over a Flower grid: what is asked, who answers until when, and what of it reaches the server.

An order that a client has not answered is sent again when the client has come anew (it was killed and has rejoined);
a round ends when all have answered, or after `wait` seconds. What a client says of itself is believed as far as its
node is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from bitspike.errors import HARM, BitspikeError
from bitspike.federated.flower.apps import record
from bitspike.federated.flower.wire import RECORD, message_of, packed, unpacked
from bitspike.federated.flower.workers import CALIBRATION, END, SETTLE, WORK
from bitspike.federated.messages import MOST_EXAMPLES, Refused
from bitspike.federated.schedule import settling
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.learners.exchange import Roles, kept

POLL = 0.1  # seconds between two looks, as Flower's own grid in memory has


class Nodes(Protocol):
    """Which node is which client."""

    def of(self, client: int) -> tuple[int, int] | None:
        """(node, how often it has come), or None while it is away."""


class Flower:
    """The engine. store: clients' states, where they travel; None: clients keep them. told: sizes come with replies."""

    def __init__(
        self, server: Server, grid: Any, nodes: Nodes, store: Store | None, wait: float | None, told: bool = False
    ) -> None:
        self.server, self.grid, self.nodes, self.store = server, grid, nodes, store
        self.wait, self.told = wait, told
        self.watch: Callable[[], None] = lambda: None
        self.check: Callable[[], None] = lambda: None
        """Raises where nobody can answer any more."""
        self.failed: dict[int, str] = {}

    def round(self) -> dict[str, Any]:
        """One round; returns its row."""
        server = self.server
        now = server.round()
        present = [k for k in now.asked if k not in now.silent]
        if now.number == 1 and kept(server.session.model):
            self._calibrate(present or list(now.asked))
        own: dict[int, dict[str, Any]] = {}
        for k in present:
            own[k] = {"what": WORK, "client": k, "late": k in now.late}
            if self.store is not None:
                own[k]["state"] = self.store.get(k)
        messages: list[Any] = []
        refused: dict[str, str] = {}
        for k, content in self.ask(own).items():
            if self.store is not None:
                self.store.put(k, content["state"])
            if k in now.late:
                continue
            try:
                message = message_of(content.get("message"), k)
                if self.told and not server.sizes[k] and isinstance(message.examples, int):
                    server.sizes[k] = min(max(message.examples, 1), MOST_EXAMPLES)  # type: ignore[index]
                messages.append(message)
            except (Refused, *HARM) as error:
                refused[str(k)] = str(error)[:200]
        row = server.close(now, messages)
        row["refused"] |= refused | {str(k): f"failed: {why}"[:200] for k, why in self.failed.items()}
        return row

    def _calibrate(self, clients: Sequence[int]) -> None:
        """What the first client that answers measures for all."""
        wanted = kept(self.server.session.model)
        for k in clients:
            found = self.ask({k: {"what": CALIBRATION, "client": k}}).get(k, {}).get("fixed")
            if found is not None and _fits(found, wanted):
                self.server.calibrated(found)
                return
        raise BitspikeError("round 1: no client has measured the ranges of the network")

    def settle(self) -> None:
        """Statistics of the finished network, from the clients that settle them (`schedule.settling`)."""
        server = self.server
        server.settle_at_home()
        wanted = server.roles.get("statistic")
        if server.home or not wanted:
            return
        present = settling(server.part, server.recipe.seed)
        replies: dict[int, tuple[int, Roles]] = {}
        for k, content in sorted(self.ask({k: {"what": SETTLE, "client": k} for k in present}).items()):
            examples, roles = content.get("examples"), content.get("statistics")
            if not isinstance(roles, dict) or set(roles) != {"statistic"} or not _sums(roles["statistic"], wanted):
                continue
            if isinstance(examples, int) and 1 <= examples <= MOST_EXAMPLES:
                replies[k] = min(examples, self.server.sizes[k] or examples), roles
        server.settle(replies)

    def end(self, seconds: float) -> None:
        """Tell the clients that are there that all is done."""
        before, self.wait = self.wait, seconds
        there = [k for k in range(self.server.part.clients) if self.nodes.of(k) is not None]
        self.ask({k: {"what": END, "client": k} for k in there})
        self.wait = before

    def ask(self, own: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
        """Replies by client; those that fail are noted in `failed`, those that stay away are missing."""
        order = packed(vars(self.server.order()))
        texts = {k: packed(some) for k, some in own.items()}
        sent: dict[int, tuple[str, int]] = {}
        found: dict[int, dict[str, Any]] = {}
        self.failed = {}
        began = time.monotonic()
        while len(found) + len(self.failed) < len(own):
            self.watch()
            self.check()
            for k in own:
                if k not in found and k not in self.failed:
                    self._send(k, sent, order, texts[k])
            of = {name: k for k, (name, _) in sent.items()}
            for reply in self.grid.pull_messages(of) if of else ():
                k = of[reply.metadata.reply_to_message_id]
                del sent[k]
                self._take(k, reply, found)
            if self.wait is not None and time.monotonic() - began > self.wait:
                break
            if len(found) + len(self.failed) < len(own):
                time.sleep(POLL)
        self._forget(sent)
        return {k: found[k] for k in sorted(found)}

    def _send(self, k: int, sent: dict[int, tuple[str, int]], order: bytes, own: bytes) -> None:
        """Send to a client that is there and has not been sent this since it came."""
        from flwr.app import Message

        now = self.nodes.of(k)
        if now is None or (k in sent and sent[k][1] == now[1]):
            return
        if k in sent:
            self._forget({k: sent.pop(k)})
        names = list(self.grid.push_messages([Message(record(order=order, own=own), now[0], "train")]))
        if names and names[0]:
            sent[k] = (names[0], now[1])

    def _forget(self, sent: Mapping[int, tuple[str, int]]) -> None:
        """Nobody waits for these any more: another grid than the simulation's keeps them otherwise."""
        if hasattr(self.grid, "forget"):
            self.grid.forget([name for name, _ in sent.values()])

    def _take(self, k: int, reply: Any, found: dict[int, dict[str, Any]]) -> None:
        from flwr.common.constant import ErrorCode

        away = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)
        if reply.has_error():
            if reply.error.code not in away:
                self._fail(k, reply.error.reason)
            return
        try:
            content = unpacked(reply.content[RECORD]["reply"])
            if not isinstance(content, dict):
                raise TypeError("no dict")
            found[k] = content
        except (Refused, *HARM) as error:
            self._fail(k, str(error))

    def _fail(self, k: int, why: str) -> None:
        """Note it; where all clients are our own, it ends the federation, as in one process."""
        if self.store is not None:
            raise BitspikeError(why if why.startswith(f"client {k}:") else f"client {k}: {why}")
        self.failed[k] = why


def _fits(found: Any, wanted: Mapping[str, torch.Tensor]) -> bool:
    """Whether tensors are those that are wanted, in shape and dtype, and finite."""
    return (
        isinstance(found, dict)
        and set(found) == set(wanted)
        and all(
            isinstance(tensor, torch.Tensor)
            and tensor.shape == wanted[name].shape
            and tensor.dtype == wanted[name].dtype
            and bool(torch.isfinite(tensor).all())
            for name, tensor in found.items()
        )
    )


def _sums(found: Any, wanted: Mapping[str, torch.Tensor]) -> bool:
    """Whether statistics are those that are wanted, of a weight, and with no variance below 0."""
    return _fits(found, wanted) and all(bool((t[0] > 0).all()) and bool((t[2] >= 0).all()) for t in found.values())
