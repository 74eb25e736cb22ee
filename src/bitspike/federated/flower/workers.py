"""What a client does with an order, whoever carries it: a process of the simulation, or a machine that joined."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bitspike.errors import BitspikeError
from bitspike.federated.client import Client, State
from bitspike.federated.flower.wire import order_of
from bitspike.federated.messages import Order, agreement
from bitspike.federated.partition import share_out
from bitspike.run.assemble import load_data
from bitspike.run.checkpoint import load_checkpoint, save_checkpoint
from bitspike.run.recipe_files import parse_recipe
from bitspike.run.start import place_on

WORK, CALIBRATION, SETTLE, END = "work", "calibration", "settle", "end"


class Diary:
    """States of one client by round, in files: a server that goes on from an earlier round finds the one before it.

    folder: for this federation alone, since what another has left there would be taken for its own. before: how many
    rounds a server may go back, which is how many lie between two of its checkpoints.
    """

    def __init__(self, folder: Path, client: int, before: int) -> None:
        self.folder, self.client, self.before = folder, client, before

    def _rounds(self) -> list[int]:
        name = re.compile(rf"{self.client}-(\d+)\.json")
        found = (name.fullmatch(path.name) for path in self.folder.iterdir()) if self.folder.is_dir() else ()
        return sorted(int(match[1]) for match in found if match is not None)

    def get(self, number: int) -> State:
        """The state with which to begin round `number`; later ones are of a time that the server has gone back from."""
        known = self._rounds()
        self._drop([one for one in known if one >= number])
        earlier = [one for one in known if one < number]
        return dict(load_checkpoint(self.folder, f"{self.client}-{earlier[-1]}")) if earlier else {}

    def put(self, number: int, state: State) -> None:
        """Keep the state after round `number`; those that no server asks for again go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.folder, f"{self.client}-{number}", state)
        self._drop([one for one in self._rounds() if one <= number - self.before][:-1])

    def _drop(self, rounds: list[int]) -> None:
        for one in rounds:
            for path in self.folder.glob(f"{self.client}-{one}*"):
                if re.fullmatch(rf"{self.client}-{one}(\.json|-[0-9a-f]{{12}}\.safetensors)", path.name):
                    path.unlink(missing_ok=True)


class Worker:
    """A client and where its states are. diary: files of its own; None: they travel with the order and the reply."""

    def __init__(self, client: Client, diary: Diary | None = None) -> None:
        self.client, self.diary = client, diary
        self.digest = agreement(client.recipe)

    def answer(self, common: Any, own: Any) -> dict[str, Any]:
        """The content of a reply. common: the order, for all; own: what is asked of this client."""
        order, k = order_of(common), int(own["client"])
        if order.recipe_hash != self.digest:
            raise BitspikeError("order: got one of another recipe or another version of bitspike, wanted this client's")
        if self.diary is not None and k != self.diary.client:
            raise BitspikeError(f"order: got one for client {k}, wanted one for {self.diary.client}")
        if own["what"] == CALIBRATION:
            return {"fixed": self.client.calibration(order, k)}
        if own["what"] == SETTLE:
            return {"examples": len(self.client.shares[k]), "statistics": self.client.settle(order, k)}
        return self._work(order, k, own)

    def _work(self, order: Order, k: int, own: Any) -> dict[str, Any]:
        client = self.client
        state: State = dict(own["state"]) if self.diary is None else self.diary.get(order.round)
        found: dict[str, Any] = {}
        if own["late"] and client.leaves_nothing:
            # As in one process: its work would be thrown away.
            state |= {"turns": state.get("turns", 0) + 1, "round": order.round}
        else:
            message = client.work(order, k, state)
            if not own["late"]:
                found["message"] = vars(message.sealed())
        if self.diary is None:
            found["state"] = state
        else:
            self.diary.put(order.round, state)
        return found


class Job(NamedTuple):
    """All that a process of the simulation needs to become any client."""

    recipe: str
    data: str | None
    device: str
    threads: int


@lru_cache(maxsize=1)
def worker_of(job: Job) -> Worker:
    """The one worker of this process."""
    torch.set_num_threads(job.threads)
    recipe = parse_recipe(job.recipe, "recipe")
    dataset = load_data(recipe, None if job.data is None else Path(job.data))
    shares = share_out(recipe.federation, dataset.train, dataset.kind == "classification", recipe.seed)
    return Worker(Client(recipe, dataset, shares, place_on(job.device)))
