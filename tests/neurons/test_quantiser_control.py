"""What is done to all quantisers of a model: draws by name, another step size, schedules, state files."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import BitspikeError
from bitspike.neurons import StepSchedule, TemporalQuantiser, at_step, quantisers, redraw_carry, set_step
from bitspike.neurons.quantiser import MODES


class Net(nn.Module):
    """Two parts with quantisers, one of them nested, and one quantiser under two names."""

    def __init__(self, mode: str = "carry") -> None:
        super().__init__()
        self.memory = nn.ModuleDict(
            {"low": TemporalQuantiser(2.0, mode=mode), "high": TemporalQuantiser(0.5, mode=mode)}
        )
        self.hidden = TemporalQuantiser(torch.tensor([1.0, 4.0, 16.0]), "tanh", mode=mode)
        self.again = self.hidden

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden(self.memory["high"](self.memory["low"](x)))


def sizes(net: Net) -> list[float]:
    return [net.memory["low"].dt.item(), net.memory["high"].dt.item(), *net.hidden.dt.tolist()]


X = torch.randn(15, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_every_quantiser_is_found_once_by_its_path():
    assert [name for name, _ in quantisers(Net())] == ["memory.low", "memory.high", "hidden"]
    one = TemporalQuantiser()
    assert list(quantisers(one)) == [("", one)]


# ---- draws


@pytest.mark.parametrize("mode", MODES)
def test_a_draw_is_made_by_name_and_differs_from_part_to_part(mode):
    net = Net(mode)
    before = net(X)
    redraw_carry(net, 5, "batch", 1)
    first = net(X)
    assert torch.equal(net(X), first)
    assert not torch.equal(first, before)
    redraw_carry(net, 5, "batch", 2)
    assert not torch.equal(net(X), first)
    other = Net(mode)
    redraw_carry(other, 5, "batch", 1)
    assert torch.equal(other(X), first)
    redraw_carry(other)
    assert torch.equal(other(X), before)
    # The same shape, another path: another draw.
    redraw_carry(net, 5)
    low, high = (net.memory[name].initial(X[0]) for name in ("low", "high"))
    assert not torch.equal(low[0], high[0])
    assert not {"drawn", "examples"} & {name.rsplit(".", 1)[-1] for name in net.state_dict()}


@pytest.mark.parametrize("mode", MODES)
def test_an_example_keeps_its_draw_in_any_batch(mode):
    net = Net(mode)
    redraw_carry(net, 5, examples=torch.tensor([40, 41, 42, 43]))
    whole = net(X)
    redraw_carry(net, 5, examples=[43, 41])
    assert torch.equal(net(X[:, [3, 1]]), whole[:, [3, 1]])
    redraw_carry(net, 5, examples=[40, 40])
    twins = net(X[:, [0, 0]])
    assert torch.equal(twins[:, 0], twins[:, 1])
    redraw_carry(net, 5, examples=[44])
    assert not torch.equal(net(X[:, :1]), whole[:, :1])
    with pytest.raises(BitspikeError, match="quantiser examples: got 1 numbers, wanted one for each of the 4 examples"):
        net(X)
    with pytest.raises(BitspikeError, match=r"quantiser examples: got numbers of shape \(1, 1\)"):
        redraw_carry(net, 5, examples=torch.zeros(1, 1))


# ---- another step size


def test_a_block_at_another_step_uses_it_in_both_modes_and_ends_with_it():
    net = Net()
    set_step(net, 8.0)
    for mode in (True, False):
        net.train(mode)
        with at_step(net, 2.0):
            assert net.hidden.step_size().tolist() == [2, 8, 32]
            with at_step(net.hidden, 0.5), net.memory["low"].at(None):
                assert net.hidden.step_size().tolist() == [0.5, 2, 8]
                assert net.memory["low"].step_size() is None
                assert net.memory["high"].step_size().item() == 1
            assert net.memory["low"].step_size().item() == 4
        assert net.hidden.step_size().tolist() == ([8, 32, 128] if mode else [1, 4, 16])
    with pytest.raises(ValueError, match="stop"), at_step(net, 2.0):
        raise ValueError("stop")
    assert net.memory["low"].step_size().item() == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [None, math.inf])
def test_a_static_network_is_its_nonlinearities(mode, factor):
    net, x = Net(mode), X.clone().requires_grad_()
    with at_step(net, factor):
        y = net(x)
        assert torch.equal(y, x.tanh())
        assert torch.equal(net.hidden.advance(x[0])[0], x[0].tanh())
        # The state that comes out fits a run that quantises.
        _, state = net.hidden.run(x)
    y.sum().backward()
    assert torch.allclose(x.grad, 1 - X.tanh() ** 2, rtol=1e-12)
    net.hidden.run(x, state)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan])
def test_a_factor_that_is_none_is_refused(factor):
    with pytest.raises(BitspikeError, match="quantiser step factor"), at_step(Net(), factor):
        pass
    with pytest.raises(BitspikeError, match="quantiser step factor"):
        set_step(Net(), factor)


# ---- schedules


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        # p = 0, 1/4, 1/2, 1, 1
        ("geometric", [256, 64, 16, 1, 1]),
        ("linear", [256, 192.25, 128.5, 1, 1]),
        ("cosine", [256, 1 + 255 * (1 + 0.5**0.5) / 2, 128.5, 1, 1]),
        ("constant", [1, 1, 1, 1, 1]),
    ],
)
def test_schedules_by_hand(kind, values):
    schedule = StepSchedule(kind)
    progress = [0, 0.1875, 0.375, 0.75, 0.999]
    assert [schedule.factor(q) for q in progress] == pytest.approx(values, rel=1e-12)
    assert schedule.factor(0.75) == schedule.factor(1.0) == 1
    assert [StepSchedule(kind, 4, 2, 0.0).factor(q) for q in (0, 1)] == [2 if kind == "constant" else 4, 2]
    assert StepSchedule(kind, hold=1.0).factor(0.0) == 1


def test_a_schedule_by_epochs_changes_between_them_only():
    schedule = StepSchedule(per="epoch", epochs=8)
    # floor(.75 * 8) = 6 epochs that move, two that hold.
    for epoch in range(8):
        wanted = 256 ** max(0, 1 - epoch / 6)
        for part in (0, 0.3, 0.999):
            assert schedule.factor((epoch + part) / 8) == pytest.approx(wanted, rel=1e-12)
    # At least the held fraction, whatever the number of epochs; k / E counts as epoch k however it is rounded.
    for epochs in (1, 2, 3, 7, 10, 49):
        values = [StepSchedule(per="epoch", epochs=epochs).factor(k / epochs) for k in range(epochs)]
        assert values.count(1.0) >= 0.25 * epochs
        assert len(set(values)) == epochs - values.count(1.0) + 1


def test_the_end_may_be_another_factor_and_the_start_a_step_size_itself():
    final = torch.tensor([1.0, 4.0])
    assert StepSchedule(start=16, end=4).dt(final, 0.375).tolist() == [8, 32]
    absolute = StepSchedule(start=64, absolute=True)
    assert absolute.dt(final, 0.0).tolist() == [64, 64]
    assert absolute.dt(final, 0.375).tolist() == pytest.approx([8, 16], rel=1e-6)
    assert absolute.dt(final, 0.9).tolist() == [1, 4]
    assert StepSchedule("constant", start=64, absolute=True).dt(final, 0.0).tolist() == [1, 4]


def test_a_schedule_sets_what_training_uses_and_leaves_the_final_steps():
    net = Net()
    set_step(net, StepSchedule(), 0.375)
    assert sizes(net) == [32, 8, 16, 64, 256]
    assert net.hidden.final.tolist() == [1, 4, 16]
    assert net.eval().hidden.step_size().tolist() == [1, 4, 16]
    set_step(net, StepSchedule(), 0.8)
    assert sizes(net) == [2, 0.5, 1, 4, 16]
    set_step(net, 3.0)
    assert sizes(net) == [6, 1.5, 3, 12, 48]


def test_parts_have_schedules_of_their_own():
    net = Net()
    set_step(net, {"memory.high": 3.0, "memory": StepSchedule("linear", 9), "hid*": StepSchedule("constant")}, 0.375)
    assert sizes(net) == [10, 1.5, 1, 4, 16]
    # One that no path fits keeps its step; a path that fits nothing is a mistake.
    set_step(net, {"memory.*": 2.0}, 0.5)
    assert sizes(net) == [4, 1, 1, 4, 16]
    message = (
        r"step schedule path: got 'hiden', wanted the path of a quantiser; there are 'memory.low', 'memory.high', "
    )
    with pytest.raises(BitspikeError, match=message):
        set_step(net, {"hiden": 2.0, "*": 1.0}, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "cosin"}, "step schedule kind: got 'cosin', wanted one of geometric, linear, cosine, constant"),
        ({"start": math.inf}, "step schedule start: got inf, wanted a positive number"),
        ({"end": 0.0}, "step schedule end: got 0.0"),
        ({"hold": 1.5}, "step schedule hold: got 1.5, wanted a fraction"),
        ({"per": "batch"}, "step schedule per: got 'batch', wanted 'step' or 'epoch'"),
        ({"per": "epoch"}, "step schedule epochs: got 0"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(options, message):
    with pytest.raises(BitspikeError, match=message):
        StepSchedule(**options)


def test_a_schedule_knows_its_limits():
    with pytest.raises(BitspikeError, match=r"progress: got -0.1, wanted 0 to 1"):
        StepSchedule().factor(-0.1)
    with pytest.raises(BitspikeError, match="step schedule factor: got an absolute start"):
        StepSchedule(start=64, absolute=True).factor(0.1)


# ---- files


def test_a_state_file_of_the_middle_of_training_holds_both_step_sizes():
    net = Net()
    set_step(net, StepSchedule(), 0.3)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = Net()
    other.load_state_dict(torch.load(file))
    assert sizes(other) == sizes(net)
    assert torch.equal(other(X), net(X))
    assert torch.equal(other.eval()(X), Net().eval()(X))
    set_step(other, StepSchedule(), 0.9)
    assert torch.equal(other.train()(X), Net()(X))


def test_step_sizes_made_per_unit_after_construction_are_loaded():
    calibrated = TemporalQuantiser(torch.tensor([1.0, 2.0, 3.0]), limit=torch.tensor([1, 2, 3]))
    plain = TemporalQuantiser(limit=5)
    plain.load_state_dict(calibrated.state_dict())
    assert plain.final.tolist() == plain.limit.tolist() == [1, 2, 3]
    assert torch.equal(plain(X), calibrated(X))
    # A file of before there was a final step.
    old = TemporalQuantiser(7.0)
    old.load_state_dict({"dt": torch.tensor(0.25)})
    assert (old.dt.item(), old.final.item()) == (0.25, 0.25)
