"""How good, and how sure, class probabilities are.

With p (N, C) the probabilities, y the targets, c = max_k p_k the confidence and a = 1[argmax p = y]:

    accuracy       mean a
    nll            mean -ln p_y                        p clamped at the smallest normal float32
    brier          mean sum_k (p_k - 1[y = k])^2
    ece            sum_b n_b/N |mean a - mean c|       equal-width bins of c (Guo et al. 2017)
    adaptive_ece   the same over equal-mass bins of c (Nguyen & O'Connor 2015)
    classwise_ece  mean over k of the same for p_k against 1[y = k], equal-width (Kull et al. 2019)

All in float64, all fractions but `nll` (nats).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.metrics.calibration import BinSums, bin_sums, equal_mass_edges, equal_width_edges, gap
from bitspike.targets import class_targets

TINY = torch.finfo(torch.float32).tiny


def checked(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The two as float64 (N, C) and int64 (N,) on the CPU; refused if they are anything else."""
    check_real(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[0] == 0 or probabilities.shape[1] < 2:
        refuse("probabilities", f"shape {tuple(probabilities.shape)}", "(N, C) with N >= 1 and C >= 2")
    y = class_targets("targets", targets, *probabilities.shape).cpu()
    check_shares(probabilities)
    # A mean of float32 softmaxes can exceed 1 by a rounding.
    return probabilities.detach().cpu().double().clamp(0, 1), y


def check_real(probabilities: Tensor) -> None:
    """Refuse what holds no real numbers."""
    if not isinstance(probabilities, Tensor) or probabilities.is_complex() or probabilities.device.type == "meta":
        came = f"{type(probabilities).__name__} without real values"
        refuse("probabilities", came, "a tensor (N, C) of numbers from 0 to 1")


def check_shares(probabilities: Tensor) -> None:
    """Refuse values (..., C) that are no numbers from 0 to 1 with a sum of 1, such as scores before a softmax."""
    p = probabilities.detach().double()
    if not torch.isfinite(p).all():
        refuse("probabilities", "a value that is not finite", "numbers from 0 to 1")
    off = max(-p.min().item(), p.max().item() - 1, (p.sum(-1) - 1).abs().max().item()) if p.numel() else 0.0
    # Half precision keeps two or three decimal digits.
    kept = torch.finfo(probabilities.dtype).eps if probabilities.is_floating_point() else 0.0
    if off > max(1e-3, kept):
        refuse("probabilities", f"rows that are off by {off:.3g}", "numbers from 0 to 1 that sum to 1")


def mean_nll(p: Tensor, y: Tensor) -> float:
    """Mean of -ln p_y for float64 p (N, C), in nats."""
    return max(0.0, -p.gather(1, y[:, None]).clamp_min(TINY).log().mean().item())


def classification(probabilities: Tensor, targets: Tensor, *, bins: int = 15) -> dict[str, float]:
    """accuracy, nll, brier, ece, adaptive_ece, classwise_ece of p (N, C) and targets (N,)."""
    p, y = checked(probabilities, targets)
    confidence, predicted = p.max(1)
    correct = (predicted == y).double()
    truth = torch.nn.functional.one_hot(y, p.shape[1]).double()
    edges = equal_width_edges(bins)
    return {
        "accuracy": correct.mean().item(),
        "nll": mean_nll(p, y),
        "brier": (p - truth).square().sum(1).mean().item(),
        "ece": gap(bin_sums(confidence, correct, edges)),
        "adaptive_ece": gap(bin_sums(confidence, correct, equal_mass_edges(confidence, bins))),
        "classwise_ece": math.fsum(
            gap(bin_sums(p[:, k], truth[:, k], edges)) for k in range(p.shape[1])
        ) / p.shape[1],
    }  # fmt: skip


def confidence_histogram(probabilities: Tensor, targets: Tensor, *, bins: int = 15) -> dict[str, list[float]]:
    """What a reliability diagram needs, over equal-width bins [edge_b, edge_b+1) of the confidence.

    edges (bins + 1); count, accuracy and confidence (mean) per bin; the last two are 0 in an empty bin.
    """
    p, y = checked(probabilities, targets)
    confidence, predicted = p.max(1)
    edges = equal_width_edges(bins)
    sums: BinSums = bin_sums(confidence, (predicted == y).double(), edges)
    n = sums.number.clamp_min(1)
    return {
        "edges": edges.tolist(),
        "count": sums.number.tolist(),
        "accuracy": (sums.outcome / n).tolist(),
        "confidence": (sums.forecast / n).tolist(),
    }


def over_time(probabilities: Tensor, targets: Tensor, *, bins: int = 15) -> list[dict[str, float]]:
    """`classification` after each step of probabilities (T, N, C)."""
    if not isinstance(probabilities, Tensor) or probabilities.ndim != 3:
        came = (
            f"shape {tuple(probabilities.shape)}" if isinstance(probabilities, Tensor) else type(probabilities).__name__
        )
        refuse("probabilities over time", came, "(T, N, C)")
    return [classification(p, targets, bins=bins) for p in probabilities]


def confusion(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Counts (C, C), int64: row = target, column = prediction."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    p, y = checked(probabilities, targets)
    counts: Tensor = multiclass_confusion_matrix(p, y, p.shape[1])
    return counts
