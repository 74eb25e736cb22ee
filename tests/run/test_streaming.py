"""A run as a plan: answers while an input comes in are those of `predict`, and `bitspike show` prints the network."""

from __future__ import annotations

import json

import pytest
import torch

import bitspike
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.models.plan import Weights
from bitspike.run.recipe_files import parse_recipe

from ..commands import commands

SMALL = ["training.epochs=1", "model.layers=['16']"]
SHORT = "{train_size=60, validation=20, test_size=20}"
RUNS = {
    "digits-bayes": [*SMALL, "evaluation.ship='ensemble'", "evaluation.draws=3"],
    "two-moons-bayes": [
        *SMALL,
        "encoder.steps=30",
        "evaluation.ship='map'",
        "data.options={train_size=60, test_size=60}",
    ],
    "digits-rows-hybrid": ["training.epochs=1", "model.hidden=8"],
    "mackey-glass-hybrid": ["training.epochs=1", "model.hidden=8", f"data.options={SHORT}"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def run(name):
        if name not in made:
            made[name] = bitspike.train(name, folder / name, overrides=RUNS[name])
        return made[name]

    return run


def inputs(run, count=7):
    return run.dataset().test.x[:count]


def slices(stream, events):
    answers, begin, source = [], 0, generator(0, "cut")
    while begin < len(events):
        end = begin + int(torch.randint(1, 5, (), generator=source))
        answers.append(stream.feed(events[begin:end]))
        begin = end
    return torch.cat(answers)


@pytest.mark.parametrize("name", RUNS)
def test_a_stream_answers_as_predict_does_after_every_step(runs, name):
    run = runs(name)
    x = inputs(run)
    for samples in (None, 0, 2 if run.learner.bayesian else 1):
        whole = run.predict(x, samples=samples, over_time=True)
        stream = run.stream(samples=samples)
        answers = slices(stream, run.encode(x))
        members = run.draws if samples is None else samples
        assert len(stream.plans) == max(1, members if run.learner.bayesian else 1)
        assert stream.steps == len(answers)
        assert torch.allclose(answers[-len(whole) :], whole, rtol=1e-5, atol=1e-6)
    assert answers.std() > 0


def test_weights_drawn_at_each_step_are_those_of_the_windows_step(tmp_path):
    source = generator(0, "series")
    x, y = torch.randn(40, 11, 2, generator=source), torch.arange(40) % 2
    run = bitspike.fit(
        ["6"], (x, y), tmp_path / "run", encoder={"name": "windows", "steps": 11, "width": 4, "stride": 3},
        weights={"precision": "bayesian", "redraw": "step"}, epochs=1, evaluation={"draws": 2, "ship": "ensemble"},
    )  # fmt: skip
    whole = run.predict(x[:5], over_time=True)
    answers = slices(run.stream(), run.encode(x[:5]))
    # Four windows, the last of which hangs over the end of the series.
    assert len(whole) == 4
    assert torch.allclose(answers, whole[:3], rtol=1e-5, atol=1e-6)


def test_parts_of_a_large_batch_draw_what_they_draw_in_predict(runs):
    run = runs("digits-rows-hybrid")
    x = inputs(run, 9)
    before = run.recipe.evaluation.batch
    run.recipe.evaluation.__dict__["batch"] = 4
    try:
        assert torch.allclose(slices(run.stream(), run.encode(x))[-1], run.predict(x), rtol=1e-5, atol=1e-6)
    finally:
        run.recipe.evaluation.__dict__["batch"] = before


def test_bayesian_weights_have_a_plan_for_each_draw_and_for_map(runs):
    run = runs("digits-bayes")
    with pytest.raises(BitspikeError, match=r"plan member: got none, wanted 'map' or a draw, 0 to 2: .* ensemble of 3"):
        run.plan()
    for wrong in (3, -1, "mode", True, 1.0):
        with pytest.raises(BitspikeError, match=f"plan member: got {wrong!r}, wanted 'map' or a draw, 0 to 2"):
            run.plan(wrong)
    plans = {member: run.plan(member) for member in (0, 1, 2, "map")}
    assert [plan.member for plan in plans.values()] == ["draw 0", "draw 1", "draw 2", "MAP"]
    weights = [next(n for n in plan.nodes if isinstance(n, Weights)).weight for plan in plans.values()]
    assert len({tuple(w.flatten().tolist()) for w in weights}) == 4
    x = inputs(run)
    members = [plans[k].run(run.encode(x))[0] for k in range(3)]
    raw = run.predict(x, scaled=False, over_time=True)
    assert torch.allclose(torch.stack(members).mean(0), raw, rtol=1e-5, atol=1e-6)
    assert runs("two-moons-bayes").plan().member == "MAP"
    with pytest.raises(BitspikeError, match="plan member: got 'map', wanted none: these weights are not drawn"):
        runs("digits-rows-hybrid").plan("map")


def test_what_a_stream_is_fed_is_checked(runs):
    stream = runs("digits-rows-hybrid").stream()
    for wrong, message in [
        (torch.zeros(2, 3, 7), r"stream slice: got \(2, 3, 7\), wanted \(T, N, 8\)"),
        (torch.zeros(0, 3, 8), r"stream slice: got \(0, 3, 8\), wanted"),
        (torch.full((1, 3, 8), torch.nan), "stream slice: got values that are not finite"),
        ("now", "stream slice: got str"),
    ]:
        with pytest.raises(BitspikeError, match=message):
            stream.feed(wrong)
    stream.feed(torch.zeros(2, 3, 8))
    with pytest.raises(BitspikeError, match=r"stream slice: got \(2, 4, 8\), wanted \(T, 3, 8\)"):
        stream.feed(torch.zeros(2, 4, 8))
    for wrong in (-1, 1.0, True, "1"):
        with pytest.raises(BitspikeError, match=f"stream samples: got {wrong}, wanted 0"):
            runs("digits-rows-hybrid").stream(samples=wrong)


def test_show_prints_the_network(runs, tmp_path):
    run = runs("digits-bayes")
    mistakes = [
        ((tmp_path / "none",), "bitspike: run"),
        ((run.path, "--member", "9"), "bitspike: plan member: got 9, wanted 'map' or a draw, 0 to 2"),
        ((run.path, "--member", "best"), "bitspike: plan member: got 'best'"),
    ]
    asked = [(run.path,), (run.path, "--json", "--member", "map"), ("--help",), *(words for words, _ in mistakes)]
    shown, as_json, helped, *refused = commands(*(["show", *words] for words in asked), codes=[0, 0, 0, 2, 2, 2])
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["node", "kind", "shape", "weights", "bits", "fan-in", "fan-out", "constants"]
    assert [line.split()[0] for line in lines[1:-1]] == [node.name for node in run.plan(0).nodes]
    # 64 x 16 and 16 x 10 signs; gain and offset of 16 and 10 channels.
    assert lines[-1] == f"1,236 values in {1184 + 52 * 32:,} bits; weights: draw 0, of 3 shipped"
    found = json.loads(as_json.stdout)
    assert found["member"] == "MAP"
    lif = next(node for node in found["nodes"] if "step" in node)
    values = {"x": 0.7, "v": 0.9, "beta": 0.5, "theta": 1.0}
    for line in lif["step"]:
        name, expression = line.split(" = ", 1)
        values[name] = eval(expression, {}, values)
    assert (values["output"], values["v'"]) == (1.0, pytest.approx(0.5 * 0.9 + 0.7 - 1.0))
    assert "Example: bitspike show runs/digits-st" in helped.stdout
    for done, (_, message) in zip(refused, mistakes, strict=True):
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1


WINDOWS = """
name = "windows"
[data]
set = "mackey-glass"
options = { train_size = 60, validation = 20, test_size = 20 }
[encoder]
name = "windows"
steps = 100
width = 8
stride = 4
[model]
layers = ["12"]
[training]
epochs = 1
criterion = "rmse"
"""


def test_windows_are_fed_the_series_itself(tmp_path):
    run = bitspike.train(parse_recipe(WINDOWS, "windows"), tmp_path / "run")
    x = inputs(run)
    whole, stream = run.predict(x, over_time=True), run.stream()
    assert run.encode(x).shape == (100, 7, 1)
    assert stream.feed(run.encode(x)[:3]).shape == (0, 7, 2)
    answers = slices(stream, run.encode(x)[3:])
    assert answers.shape == whole.shape == (25, 7, 2)
    assert torch.allclose(answers, whole, rtol=1e-5, atol=1e-6)
