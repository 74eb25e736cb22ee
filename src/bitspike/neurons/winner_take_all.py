"""Probabilistic circuits: each emits one of C symbols in a step, or none.

    p(symbol c) = exp(u_c) / (1 + sum_c' exp(u_c'))        p(silent) = 1 / (1 + sum_c' exp(u_c'))

With C = 1 it is the Bernoulli neuron of a generalised linear model, p(spike) = sigmoid(u). The gradient of log p by u_c
is s_c - p(symbol c). Symbols are numbers 0..C-1, or -1 for silence.
Source: Jang, Skatchkovsky and Simeone 2020 (VOWEL); Jang et al. 2019 for C = 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SILENT = -1


def log_probabilities(u: Tensor) -> Tensor:
    """log p (..., C + 1) of potentials u (..., C), silence last."""
    return F.log_softmax(F.pad(u, (0, 1)), -1)


def log_probability(u: Tensor, symbol: Tensor) -> Tensor:
    """log p (...) of symbols int64 (...), given u (..., C)."""
    place = torch.where(symbol < 0, u.shape[-1], symbol)
    return log_probabilities(u).gather(-1, place[..., None])[..., 0]


def symbols_of(u: Tensor, uniform: Tensor) -> Tensor:
    """Symbols int64 (...) drawn by numbers uniform (...) in [0, 1): the first whose summed probability exceeds it."""
    below = log_probabilities(u)[..., :-1].exp().cumsum(-1)
    over = uniform[..., None] < below
    return torch.where(over.any(-1), over.long().argmax(-1), SILENT)


def one_hot(symbol: Tensor, symbols: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Vectors (..., C) of symbols (...): at most one 1 in each."""
    return (symbol[..., None] == torch.arange(symbols, device=symbol.device)).to(dtype)


def divergence_term(u: Tensor, symbol: Tensor, spiking: float) -> Tensor:
    """log q(s) - log prior(s) (...), whose mean over s is KL(q || prior).

    The prior of any symbol is spiking / C, that of silence 1 - spiking.
    """
    prior = torch.full((u.shape[-1] + 1,), spiking / u.shape[-1], dtype=u.dtype)
    prior[-1] = 1 - spiking
    place = torch.where(symbol < 0, u.shape[-1], symbol)
    return log_probability(u, symbol) - prior.log()[place]
