"""Federate a recipe into a run folder: rounds, a checkpoint behind each, signals, and an ordinary RUN at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor

from bitspike import notices
from bitspike.data import DataSet
from bitspike.errors import BitspikeError, check_name, damaged, refuse
from bitspike.federated.client import Client
from bitspike.federated.local import Local, Tamper
from bitspike.federated.partition import share_out
from bitspike.federated.record import content
from bitspike.federated.roles import LEARNED, each
from bitspike.federated.rows import is_learned, warnings, why_unused
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.paths import run_name
from bitspike.run.assemble import check_data, load_data
from bitspike.run.checkpoint import load_checkpoint
from bitspike.run.conclude import check_ground, conclude, describe
from bitspike.run.finished import Run
from bitspike.run.folder import RunFolder
from bitspike.run.progress import Progress
from bitspike.run.recipe import Recipe
from bitspike.run.session import Place
from bitspike.run.signals import Handled, Interrupted
from bitspike.run.start import place_on, recipe_asked

ENGINES = ("local", "flower-simulation", "flower")


class Engine(Protocol):
    """What moves orders and replies."""

    watch: Callable[[], None]
    """Called again and again while it works; what it raises ends the round, of which clients then know nothing."""

    def round(self) -> dict[str, Any]:
        """One round; returns its row."""

    def settle(self) -> None:
        """Statistics of the finished network."""


def federate(
    recipe: Recipe | str | Path,
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    seed: int | None = None,
    data: Path | str | None = None,
    engine: str = "local",
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    quiet: bool = True,
    dataset: DataSet | None = None,
    shares: Sequence[Sequence[int] | Tensor] | None = None,
    tamper: Tamper | None = None,
    deployment: Any = None,
) -> Run:
    """Federate a recipe (an object, a name, or a path) into folder `out` (default runs/NAME) and return the run.

    As `train`; the recipe has a table [federation]. engine: "local", all clients in this process; "flower-simulation",
    in processes of Flower's simulation, which load the recipe's data themselves; "flower", over TLS, by a server in
    this process that is reached as `deployment` says (a `flower.deployment.Deployment`). shares: rows of the training
    split of each client, in place of the recipe's partition. tamper: what becomes of each reply (a `Message`) on its
    way; for studies of hostile clients.
    """
    if resume and overwrite:
        refuse("--resume", "--overwrite as well", "one of the two")
    check_name("--engine", engine, ENGINES)
    recipe = recipe_asked("federate", recipe, overrides, seed)
    if recipe.federation is None:
        refuse(f"recipe '{recipe.name}'", "no table [federation]", "one; `bitspike train` learns it without clients")
    if recipe.population is not None:
        refuse(f"recipe '{recipe.name}'", "a table [population]", "`bitspike tune`, which learns with members")
    folder = RunFolder(Path(out) if out is not None else Path("runs") / run_name(recipe.name))
    check_data(data)
    folder.check(recipe, resume, overwrite)
    given = dataset
    if engine != "local":
        if recipe.federation.stacked > 1:
            refuse("federation.stacked", f"{recipe.federation.stacked} with --engine {engine}", "1, or --engine local")
        _elsewhere(engine, dataset=dataset, shares=shares, tamper=tamper)
    if deployment is not None and engine != "flower":
        refuse("federate(deployment=...)", f"it with engine='{engine}'", "engine='flower'")
    if dataset is None:
        dataset = load_data(recipe, None if data is None else Path(data))
    opened: Callable[[Federation], AbstractContextManager[Engine]] = partial(_local, tamper)
    if engine == "flower-simulation":
        opened = partial(_simulated, data=data, device=device)
    elif engine == "flower":
        deployment = deployment or _deployment()
        opened = partial(_deployed, data=data)
    running = Federation(recipe, folder, dataset, shares, place_on(device), quiet, opened, deployment)
    try:
        folder.create(recipe, resume, overwrite)
        running.run()
    finally:
        folder.unlock()
    return Run(folder.path, dataset=given)


def _elsewhere(engine: str, **given: Any) -> None:
    """Refuse what other processes cannot be given."""
    from bitspike.federated.flower.settings import wanted

    wanted(f"--engine {engine}", ray=engine == "flower-simulation")
    for name, value in given.items():
        if value is not None:
            refuse(f"federate({name}=...)", f"it with engine='{engine}'", "engine='local'")


def _local(tamper: Tamper | None, running: Federation) -> AbstractContextManager[Engine]:
    """All clients in this process."""
    client = Client(running.recipe, running.dataset, running.rows, running.place)
    engine = Local(running.server, client, running.store, tamper)
    client.watch = running.watch
    return nullcontext(engine)


def _simulated(running: Federation, data: Path | str | None, device: str) -> AbstractContextManager[Engine]:
    """All clients in Flower's simulation."""
    from bitspike.federated.flower.simulation import simulation

    Client(running.recipe, running.dataset, running.rows, running.place)  # refuses here what each would refuse there
    return simulation(running.server, running.store, None if data is None else Path(data), device, running.say)


def _deployment() -> Any:
    """What is meant by engine="flower" alone: clients that are processes of this machine."""
    from bitspike.federated.flower.deployment import Deployment

    return Deployment()


def _deployed(running: Federation, data: Path | str | None) -> AbstractContextManager[Engine]:
    """Clients on this machine or others, by Flower over TLS."""
    from bitspike.federated.flower.deployment import deployed

    folder, how = running.folder.path, running.deployment
    if running.rows:
        # Refuses here what each would refuse there.
        Client(running.recipe, running.dataset, running.rows, running.place)
    return deployed(running.server, folder, how, None if data is None else Path(data).absolute(), running.say)


class Federation:
    """One federation in a folder. opened: gives the engine, while it runs. deployment: of one between machines."""

    def __init__(
        self,
        recipe: Any,
        folder: RunFolder,
        dataset: Any,
        shares: Any,
        place: Place,
        quiet: bool,
        opened: Callable[[Federation], AbstractContextManager[Engine]],
        deployment: Any = None,
    ) -> None:
        self.recipe, self.folder, self.quiet, self.part = recipe, folder, quiet, recipe.federation
        classes = dataset.kind == "classification"
        self.deployment = deployment
        own_data = deployment is not None and deployment.own_data
        self.rows = [] if own_data else share_out(self.part, dataset.train, classes, recipe.seed, shares)
        self.dataset, self.place = dataset, place
        self.server = Server(
            recipe,
            dataset,
            [len(rows) for rows in self.rows] or [0] * self.part.clients,
            mixes(dataset, self.rows) if self.rows else None,
            place,
            folder.path,
        )
        if own_data or shares is not None:
            self.server.shared_by = "clients' own data" if own_data else "shares that were given"
        self.untrained = self.server.roles
        self.store = Store(folder.path / "clients", self.part.state == "disk")
        self.stop_asked, self.seconds = 0, 0.0
        self.saved = 0  # rounds in the last checkpoint
        self.engine = opened(self)

    def run(self) -> dict[str, Any]:
        """All rounds (from the last checkpoint if there is one), then measure; returns result.json."""
        server, session, folder = self.server, self.server.session, self.folder
        if folder.finished:
            check_ground(session, folder)
            result: dict[str, Any] = folder.read("result.json")
            return result
        resumed = (folder.checkpoints / "last.json").exists()
        describe(session, folder, resumed)
        owners = np.empty(sum(map(len, self.rows)), np.int32)
        for client, rows in enumerate(self.rows):
            owners[rows.numpy()] = client
        if resumed:
            self._resume(owners)
        else:
            folder.write_arrays(
                "shares.npz", {"client": owners, "example": session.dataset.train.index.numpy()[: len(owners)]}
            )
        with self.engine as engine:
            engine.watch = self.watch
            if self.deployment is not None and not resumed:
                self._checkpoint()  # from now on clients have keys of this run
            with Handled(self._ask):
                self._rounds(engine)
            learned = is_learned(server.rows)
            kept = self._taken() if learned else None
            began = time.monotonic()
            if learned:
                engine.settle()
        folder.write("federation.json", content(server))
        if not learned:
            self._refuse()
        seconds = self.seconds + time.monotonic() - began
        return conclude(session, folder, kept, seconds, settle=False, warnings=self._warnings())

    def _refuse(self) -> NoReturn:
        """Refuse to end with a network that no round has changed."""
        rows = self.server.rows
        raise BitspikeError(
            f"federation '{self.recipe.name}': none of its {len(rows)} rounds was added up ({why_unused(rows)}): the "
            f"network is as it began, so none is shipped; '{self.folder.path}' keeps the rounds (federation.json) and "
            "the last checkpoint; mend this and run it again with --overwrite, or with --out DIR elsewhere"
        )

    def _warnings(self) -> list[str]:
        """What rounds and replies say against the result."""
        lines, now = warnings(self.server.rows), self.server.roles
        learned = [torch.equal(old, now[role][name]) for role, name, old in each(self.untrained) if role in LEARNED]
        if learned and all(learned):
            lines.append("no number of the network is another than before the first round: nothing has been learned")
        return lines

    def say(self, text: str) -> None:
        """A line for the person, once."""
        notices.notice(f"{self.recipe.name}: {text}")

    def _taken(self) -> int | None:
        """Take the network that the recipe keeps; the round that it is of, where that was chosen."""
        server, session, folder = self.server, self.server.session, self.folder
        if self.recipe.training.keep == "best":
            session.take(
                load_checkpoint(folder.checkpoints, "best"), f"checkpoint '{folder.checkpoints / 'best'}.json'"
            )
            server.taken_over()
            return int(session.best_epoch)
        return None

    def _resume(self, owners: Any) -> None:
        folder, source = self.folder, f"checkpoint '{self.folder.checkpoints / 'last'}.json'"
        with damaged(f"'{folder.path / 'shares.npz'}'"), np.load(folder.path / "shares.npz") as stored:
            before = np.asarray(stored["client"])
        if not np.array_equal(before, owners):
            refuse("--resume: shares", "other shares of the clients", f"those in '{folder.path / 'shares.npz'}'")
        state = load_checkpoint(folder.checkpoints, "last")
        self.server.load(state, source)
        with damaged(source):
            self.store.load(state["clients"], source)
            self.seconds = float(state["seconds"])
            if not self.rows:
                self.server.sizes = [int(size) for size in state["sizes"]]
        self.saved = self.server.number

    def _rounds(self, engine: Engine) -> None:
        server, name = self.server, self.recipe.name
        progress = Progress(name, self.part.rounds, server.number, self.quiet, "rounds")
        began = time.monotonic()
        for note in (*server.session.dataset.notes, *server.session.notes):
            progress.line(f"{name}  note: {note}")
        try:
            while not server.finished:
                if self.stop_asked and server.number % self.part.checkpoint_every:
                    self._checkpoint()
                self.watch()
                row = engine.round()
                now = time.monotonic()
                self.seconds, began = self.seconds + now - began, now
                # First: a checkpoint that knows of a better round must find its network there.
                if server.session.best_epoch == server.number and self.recipe.training.keep == "best":
                    server.session.save(self.folder.checkpoints, "best")
                if server.finished or server.number % self.part.checkpoint_every == 0:
                    self._checkpoint()
                progress.advance()
                progress.line(f"{name}  {line(row)}")
        finally:
            progress.close()

    def _checkpoint(self) -> None:
        more = {"federation": self.server.state_dict(), "clients": self.store.commit(), "seconds": self.seconds}
        more |= {} if self.rows else {"sizes": list(self.server.sizes)}
        self.server.session.save(self.folder.checkpoints, "last", **more)
        self.store.tidy()
        self.saved = self.server.number
        self.folder.write_epochs(self.server.session.records)
        self.folder.write("federation.json", content(self.server))

    def _ask(self, number: int) -> None:
        self.stop_asked = number

    def watch(self) -> None:
        """Stop where a signal asked for it: a round that has begun begins anew."""
        if self.stop_asked:
            saved = f"rounds up to {self.saved} are saved" if self.saved else "none is saved yet"
            where = f"round {self.server.number + 1}; {saved} in '{self.folder.path}'"
            raise Interrupted(f"stopped in {where}", self.stop_asked)


def mixes(dataset: Any, shares: Sequence[Tensor]) -> Tensor | None:
    """Share of each class among a client's examples (N, C); None where examples have no class."""
    if dataset.kind != "classification" or dataset.train.y.ndim != 1:
        return None
    counts = torch.stack([torch.bincount(dataset.train.y[rows], minlength=len(dataset.classes)) for rows in shares])
    return counts.double() / counts.sum(1, keepdim=True)


def line(row: dict[str, Any]) -> str:
    """A round in a line."""
    shown = "  ".join(f"{name} {row[name]:.4f}" for name in ("accuracy", "rmse", "nll") if name in row)
    said = f"round {row['round']}  {shown}  replies {row['replies']}/{len(row['asked'])}"
    said += f"  up {amount(row['bits_up'])}  down {amount(row['bits_down'])}"
    said += "" if row["state"] == "aggregated" else f"  {row['state']}: the network stays"
    return said + "".join(f"  client {client} refused ({why})" for client, why in list(row["refused"].items())[:3])


def amount(bits: int) -> str:
    """Bits with a unit."""
    for size, unit in ((10**9, "Gbit"), (10**6, "Mbit"), (10**3, "kbit")):
        if bits >= size:
            return f"{bits / size:.3g} {unit}"
    return f"{bits} bit"
