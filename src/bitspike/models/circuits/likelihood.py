"""The likelihood of every class from one presentation.

Where outputs reach no hidden circuit, what hidden circuits do is the same for all classes. Outputs clamped to a class c
for n steps have emitted its first symbol n times and nothing else: what they add to the potentials of outputs depends
on c and n alone.

    u_{o,s}(t | c) = u_{o,s}(t | silence) + sum_k W_{c,k,o,s} sum_{d < n} a_k(d) + [o = c, s = 1] v_c sum_{d < n} b(d)
    log p_t(c) = u_{c,1} - sum_o log(1 + sum_s exp u_{o,s}),      n = min(t, taps)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.draws import Key
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.models.circuits.network import Circuits


def in_one_presentation(model: Circuits) -> bool:
    """Whether outputs reach no hidden circuit."""
    return not bool(model.mask[model.inputs + model.hidden * model.symbols :, : model.hidden].any())


@torch.no_grad()
def class_log_p(model: Circuits, events: Tensor, keys: Sequence[Key]) -> Tensor:
    """log p (T, B, O) in each step, of outputs clamped to each class in turn, for events (T, B, *features)."""
    silent = torch.full((*events.shape[:2], model.outputs), codes.SILENT, dtype=torch.int8)
    potentials = model(events, silent, keys).potentials
    told = _told(model)
    found = torch.empty(potentials.shape[:3], dtype=potentials.dtype)
    for t, u in enumerate(potentials):
        each = u[:, None] + told[min(t, model.taps)]  # (B, class, O, C)
        chosen = each[..., 0].diagonal(dim1=1, dim2=2)
        found[t] = chosen - F.pad(each, (0, 1)).logsumexp(-1).sum(-1)
    return found


def _told(model: Circuits) -> Tensor:
    """What the outputs add when they were clamped to a class for n steps: (taps + 1, class, O, C)."""
    weight, own = model.weight.detach(), model.own.detach()
    first = weight[model.inputs + model.hidden * model.symbols :: model.symbols][:, :, model.hidden :]
    sums = F.pad(model.basis.to(weight.dtype).cumsum(1), (1, 0))
    told = torch.einsum("kn,ckos->ncos", sums, first)
    if model.output_memory:
        echo = F.pad(model.feedback[0].to(weight.dtype).cumsum(0), (1, 0))
        told[..., 0].diagonal(dim1=1, dim2=2).add_(echo[:, None] * own[1, model.hidden :, 0])
    return told
