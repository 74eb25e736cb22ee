"""Losses of clients whose labels are skewed: margins by how often a client has seen each class (FedLC).

    loss = -log softmax_y(z_c - tau n_c^(-1/4))        n_c: the client's own examples (or steps) of class c

A class that is rare at a client has to win by more there, so that the few examples of it count for more; the weights
that answer are those of z itself. A class that the client has not seen has an infinite margin: it leaves the sum, and
nothing pushes its logit down where nobody could pull it up again. Two classes with one read-out r are the logits 0
and r. Source: Zhang et al. 2022 (FedLC). FedLEC (arXiv 2412.17305), for spiking networks, has -log(n_c / n) in its
authors' code in place of tau n_c^(-1/4), and adds a penalty and a distillation, which are not here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitspike import registry
from bitspike.errors import refuse

UNSEEN = 1e4
"""In place of an infinite margin: exp(-UNSEEN) is 0 in every dtype, and so is its gradient."""


def margins(targets: Tensor, classes: int, tau: float) -> Tensor:
    """Margins (C,) float64 of a client with these targets: class numbers, -1 where there is none."""
    counts = torch.bincount(targets[targets >= 0], minlength=classes).double()
    return torch.where(counts > 0, tau * counts.clamp_min(1) ** -0.25, UNSEEN)


def check(recipe: Any, task: str) -> None:
    """Refuse margins where no loss is a cross-entropy of the softmax of logits."""
    came = f"{recipe.federation.label_margin:g} with"
    rule = recipe.learner.rule
    if not registry.trait("learner", rule, "has_logits", False):
        refuse("federation.label_margin", f"{came} learner.rule '{rule}'", "0, or 'backprop' or 'online'")
    if task != "classification":
        refuse("federation.label_margin", f"{came} {task}", "0, or classification")
    if getattr(recipe.learner, "loss", None) == "smooth-l1":
        refuse("federation.label_margin", f"{came} learner.loss 'smooth-l1'", "0, or a cross-entropy")
