"""Measure a trained network: probabilities over time, calibration, bits and energy, into one dictionary."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike import metrics
from bitspike.data import DataSet, restore
from bitspike.energy import Energy, Levels, bits, estimate_energy
from bitspike.errors import BitspikeError
from bitspike.learners import Learner
from bitspike.models.own import uncounted
from bitspike.neurons.recordings import Monitor, spiking
from bitspike.run.baselines import baselines
from bitspike.run.batches import Batches
from bitspike.run.levels import level_bits, watched
from bitspike.run.outputs import fit_noise, in_data_units, summary, with_noise
from bitspike.run.recipe import Recipe
from bitspike.run.shipping import Shipped, candidates, choose_answer
from bitspike.weights import drawn_each_step


def predictions(learner: Learner, batches: Batches, samples: int, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Outputs (T, N, C) and targets of all examples, or the first `most`, on the CPU in float64.

    Of a regression in the data's own units.

    Of classes for each step, every step that has one is an example with one answer: outputs (1, M, C), targets (M,).
    """
    parts, targets = [], []
    for events, y in batches.evaluation(most):
        parts.append(_in_double(learner.predict(events, samples).cpu(), learner.task))
        targets.append(y.cpu())
    outputs, wanted = torch.cat(parts, 1), torch.cat(targets)
    if learner.task == "regression":
        return in_data_units(outputs, batches.target), restore(wanted, batches.target).double()
    if wanted.ndim == 2:
        some = wanted >= 0
        return outputs.transpose(0, 1)[some].unsqueeze(0), wanted[some]
    return outputs, wanted


def _in_double(outputs: Tensor, task: str) -> Tensor:
    """Outputs in float64; of probabilities that their own precision rounded to 0, its smallest normal number.

    Double precision would take such a 0 for what it calls one itself: `metrics.apply_temperature` of what is stored
    and `Run.predict` would not give what was measured, and no temperature would mend e^-104 taken for e^-708.
    """
    if task == "classification":
        outputs = outputs.clamp_min(torch.finfo(outputs.dtype).tiny)
    return outputs.double()


def validate(recipe: Recipe, learner: Learner, batches: Batches) -> dict[str, float]:
    """Metrics on the validation split at the last step (regression: with the noise fitted on it)."""
    outputs, targets = predictions(learner, batches, recipe.evaluation.validation_draws)
    last = outputs[-1]
    if learner.task == "regression":
        last = with_noise(last, fit_noise(last, targets))
    result = summary(learner.task, last, targets, recipe.evaluation.bins)
    keys = ("accuracy", "nll", "brier", "ece", "rmse")
    return {key: result[key] for key in keys if key in result}


def energy_of(recipe: Recipe, learner: Learner, test: Batches, samples: int) -> Energy:
    """Counted on what one member of an ensemble of `samples` (0: MAP) does with the first test examples, times them."""
    members, one = max(1, samples), min(1, samples)
    batches = test.evaluation(recipe.evaluation.energy_examples)
    return estimate_energy(
        learner.model, batches, run=lambda x: learner.predict(x, one), time_first=True, draws=members
    )


class Evaluation:
    """A trained network on validation (where what is shipped is chosen) and on test (once).

    result.json: `test` is the network as it is shipped, `shipped` says what that is and why; Bayesian weights are also
    measured as an ensemble, with their most probable values and in a single draw.
    """

    def __init__(self, recipe: Recipe, learner: Learner, validation: Batches, test: Batches) -> None:
        self.recipe, self.learner, self.task = recipe, learner, learner.task
        self.validation, self.test = validation, test
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.shipped = Shipped("single", 1)

    def result(self, dataset: DataSet) -> dict[str, Any]:
        """The measured part of result.json; `arrays` then holds what predictions.npz stores."""
        part, bins = self.recipe.evaluation, self.recipe.evaluation.bins
        samples = candidates(part.ship, self.learner.bayesian, part.draws)
        held = {name: predictions(self.learner, self.validation, count) for name, count in samples.items()}
        held_targets = next(iter(held.values()))[1]
        last = {name: outputs[-1] for name, (outputs, _) in held.items()}
        each_step = drawn_each_step(self.learner.model)
        self.shipped = choose_answer(self.task, last, held_targets, samples, bins, each_step)
        outputs, targets, levels = self._tested()
        result: dict[str, Any] = {"test": self._reading(outputs, targets), "shipped": self.shipped.to_dict()}
        if self.learner.bayesian:
            result["divergence"] = self.learner.divergence()
            result |= self._other_answers(outputs, targets)
        over_time = [summary(self.task, now, targets, bins) for now in self._noisy(outputs)]
        result["over_time"] = [{"step": step, **values} for step, values in enumerate(over_time, 1)]
        if self.task == "classification":
            result["confusion"] = metrics.confusion(outputs[-1], targets).tolist()
            result["reliability"] = metrics.confidence_histogram(outputs[-1], targets, bins=bins)
            scaled = metrics.apply_temperature(outputs[-1], self.shipped.temperature)
            result["reliability_scaled"] = metrics.confidence_histogram(scaled, targets, bins=bins)
        result["baselines"], result["warnings"] = baselines(dataset, outputs[-1])
        result["warnings"] += uncounted(self.learner.model)
        cost = energy_of(self.recipe, self.learner, self.test, self.shipped.samples)
        steps = len(outputs) if self.shipped.answer == "ensemble" else 1
        result["bits"] = bits(self.learner.model, cost.counts, draws=cost.draws, steps=steps)
        result["energy"] = cost.to_dict()
        if levels is not None:
            result["bits"] |= level_bits(self.learner.model, levels)
        name = "probabilities" if self.task == "classification" else "prediction"
        self._keep(name, outputs, targets)
        self.arrays[f"validation_{name}"] = self._kept(last[self.shipped.answer])
        self.arrays["validation_targets"] = held_targets.numpy()
        return result

    def _tested(self) -> tuple[Tensor, Tensor, Levels | None]:
        """Outputs on test, their targets and the levels of quantisers on the way, if there are any."""
        # Watched, such a cell runs all steps, not those alone that are read: `predict` would draw other carries.
        apart = any(getattr(module, "begins_where_read", False) for module in self.learner.model.modules())
        with nullcontext() if apart else watched(self.learner) as collector:
            outputs, targets = predictions(self.learner, self.test, self.shipped.samples)
        if apart:
            with watched(self.learner) as collector:
                predictions(self.learner, self.test, self.shipped.samples)
        return outputs, targets, None if collector is None else collector.levels()

    def _other_answers(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Readings of an ensemble, of MAP weights and of one draw; one of the first two is shipped."""
        found = {}
        for name, samples in (("ensemble", self.recipe.evaluation.draws), ("map", 0), ("single_draw", 1)):
            again = samples != self.shipped.samples
            now = (predictions(self.learner, self.test, samples)[0] if again else outputs)[-1]
            found[f"test_{name}"] = summary(self.task, self._noisy(now), targets, self.recipe.evaluation.bins)
        return found

    def _noisy(self, outputs: Tensor) -> Tensor:
        """Regression: add the fitted noise to the ensemble's spread."""
        return outputs if self.task == "classification" else with_noise(outputs, self.shipped.noise)

    def _reading(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        bins = self.recipe.evaluation.bins
        reading: dict[str, Any] = dict(summary(self.task, self._noisy(outputs)[-1], targets, bins))
        if self.task == "classification":
            temperature = self.shipped.temperature
            scaled = metrics.apply_temperature(outputs[-1], temperature)
            reading["scaled"] = {"temperature": temperature, **metrics.classification(scaled, targets, bins=bins)}
            del reading["scaled"]["accuracy"]
        else:
            reading["noise"] = self.shipped.noise
        return reading

    def _kept(self, outputs: Tensor) -> np.ndarray[Any, Any]:
        """Probabilities in single precision; values, whose size has no bound, as they are."""
        return (outputs.float() if self.task == "classification" else outputs).numpy()

    def _keep(self, name: str, outputs: Tensor, targets: Tensor) -> None:
        x, y, index = self.test.split.x, self.test.split.y, self.test.split.index
        if self.task == "classification" and y.ndim == 2:
            index = index.repeat_interleave((y >= 0).sum(1))  # the example that each target is of
        self.arrays = {name: self._kept(self._noisy(outputs)), "targets": targets.numpy(), "index": index.numpy()}
        self.arrays["temperature"] = np.asarray(self.shipped.temperature)
        if self.task == "regression" and isinstance(x, Tensor):
            self.arrays["inputs"] = x.flatten(1).float().numpy()
        self._keep_raster(samples=4)
        if self.task == "classification" and isinstance(x, Tensor) and tuple(x.shape[1:]) == (2,):
            self._keep_map()

    def _keep_raster(self, samples: int) -> None:
        """Spikes of a few real test examples: the input and up to 200 units of each layer."""
        chosen = torch.linspace(0, len(self.test.split) - 1, samples).long()
        events, targets = self.test.events(chosen, 0)
        with Monitor(self.learner.model, states=False, only=spiking) as monitor:
            self.learner.predict(events, min(self.shipped.samples, 1))

        def thin(x: Tensor) -> np.ndarray[Any, Any]:
            """(T, S, *units) to (T, at most 200 evenly chosen units, S): spikes, or the small whole numbers sent."""
            flat = x.flatten(2).cpu()
            keep = torch.linspace(0, flat.shape[2] - 1, min(200, flat.shape[2])).long()
            kept = flat[:, :, keep].transpose(1, 2)
            if bool((kept == kept.round()).all()) and 1 < float(kept.abs().max()) <= 127:
                return kept.to(torch.int8).numpy()
            return (kept != 0).to(torch.uint8).numpy()

        self.arrays["raster_events"] = thin(events)
        layers = []
        for name in monitor:
            # No picture is worth a run: calls of one module from two places may be no recording of a layer.
            with suppress(BitspikeError):
                layers += [monitor[name]] if len(monitor[name].spikes) <= len(events) else []
        for number, layer in enumerate(layers, 1):
            self.arrays[f"raster_{number}"] = thin(layer.spikes)
        if self.task != "classification" or targets.ndim == 1:
            self.arrays["raster_targets"] = targets.cpu().numpy()
        self.arrays["raster_index"] = self.test.split.index[chosen].numpy()
        x = self.test.split.x
        timeless = self.test.encoder.takes == "values"
        if timeless and isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] in (1, 3):
            self.arrays["raster_images"] = x[chosen].mean(1).float().numpy()

    def _keep_map(self) -> None:
        """The predictive map of a two-dimensional problem over the unit square (50 x 50)."""
        side = torch.arange(50) / 50
        grid = torch.cartesian_prod(side, side)
        index = torch.arange(len(grid)) + 10_000_000
        outputs = []
        for rows in torch.arange(len(grid)).split(self.recipe.evaluation.batch * 2):
            events = self.test.encoder(grid[rows], index[rows], self.recipe.seed, "encode", 0)
            events = events.to(self.test.device, self.test.dtype)
            outputs.append(self.learner.predict(events, self.shipped.samples)[-1].cpu())
        self.arrays["grid_x"] = grid.numpy()
        self.arrays["grid_probability"] = torch.cat(outputs).float().numpy()
