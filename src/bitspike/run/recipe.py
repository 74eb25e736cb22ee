"""A recipe: everything that decides a run, as one strict typed object.

The text under a field is its documentation. An unknown or wrong key is refused with its path and the nearest
right name. `recipe_hash` is the SHA-256 of the resolved recipe without its seed: runs of one recipe differ
only by seed.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from bitspike.options import Count, Free, Positive
from bitspike.options import Options as Part
from bitspike.run.recipe_encoders import DirectPart, EncoderPart

# Measurements on validation where a recipe counts updates: an epoch of a small set is over in a few.
MEASUREMENTS = 40


def _one_of(part: Part, key: str, instead: str) -> None:
    """Refuse a `key` that another one stands in for; a stored recipe holds its default."""
    value, default = getattr(part, key), type(part).model_fields[key].default
    if getattr(part, instead) is not None and value != default:
        raise ValueError(f"{key} = {value} beside {instead} = {getattr(part, instead)}: wanted one of the two")


class DataPart(Part):
    """Which examples."""

    set: str
    """Name of a data set: digits, two-moons, regression-1d, mnist, fashion-mnist, cifar10, cifar100, svhn, nmnist
    or folder."""
    validation: float | int | None = None
    """Validation part: a fraction below 1 or a number of examples; the set's default if left out."""
    test: float | None = None
    """Test fraction, for sets without an official test split."""
    split_seed: Annotated[int, Field(ge=0)] | Literal["seed"] = 0
    """Seed of the split of real data: a number, so that all seeds of a recipe share it, or "seed": the recipe's own."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validation: all examples, a test file's too, are divided into this many test parts (`--folds`)."""
    fold: Count | None = None
    """The one of `folds`, from 1, that is tested."""
    shift: Annotated[int, Field(ge=0)] = 0
    """Training images are shifted by up to this many pixels in each direction."""
    flip: bool = False
    """Half of the training images, drawn anew in each epoch, are seen in a mirror."""
    crop: Annotated[int, Field(ge=0)] = 0
    """Images are seen through a window of this side: at a place drawn anew in training, in the middle otherwise."""
    mean_image: bool = False
    """The mean training image is subtracted from every image."""
    pixel_range: Positive = 1.0
    """The brightest pixel (before `mean_image`); 255 gives the raw values of 8-bit images."""
    class_weights: bool = False
    """Weigh the loss by inverse class frequency, for unbalanced sets."""
    options: Free = Field(default_factory=dict)
    """Options of the data set itself, such as `path` of a folder or `train_size`."""


class SurrogatePart(Part):
    """The spike function's derivative in training."""

    name: Literal["boxcar", "triangle", "arctan", "fast-sigmoid", "slayer"] = "triangle"
    """Shape of the derivative about the threshold."""
    width: Positive = 1.0
    """How wide it is, in thresholds."""
    height: Positive = 1.0
    """Its factor."""


class SoftPart(Part):
    """The firing rate of soft-lif and soft-if units and their noise in training; times in seconds."""

    tau_ref: Annotated[float, Field(ge=0)] = 0.001
    """Seconds without a spike after one."""
    tau_rc: Positive = 0.05
    """Time constant of the membrane."""
    gamma: Positive = 0.02
    """How soft the threshold is."""
    amplitude: Positive = 0.063
    """Output of one spike per second."""
    gain: Positive = 0.825
    """Factor on what reaches the unit."""
    noise: Literal["none", "gaussian", "alpha", "alpha-rc"] = "none"
    """What training puts on the rate: a Gaussian, or what an alpha synapse (and the next membrane) leaves of spikes."""
    sigma: Positive = 10.0
    """gaussian: standard deviation in spikes per second."""
    tau_s: Positive = 0.003
    """alpha, alpha-rc: the synapse's time constant."""


class NeuronPart(Part):
    """The neuron of every hidden layer; time constants in steps. A kind reads the fields its equation has."""

    kind: Literal["lif", "if", "adaptive-lif", "current-lif", "bisnn", "relu", "soft-lif", "soft-if"] = "lif"
    """relu: no neuron but the ordinary nonlinearity, for networks that are made spiking later (`hybridise`);
    soft-lif, soft-if: the firing rate of a spiking neuron, run as spikes later (`evaluate --spiking`)."""
    soft: SoftPart = SoftPart()
    tau: Positive = 2.0
    """Time constant of the membrane."""
    theta: Positive = 1.0
    """Threshold."""
    reset: Literal["soft", "hard", "none"] = "soft"
    """soft: a spike takes the threshold off; hard: it sets the membrane to 0; none."""
    learn: list[Literal["tau", "theta", "tau_syn", "tau_adaptation", "strength"]] = Field(default_factory=list)
    """Constants that are trained, one value per layer."""
    refractory: Annotated[int, Field(ge=0)] = 0
    """lif: steps without a spike after one."""
    tau_mem: Positive = 10.0
    """bisnn: slow trace."""
    tau_syn: Positive = 6.0
    """bisnn, current-lif: fast trace, synaptic current."""
    tau_ref: Positive = 2.0
    """bisnn: refractory term."""
    tau_adaptation: Positive = 20.0
    """adaptive-lif: how long a spike raises the threshold."""
    strength: Positive = 0.2
    """adaptive-lif: by how much."""
    surrogate: SurrogatePart = SurrogatePart()


class ModelPart(Part):
    """The network, layer by layer."""

    kind: Literal["feedforward"] = "feedforward"
    layers: list[str]
    """"512" dense, "32c3" convolution, "32l3" local, "p2" max pool, "a2" or "a3s2" average pool, "d0.5" dropout; the
    read-out is added."""
    norm: Literal["batch", "scale", "bias"] = "batch"
    """Behind each weight layer: batch normalisation, a learned gain and offset, or nothing but the layer's biases."""
    norm_gain: Positive = 1.0
    """Initial gain of the norms before neurons, times what it is else: soft rates of a few hertz become tens."""
    deviations: list[Positive] | None = None
    """Initial weights are Gaussian with these standard deviations, one per weight layer; else uniform by fan-in."""
    bias: bool = False
    """Biases in the online rule's layers (back-propagated layers have them in their normalisation)."""
    neuron: NeuronPart = NeuronPart()


class GatedPart(Part):
    """PyTorch's LSTM or GRU with one dense read-out at the end of the sequence."""

    kind: Literal["lstm", "gru"]
    hidden: Count = 200
    """Hidden units."""
    read: Count = 1
    """The read-out takes the mean hidden state of this many final steps."""


class HybridPart(Part):
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
    hold: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Last fraction of training at the final step size."""
    per: Literal["step", "epoch"] = "step"
    """The step sizes change after every update, or between epochs."""
    mode: Literal["carry", "stochastic"] = "carry"
    """carry: the rest is carried to the next step; stochastic: rounded up or down at random, nothing carried."""


class LMUPart(Part):
    """A Legendre memory unit with one dense read-out at the end of the sequence."""

    kind: Literal["lmu"]
    hidden: Count = 212
    """Hidden units."""
    order: Count = 256
    """Legendre coefficients of each memory."""
    window: Positive = 784.0
    """Steps the memory spans."""
    signals: Count = 1
    """Memories, each of one signal."""
    bias: bool = False
    """Biases in the cell's layers."""
    normalise: bool = False
    """A fixed factor per unit brings the memory to a root-mean-square of 1 before weights meet it."""
    read: Count = 1
    """The read-out takes the mean hidden state of this many final steps."""
    feed_forward: Annotated[float, Field(ge=0, le=1)] = 0.0
    """First fraction of training, in which the weights of feedback stay 0 and only the steps that are read are run."""
    hybrid: HybridPart | None = None
    """Left out: real-valued states."""


class ParallelLMUPart(Part):
    """A Legendre memory without feedback, all steps at once, with one hidden layer and one dense read-out."""

    kind: Literal["lmu-parallel"]
    hidden: Count = 346
    """Hidden units."""
    order: Count = 468
    """Legendre coefficients of each memory."""
    window: Positive = 784.0
    """Steps the memory spans."""
    signals: Count = 1
    """Memories, each of one signal."""
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """Of the hidden units."""
    read: Count = 1
    """The read-out takes the mean hidden state of this many final steps."""
    hybrid: HybridPart | None = None
    """Left out: real-valued states. Memory units are scaled to a root-mean-square of 1 first."""


def _kind(value: Any) -> str:
    found = value.get("kind", "feedforward") if isinstance(value, dict) else getattr(value, "kind", "feedforward")
    return str(found)


ModelChoice = Annotated[
    Annotated[ModelPart, Tag("feedforward")]
    | Annotated[GatedPart, Tag("lstm")]
    | Annotated[GatedPart, Tag("gru")]
    | Annotated[LMUPart, Tag("lmu")]
    | Annotated[ParallelLMUPart, Tag("lmu-parallel")],
    Discriminator(_kind),
]


class WeightsPart(Part):
    """How many bits a weight has, and how binary weights are learned (see bitspike.weights)."""

    precision: Literal["full", "straight-through", "bayesian"] = "full"
    """full: real numbers; straight-through: signs; bayesian: a probability for each sign."""
    init: Positive = 1.0
    """Latent weights start uniform between this and its negative."""
    init_at_ends: bool = False
    """They start at one of the two ends instead."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """straight-through: no gradient where a latent weight is larger; 0 is off."""
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """bayesian: prior probability of +1."""
    temperature: Positive = 1.0
    """bayesian: of relaxed draws."""
    relaxed: bool = False
    """bayesian: training draws weights between -1 and 1 (tanh) in place of signs."""
    rule: Literal["natural", "pathwise", "straight-through", "mean"] = "straight-through"
    """bayesian: what of the gradient reaches a latent weight."""
    scale_limit: Positive = 1e3
    """bayesian, natural: largest factor on a gradient."""
    reference_float32: bool = False
    """bayesian, natural: the factor as the paper's code rounds it, for comparison only."""
    biases: bool = False
    """Give biases the precision too."""


class LearnerPart(Part):
    """How the network learns and answers."""

    rule: Literal["backprop", "online"] = "backprop"
    """backprop: through time; online: BiSNN's local rule, an update in each time step."""
    loss: Literal["final", "every-step", "cross-entropy", "smooth-l1"] = "final"
    """backprop: "final" or "every-step"; online: "cross-entropy" or "smooth-l1"."""
    rho: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the prior (Bayesian weights)."""
    draws: Count = 1
    """Weight draws per update (backprop)."""
    decoder: Literal["mean-logit", "sum-logit", "mean-probability", "last"] = "mean-logit"
    """What answers for all steps: their mean or summed logits, their mean probabilities, or the last step."""
    burn_in: Annotated[int, Field(ge=0)] = 10
    """Steps without update at the start of each example (online)."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest gradient norm (backprop); 0 is off."""


class OptimizerPart(Part):
    """A torch optimiser."""

    name: str = "Adam"
    """A class of torch.optim."""
    lr: Positive = 1e-3
    """Learning rate, times the schedule's factor."""
    lr_sum: Positive | None = None
    """In place of `lr`: the sum of the learning rates of all updates, so that a latent weight can travel as far in few
    updates as in many; `lr` is then what the schedule and the number of updates leave of it."""
    options: Free = Field(default_factory=dict)
    """Its other arguments, such as `weight_decay` or `betas`."""
    decay: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Weight decay by path of a layer (wildcards allowed), in the place of the options'; biases keep theirs."""

    @model_validator(mode="after")
    def _one_rate(self) -> OptimizerPart:
        _one_of(self, "lr", "lr_sum")
        return self


class SchedulePart(Part):
    """Learning rate over training."""

    kind: Literal["constant", "one-cycle", "cosine", "step"] = "constant"
    """How the learning rate changes."""
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """one-cycle: share of training in which it rises."""
    end: Annotated[float, Field(ge=0, le=1)] = 1e-3
    """one-cycle, cosine: its factor at the end."""
    halvings: Count = 5
    """step: how often it is halved."""


class TrainingPart(Part):
    """How long, in what batches, and which epoch is kept."""

    epochs: Count = 10
    """Passes over the training examples."""
    updates: Count | None = None
    """In place of `epochs`: as many whole epochs as it takes to make this many updates, whatever the set's size."""
    validate_every: Count | None = None
    """Epochs between two measurements on validation; left out: 1, or with `updates` so many that there are about 40."""
    patience: Count | None = None
    """With keep = "best": training stops when this many measurements on validation in a row bring nothing better."""
    batch: Annotated[int, Field(ge=2, le=10**12)] = 64
    """Examples of an update."""
    keep: Literal["last", "best"] = "last"
    """The epoch shipped: the last, or the best on validation (`criterion`)."""
    criterion: Literal["nll", "accuracy", "rmse"] = "nll"
    """What is measured on validation to say which epoch is best."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 10.0
    """Least time between two checkpoints; 0 saves after every update."""

    @model_validator(mode="after")
    def _consistent(self) -> TrainingPart:
        if self.patience is not None and self.keep != "best":
            raise ValueError(f"patience = {self.patience} wants keep = 'best', not '{self.keep}'")
        _one_of(self, "epochs", "updates")
        return self

    def span(self, per_epoch: int) -> tuple[int, int]:
        """(epochs, epochs between two measurements on validation) where an epoch makes `per_epoch` updates."""
        epochs = self.epochs if self.updates is None else math.ceil(self.updates / per_epoch)
        every = self.validate_every or (1 if self.updates is None else max(1, round(epochs / MEASUREMENTS)))
        return epochs, every


class EvaluationPart(Part):
    """How the network is measured."""

    draws: Count = 10
    """Members of a Bayesian ensemble."""
    ship: Literal["auto", "ensemble", "map"] = "auto"
    """What a network with Bayesian weights answers with: an ensemble of `draws` or its most probable weights;
    auto: what did better on validation (see `run.shipping`)."""
    validation_draws: Count = 3
    """Members during training."""
    bins: Annotated[int, Field(ge=2)] = 15
    """Bins of the calibration error."""
    batch: Count = 500
    """Examples that are answered at once."""
    energy_examples: Count = 500
    """Test examples on which operations are counted."""


class ComputePart(Part):
    """On what a network runs; the experiment stays the same."""

    back_end: Literal["auto", "reference", "cpu", "cuda"] = "auto"
    """Of the time loops; one that is asked for and cannot run is an error."""
    products: Literal["exact", "fast", "float32"] = "exact"
    """Products of spikes and binary weights: exact where provable and never worse than float32 by more than a
    factor of two; fast: reduced precision in the backward pass; float32: plain."""


class Recipe(Part):
    """One experiment."""

    name: str
    """Name of the recipe, and of its run folder."""
    about: str = ""
    """A line about it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of every random number."""
    data: DataPart
    encoder: EncoderPart = DirectPart()
    model: ModelChoice
    weights: WeightsPart = WeightsPart()
    learner: LearnerPart = LearnerPart()
    optimizer: OptimizerPart = OptimizerPart()
    latent_optimizer: OptimizerPart | None = None
    schedule: SchedulePart = SchedulePart()
    training: TrainingPart = TrainingPart()
    evaluation: EvaluationPart = EvaluationPart()
    compute: ComputePart = ComputePart()

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, defaults filled in, as plain data without empty entries."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return data

    def recipe_hash(self) -> str:
        """SHA-256 of what the recipe says beyond defaults, without seed and `compute`.

        Defaults are left out, so that a field that a later version adds leaves earlier recipes their hash.
        """
        data = self.model_dump(mode="json", exclude_defaults=True, exclude={"seed", "compute"})
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
