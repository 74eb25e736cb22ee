"""A server: the network, who is asked, what is made of the replies, and how good it is after each round.

It has validation and test and no training example; which training examples there are it is told (in one process they
are in the data set). A round with fewer valid replies than `least` leaves the network as it is and is named so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike import registry
from bitspike.errors import BitspikeError, damaged, refuse
from bitspike.federated import margins, privacy, scaffold
from bitspike.federated import roles as of
from bitspike.federated.aggregators import Aggregator, Reply
from bitspike.federated.client import has_loops, on_wire
from bitspike.federated.codecs import Codec, codec_of
from bitspike.federated.measured import Measured
from bitspike.federated.messages import (
    Message,
    Order,
    Refused,
    agreement,
    bits_of,
    check_message,
    check_reply,
    shown,
    too_long,
)
from bitspike.federated.own import check_roles, kind_of, named
from bitspike.federated.privacy import Private
from bitspike.federated.rows import DONE, TOO_FEW, checked_rows, spread
from bitspike.federated.schedule import Round, round_of, updates_of
from bitspike.kernels.cpu.works import one_thread
from bitspike.learners.exchange import Given, Roles, kept
from bitspike.run import assemble
from bitspike.run.batches import batches_of
from bitspike.run.session import Place


class Server:
    """The core of every engine. sizes: examples of each client; mixes: share of each class in theirs (N, C).

    folder: of the run, where the key of private noise is kept.
    """

    def __init__(
        self,
        recipe: Any,
        dataset: Any,
        sizes: Sequence[int],
        mixes: Tensor | None = None,
        place: Place | None = None,
        folder: Path | None = None,
    ) -> None:
        self.recipe, self.part, self.sizes, self.mixes = recipe, recipe.federation, sizes, mixes
        self.digest = agreement(recipe)
        self.has_loops = has_loops(recipe)
        self._check(dataset.kind)
        self.shared_by: str = self.part.partition.kind
        rounds, every = self.part.rounds, recipe.training.validate_every or 1
        per_batch = assemble.updates_per_batch(recipe, assemble.build_encoder(recipe, assemble.form_of(dataset)))
        usual = batches_of(max(1, sorted(sizes)[len(sizes) // 2]), recipe.training.batch)
        # Learning rates are those of a usual client; schedules are as far as rounds, the server's updates, are.
        total = rounds * updates_of(self.part, usual, per_batch)
        self.session = Measured(recipe, dataset, place=place, span=(rounds, every, total))
        self.session.learner.spans(rounds)
        self.codec: Codec = codec_of(self.part)
        self.aggregator: Aggregator = registry.make(self.part.aggregator)
        self.home = self.part.statistics == "home"
        self.fixed: dict[str, Tensor] = {}
        self.roles = self._sent()
        self.codec.check(self.roles)
        if self.aggregator.controls(self.roles):
            self.aggregator.clients = self.part.clients
            scaffold.check(recipe, self.session.learner, self.codec.plain)
        self.private: Private | None = None
        if self.part.privacy is not None:
            statistics = bool(self.session.learner.exchanged()["statistic"])
            privacy.check(self.part, dataset, recipe.data.mean_image, statistics, type(self.codec).part)
            self.private = Private(self.part.privacy, self.part.clients, self.part.asked, folder)
            self.mixes = None
        self.rows: list[dict[str, Any]] = []
        self.met: set[int] = set()
        self.taken: dict[int, int] = {}
        """Of each client the round of its last reply that was added up, where it corrects its gradients."""
        self.settled: dict[str, Any] = {}

    def _check(self, task: str) -> None:
        """Refuse what does not go together."""
        part, recipe = self.part, self.recipe
        drawn = registry.trait("precision", recipe.weights.precision, "is_drawn", False)
        if registry.trait("codec", part.codec.kind, "drawn", False) and not drawn:
            came = f"'{part.codec.kind}' with weights.precision '{recipe.weights.precision}'"
            refuse("federation.codec.kind", came, "weights.precision 'bayesian'")
        kind = part.aggregator.kind
        adds_up = registry.trait("codec", part.codec.kind, "adds_up", False)
        if adds_up and registry.trait("aggregator", kind, "scaled", False):
            came = f"'{kind}' with federation.codec '{part.codec.kind}'"
            refuse("federation.aggregator.kind", came, "one that does not scale steps: they add up to the posterior")
        if part.label_margin:
            margins.check(recipe, task)
        if recipe.data.class_weights:
            refuse("data.class_weights", "true with [federation]", "false: clients count their own classes alone")

    def _sent(self) -> Roles:
        """The network as it is sent."""
        found = self.session.learner.exchanged()
        return on_wire(found, [role for role in found if not (self.home and role == "statistic")])

    @property
    def number(self) -> int:
        """Rounds done."""
        return self.session.epoch

    @property
    def finished(self) -> bool:
        """True when there is no round left."""
        return self.session.finished

    def round(self) -> Round:
        """The next round."""
        return round_of(self.part, self.recipe.seed, self.number + 1)

    def order(self) -> Order:
        """What every client that is asked gets in the next round."""
        controls = self.aggregator.controls(self.roles)
        asked = self.round().asked if controls else ()
        taken = {k: self.taken[k] for k in asked if k in self.taken}
        return Order(self.number + 1, self.digest, self.roles, self.fixed, controls, taken)

    def calibrated(self, fixed: Mapping[str, Tensor]) -> None:
        """Take over, before the first round, what the first client's first batch says of tensors that nobody learns."""
        own = kept(self.session.model)
        found = {n: t.clone() for n, t in fixed.items() if not torch.equal(t, own[n].cpu())}
        if found and self.private is not None:
            came = f"'{next(iter(found))}', which is measured on a client's examples"
            refuse("federation.privacy", came, "a network without such ranges")
        for name, tensor in found.items():
            own[name].copy_(tensor)
        self.fixed = found

    def close(self, now: Round, messages: Iterable[Any], bits_down: int | None = None) -> dict[str, Any]:
        """Take the replies of a round, whatever their order, and measure: its row."""
        valid, refused, bits = self.read(now, messages)
        session, base = self.session, self.space()
        row: dict[str, Any] = {"round": now.number, "asked": list(now.asked), "dropped": sorted(now.silent)}
        row |= {"late": sorted(now.late), "replies": len(valid), "refused": refused, "bits_up": bits}
        row["bits_down"] = self.bits_down(now) if bits_down is None else bits_down
        if now.number == 1:  # what one client has measured for all
            row["bits_up"] += self.bits_fixed
        row["state"] = DONE if len(valid) >= self.part.least else TOO_FEW
        with one_thread(self.has_loops):
            self._add_up(now, row, valid, base)
        session.learner.updates = now.number
        for _, message in valid if self.private is None else ():
            for name, value in message.metrics.items():
                session.sums[name] = session.sums.get(name, 0.0) + value
        if now.number % session.validate_every == 0 or now.number == session.epochs:
            self.settle_at_home()  # it is measured now
        if (record := session.close_epoch()) is not None:
            row |= record["validation"]
            row["by_client"] = self.spread()
        if self.private is not None:
            changed = sum(earlier["state"] == DONE for earlier in [*self.rows, row])
            row["epsilon"] = self.private.epsilon(changed)
        self.rows.append(row)
        return row

    def _add_up(self, now: Round, row: dict[str, Any], valid: list[tuple[Reply, Message]], base: Given) -> None:
        """Make the new network of valid replies, and note in the row how far they went."""
        own = of.lengths(base)
        if self.private is None:
            row["deviation"] = spread([of.deviation(reply.distances, own) for reply, _ in valid])
            valid_losses = [m.metrics["loss"] / m.metrics["examples"] for _, m in valid
                            if m.metrics.get("examples") and "loss" in m.metrics]  # fmt: skip
            row["client_loss"] = spread(valid_losses)
        if row["state"] == DONE:
            replies = [reply for reply, _ in valid]
            new = self.combined(now, replies, base)
            if self.aggregator.controls(base):
                self.taken |= {reply.client: now.number for reply in replies}
            try:
                self.session.learner.receive(new)
            except BitspikeError as error:
                raise BitspikeError(f"round {now.number}: replies add up to no network: {error}") from None
            self.roles = self._sent()

    def combined(self, now: Round, replies: list[Reply], base: Given) -> Roles:
        """The new network of replies in the codec's space."""
        if self.private is not None:
            replies = [self.private.clipped(reply, base) for reply in replies]
        new = self.aggregator.combine(replies, base)
        check_roles(named("aggregator", self.part.aggregator), "combine", new, base)
        if self.private is not None:
            due = len(set(now.asked) - now.silent - now.late)
            new = self.private.noisy(new, base, len(replies), due, now.number)
        learned = self.codec.learned(new, self.roles, replies)
        check_roles(named("codec", self.part.codec), "learned", learned, self.roles)
        return learned

    def space(self) -> Given:
        """The network as replies are told."""
        space = self.codec.space(self.roles)
        check_roles(named("codec", self.part.codec), "space", space, self.roles)
        return space

    def decoded(self, message: Message, now: Round, base: Given) -> tuple[Roles, Mapping[tuple[str, str], Tensor]]:
        """What a message that is formed as it should be says, and where it says only part of a tensor."""
        found = self.codec.decode(message.parts, self.roles, now.setting(self.recipe.seed, message.client))
        field = named("codec", self.part.codec)
        if not isinstance(found, tuple) or len(found) != 2:
            refuse(field, f"{kind_of(found)} from `decode`", "the tensors, and where they are but part: two of them")
        check_roles(field, "decode", found[0], base)
        return found

    def read(self, now: Round, messages: Iterable[Any]) -> tuple[list[tuple[Reply, Message]], dict[str, str], int]:
        """Valid replies in the order of clients, why others were refused by client, and bits of all that came."""
        asked, base = set(now.asked) - now.silent - now.late, self.space()
        form = self.codec.form(self.roles) | scaffold.form_of(self.aggregator.controls(self.roles))
        read: dict[int, tuple[Reply, Message]] = {}
        refused: dict[str, str] = {}
        bits = 0

        def note(client: object, why: str) -> None:
            said = shown(client)
            refused[said] = f"{refused[said]}; {why}" if said in refused else why

        for came in messages:
            client = getattr(came, "client", None)
            bits += bits_of(came)
            try:
                with one_thread(self.has_loops):
                    message = check_message(came, now.number, asked, read, self.digest, form, not self.codec.plain)
                    decoded, present = self.decoded(message, now, base)
                    examples = min(message.examples, self.sizes[message.client])
                    distances = of.distances(decoded, base)
                    rates = scaffold.rates_of(message.parts)
                    reply = Reply(message.client, examples, decoded, present, distances, rates)
                    check_reply(reply, distances)
                    scaffold.check_reply(reply)
                    read[message.client] = reply, message
            except Refused as error:
                note(client, str(error)[:200])
        ways = ((_gone, ""), (_gone_by_rate, "over its learning rates, ")) if self.private is None else ()
        for lengths, of_what in ways:
            found = too_long({k: lengths(reply) for k, (reply, _) in read.items()}, self.part.norm_bound)
            for client, why in found.items():
                note(client, f"norm: {of_what}{why}")
                del read[client]
        return [read[client] for client in sorted(read)], refused, bits

    @property
    def bits_fixed(self) -> int:
        """Of what one client measures for all."""
        return sum(8 * t.numel() * t.element_size() for t in self.fixed.values())

    def bits_down(self, now: Round) -> int:
        """32 bits for each number that is sent to each client asked, controls too; what is fixed, once. With the first
        round the network goes to the client that measures what is fixed."""
        new = set(now.asked) - self.met
        self.met |= new
        numbers = of.count(self.roles) + of.count(self.aggregator.controls(self.roles))
        measuring = 1 if now.number == 1 and self.fixed else 0
        return 32 * numbers * (len(now.asked) + measuring) + self.bits_fixed * len(new)

    def spread(self) -> dict[str, float] | None:
        """Accuracy that clients would see whose inputs are of the classes of their share: by validation's classes."""
        if self.mixes is None or self.session.right is None:
            return None
        right = torch.tensor(self.session.right, dtype=torch.float64)
        known = torch.where(right.isnan(), 0.0, self.mixes)
        some = known.sum(1) > 0
        each = (known * right.nan_to_num())[some].sum(1) / known[some].sum(1)
        return spread(each.tolist())

    def settle_at_home(self) -> None:
        """Where clients keep their statistics, the server's are those of its validation inputs."""
        if self.home:
            session = self.session
            session.learner.finish(lambda: session.validation.statistics(len(session.validation.split), 0))

    def settle(self, statistics: Mapping[int, tuple[int, Roles]]) -> None:
        """Take over the statistics of the finished network, from (examples, sums) by client, as replies are."""
        base = {"statistic": self.roles.get("statistic", {})}
        if self.home or not statistics or not base["statistic"]:
            return
        replies: dict[int, Reply] = {}
        refused: dict[str, str] = {}
        for k, (examples, roles) in sorted(statistics.items()):
            distances = of.distances(roles, base)
            reply = Reply(k, examples, roles, distances=distances)
            try:
                check_reply(reply, distances)
                replies[k] = reply
            except Refused as error:
                refused[str(k)] = str(error)[:200]
        for k, why in too_long({k: reply.distances for k, reply in replies.items()}, self.part.norm_bound).items():
            refused[str(k)] = f"norm: {why}"
            del replies[k]
        if replies:
            new = self.aggregator.settle(list(replies.values()), base)
            check_roles(named("aggregator", self.part.aggregator), "settle", new, base)
            self.session.learner.receive(new)
        up, down = (32 * of.count(roles) * len(statistics) for roles in (base, self.roles))
        self.settled = {"clients": len(replies), "refused": refused, "bits_up": up, "bits_down": down}
        self.roles = self._sent()

    def state_dict(self) -> dict[str, Any]:
        """What is carried from round to round beside the session's snapshot."""
        return {
            "rows": self.rows, "met": sorted(self.met), "fixed": self.fixed,
            "aggregator": self.aggregator.state_dict(), "settled": self.settled, "taken": self.taken,
        }  # fmt: skip

    def load(self, state: Mapping[str, Any], source: str) -> None:
        """Go on from a checkpoint of this recipe."""
        self.session.restore(state, source)
        own = state.get("federation")
        if not isinstance(own, dict):
            raise BitspikeError(f"{source}: no federation in it")
        with damaged(source):
            self.rows, self.met = checked_rows(own["rows"], self.number), {int(client) for client in own["met"]}
            self.fixed = dict(own["fixed"])
            places = {name: tuple(tensor.shape) for name, tensor in kept(self.session.model).items()}
            if any(places.get(name) != tuple(tensor.shape) for name, tensor in self.fixed.items()):
                raise ValueError("fixed tensors of another network")
            self.aggregator.load_state_dict(own["aggregator"])
            self.aggregator.check_state(self.roles)
            self.taken = {int(client): int(number) for client, number in own.get("taken", {}).items()}
        self.taken_over()

    def taken_over(self) -> None:
        """After the session was put back: what is sent is what it holds."""
        self.roles = self._sent()


def _gone(reply: Reply) -> of.Lengths:
    """How far a client went."""
    return reply.distances


def _gone_by_rate(reply: Reply) -> of.Lengths:
    """How long its mean corrected gradient was, by the rates that it says."""
    return scaffold.per_rate(reply.distances, reply.rates)
