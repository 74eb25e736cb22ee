"""Which fields of a recipe are read, given what it chooses; one that is set and read by nobody is refused.

It would change the recipe's hash and nothing else. A field at its default is no word of anybody: recipes that are
stored with a run hold all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bitspike.errors import refuse
from bitspike.options import Options as Part
from bitspike.run.recipe import LMUPart, ModelPart, ParallelLMUPart, Recipe

# The fields of a recipe's neuron that each kind reads, besides its surrogate.
NEURON_FIELDS: dict[str, tuple[str, ...]] = {
    "lif": ("tau", "theta", "reset", "learn", "refractory"),
    "if": ("theta", "reset", "learn"),
    "adaptive-lif": ("tau", "tau_adaptation", "theta", "strength", "reset", "learn"),
    "current-lif": ("tau", "tau_syn", "theta", "reset", "learn"),
    "bisnn": ("tau_mem", "tau_syn", "tau_ref"),
}
RATES = ("soft-lif", "soft-if")
NOISE_FIELDS = {"none": (), "gaussian": ("sigma",), "alpha": ("tau_s",), "alpha-rc": ("tau_s",)}
BAYESIAN_FIELDS = ("prior", "temperature", "relaxed", "rule", "scale_limit", "reference_float32")
STARTS = ("init", "init_at_ends", "biases")
WEIGHT_FIELDS = {"full": (), "straight-through": (*STARTS, "clip"), "bayesian": (*STARTS, *BAYESIAN_FIELDS)}
LEARNER_FIELDS = {
    "backprop": ("loss", "rho", "draws", "decoder", "clip"),
    "online": ("loss", "rho", "decoder", "burn_in"),
}
SCHEDULE_FIELDS = {"constant": (), "one-cycle": ("warmup", "end"), "cosine": ("end",), "step": ("halvings",)}

Finding = tuple[str, str]  # path of a field, and why nobody reads it


def refuse_foreign(recipe: Recipe) -> None:
    """Refuse the first field that is set and that nothing of this recipe reads."""
    for path, why in _foreign(recipe):
        value: object = recipe
        for name in path.split("."):
            value = getattr(value, name)
        refuse(path, f"{value!r} with {why}", "it left out")


def foreign(recipe: Recipe) -> list[str]:
    """The paths of all such fields."""
    return list(dict.fromkeys(path for path, _ in _foreign(recipe)))


def _foreign(recipe: Recipe) -> Iterator[Finding]:
    model, weights, learner = recipe.model, recipe.weights, recipe.learner
    if isinstance(model, ModelPart):
        yield from _of_model(model, learner.rule == "online")
    elif isinstance(model, LMUPart | ParallelLMUPart) and model.hybrid is not None:
        if isinstance(model, ParallelLMUPart):
            yield from _set(model.hybrid, "model.hybrid", ("own_leak",), "model.kind 'lmu-parallel'")
        if model.hybrid.kind == "constant":
            still = ("hold", "memory_start", "hidden_start", "per")
            yield from _set(model.hybrid, "model.hybrid", still, "model.hybrid.kind 'constant'")
    yield from _unread(weights, "weights", "precision", WEIGHT_FIELDS)
    if weights.precision == "bayesian" and not weights.relaxed:
        hard = ("temperature", "scale_limit", "reference_float32")
        yield from _set(weights, "weights", hard, "hard draws (weights.relaxed = false)")
    elif weights.precision == "bayesian" and weights.rule != "natural":
        yield from _set(weights, "weights", ("scale_limit", "reference_float32"), f"weights.rule '{weights.rule}'")
    yield from _unread(learner, "learner", "rule", LEARNER_FIELDS)
    if weights.precision != "bayesian":
        yield from _set(learner, "learner", ("rho",), f"weights.precision '{weights.precision}'")
    if weights.precision == "full" and recipe.latent_optimizer is not None:
        yield "latent_optimizer", "weights.precision 'full'"
    yield from _unread(recipe.schedule, "schedule", "kind", SCHEDULE_FIELDS)


def _of_model(model: ModelPart, online: bool) -> Iterator[Finding]:
    if online:
        yield from _set(model, "model", ("norm", "norm_gain", "deviations"), "learner.rule 'online'")
    else:
        yield from _set(model, "model", ("bias",), "learner.rule 'backprop'")
        if model.norm == "bias":
            yield from _set(model, "model", ("norm_gain",), "model.norm 'bias'")
    neuron, why = model.neuron, f"model.neuron.kind '{model.neuron.kind}'"
    own = NEURON_FIELDS.get(neuron.kind, ())
    rest = set(type(neuron).model_fields) - {"kind", "surrogate", "soft", *own}
    yield from _set(neuron, "model.neuron", rest, why)
    if neuron.kind not in NEURON_FIELDS:
        yield from _set(neuron.surrogate, "model.neuron.surrogate", type(neuron.surrogate).model_fields, why)
    soft, path = neuron.soft, "model.neuron.soft"
    if neuron.kind not in RATES:
        yield from _set(soft, path, type(soft).model_fields, why)
    noise = {"sigma", "tau_s"} - set(NOISE_FIELDS[soft.noise])
    yield from _set(soft, path, noise, f"{path}.noise '{soft.noise}'")


def _unread(part: Part, path: str, key: str, table: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    """Fields of a part that its choice `key` does not read, of those that any choice of the table reads."""
    choice = getattr(part, key)
    every = {name for fields in table.values() for name in fields}
    yield from _set(part, path, every - set(table[choice]), f"{path}.{key} '{choice}'")


def _set(part: Part, path: str, names: Collection[str], why: str) -> Iterator[Finding]:
    """Those of the fields that are set away from their defaults, in the part's order."""
    for name, field in type(part).model_fields.items():
        if name in names and getattr(part, name) != field.get_default(call_default_factory=True):
            yield f"{path}.{name}", why
