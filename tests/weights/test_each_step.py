"""Weights drawn anew at each time step: one pass of T steps averages T draws."""

import json

import pytest
import torch

import bitspike
from bitspike import Session, load_recipe
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.layers import FewBitLinear, Stepwise
from bitspike.models.plan import plan_of
from bitspike.weights import BayesianBinary, at_step, quantise, redraw, use_map

STEP = ["weights.redraw=step"]
SMALL = ["training.epochs=1", "model.layers=['8']", "encoder.steps=3", "evaluation.draws=2"]

ONLINE = ["learner.rule=online", "learner.burn_in=1", "model.neuron.kind=bisnn"]


def layer(redraw_at: str = "step", inputs: int = 5, outputs: int = 4) -> Stepwise:
    torch.manual_seed(0)
    made = Stepwise(FewBitLinear(inputs, outputs, bias=False))
    quantise(made, lambda: BayesianBinary(relaxed=False, rule="straight-through", redraw=redraw_at), "test")
    return made


def test_each_step_has_the_draw_of_its_name() -> None:
    made = layer().eval()
    x = torch.rand(3, 2, 5)
    redraw(made, "a", 1)
    y = made(x)
    latent = made.layer.parametrizations.weight.original.detach()
    for step in range(3):
        keys = ("a", 1, "layer.weight", *(("step", step) if step else ()))
        uniform = torch.rand(latent.shape, generator=generator(*keys))
        weight = torch.where(uniform >= torch.sigmoid(-2 * latent), 1.0, -1.0)
        assert torch.allclose(y[step], x[step] @ weight.T, atol=1e-6)
    assert torch.equal(made(x), y), "a second pass of the same draw is the same"


def test_the_first_step_is_the_draw_of_a_pass_and_the_mean_that_of_the_posterior() -> None:
    each, whole = layer().eval(), layer("pass").eval()
    x = torch.rand(1, 1, 5).expand(4000, 1, 5)
    for made in (each, whole):
        redraw(made, "b")
    y = each(x)
    assert torch.equal(y[0], whole(x)[0])
    latent = each.layer.parametrizations.weight.original.detach()
    mean = x[0] @ torch.tanh(latent).T
    error = (x[0].square() @ (1 - torch.tanh(latent).square()).T).sqrt() / 4000**0.5
    assert ((y.mean(0) - mean).abs() < 5 * error).all()
    use_map(each, True)
    assert torch.equal(each(x)[7], x[7] @ torch.where(latent >= 0, 1.0, -1.0).T)


def test_the_gradient_is_the_sum_over_steps() -> None:
    made = layer().train()
    x = torch.rand(3, 2, 5)
    redraw(made, "c")
    made(x).square().sum().backward()
    latent = made.layer.parametrizations.weight.original
    wanted = torch.zeros_like(latent)
    for step in range(3):
        at_step(made, step)
        weight = made.layer.weight.detach()
        wanted += 2 * (x[step] @ weight.T).T @ x[step]
    assert torch.allclose(latent.grad, wanted, rtol=1e-5)


@pytest.mark.parametrize("rule", ["backprop", "online"])
def test_a_run_answers_by_the_step_and_says_so(tmp_path, rule: str) -> None:
    own = ONLINE if rule == "online" else []
    told = [*SMALL, *STEP, "evaluation.ship=ensemble", "evaluation.draws=1", *own]
    run = bitspike.train("digits-bayes", tmp_path / rule, overrides=told)
    shipped = json.loads((run.path / "result.json").read_text())["shipped"]
    assert shipped["why"].startswith("weights drawn anew at each step, passes: 1")
    x = run.split("test").x[:40]
    answers = run.predict(x, scaled=False)
    assert torch.equal(answers, run.predict(x, scaled=False))
    # The same by hand: a plan of each step's draw, the state carried on.
    events, state, y = run.encode(x), None, []
    redraw(run.model, run.learner.seed, "ensemble", 0)
    for step in range(3):
        at_step(run.model, step)
        plan = plan_of(run.model, events.shape[2:])
        made, state = plan.run(events[step : step + 1], state)
        y.append(made)
    if rule == "backprop":
        assert torch.allclose(torch.cat(y).cumsum(0)[-1].div(3).softmax(-1), answers, atol=1e-5)
    stream = run.stream(scaled=False)
    fed = [stream.feed(part) for part in events.split([1, 2])]
    assert torch.allclose(torch.cat(fed), run.predict(x, scaled=False, over_time=True), atol=1e-6)
    two = run.stream(samples=2, scaled=False).feed(events)
    assert torch.allclose(two[-1], run.predict(x, samples=2, scaled=False), atol=1e-6)
    stored = run.result["bits"]["by_tensor"]
    drawn = [bits / count for name, (count, bits) in stored.items() if "weight" in name and count > 100]
    assert drawn
    assert set(drawn) == {3.0}
    with pytest.raises(BitspikeError, match="plan member: got 0, wanted 'map'"):
        run.plan(0)
    assert run.plan("map").run(events, None)[0].shape[1] == 40


def test_energy_counts_every_step_of_a_direct_current(tmp_path) -> None:
    adds = {}
    for name, more in (("pass", []), ("step", STEP)):
        told = [*SMALL, "evaluation.ship=ensemble", "evaluation.draws=1", *more]
        run = bitspike.train("digits-bayes", tmp_path / name, overrides=told)
        adds[name] = run.result["energy"]["network"]["add_real"]
    # Real values meet +-1 in the first layer alone: once in a pass, or under each of three draws.
    assert adds["step"] == pytest.approx(3 * adds["pass"])
    assert adds["pass"] > 0


def test_online_learning_is_that_of_draws_by_the_pass() -> None:
    own = [*SMALL, *ONLINE]
    states = []
    for more in ([], STEP):
        session = Session(load_recipe("digits-bayes", [*own, *more]))
        session.advance(6)
        states.append(session.learner.model.state_dict())
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (["model.layers=['8r']"], "weights.redraw: got 'step' with layer 'spikes1.feedback'"),
        (["weights.redraw=week"], "weights.redraw"),
    ],
)
def test_what_cannot_be_drawn_by_the_step_is_refused(told: list[str], message: str) -> None:
    with pytest.raises(BitspikeError, match=message):
        Session(load_recipe("digits-bayes", [*SMALL, *STEP, *told]))
