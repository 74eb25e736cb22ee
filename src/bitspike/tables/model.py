"""Networks, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bitspike import registry
from bitspike.options import Count, Options, Positive, Unread
from bitspike.registry import register, trait
from bitspike.tables.chosen import Chosen, Named, usual

# In steps: exp(-1 / tau) = 0.95.
PUBLISHED_TAU = 19.495725746223673
Share = Annotated[float, Field(ge=0, le=1)]
Read = Annotated[Count, Field(description="The read-out takes the mean hidden state of this many final steps.")]


@register("model", "feedforward", "bitspike.models.feedforward:FeedForward")
class FeedForward(Options):
    """The network, layer by layer."""

    stacks: ClassVar[bool] = True
    """`torch.func.vmap` maps it over copies of its weights."""
    layers: list[str]
    """"512" dense, "64r" dense with feedback among its neurons, "32c3" convolution, "32l3" local, "p2" max pool, "a2"
    or "a3s2" average pool, "d0.5" dropout; the read-out is added."""
    norm: Annotated[str, Named("norm")] = "batch"
    """Behind each weight layer: batch normalisation (of each time step by itself: bntt), a learned gain and offset, or
    nothing but the layer's biases."""
    norm_gain: Positive = 1.0
    """Initial gain of the norms before neurons, times what it is else: soft rates of a few hertz become tens."""
    deviations: list[Positive] | None = None
    """Initial weights are Gaussian with these standard deviations, one per weight layer; else uniform by fan-in."""
    xavier: Positive | None = None
    """Initial weights are uniform up to this times sqrt(6 / (fan-in + fan-out)); else uniform by fan-in."""
    norm_at: Literal["all", "hidden", "convolutions"] = "all"
    """Weight layers that have a norm behind them: all, all but the read-out, or those that are not dense."""
    bias: bool = False
    """Biases in the online rule's layers (back-propagated layers have them in their normalisation)."""
    neuron: Annotated[Any, Chosen("neuron")] = usual("neuron")

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """What another way of learning, or another norm, reads."""
        yield getattr(recipe.learner, "ignores", ("bias",)), f"learner.rule '{recipe.learner.rule}'"
        if self.norm == "bias":
            yield ("norm_gain", "norm_at"), "model.norm 'bias'"
        if self.deviations is not None:
            yield ("xavier",), "model.deviations"
        if trait("precision", recipe.weights.precision, "has_latents", True):
            yield ("xavier", "deviations"), f"weights.precision '{recipe.weights.precision}', whose `init` says it"


class Scaled(Options):
    """A network of images whose sizes are those of a paper, times `width`."""

    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Channels and hidden units, times those of the paper; all must come out whole."""


def _published() -> Any:
    """LIF with a leak of 0.95 a step, a strict threshold of 1, soft reset and 0.3 max(0, 1 - |u - 1|) in training."""
    surrogate = {"name": "triangle", "height": 0.3, "strict": True}
    return registry.options("neuron", "lif").model_validate({"tau": PUBLISHED_TAU, "surrogate": surrogate})


@register("model", "vgg9", "bitspike.models.vgg9:VGG9")
class VGG9(Scaled):
    """VGG9: seven convolutions, two dense layers, average pools, no biases, a read-out without norm (as in FedSNN)."""

    stacks: ClassVar[bool] = True
    norm: Annotated[str, Named("norm")] = "bntt"
    """Behind each weight layer but the read-out."""
    neuron: Annotated[Any, Chosen("neuron")] = Field(default_factory=_published)
    """Left out: as published. relu, with norm "batch", is the ordinary network of the same layers."""


@register("model", "vgg9-reference-ann", "bitspike.models.vgg9:ReferenceANN")
class ReferenceANN(Scaled):
    """The ordinary network that FedSNN's code calls VGG9 too: four pools, three dense layers, dropout, ReLU."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of units dropped behind three of the convolutions."""
    dense_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Behind the two hidden dense layers."""


@register("model", "module", "bitspike.models.own:OwnNetwork")
class Module(Options):
    """A module of one's own, as `bitspike.fit` takes it."""

    factory: str = ""
    """Import path "package.module:name" of the class or function that makes it; empty: it was handed in."""


class Recurrent(Options):
    """A recurrent cell (`cell`: its class) with one dense read-out at the end of the sequence."""

    cell: ClassVar[str]
    answers_once: ClassVar[bool] = True
    real_weights: ClassVar[bool] = True


@register("model", "lstm", "bitspike.models.sequence:SequenceNetwork")
class LSTM(Recurrent):
    """PyTorch's LSTM with one dense read-out at the end of the sequence."""

    cell: ClassVar[str] = "bitspike.models.sequence:Gated"
    hidden: Count = 200
    """Hidden units."""
    forget_bias: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Bias at the start of the gate that keeps (LSTM: forget gate, GRU: z); left out, as PyTorch draws it, near 0."""
    chrono: Annotated[float, Field(ge=2, allow_inf_nan=False)] | None = None
    """In its place: at the start units remember 2 to this many steps, evenly (chrono initialisation)."""
    read: Read = 1


@register("model", "gru", "bitspike.models.sequence:SequenceNetwork")
class GRU(LSTM):
    """PyTorch's GRU with one dense read-out at the end of the sequence."""


class Hybrid(Options):
    """Quantised states of a recurrent network, and how their step sizes shrink while it trains."""

    memory_limit: Count = 14
    """Largest |n| of a memory unit: at most 2 limit + 1 levels."""
    memory_range: Positive = 4.0
    """Where a memory unit clips, in its root-mean-square on the first training batch."""
    hidden_limit: Count = 1
    """Largest |n| of a hidden unit; 1 is ternary with tanh."""
    hidden_range: Positive = 1.0
    """Activity of a hidden unit at its largest |n|; tanh reaches 1."""
    own_leak: bool = False
    """A memory unit's leak acts on its own state, not on the whole number it sent (see `cells.LMU`)."""
    memory_start: Positive = 256.0
    """Step size dt at the start of training, times the final one."""
    hidden_start: Positive = 256.0
    """The same for hidden units."""
    kind: Literal["geometric", "linear", "cosine", "constant"] = "geometric"
    """How the step sizes fall over training."""
    hold: Share = 0.3
    """Last fraction of training at the final step size."""
    per: Literal["step", "epoch"] = "step"
    """The step sizes change after every update, or between epochs."""
    mode: Literal["carry", "stochastic"] = "carry"
    """carry: the rest is carried to the next step; stochastic: rounded up or down at random, nothing carried."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """How step sizes fall that are constant; what a cell has not."""
        if self.kind == "constant":
            yield ("hold", "memory_start", "hidden_start", "per"), "model.hybrid.kind 'constant'"
        if recipe.model.kind == "lmu-parallel":
            yield ("own_leak",), "model.kind 'lmu-parallel'"


class Memory(Recurrent):
    """What a Legendre memory has, whatever reads it."""

    window: Positive = 784.0
    """Steps the memory spans."""
    signals: Count = 1
    """Memories, each of one signal."""
    read: Read = 1


@register("model", "lmu", "bitspike.models.sequence:SequenceNetwork")
class LMU(Memory):
    """A Legendre memory unit with one dense read-out at the end of the sequence."""

    cell: ClassVar[str] = "bitspike.cells.lmu:LMU"
    hidden: Count = 212
    """Hidden units."""
    order: Count = 256
    """Legendre coefficients of each memory."""
    bias: bool = False
    """Biases in the cell's layers."""
    normalise: bool = False
    """A fixed factor per unit brings the memory to a root-mean-square of 1 before weights meet it."""
    feed_forward: Share = 0.0
    """First fraction of training, in which the weights of feedback stay 0 and only the steps that are read are run."""
    hybrid: Hybrid | None = None
    """Left out: real-valued states."""


@register("model", "lmu-parallel", "bitspike.models.sequence:SequenceNetwork")
class ParallelLMU(Memory):
    """A Legendre memory without feedback, all steps at once, with one hidden layer and one dense read-out."""

    cell: ClassVar[str] = "bitspike.cells.parallel_lmu:ParallelLMU"
    hidden: Count = 346
    """Hidden units."""
    order: Count = 468
    """Legendre coefficients of each memory."""
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """Of the hidden units."""
    hybrid: Hybrid | None = None
    """Left out: real-valued states. Memory units are scaled to a root-mean-square of 1 first."""


@register("model", "circuits", "bitspike.models.circuits.network:Circuits")
class Circuits(Options):
    """Probabilistic circuits with filtered synapses, one output circuit for each class; for the rules glm and vowel."""

    real_weights: ClassVar[bool] = True
    local_rule: ClassVar[bool] = True
    hidden: Annotated[int, Field(ge=0)] = 16
    """Hidden circuits."""
    symbols: Count = 2
    """Symbols that a circuit can emit in a step; 1 is a Bernoulli neuron."""
    topology: Literal["full", "no-return", "recurrent", "feed-forward"] = "no-return"
    """full: inputs and circuits reach all circuits; no-return: but outputs no hidden ones; recurrent: and inputs only
    hidden ones; feed-forward: and nothing goes back or sideways."""
    taps: Annotated[int, Field(ge=1, le=64)] = 10
    """Steps that a synapse remembers."""
    filters: Count = 8
    """Raised-cosine filters of a synapse, each with a weight."""
    mu: Positive = 1.5
    """Narrowness of these filters."""
    feedback_mu: Positive = 1.0
    """That of the one filter through which a circuit sees its own symbols."""
    family: Literal["log", "spread"] = "log"
    """log: filters as in FL-SNN and VOWEL, narrow at the latest spikes; spread: evenly over all taps."""
    spread: Annotated[float, Field(ge=0)] = 0.05
    """Initial weights are uniform up to this size."""
    output_memory: bool = True
    """Whether outputs hear their own last symbols and one another's. While they learn these are the targets, which then
    say what comes next; what hidden circuits know is not asked for."""
