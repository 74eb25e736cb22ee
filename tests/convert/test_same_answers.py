"""A converted network computes what the model does, whatever its code looks like, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.convert import accuracy_curve, hybridise, relu_to_spiking, spiking
from bitspike.energy import estimate_energy
from bitspike.energy.sweeps import sweep
from bitspike.errors import BitspikeError
from bitspike.layers import Stepwise
from bitspike.models.plan import plan_of
from bitspike.neurons import LIF, SoftLIF, SoftNeuron, at_step


class Net(nn.Module):
    """Two layers and what stands between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], inputs: int = 6) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(inputs, 8), nn.Linear(8, 3), between

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.between(self.first(x)))
        return y


class Residual(nn.Module):
    """h + b(relu(h)), written down in one of several ways that change tensors in place."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.relu = how, nn.ReLU(inplace=True)
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        if self.how == "module":
            o = self.b(self.relu(h))
            return self.c(o + h)
        if self.how == "function":
            o = self.b(F.relu(h, inplace=True))
            return self.c(o + h)
        r = h
        r += self.b(F.relu(h))
        return self.c(h)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


def static(model: nn.Module, x: Tensor, **options: Any) -> Tensor:
    hybrid = hybridise(model.eval(), data=x, **options)
    with at_step(hybrid, None), torch.no_grad():
        y: Tensor = hybrid(x)
    return y


@pytest.mark.parametrize(
    "between",
    [
        lambda x: F.softplus(x, 3.0), lambda x: F.softplus(x, 3.0, 1.0), lambda x: F.softshrink(x, 0.1),
        lambda x: F.hardshrink(x, 0.1), lambda x: x.hardshrink(0.1), lambda x: F.threshold(x, 0.2, -0.1),
        lambda x: F.leaky_relu(x, 0.3), lambda x: F.elu(x, 0.5), lambda x: F.logsigmoid(x),
    ],
)  # fmt: skip
def test_settings_by_position_are_those_of_the_call(between: Callable[[Tensor], Tensor]) -> None:
    model, x = Net(between), torch.randn(50, 6)
    assert torch.allclose(static(model, x), model(x), atol=1e-6)


def test_a_setting_that_the_network_computes_is_refused() -> None:
    class Computed(Net):
        def __init__(self) -> None:
            super().__init__(nn.Identity())
            self.slope = nn.Parameter(torch.tensor([0.2]))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.second(F.prelu(self.first(x), self.slope))
            return y

    with pytest.raises(
        BitspikeError, match=r"^hybridise prelu: got prelu with a weight that is computed, wanted numbe"
    ):
        hybridise(Computed())
    model, x = Net(nn.Threshold(0.0, 0.0)), torch.randn(50, 6)
    assert torch.allclose(static(model, x), model(x), atol=1e-6)


@pytest.mark.parametrize("how", ["module", "function", "sum"])
def test_what_is_changed_in_place_is_read_changed(how: str) -> None:
    model, x = Residual(how).eval(), torch.randn(200, 6)
    with torch.no_grad():
        wanted = model(x.clone())
        assert torch.allclose(static(model, x), wanted, atol=1e-5)
        fine = hybridise(model, 64.0, steps=32, data=x)(x)
    assert (fine.argmax(-1) == wanted.argmax(-1)).float().mean() > 0.97
    if how == "sum":
        plan = plan_of(model, (6,))
        y, _ = plan.run(x[None], plan.initial(len(x)))
        assert torch.allclose(y[0], wanted, atol=1e-5)


def test_a_plan_joins_an_input_that_comes_twice_twice() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.a(x), self.b(x)
            return torch.cat([one, other, one], 2)

    model, x = Doubled(), torch.randn(1, 5, 4)
    plan = plan_of(model, (4,))
    y, _ = plan.run(x, plan.initial(5))
    assert torch.allclose(y, model(x), atol=1e-6)


def test_dropout_by_function_follows_the_mode() -> None:
    class Dropped(Net):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.second(F.dropout(F.relu(self.first(x)), 0.5, self.training))
            return y

    x = torch.randn(30, 6)
    for training in (True, False):
        model = Dropped(nn.Identity()).train(training)
        hybrid = hybridise(model, 1e4, steps=1)
        assert (model.training, hybrid.training) == (training, training)
        with at_step(hybrid, None), torch.no_grad():
            hybrid.eval()
            assert torch.equal(hybrid(x), hybrid(x))
            assert torch.allclose(hybrid(x), model(x), atol=1e-5)
            hybrid.train()
            assert not torch.equal(hybrid(x), hybrid(x))


def test_a_model_whose_calls_are_not_what_it_computes_is_refused() -> None:
    class Viewed(Net):
        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h.view(-1, 8).mul_(3.0)  # which a graph takes for a value that nobody reads
            y: Tensor = self.second(F.relu(h))
            return y

    with pytest.raises(
        BitspikeError, match=r"^hybridise model: got a model whose answers are .* off when its calls are"
    ):
        hybridise(Viewed(nn.Identity()).eval(), data=torch.randn(20, 6))


def test_counts_go_by_names_then_patterns_then_all() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh())
    for counts in ({"*": 8.0, "[13]": 4.0, "1": 2.0}, {"1": 2.0, "[13]": 4.0, "*": 8.0}):
        found = {name: q.step_size() for name, q in hybridise(model, counts).quantised().items()}
        assert {name: float(dt) for name, dt in found.items()} == {"1": 2.0, "3": 4.0, "5": 8.0}
    with pytest.raises(
        BitspikeError, match=r"^hybridise counts: got '3\*', by which no layer goes, wanted names or pat"
    ):
        hybridise(model, {"*": 8.0, "[13]": 4.0, "3*": 1.0})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: hybridise(m, "8"), "hybridise counts: got '8', wanted a number or tensor"),
        (lambda m: hybridise(m, layers=3), "hybridise layers: got 3, wanted a name or pattern"),
        (lambda m: hybridise(m, percentile="a"), "hybridise percentile: got a, wanted a share"),
        (lambda m: relu_to_spiking(m, torch.rand(5, 6), percentile="a"), "relu_to_spiking percentile: got a"),
        (lambda m: accuracy_curve(relu_to_spiking(m, torch.rand(5, 6)), [], steps=2.5), "curve steps: got 2.5, wanted"),
        (lambda m: accuracy_curve(relu_to_spiking(m, torch.rand(5, 6)), [], 10**9), "curve steps: got 1,000,000,000"),
        (lambda m: hybridise(m.eval())(torch.full((2, 6), torch.nan)), "hybrid input: got nan"),
        (lambda m: sweep(hybridise(m), iter([])), "sweep data: got a list_iterator, which can be gone through once"),
    ],
)
def test_what_is_no_setting_is_refused(call: Callable[[nn.Module], object], said: str) -> None:
    with pytest.raises(BitspikeError) as error:
        call(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval())
    assert str(error.value).startswith(said)


def test_weights_that_are_no_numbers_are_named() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    soft = nn.Sequential(nn.Linear(6, 8), SoftNeuron(SoftLIF()), nn.Linear(8, 3))
    for one, convert in ((model, hybridise), (soft, spiking)):
        with torch.no_grad():
            one[0].weight[2, 3] = torch.nan
        with pytest.raises(BitspikeError, match=r"model 0.weight: got nan at \(2, 3\), wanted finite values"):
            convert(one)


# Soft rates


def test_a_unit_or_layer_for_two_places_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self, shared: str) -> None:
            super().__init__()
            self.shared, self.one, self.other = shared, SoftNeuron(SoftLIF()), SoftNeuron(SoftLIF())
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            if self.shared == "unit":
                y: Tensor = self.b(self.one(self.b(self.one(self.a(x)))))
                return y
            return self.a(self.other(self.b(self.one(self.a(x)))))

    with pytest.raises(
        BitspikeError, match=r"^spiking (one|b): got a unit or layer that is called twice, wanted one f"
    ):
        spiking(Twice("unit")).present(torch.randn(3, 6), 0.01)
    with pytest.raises(BitspikeError, match=r"^spiking a: got a unit or layer that is called twice"):
        spiking(Twice("layer")).present(torch.randn(3, 6), 0.01)


class Pooled(nn.Module):
    """A convolution, a unit, and a pool behind it by module or function, whatever order they were made in."""

    def __init__(self, behind: Callable[[Tensor], Tensor], first: bool = False) -> None:
        super().__init__()
        if first:
            self.behind = behind
        self.conv, self.unit = Stepwise(nn.Conv2d(1, 4, 3)), SoftNeuron(SoftLIF())
        if not first:
            self.behind = behind
        self.last = nn.Linear(4 * 3 * 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.behind(self.unit(self.conv(x))).flatten(2))
        return y


def each(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x.flatten(0, 1)).unflatten(0, x.shape[:2])


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (Stepwise(nn.MaxPool2d(2)), r"spiking behind.layer: got MaxPool2d on spikes, wanted average pooling"),
        (each(lambda x: F.max_pool2d(x, 2)), r"spiking model: got \w*max_pool2d\w* on spikes, wanted average pooling"),
        (each(lambda x: torch.relu(F.avg_pool2d(x, 2))), r"spiking model: got relu called as a function"),
        (each(lambda x: F.layer_norm(F.avg_pool2d(x, 2), (3, 3))), r"spiking model: got layer_norm on spikes"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_calls_that_spikes_cannot_stand_for_are_refused(
    behind: Callable[[Tensor], Tensor], said: str, first: bool
) -> None:
    net = spiking(Pooled(behind, first))
    with pytest.raises(BitspikeError, match=f"^{said}"):
        net.present(torch.rand(2, 1, 8, 8), 0.01)
    mean = spiking(Pooled(Stepwise(nn.AvgPool2d(2)), first))
    assert mean.present(torch.rand(2, 1, 8, 8), 0.01).shape == (1, 2, 2)


def test_a_spiking_run_leaves_the_modes_of_the_model_alone() -> None:
    model = nn.Sequential(nn.Linear(6, 40), SoftNeuron(SoftLIF()), nn.Dropout(0.5), nn.Linear(40, 3)).train()
    net, x = spiking(model), torch.randn(4, 6)
    means = net.present(x, 0.1)
    assert all(module.training for module in model.modules())
    net.reset()
    assert torch.equal(means, net.present(x, 0.1))  # nothing is dropped


def test_inputs_of_a_spiking_run_come_in_its_dtype_or_are_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 8), SoftNeuron(SoftLIF()), nn.Linear(8, 3)).double()
    whole = torch.randint(0, 3, (4, 6))
    assert torch.equal(spiking(model).present(whole, 0.02), spiking(model).present(whole.double(), 0.02))
    for call, said in (
        (lambda: spiking(model.bfloat16()), "spiking model: got torch.bfloat16, wanted float32"),
        (lambda: spiking(model.float(), chunk=2.5), "spiking chunk: got 2.5, wanted a whole number"),  # type: ignore[arg-type]
        (lambda: spiking(model.float(), synapse="gamma", tau_s=0.0), "synapse"),
        (lambda: spiking(model.float())(torch.zeros(0, 2, 6)), r"spiking input: got shape \(0, 2, 6\)"),
    ):
        with pytest.raises(BitspikeError, match=f"^{said}"):
            call()


# Counts of what ran


def test_energy_of_a_converted_network_inside_another_is_that_of_the_network() -> None:
    hybrid = hybridise(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), steps=3)
    x = torch.randn(6, 4)
    alone, wrapped = estimate_energy(hybrid, x), estimate_energy(nn.Sequential(nn.Identity(), hybrid), x)
    for name in ("macs", "acs", "updates"):
        assert [getattr(layer, name, None) for layer in alone.counts.layers] == [
            getattr(layer, name, None) for layer in wrapped.counts.layers
        ]
    assert (
        [layer.dense for layer in alone.counts.layers] == [layer.dense for layer in wrapped.counts.layers] == [20, 10]
    )


def test_papers_accounts_are_none_where_neurons_and_layers_do_not_take_turns() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b, self.shortcut, self.last = (nn.Linear(6, 6) for _ in range(5))
            self.neurons = nn.ModuleList(LIF() for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            one, two, three, four = self.neurons
            h = two(self.stem(one(x)))
            y: Tensor = self.last(four(self.b(three(self.a(h))) + self.shortcut(h)))
            return y

    found = estimate_energy(Projected(), 3 * torch.rand(5, 4, 6))
    assert len(found.counts.neurons) == len(found.counts.layers) - 1
    assert found.counts.order == (
        "neurons",
        "layer",
        "neurons",
        "layer",
        "neurons",
        "layer",
        "layer",
        "neurons",
        "layer",
    )
    assert found.to_dict()["mac_ac"] is None
    chain = nn.Sequential(nn.Linear(6, 6), LIF(), nn.Linear(6, 6), LIF(), nn.Linear(6, 2))
    assert estimate_energy(chain, 3 * torch.rand(5, 4, 6)).to_dict()["mac_ac"] is not None


def test_nonlinearities_that_are_calls_over_time_are_named() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.neuron, self.last = nn.Linear(6, 6), LIF(), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.last(torch.tanh(self.neuron(self.first(x))))
            return y

    assert estimate_energy(Own(), torch.rand(5, 4, 6)).counts.uncounted == ("tanh (a function)",)


def test_a_curve_counts_no_spikes_of_a_run_that_was_left() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    net = relu_to_spiking(model, torch.rand(50, 6))
    x, y = torch.rand(20, 6), torch.randint(0, 3, (20,))
    wanted = accuracy_curve(net, [(x, y)], 8).rates
    next(iter(net.readouts(x, 500)))
    assert accuracy_curve(net, [(x, y)], 8).rates == wanted
