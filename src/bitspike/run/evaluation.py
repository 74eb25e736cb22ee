"""Measure a trained network: probabilities over time, calibration, bits and energy, into one dictionary."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike import metrics
from bitspike.data import rescale, restore
from bitspike.learners import Learner
from bitspike.neurons import TemporalQuantiser
from bitspike.run.batches import Batches
from bitspike.run.energy import energy_of
from bitspike.run.levels import level_bits, watched
from bitspike.run.recipe import Recipe


def predictions(learner: Learner, batches: Batches, samples: int) -> tuple[Tensor, Tensor]:
    """Outputs (T, N, C) and targets of all examples, on the CPU in float64; regression in the data's own units."""
    parts, targets = [], []
    for events, y in batches.evaluation():
        parts.append(learner.predict(events, samples).cpu().double())
        targets.append(y.cpu())
    outputs, wanted = torch.cat(parts, 1), torch.cat(targets)
    if learner.task == "regression":
        return in_data_units(outputs, batches.target), restore(wanted, batches.target).double()
    return outputs, wanted


def in_data_units(outputs: Tensor, target: dict[str, Any] | None) -> Tensor:
    """Undo the targets' normalisation on value and spread, stacked in the last dimension."""
    value, spread = outputs.double().chunk(2, -1)
    return torch.cat([restore(value, target), rescale(spread, target)], -1).double()


def with_noise(outputs: Tensor, noise: float) -> Tensor:
    """Value and spread (..., 2D) with the fitted noise added to the ensemble's spread."""
    value, spread = outputs.chunk(2, -1)
    return torch.cat([value, (spread.square() + noise**2).sqrt()], -1)


def fit_noise(outputs: Tensor, targets: Tensor) -> float:
    """Standard deviation of the residuals beyond the ensemble's own spread."""
    value, spread = outputs.chunk(2, -1)
    residual = (value - targets.double()).square() - spread.square()
    smallest = 1e-4 * float(targets.double().std(correction=0))
    return max(float(residual.mean().clamp_min(0).sqrt()), smallest)


def summary(task: str, outputs: Tensor, targets: Tensor, bins: int) -> dict[str, float]:
    """Metrics of outputs (N, C) at one moment."""
    if task == "classification":
        return metrics.classification(outputs, targets, bins=bins)
    value, spread = outputs.chunk(2, -1)
    floor = 1e-4 * float(targets.double().std(correction=0))
    return metrics.regression(value, spread, targets.double(), floor=max(floor, 1e-12))


def validate(recipe: Recipe, learner: Learner, batches: Batches) -> dict[str, float]:
    """Metrics on the validation split at the last step (regression: with the noise fitted on it)."""
    outputs, targets = predictions(learner, batches, recipe.evaluation.validation_draws)
    last = outputs[-1]
    if learner.task == "regression":
        last = with_noise(last, fit_noise(last, targets))
    result = summary(learner.task, last, targets, recipe.evaluation.bins)
    keys = ("accuracy", "nll", "brier", "ece", "rmse")
    return {key: result[key] for key in keys if key in result}


def _see(seen: list[Tensor], quantiser: TemporalQuantiser, y: Tensor, new: int) -> None:
    seen.append(y)


class Evaluation:
    """The network as shipped, on validation (where temperature and noise are fitted) and test (once)."""

    def __init__(self, recipe: Recipe, learner: Learner, validation: Batches, test: Batches) -> None:
        self.recipe, self.learner, self.task = recipe, learner, learner.task
        self.validation, self.test = validation, test
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.temperature, self.noise = 1.0, 0.0

    def result(self) -> dict[str, Any]:
        """The measured part of result.json; `arrays` then holds what predictions.npz stores."""
        draws, bins = self.recipe.evaluation.draws, self.recipe.evaluation.bins
        held, held_targets = predictions(self.learner, self.validation, draws)
        with watched(self.learner) as collector:
            outputs, targets = predictions(self.learner, self.test, draws)
        levels = None if collector is None else collector.levels()
        self._fit(held[-1], held_targets)
        result: dict[str, Any] = {"test": self._reading(outputs, targets)}
        if self.learner.bayesian:
            result["divergence"] = self.learner.divergence()
            for name, samples in (("test_map", 0), ("test_single_draw", 1)):
                other, _ = predictions(self.learner, self.test, samples)
                result[name] = summary(self.task, self._noisy(other)[-1], targets, bins)
        over_time = [summary(self.task, now, targets, bins) for now in self._noisy(outputs)]
        result["over_time"] = [{"step": step, **values} for step, values in enumerate(over_time, 1)]
        if self.task == "classification":
            result["confusion"] = metrics.confusion(outputs[-1], targets).tolist()
            result["reliability"] = metrics.confidence_histogram(outputs[-1], targets, bins=bins)
            scaled = metrics.apply_temperature(outputs[-1], self.temperature)
            result["reliability_scaled"] = metrics.confidence_histogram(scaled, targets, bins=bins)
        result.update(self._cost())
        if levels is not None:
            result["bits"] |= level_bits(self.learner.model, levels)
        self._keep(outputs, targets)
        return result

    def _fit(self, held: Tensor, targets: Tensor) -> None:
        """Fit temperature (classes) or noise variance (values) on the validation split."""
        if self.task == "classification":
            self.temperature = metrics.fit_temperature(held, targets)
        else:
            self.noise = fit_noise(held, targets)

    def _noisy(self, outputs: Tensor) -> Tensor:
        """Regression: add the fitted noise to the ensemble's spread."""
        if self.task == "classification":
            return outputs
        return with_noise(outputs, self.noise)

    def _reading(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        bins = self.recipe.evaluation.bins
        reading: dict[str, Any] = dict(summary(self.task, self._noisy(outputs)[-1], targets, bins))
        if self.task == "classification":
            scaled = metrics.apply_temperature(outputs[-1], self.temperature)
            reading["scaled"] = {"temperature": self.temperature, **metrics.classification(scaled, targets, bins=bins)}
            del reading["scaled"]["accuracy"]
        else:
            reading["noise"] = self.noise
        return reading

    def _cost(self) -> dict[str, Any]:
        """Bits and energy."""
        found = energy_of(self.recipe, self.learner, self.test)
        return {
            "bits": metrics.bits(self.learner.model, found.counts, draws=found.draws),
            "energy": found.to_dict(),
        }

    def _keep(self, outputs: Tensor, targets: Tensor) -> None:
        name = "probabilities" if self.task == "classification" else "prediction"
        kept = self._noisy(outputs)
        self.arrays = {name: kept.float().numpy(), "targets": targets.numpy(), "index": self.test.split.index.numpy()}
        self.arrays["temperature"] = np.asarray(self.temperature)
        x = self.test.split.x
        if self.task == "regression" and isinstance(x, Tensor):
            self.arrays["inputs"] = x.flatten(1).float().numpy()
        self._keep_raster(samples=4)
        if self.task == "classification" and isinstance(x, Tensor) and tuple(x.shape[1:]) == (2,):
            self._keep_map()

    def _keep_raster(self, samples: int) -> None:
        """Spikes of a few real test examples: the input and up to 200 units of each layer."""
        chosen = torch.linspace(0, len(self.test.split) - 1, samples).long()
        events, targets = self.test.events(chosen, 0)
        layers = [m for m in self.learner.model.modules() if getattr(m, "is_spiking", False)]
        spikes: list[list[Tensor]] = [[] for _ in layers]
        hooks, watched_by = [], []
        for seen, layer in zip(spikes, layers, strict=True):
            if isinstance(layer, TemporalQuantiser):
                # It may be stepped by a recurrent cell, which calls no hooks.
                watcher = partial(_see, seen)
                layer.observers.append(watcher)
                watched_by.append((layer, watcher))
                continue

            def keep(module: Any, arguments: Any, output: Any, seen: list[Tensor] = seen) -> None:
                seen.append(output[1].unsqueeze(0) if isinstance(output, tuple) else output)

            hooks.append(layer.register_forward_hook(keep))
        self.learner.predict(events, 1)
        for hook in hooks:
            hook.remove()
        for quantiser, watcher in watched_by:
            quantiser.observers.remove(watcher)

        def thin(x: Tensor) -> np.ndarray[Any, Any]:
            """(T, S, *units) to (T, at most 200 evenly chosen units, S)."""
            flat = x.flatten(2).cpu()
            keep = torch.linspace(0, flat.shape[2] - 1, min(200, flat.shape[2])).long()
            return (flat[:, :, keep] != 0).to(torch.uint8).transpose(1, 2).numpy()

        self.arrays["raster_events"] = thin(events)
        for number, seen in enumerate((s for s in spikes if s), 1):
            self.arrays[f"raster_{number}"] = thin(torch.cat(seen))
        self.arrays["raster_targets"] = targets.cpu().numpy()
        self.arrays["raster_index"] = self.test.split.index[chosen].numpy()
        x = self.test.split.x
        if isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] in (1, 3) and not self.learner_sees_time():
            self.arrays["raster_images"] = x[chosen].mean(1).float().numpy()

    def learner_sees_time(self) -> bool:
        """True when the examples have a time axis of their own."""
        return self.test.encoder.takes != "values"

    def _keep_map(self) -> None:
        """The predictive map of a two-dimensional problem over the unit square (50 x 50)."""
        side = torch.arange(50) / 50
        grid = torch.cartesian_prod(side, side)
        index = torch.arange(len(grid)) + 10_000_000
        outputs = []
        for rows in torch.arange(len(grid)).split(self.recipe.evaluation.batch * 2):
            events = self.test.encoder(grid[rows], index[rows], self.recipe.seed, "encode", 0)
            placed = events.to(self.test.device, self.test.dtype)
            outputs.append(self.learner.predict(placed, self.recipe.evaluation.draws)[-1].cpu())
        self.arrays["grid_x"] = grid.numpy()
        self.arrays["grid_probability"] = torch.cat(outputs).float().numpy()
