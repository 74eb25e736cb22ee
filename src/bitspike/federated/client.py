"""A client: a session of the recipe on its share of the examples, which begins each round with the server's network.

One session serves any number of clients, one after the other: what is a client's own is put into it and taken out.

    position   turns t done so far: batches t B .. (t + 1) B - 1 of its share, B of a round; epochs and orders follow
    schedule   progress (round - 1 + part of this round done) / rounds
    draws      of session key ("client", k)
    pull       FedProx, after n updates at the learning rate eta: w <- w_server + (w - w_server) / (1 + eta mu)^n; for
               n = 1 this is the exact minimum of ||w' - w||^2 / (2 eta) + mu/2 ||w' - w_server||^2
    controls   SCAFFOLD, before each step of an optimiser: g <- g - c_client + c; see `scaffold`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bitspike import registry
from bitspike.draws import Key, normal
from bitspike.errors import BitspikeError, damaged, refuse
from bitspike.federated.begun import Begun
from bitspike.federated.codecs import Codec, Setting, codec_of
from bitspike.federated.margins import margins
from bitspike.federated.messages import Message, Order
from bitspike.federated.own import check_written, is_own, named
from bitspike.federated.roles import each, sums, told
from bitspike.federated.scaffold import Controls
from bitspike.federated.schedule import round_of, turn_of, updates_of
from bitspike.kernels.cpu.works import Work, alone, on_one_thread
from bitspike.learners.exchange import Given, Roles, kept
from bitspike.run import assemble
from bitspike.run.batches import Batches, batches_of
from bitspike.run.session import Place, Session

State = dict[str, Any]


def has_loops(recipe: Any) -> bool:
    """Whether learning is in loops that take one thread and no interpreter: what is beside them does too."""
    return bool(registry.trait("learner", recipe.learner.rule, "alone", False))


class _Chosen:
    """Rows of something, by their numbers among `rows`."""

    def __init__(self, of: Any, rows: Tensor) -> None:
        self.of, self.rows = of, rows

    def __getitem__(self, some: Tensor) -> Any:
        return self.of[self.rows[some]]


class Share:
    """A client's part of a split, which is not copied: what `run.batches` asks of a split."""

    def __init__(self, split: Any, rows: Tensor) -> None:
        self.x, self.y, self.index = (_Chosen(part, rows) for part in (split.x, split.y, split.index))
        self.lengths = None if split.lengths is None else _Chosen(split.lengths, rows)
        self.count = len(rows)

    def __len__(self) -> int:
        """Examples."""
        return self.count


class Client:
    """Learns as any client of a federation. shares: rows of the training split of each."""

    def __init__(self, recipe: Any, dataset: Any, shares: list[Tensor], place: Place | None = None) -> None:
        self.recipe, self.part, self.shares = recipe, recipe.federation, shares
        self.dataset, self.place = dataset, place
        least = min(map(len, shares))
        if least < 2 and not registry.trait("learner", recipe.learner.rule, "single", False):
            came = "a client with one example"
            refuse("federation.partition", came, f"two or more with learner.rule '{recipe.learner.rule}'")
        # A client of the usual size, for what depends on how long training is.
        usual = sorted(range(len(shares)), key=lambda k: (len(shares[k]), k))[len(shares) // 2]
        part = recipe.federation
        batches = self._batches_of(len(shares[usual]))
        per_batch = assemble.updates_per_batch(recipe, assemble.build_encoder(recipe, assemble.form_of(dataset)))
        self.per_batch = per_batch
        epochs = max(1, round(part.rounds * self.turn(batches) / batches))
        span = (epochs, 1, part.rounds * self.updates(batches))
        self.session = Session(recipe, dataset, place=place, span=span)
        learner = self.session.learner
        self.fresh = learner.state_dict()
        self.home = {name: t.clone() for name, t in kept(self.session.model, statistics=True).items()}
        self.codec: Codec = codec_of(part)
        self.mu: float = registry.make(part.aggregator).proximal
        self.controls: Controls | None = None
        self.begun, self.has_loops = Begun(), has_loops(recipe)
        self.own: tuple[Key, ...] = ()
        """Names draws of clients beside the seed: of several federations that search together."""
        self.watch: Callable[[], None] = lambda: None
        """Called after each batch; what it raises ends the work, of which the client then knows nothing."""
        if part.steps is not None:
            self._check_slices(dataset)

    def another(self) -> Client:
        """One like it, which may work beside it."""
        made = Client(self.recipe, self.dataset, self.shares, self.place)
        made.own, made.watch, made.begun = self.own, self.watch, self.begun
        return made

    def _check_slices(self, dataset: Any) -> None:
        rule = self.recipe.learner.rule
        if not registry.trait("learner", rule, "slices", False):
            refuse("federation.steps", f"{self.part.steps} with learner.rule '{rule}'", "federation.epochs, or updates")
        if self.part.state == "reset":
            refuse("federation.state", "'reset' with federation.steps", "'kept' or 'disk': an example goes on")
        if dataset.lengths:
            refuse("federation.steps", f"{self.part.steps} with sequences of different lengths", "federation.updates")

    def _batches_of(self, examples: int) -> int:
        """Batches of an epoch over a share."""
        return batches_of(examples, self.recipe.training.batch)

    def turn(self, per_epoch: int) -> int:
        """Batches (with `steps`: time steps) of a round."""
        return turn_of(self.part, per_epoch, self.per_batch)

    def updates(self, per_epoch: int) -> int:
        """Updates of a round, about."""
        return updates_of(self.part, per_epoch, self.per_batch)

    def work(self, order: Order, client: int, state: State) -> Message:
        """Learn a round and write the reply; state: the client's own ({} at first), changed in place."""
        return alone(self.working(order, client, state))

    def working(self, order: Order, client: int, state: State) -> Work[Message]:
        """`work` that stops at loops which need no interpreter; see `kernels.cpu.works`."""
        work = self._named(order, client, state)
        return on_one_thread(work) if self.has_loops else work

    def _named(self, order: Order, client: int, state: State) -> Work[Message]:
        with _of_client(client):
            return (yield from self._working(order, client, state))

    def _working(self, order: Order, client: int, state: State) -> Work[Message]:
        session = self.session
        self.begin(order, client, state)
        if self.part.steps is not None:
            yield from self._slices(order, client, state)
        else:
            for _ in range(self.turn(session.per_epoch)):
                if session.epoch_over:
                    session.epoch, session.batch = session.epoch + 1, 0
                yield from self._pulled(order, session.learning())
        return self.end(order, client, state)

    def begin(self, order: Order, client: int, state: State) -> None:
        """Put the client into the session."""
        session, learner = self.session, self.session.learner
        rows = self.shares[client]
        turns = int(state.get("turns", 0))
        session.key = learner.key = (*self.own, "client", client)
        before: Batches = session.train
        session.train = Batches(
            self.recipe, before.encoder, Share(self.dataset.train, rows), before.device, before.dtype, before.target
        )
        session.per_epoch = session.train.per_epoch()
        if self.part.label_margin:
            learner.margins = margins(self.dataset.train.y[rows], len(self.dataset.classes), self.part.label_margin)
        done = turns * self.turn(session.per_epoch)
        session.epoch, session.batch = divmod(done, session.per_epoch)
        session.sums = {}
        each_round = self.updates(session.per_epoch)
        learner.spans(self.part.rounds * each_round)
        with damaged(f"state of client {client}"):
            if (carried := state.get("learner")) is None:
                learner.load_state_dict({**self.fresh, "updates": (order.round - 1) * each_round})
            else:
                # Rounds that it was not asked in count as if it had been.
                missed = order.round - 1 - int(state["round"])
                learner.load_state_dict({**carried, "updates": carried["updates"] + missed * each_round})
            if self.part.statistics == "home":
                self._put(state.get("home", self.home))
            self.codec.check_state(state.get("codec", {}), order.roles)
            if order.controls:
                self.controls = self.controls or Controls(learner)
                self.controls.begin(order, client, state)
        self._put(order.fixed)
        learner.receive(order.roles)

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        if not tensors:
            return
        model = self.session.model.state_dict()
        for name, tensor in tensors.items():
            model[name].copy_(tensor)

    def _slices(self, order: Order, client: int, state: State) -> Work[None]:
        """Go on by `steps` time steps, from where the last slice ended."""
        session, steps = self.session, int(self.part.steps)
        done = int(state.get("turns", 0)) * steps
        length = session.train.encoder.steps
        while steps:
            number, at = divmod(done, length)
            epoch, batch = divmod(number, session.per_epoch)
            events, targets, examples = self.begun.get((client, epoch, batch), session)
            some = min(steps, length - at)
            events, now = events[at : at + some], targets[:, at : at + some] if self.dataset.per_step else targets
            fitting = session.learner.fitting(events, now, examples=examples, reset=at == 0)
            session.count((yield from self._pulled(order, fitting)))
            done, steps = done + some, steps - some

    def _pulled(self, order: Order, learning: Work[dict[str, float]]) -> Work[dict[str, float]]:
        """Learn, and then feel FedProx's pull; see the module."""
        learner = self.session.learner
        self.watch()
        if not self.mu:
            return (yield from learning)
        before, rates = learner.updates, {role: learner.learning_rate(lr) for role, lr in self.usual_rates().items()}
        metrics = yield from learning
        made = learner.updates - before
        now = learner.places.parameters()
        with torch.no_grad():
            for role, rate in rates.items():
                left = (1 + rate * self.mu) ** -made
                for name, tensor in now[role].items():
                    tensor.lerp_(order.roles[role][name].to(tensor), 1 - left)
        return metrics

    def usual_rates(self) -> dict[str, float]:
        """The learning rate of each role, before the schedule."""
        learner, recipe = self.session.learner, self.recipe
        parts = {"real": recipe.optimizer, "latent": recipe.latent_optimizer or recipe.optimizer}
        own = {} if learner.optimisation is None else {k: lr for k, (_, lr) in learner.optimisation.optimisers.items()}
        return {role: own.get(role, parts[role].lr) for role in parts}

    def end(self, order: Order, client: int, state: State) -> Message:
        """Take the client out of the session, and write what it has learned."""
        learner = self.session.learner
        state["turns"], state["round"] = int(state.get("turns", 0)) + 1, order.round
        if self.part.state != "reset":
            state["learner"] = learner.state_dict()
        if self.part.statistics == "home":
            state["home"] = {name: t.clone() for name, t in kept(self.session.model, statistics=True).items()}
        sent = on_wire(learner.exchanged(), order.roles)
        setting = round_of(self.part, self.recipe.seed, order.round).setting(self.recipe.seed, client)
        if self.part.noise:
            sent = noisy(sent, order.roles, self.part.noise, setting)
        parts = self.codec.encode(sent, order.roles, setting, state.setdefault("codec", {}))
        if is_own("codec", self.part.codec):
            check_written(named("codec", self.part.codec), parts, self.codec.form(order.roles))
        if self.controls is not None:
            parts |= self.controls.end(order, sent, state)
        return Message(order.round, client, len(self.shares[client]), order.recipe_hash, parts, dict(self.session.sums))

    def settle(self, order: Order, client: int) -> Roles:
        """The statistics of the finished network on this client's examples (`Learner.finish`), as sums."""
        from bitspike.run.conclude import STATISTICS_BATCHES

        self.begin(replace(order, round=1), client, {})
        session = self.session
        session.learner.finish(lambda: session.train.statistics(STATISTICS_BATCHES, session.epochs))
        return on_wire(session.learner.exchanged(), ("statistic",))

    def calibration(self, order: Order, client: int) -> dict[str, Tensor]:
        """What the client's first batch makes of tensors that nobody learns (ranges of quantisers); else it leaves no
        trace."""
        session = self.session
        if not kept(session.model):
            return {}
        before = {name: tensor.clone() for name, tensor in session.model.state_dict().items()}
        with _of_client(client):
            self.begin(order, client, {})
            session.learn()
        found = {name: tensor.cpu().clone() for name, tensor in kept(session.model).items()}
        self._put(before)
        return found

    @property
    def leaves_nothing(self) -> bool:
        """Whether a round leaves nothing of a client but its reply."""
        part = self.part
        return part.state == "reset" and part.statistics == "sums" and not getattr(part.codec, "feedback", False)


@contextmanager
def _of_client(client: int) -> Iterator[None]:
    """Work, in whose errors the client is named."""
    try:
        yield
    except BitspikeError as error:
        if type(error) is not BitspikeError or f"client {client}" in str(error):
            raise
        raise BitspikeError(f"client {client}: {error}") from error


def on_wire(roles: Given, some: Collection[str]) -> Roles:
    """Some of the roles, in main memory."""
    return {role: {name: tensor.cpu() for name, tensor in roles[role].items()} for role in some}


def noisy(sent: Roles, base: Given, sigma: float, setting: Setting) -> Roles:
    """FedSNN's noise: w + sigma mean|w - w_server| N(0, 1) for every tensor, statistics too (a variance stays >= 0)."""
    found: Roles = {role: {} for role in sent}
    for role, name, tensor in each(sent):
        value, old = told(role, tensor), told(role, base[role][name])
        size = float((value - old).abs().mean())
        drawn = normal(value.numel(), *setting.keys, "noise", role, name).view(value.shape)
        value = value + sigma * size * drawn.to(value.dtype)
        if role == "statistic":
            value[1].clamp_(min=0)
        found[role][name] = sums(role, value)
    return found
