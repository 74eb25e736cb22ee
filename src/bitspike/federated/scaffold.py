"""SCAFFOLD: every client corrects its gradients by how they differ from everybody's.

    client k   w <- w - lr (g - c_k + c)                  each update of a round, from the server's w_s
               s_k = (w_s - w_k) / sum lr - c             c_k <- c_k + s_k, once the server has taken its reply
    server     w <- w_s + rate (mean_k w_k - w_s)
               c <- c + sum_k s_k / N                     over the replies of a round, of N clients

c_k is the mean gradient of client k when it last answered, weighted by the learning rates, whose sum over the updates
of a round is K lr under any schedule (option II of the paper); c is the mean of all c_k. All are 0 at first. The
correction enters the gradients before each step of the optimisers, which no learner notices. It is defined for plain
SGD, where w_s - w_k over the sum of the rates is that mean. Weight decay and clipping are part of g.

A reply is w_k and the sum of rates of each role: the server makes s_k of the numbers that it has, and it is the
client's bit for bit, so that one client is a plain training. Down go w_s, c, and which reply was the last that was
taken from the client, so that c stays the mean of the c_k whatever replies are late, lost or refused. Statistics have
no control. Source: Karimireddy et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.federated.aggregators import Mean, Reply, check_fits
from bitspike.federated.messages import Form, Order, Packet, Refused
from bitspike.federated.roles import LEARNED, Lengths, each, mapped
from bitspike.learners.base import Learner
from bitspike.learners.exchange import Given, Roles

ROLE = "control"
LARGEST = 1e30  # of a control's length
State = dict[str, Any]


def gains(base: Given, now: Given, rates: Mapping[str, float], controls: Given) -> Roles:
    """s_k of each tensor that has a control; 0 where no rate was above 0."""

    def gain(role: str, name: str, control: Tensor) -> Tensor:
        if not rates[role]:
            return torch.zeros_like(control)
        gone = base[role][name].double() - now[role][name].to(base[role][name].dtype).double()
        return gone.div_(rates[role]).sub_(control).to(control.dtype)

    return mapped(controls, gain)


class Scaffold(Mean):
    """rate: of the server's step. Clients count the same, as the paper has it."""

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate
        self.control: Roles = {}

    def controls(self, base: Given) -> Roles:
        """c, by role and name."""
        if not self.control:
            self.control = {role: {n: torch.zeros_like(t) for n, t in base[role].items()} for role in LEARNED
                            if base.get(role)}  # fmt: skip
        return self.control

    def combine(self, replies: Sequence[Reply], base: Given) -> Roles:
        """See the module."""
        new = super().combine(replies, base)
        control = self.controls(base)
        total = mapped(control, lambda role, name, tensor: tensor.double())
        for reply in replies:
            for role, name, gain in each(gains(base, reply.roles, reply.rates, control)):
                total[role][name] += gain.double() / self.clients
        self.control = mapped(total, lambda role, name, tensor: tensor.to(control[role][name].dtype))
        if self.rate != 1:
            for role, name, _ in each(control):
                old, mean = base[role][name].double(), new[role][name]
                new[role][name] = (old + self.rate * (mean.double() - old)).to(mean.dtype)
        return new

    def state_dict(self) -> dict[str, Any]:
        """c."""
        return {"control": {role: dict(some) for role, some in self.control.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state_dict()`."""
        if not isinstance(state.get("control"), dict):
            refuse("aggregator state", state, "controls")
        self.control = {role: dict(some) for role, some in state["control"].items()}

    def check_state(self, base: Given) -> None:
        """See `Aggregator`."""
        check_fits(self.control, base, "controls")


class Controls:
    """What a client makes of controls: it corrects the gradients of `learner` and adds up its learning rates.

    A client's state holds "own" (c_k), and of its last reply "step" (s_k) and "round".
    """

    def __init__(self, learner: Learner) -> None:
        assert learner.optimisation is not None  # `check` has seen to it
        self.places = learner.places
        self.corrections: dict[int, Tensor] = {}
        self.rates: dict[str, float] = {}
        for role, (optimiser, _) in learner.optimisation.optimisers.items():
            optimiser.register_step_pre_hook(partial(self._corrected, role))

    def begin(self, order: Order, client: int, state: State) -> None:
        """Take up the client's control, with the step that the server has taken of it."""
        carried = state.get(ROLE, {})
        own: Roles = carried.get("own", {})
        check_fits(own, order.controls, "a control")
        if carried and order.taken.get(client) == carried["round"]:
            step: Roles = carried["step"]
            check_fits(step, order.controls, "a control's step")
            own = mapped(step, lambda role, name, t: own[role][name] + t if own else t)
        if own or carried:
            state[ROLE] = {"own": own, "step": {}, "round": 0}
        parameters = self.places.parameters()
        self.corrections = {}
        for role, name, control in each(order.controls):
            correction = control - own[role][name] if own else control
            self.corrections[id(parameters[role][name])] = correction.to(parameters[role][name])
        self.rates = dict.fromkeys(order.controls, 0.0)

    @torch.no_grad()
    def _corrected(self, role: str, optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Before a step: g <- g - c_k + c."""
        if not self.corrections:
            return
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                correction = self.corrections[id(parameter)]
                if parameter.grad is not None:
                    parameter.grad.add_(correction)
                elif bool(correction.any()):
                    parameter.grad = correction.clone()  # its gradient is 0
        self.rates[role] += float(optimiser.param_groups[0]["lr"])

    def end(self, order: Order, sent: Given, state: State) -> Packet:
        """Note the step of the client's control; what of it the server has to be told."""
        own = state.get(ROLE, {}).get("own", {})
        step = gains(order.roles, sent, self.rates, order.controls)
        state[ROLE] = {"own": own, "step": step, "round": order.round}
        self.corrections = {}
        sums = {role: {"value": torch.tensor(rate, dtype=torch.float64)} for role, rate in self.rates.items()}
        return {ROLE: sums}


def form_of(controls: Given) -> Form:
    """What `Controls.end` gives."""
    return {ROLE: {role: {"value": ((torch.float64,), ())} for role in controls}} if controls else {}


def rates_of(packet: Packet) -> dict[str, float]:
    """Sums of learning rates by role; `Refused` where they are none."""
    rates = {role: float(parts["value"]) for role, parts in packet.get(ROLE, {}).items()}
    for rate in rates.values():
        if not 0 <= rate < math.inf:
            raise Refused(ROLE, f"a sum of learning rates of {rate}")
    return rates


def check_reply(reply: Reply) -> None:
    """Refuse a sum of rates that is too small for how far the client went."""
    if any(length > LARGEST for length in per_rate(reply.distances, reply.rates).values()):
        raise Refused(ROLE, "a sum of learning rates that is too small")


def per_rate(distances: Lengths, rates: Mapping[str, float]) -> Lengths:
    """Lengths of mean corrected gradients."""
    return {key: length / rates[key[0]] if rates[key[0]] else 0.0
            for key, length in distances.items() if key[0] in rates}  # fmt: skip


def check(recipe: Any, learner: Learner, plain: bool) -> None:
    """Refuse, by name, what controls are not defined for. plain: the codec sends the numbers themselves."""
    part = recipe.federation
    with_it = f"with federation.aggregator '{part.aggregator.kind}'"
    if learner.optimisation is None:
        wanted = "a rule that hands gradients to an optimiser, as 'backprop' and 'online' do"
        refuse("learner.rule", f"'{recipe.learner.rule}' {with_it}", wanted)
    for role, (optimiser, _) in learner.optimisation.optimisers.items():
        latent = role == "latent" and recipe.latent_optimizer is not None
        field, name = "latent_optimizer" if latent else "optimizer", type(optimiser).__name__
        if name != "SGD":
            refuse(f"{field}.name", f"'{name}' {with_it}", "'SGD': how far other steps go is no mean gradient")
        for option in ("momentum", "maximize"):
            if any(group[option] for group in optimiser.param_groups):
                refuse(f"{field}.options.{option}", f"it {with_it}", "plain SGD, whose steps are its gradients")
    if not plain:
        wanted = "'full': server and client make the client's control of the same numbers"
        refuse("federation.codec.kind", f"'{part.codec.kind}' {with_it}", wanted)
    if part.stacked > 1:
        wanted = "1: each client corrects gradients of its own before each step"
        refuse("federation.stacked", f"{part.stacked} {with_it}", wanted)
