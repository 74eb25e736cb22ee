"""Updates of torch's SGD, Adam and AdamW on a stack of parameters (R, *shape), each row with a rate and age of its own.

    SGD            m <- g at the first update, then  momentum m + (1 - dampening) g;   w <- w - rate m
    Adam, AdamW    m <- lerp(m, g, 1 - b1),  v <- b2 v + (1 - b2) g^2,  n <- n + 1
                   w <- w - rate / (1 - b1^n) m / (sqrt(v) / sqrt(1 - b2^n) + eps)

g has the decay in it (SGD, Adam), or w is shrunk by 1 - rate decay before (AdamW). Moments are read from a torch
optimiser and given back to it, so that what a row carries on is what the optimiser alone would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.learners.stacked.rows import Rows, each, part, put_back

SECOND = "max_exp_avg_sq"


def sgd(
    weight: Tensor, grad: Tensor, moments: Mapping[str, Tensor], ages: Sequence[int], rates: Sequence[float], group: Any
) -> None:
    """See the module; ages: updates made, this one included; group: the optimiser's options."""
    grad = -grad if group["maximize"] else grad
    if group["weight_decay"]:
        grad = grad.add(weight, alpha=group["weight_decay"])
    if momentum := group["momentum"]:
        kept = moments["momentum_buffer"]
        new = kept.mul(momentum).add_(grad, alpha=1 - group["dampening"])
        if min(ages) == 1:
            first = torch.tensor([age == 1 for age in ages], device=grad.device)
            new = torch.where(first.view(-1, *(1,) * (grad.ndim - 1)), grad, new)
        kept.copy_(new)
        grad = grad.add(kept, alpha=momentum) if group["nesterov"] else kept
    rate = each(rates, weight)
    if isinstance(rate, Tensor):
        weight.addcmul_(grad, rate, value=-1)
    else:
        weight.add_(grad, alpha=-rate)


def adam(
    weight: Tensor, grad: Tensor, moments: Mapping[str, Tensor], ages: Sequence[int], rates: Sequence[float], group: Any
) -> None:
    """See the module; ages: updates made, this one included; group: the optimiser's options."""
    grad = -grad if group["maximize"] else grad
    if decay := group["weight_decay"]:
        if group["decoupled_weight_decay"]:
            weight.mul_(each([1 - rate * decay for rate in rates], weight))
        else:
            grad = grad.add(weight, alpha=decay)
    (b1, b2), first, second = group["betas"], moments["exp_avg"], moments["exp_avg_sq"]
    first.lerp_(grad, 1 - b1)
    second.mul_(b2).addcmul_(grad, grad, value=1 - b2)
    if group["amsgrad"]:
        second = torch.maximum(moments[SECOND], second, out=moments[SECOND])
    sizes = each([rate / (1 - b1**age) for rate, age in zip(rates, ages, strict=True)], weight)
    spread = second.sqrt().div_(each([math.sqrt(1 - b2**age) for age in ages], weight)).add_(group["eps"])
    if isinstance(sizes, Tensor):
        weight.addcdiv_(first * sizes, spread, value=-1)
    else:
        weight.addcdiv_(first, spread, value=-sizes)


class Rule(NamedTuple):
    """update: see `sgd`; moments: their names under an optimiser's options; aged: whether torch keeps the age."""

    update: Callable[..., None]
    moments: Callable[[Any], tuple[str, ...]]
    aged: bool


ADAM = Rule(adam, lambda group: ("exp_avg", "exp_avg_sq", *([SECOND] if group["amsgrad"] else [])), True)
RULES: dict[type[torch.optim.Optimizer], Rule] = {
    torch.optim.SGD: Rule(sgd, lambda group: ("momentum_buffer",) if group["momentum"] else (), False),
    torch.optim.Adam: ADAM,
    torch.optim.AdamW: ADAM,
}


class Moments:
    """What one torch optimiser keeps, of every row. names: of its parameters by id. Other kinds are refused."""

    def __init__(
        self, optimiser: torch.optim.Optimizer, lr: float, names: Mapping[int, str], size: int, asked: str = "stack"
    ) -> None:
        kind = type(optimiser)
        if kind not in RULES:
            refuse(asked, f"{size} with optimizer.name '{kind.__name__}'", "1, or 'SGD', 'Adam' or 'AdamW'")
        self.optimiser, self.lr, self.rule = optimiser, lr, RULES[kind]
        self.parts: list[tuple[torch.nn.Parameter, str, Any, dict[str, Tensor], list[int]]] = []
        for group in optimiser.param_groups:
            for own in ("fused", "capturable", "differentiable"):
                if group.get(own):
                    refuse(asked, f"{size} with optimizer.options.{own}", "1, or it left out")
            for p in group["params"]:
                kept = {name: p.new_zeros(size, *p.shape).detach() for name in self.rule.moments(group)}
                self.parts.append((p, names[id(p)], group, kept, [0] * size))

    def take(self, row: int) -> None:
        """Row `row` keeps what the optimiser keeps now."""
        for p, _, _, kept, ages in self.parts:
            state = self.optimiser.state.get(p, {})
            there = bool(state)
            ages[row] = int(state["step"]) if there and self.rule.aged else int(there)
            for name, stack in kept.items():
                if there:
                    stack[row].copy_(state[name])
                else:
                    stack[row].zero_()

    def give(self, row: int, factor: float) -> None:
        """The optimiser keeps what row `row` keeps; factor: the schedule's at the row's last update."""
        for p, _, _, kept, ages in self.parts:
            self.optimiser.state.pop(p, None)
            if ages[row] and kept:
                age = {"step": torch.tensor(float(ages[row]))} if self.rule.aged else {}
                self.optimiser.state[p] = age | {name: stack[row].clone() for name, stack in kept.items()}
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * factor

    def step(
        self, rows: Rows, numbers: Sequence[int], weights: Mapping[str, Tensor],
        grads: Mapping[str, Tensor | None], factors: Sequence[float],
    ) -> None:  # fmt: skip
        """One update of these rows, in place. weights: `part` of each; numbers: of the rows; factors: on the rate."""
        for _, name, group, kept, ages in self.parts:
            if (grad := grads[name]) is None:
                continue
            for row in numbers:
                ages[row] += 1
            own = {moment: part(stack, rows) for moment, stack in kept.items()}
            rates = [self.lr * factor for factor in factors]
            self.rule.update(weights[name], grad, own, [ages[row] for row in numbers], rates, group)
            for moment, stack in kept.items():
                put_back(stack, rows, own[moment])
