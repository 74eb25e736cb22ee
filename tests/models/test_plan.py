"""Plans: slices of any length equal the whole, which equals the network; what has no plan says why."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from bitspike.cells import ParallelLMU
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.layers import (
    BNTT,
    ChannelScale,
    FewBitConv2d,
    FewBitLinear,
    Local2d,
    Recomputed,
    Recurrent,
    Stepwise,
    TemporalBatchNorm,
)
from bitspike.layers import Synapse as SynapseLayer
from bitspike.models import LocalNetwork
from bitspike.models.circuits import Circuits
from bitspike.models.plan import Feedback, Input, Step, Weights, plan_of
from bitspike.models.sequence import SequenceNetwork
from bitspike.neurons import IF, LIF, AdaptiveLIF, CurrentLIF, Integrator, TemporalQuantiser, redraw_units
from bitspike.neurons.lif import LIFState
from bitspike.run.assemble import Form, build_encoder, build_model, encode
from bitspike.run.recipe_files import load_recipe, recipe_names
from bitspike.weights import StraightThrough, quantise, redraw

TEN = tuple("0123456789")
FORMS = {
    "digits": Form("classification", TEN, (1, 8, 8), None, "image"),
    "mnist": Form("classification", TEN, (1, 28, 28), None, "image"),
    "cifar10": Form("classification", TEN, (3, 32, 32), None, "image"),
    "nmnist": Form("classification", TEN, (2, 34, 34), None, "events"),
    "mnist-dvs-sim": Form("classification", TEN, (2, 26, 26), None, "events"),
    "two-moons": Form("classification", ("0", "1"), (2,), None, "vector"),
    "regression-1d": Form("regression", (), (1,), None, "vector"),
    "mackey-glass": Form("regression", (), (1,), 100, "series"),
}
BATCH, STEPS = 3, 40


def drawn(*shape, name="x"):
    return torch.rand(shape, generator=generator(0, name))


def slices(plan, x, name="cut"):
    """Outputs of every node over slices of random lengths, put together."""
    state, made, begin, source = plan.initial(x.shape[1]), {}, 0, generator(0, name)
    while begin < len(x):
        end = begin + int(torch.randint(1, 8, (), generator=source))
        for node, y, after in plan.walk(x[begin:end], dict(state)):
            made.setdefault(node.name, []).append(y)
            state[node.name] = after
        begin = end
    return {name: torch.cat(parts) for name, parts in made.items()}


def near(ours, theirs, tolerance):
    assert ours.shape == theirs.shape
    return float((ours - theirs).double().norm()) <= tolerance * float(theirs.double().norm())


def whole(model, x):
    """The network's answers and the outputs of its units by name."""
    seen = {}
    units = [(name, m) for name, m in model.named_modules() if hasattr(m, "emits")]
    hooks = [m.register_forward_hook(lambda m, i, y, name=name: seen.update({name: y})) for name, m in units]
    with torch.no_grad():
        if isinstance(model, LocalNetwork):
            state, answers, fired = model.initial(x.shape[1]), [], []
            for now in x:
                logits, spikes, state = model(now, state)
                answers.append(logits[-1])
                fired.append(spikes)
            y = torch.stack(answers)
            seen = {f"layers.{n}.spikes": torch.stack(layer) for n, layer in enumerate(zip(*fired, strict=True))}
        elif isinstance(model, SequenceNetwork) and isinstance(model.cell, ParallelLMU):
            # Of its final steps alone it draws other carries; a plan goes through all.
            y = model.readout(model.cell.run(x)[0][-model.read :].mean(0, keepdim=True))
        else:
            y = model(x)
    for hook in hooks:
        hook.remove()
    return y, seen


def network(recipe, dtype):
    """The recipe's network, untrained, with statistics, gains and feedback that are none at the start; and its code."""
    form = FORMS[recipe.data.set]
    encoder = build_encoder(recipe, form)
    if form.input == "events":
        x = (drawn(STEPS, BATCH, *encoder.features(form.shape)) < 0.05).float()
    else:
        shape = (BATCH, form.steps, *form.shape) if form.steps else (BATCH, *form.shape)
        x = encode(recipe, encoder, drawn(*shape), torch.arange(BATCH), 0)[:STEPS]
    model, x = build_model(recipe, form).to(dtype), x.to(dtype)
    model.train()
    for module in model.modules():
        if isinstance(module, BNTT):
            module.momentum = 1.0  # these statistics alone: a deep network would be silent with others
    redraw(model, 0, "statistics")
    with torch.no_grad():
        whole(model, x)
        for name, parameter in model.named_parameters():
            if name.split(".")[-1] in ("e_h", "e_m", "w_h"):
                parameter.normal_(0, 0.05, generator=generator(0, name))
        for module in model.modules():
            if isinstance(module, TemporalBatchNorm):
                module.weight.mul_(4)
    redraw_units(model, recipe.seed, "evaluation")
    redraw(model, recipe.seed, "ensemble", 1)
    return model.eval(), x, encoder


@pytest.mark.parametrize("name", recipe_names())
def test_slices_through_the_plan_of_every_recipe_equal_its_network(name):
    recipe = load_recipe(name)
    if recipe.model.kind == "circuits":
        with pytest.raises(BitspikeError, match="plan of network: got Circuits, whose symbols are drawn"):
            plan_of(Circuits(4, 2), (4,), x_kind="spikes")
        return
    few_bit = recipe.weights.precision != "full"
    neuron = getattr(recipe.model, "neuron", None)
    spiking = neuron is not None and neuron.kind not in ("relu", "soft-lif", "soft-if")
    # Sums of real products are rounded by the size of a call; where they decide about spikes, in digits to spare.
    model, x, encoder = network(recipe, torch.float64 if spiking and not few_bit else torch.float32)
    plan = plan_of(model, tuple(x.shape[2:]), x_kind=encoder.emits)
    y, units = whole(model, x)
    answer, state = plan.run(x)
    assert set(state) == {node.name for node in plan.nodes}
    made = slices(plan, x)
    answers = made[plan.nodes[-1].name]
    assert near(answer[-len(y) :], y, 1e-5)
    assert near(answers, answer, 1e-5)
    spikes = [n.name for n in plan.nodes if n.emits == "spikes" and isinstance(n, Step | Feedback)]
    assert spiking == bool(spikes)
    for node in spikes:
        assert torch.equal(made[node].flatten(2), units[node].flatten(2))
        assert 0 < made[node].double().mean() < 1
    for node in plan.nodes:
        if node.kind == "quantiser" and node.name in units:
            assert torch.equal(made[node.name], units[node.name])
            assert made[node.name].abs().sum() > 0
    if few_bit and encoder.emits == "spikes":
        assert torch.equal(answers, y)
        assert torch.equal(answer, y)
    assert len(plan.table().splitlines()) == len(plan.rows()) + 1


def test_a_plan_says_how_its_weights_are_shipped():
    recipe = load_recipe("mnist-conv-st")
    model, x, encoder = network(recipe, torch.float32)
    plan = plan_of(model, tuple(x.shape[2:]), x_kind=encoder.emits)
    conv, dense = [n for n in plan.nodes if isinstance(n, Weights)][1:3]
    assert (conv.form, conv.bits, conv.weight_kind) == ("convolution", 1.0, "signs")
    assert conv.fan_in == math.prod(conv.weight.shape[1:])
    assert conv.fan_out == conv.weight.shape[0] * 9
    assert (dense.fan_in, dense.fan_out) == (dense.weight.shape[1], dense.weight.shape[0])
    packed = conv.packed()
    signs = np.unpackbits(packed, count=conv.weight.numel()).astype(np.float32) * 2 - 1
    assert packed.nbytes == -(-conv.weight.numel() // 8)
    assert torch.equal(torch.from_numpy(signs).view_as(conv.weight), conv.weight)
    row = next(r for r in plan.rows() if r["name"] == dense.name)
    assert (row["weights"], row["bits"], row["fan_in"]) == (dense.weight.numel(), {"weight": 1.0}, dense.fan_in)
    lif = next(n for n in plan.nodes if isinstance(n, Step))
    assert lif.states == ("v",)
    fed = Recurrent(5, IF(), gain=0.5)
    quantise(fed, StraightThrough, 0, "signs")
    node = plan_of(fed, (5,)).nodes[-1]
    assert {name: (w.numel(), bits) for name, (w, bits) in node.weights.items()} == {
        "weight": (25, 1.0),
        "gain": (5, 32.0),
    }
    assert lif.assignments[-2:][0].startswith("output = n")
    assert float(lif.constants.theta) == 1.0


def test_a_plan_shares_nothing_with_its_network():
    model = nn.Sequential(nn.Linear(4, 3), LIF())
    nn.init.ones_(model[0].weight)
    plan = plan_of(model, (4,))
    x = drawn(5, 2, 4)
    before = plan.run(x)[0]
    with torch.no_grad():
        model[0].weight.zero_()
    assert torch.equal(plan.run(x)[0], before)
    assert before.sum() > 0


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), LIF())

    def forward(self, x):
        h = torch.relu(self.first(x))
        return torch.cat([h + self.second(h), x], -1)


class Doubling(LIF):
    """A neuron of somebody's own: another step, nothing else."""

    def __init__(self):
        super().__init__()
        self.step = doubling_step


def doubling_step(x, state, p, spike):
    v = p.beta * state.v + 2 * x
    s = spike(v - p.theta)
    return s, LIFState(v - p.theta * s)


def convolutions():
    same = Stepwise(nn.Sequential(nn.Conv2d(2, 4, 3, padding="same", groups=2), nn.BatchNorm2d(4), nn.ReLU()))
    few = Stepwise(FewBitConv2d(4, 4, 3, 2, 1, x_kind="spikes"))
    pooled = Stepwise(nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True), nn.Flatten()))
    return [same, LIF(), few, IF(), Stepwise(Local2d(4, 2, 4, 3)), CurrentLIF(), pooled, nn.Linear(2, 3)]


OWN = {
    "sums and concatenations": ((6,), lambda: [Residual(), Recurrent(12, AdaptiveLIF()), nn.Dropout(), Integrator()]),
    "convolutions": ((2, 8, 8), convolutions),
    "gains of each step": ((4,), lambda: [nn.Linear(4, 5), BNTT(5, 40), LIF(reset="hard")]),
    "computed again in training": ((4,), lambda: [Recomputed(Stepwise(nn.Linear(4, 5)), IF())]),
    "a step of one's own": ((4,), lambda: [Doubling(), SynapseLayer("alpha", 0.002), ChannelScale(4, 0.7)]),
    "learned constants": ((4,), lambda: [LIF(tau=torch.tensor([1.0, 2, 3, 4]), learn=["tau"], refractory=2)]),
    "whole numbers": ((4,), lambda: [TemporalQuantiser(3.0, "tanh", limit=2), TemporalQuantiser(mode="stochastic")]),
}  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_modules_of_ones_own_have_plans(kind):
    shape, layers = OWN[kind]
    torch.manual_seed(0)
    model = nn.Sequential(*layers()).double()
    x = drawn(30, BATCH, *shape, name=kind).double() * 2
    model.train()
    model(x)
    model.eval()
    plan = plan_of(model, shape)
    y, units = whole(model, x)
    made = slices(plan, x)
    assert near(made[plan.nodes[-1].name], y, 1e-12)
    assert near(plan.run(x)[0], y, 1e-12)
    assert y.abs().sum() > 0
    for name, seen in units.items():
        if name in made:
            assert near(made[name], seen, 1e-12)
    assert not model.training


def test_a_plan_that_ran_can_be_copied_and_pickled():
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4), LIF(), Recurrent(4, AdaptiveLIF()), TemporalQuantiser(2.0, "tanh", limit=3)]
    plan = plan_of(nn.Sequential(*layers), (4,))
    x = drawn(6, BATCH, 4) * 2
    y, state = plan.run(x)
    for other in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert torch.equal(other.run(x)[0], y)
        assert torch.equal(other.run(x, state)[0], plan.run(x, state)[0])


def test_a_graph_of_calls_is_followed():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    x = drawn(6, BATCH, 4)
    plan = plan_of(nn.Sequential(torch.fx.symbolic_trace(model), LIF()), (4,))
    assert [node.name for node in plan.nodes] == ["input", "0.0", "0.1", "1"]
    assert near(slices(plan, x)["0.1"], model(x).detach(), 1e-6)


def test_a_module_that_stands_at_two_places_of_a_chain_is_planned_at_both():
    neuron, layer = LIF(tau=3.0), nn.Linear(4, 4)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), neuron, layer, neuron, layer, nn.ReLU()).eval()
    x = drawn(9, BATCH, 4) * 2
    plan = plan_of(model, (4,))
    assert [node.name for node in plan.nodes] == ["input", *"012345"]
    assert near(plan.run(x)[0], model(x).detach(), 1e-6)
    assert near(slices(plan, x)["5"], model(x).detach(), 1e-6)


def test_few_bit_layers_stay_exact_in_float32():
    torch.manual_seed(0)
    model = nn.Sequential(FewBitLinear(40, 30, bias=False, x_kind="spikes"), LIF(), nn.Linear(30, 20, bias=False), IF())
    quantise(model, StraightThrough, 0, "start")
    x = (drawn(25, BATCH, 40) < 0.3).float()
    plan = plan_of(model.eval(), (40,), x_kind="spikes")
    assert torch.equal(slices(plan, x)["3"], model(x))
    assert model(x).sum() > 0
    assert [n.bits for n in plan.nodes if isinstance(n, Weights)] == [1.0, 1.0]


def test_windows_of_a_series_go_on_in_the_middle():
    source = Input(name="series", inputs=(), shape=(4, 2), encoder="windows", width=4, stride=2)
    plan = plan_of(nn.Sequential(nn.Flatten(2), nn.Linear(8, 3), LIF()), (4, 2), source=source)
    x = drawn(12, BATCH, 2)
    padded = torch.cat([torch.zeros(2, BATCH, 2), x])
    seen = slices(plan, x)["series"]
    assert torch.equal(seen, torch.stack([padded[2 * k : 2 * k + 4].transpose(0, 1) for k in range(6)]))
    y, state = plan.run(x[:1])
    assert y.shape == (0, BATCH, 3)
    assert len(state["series"]) == 3


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Joining(nn.Module):
    """Time, examples and features in one row."""

    def forward(self, x):
        return x.flatten(end_dim=2)


class Wide(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def hooked():
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda m, i, y: y * 2)
    return layer


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (nn.Sequential(nn.LayerNorm(4)), "plan of 0: got LayerNorm, wanted parts that have a plan"),
        (nn.LSTM(4, 4), "plan of network: got LSTM"),
        (nn.Sequential(LIF(), Branching()), "plan of 1: got Branching, whose forward cannot be followed"),
        (Wide(4, 4), "got Wide, a Linear with a way of its own to run"),
        (nn.Sequential(nn.Sequential(hooked())), "plan of 0.0: got Linear with a forward or a hook of its own"),
        (nn.Sequential(nn.Conv2d(1, 1, 1)), "Conv2d on all steps at once; wanted inside Stepwise"),
        (nn.Sequential(nn.Linear(5, 4)), r"plan of 0: got dense, real weights on inputs of shape \(4,\)"),
        (Stepwise(LIF()), "LIF inside Stepwise, where there is no time"),
        (Stepwise(TemporalQuantiser()), "TemporalQuantiser inside Stepwise, where there is no time"),
        (nn.Linear(4, 4).half(), r"plan of network: got weights in torch.float16, wanted float32 or float64"),
        (Joining(), "plan of flatten: got method flatten, wanted"),
    ],
)  # fmt: skip
def test_what_has_no_plan_says_why(made, message):
    with pytest.raises(BitspikeError, match=message):
        plan_of(made, (4,))


def test_what_a_plan_is_given_is_checked():
    plan = plan_of(nn.Sequential(nn.Linear(4, 5), BNTT(5, 6)), (4,))
    with pytest.raises(BitspikeError, match=r"plan input: got \(3, 2, 5\), wanted \(T, B, 4\)"):
        plan.run(drawn(3, 2, 5))
    with pytest.raises(BitspikeError, match="plan 1: got step 7, wanted at most its 6 steps"):
        plan.run(drawn(7, 2, 4))
    with pytest.raises(BitspikeError, match="plan input: got 3 examples, wanted 2, as in the slice before"):
        plan.run(drawn(1, 3, 4), plan.run(drawn(1, 2, 4))[1])
    with pytest.raises(BitspikeError, match="plan node: got 'x', wanted input, 0, 1"):
        plan.node("x")
    with pytest.raises(BitspikeError, match="plan batch: got 0"):
        plan.initial(0)
