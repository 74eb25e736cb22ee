"""What classes of one's own give is looked at where it comes in: a wrong value is one line that names the class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import bitspike
from bitspike import registry
from bitspike.coding import Encoder
from bitspike.coding.decoding import decode
from bitspike.data.given import given
from bitspike.draws import uniform_per_example
from bitspike.errors import BitspikeError
from bitspike.learners import Learner
from bitspike.neurons import Neuron, Surrogate

SMALL = ["training.epochs=1", "training.batch=300", "model.layers=['8']", "encoder.steps=2", "evaluation.ship='map'"]


@pytest.fixture
def registered(request):
    names: list[tuple[str, str]] = []

    def register(room: str, made: Any) -> None:
        bitspike.register(room, "mine")(made)
        names.append((room, "mine"))

    yield register
    for room, name in names:
        del registry._entries[room][name]


def encoder(code: Any, **attributes: Any) -> type[Encoder]:
    def __init__(self, steps: int = 2) -> None:
        self.steps = steps

    def __call__(self, x: Tensor, examples: Tensor, *keys: Any) -> Any:
        return code(x.float().expand(self.steps, *x.shape), examples, keys)

    return type("Mine", (Encoder,), {"__init__": __init__, "__call__": __call__, **attributes})


def no_steps(self, steps: int = 2) -> None:
    pass


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (encoder(lambda x, *_: x[:-1]), r"got a code of shape \(1, 300, 1, 8, 8\), wanted \(2, 300, 1, 8, 8\)"),
        (encoder(lambda x, *_: torch.cat([x, x])), r"got a code of shape \(4, 300, 1, 8, 8\)"),
        (encoder(lambda x, *_: x[:, :-1]), r"got a code of shape \(2, 299, 1, 8, 8\)"),
        (encoder(lambda x, *_: x.flatten(2)), r"got a code of shape \(2, 300, 64\)"),
        (encoder(lambda x, *_: x.numpy()), "got a code of type ndarray, wanted a tensor"),
        (encoder(lambda *_: None), "got a code of type NoneType, wanted a tensor"),
        (encoder(lambda x, *_: x + 1j), "got a code of torch.complex64, wanted real numbers"),
        (encoder(lambda x, *_: (torch.rand(x.shape) < x).float()), "got draws of torch's global generator, wanted"),
        (encoder(lambda x, *_: x, __init__=no_steps), "got steps = None, wanted an attribute `steps`"),
    ],
)
def test_an_encoder_gives_the_code_that_it_says(registered, tmp_path, made, line):
    registered("encoder", made)
    asked = [each for each in SMALL if "steps" not in each] if "steps = None" in line else SMALL
    with pytest.raises(BitspikeError, match=rf"encoder 'mine': {line}"):
        bitspike.train("digits-st", tmp_path / "r", overrides=[*asked, "encoder.name='mine'"])


def test_draws_of_an_encoder_that_are_named_are_taken(registered, tmp_path):
    def code(x: Tensor, examples: Tensor, keys: Any) -> Tensor:
        drawn = uniform_per_example(examples, (len(x), *x.shape[2:]), *keys).transpose(0, 1)
        return (drawn < x).float()

    registered("encoder", encoder(code, emits="spikes"))
    run = bitspike.train("digits-st", tmp_path / "r", overrides=[*SMALL, "encoder.name='mine'"])
    assert run.evaluate()["nll"] == run.result["test"]["nll"]


class V(NamedTuple):
    v: Any


class W(NamedTuple):
    v: Any
    w: Any


class P(NamedTuple):
    leak: Any


def usual(x: Any, state: Any, p: Any, spike: Any) -> Any:
    v = p.leak * state.v + x
    s = spike(v - 1)
    return s, V(v - s)


def neuron(step: Any = usual, **methods: Any) -> type[Neuron]:
    def __init__(self) -> None:
        Neuron.__init__(self)
        self.step, self.spike = step, Surrogate()

    parts = {"initial": lambda self, like: V(torch.zeros_like(like)), "constants": lambda self: P(0.5)}
    return type("Mine", (Neuron,), {"__init__": __init__, "state_class": V, **parts, **methods})


@pytest.mark.parametrize("back_end", ["auto", "reference"])
@pytest.mark.parametrize(
    ("made", "line"),
    [
        (neuron(initial=lambda self, like: (like,)), r"neuron Mine.initial: got tuple, wanted a NamedTuple"),
        (neuron(initial=lambda self, like: None), r"neuron Mine.initial: got NoneType, wanted a NamedTuple"),
        (neuron(initial=lambda self, like: V(0.0)), r"neuron Mine.initial: got a v that is no tensor"),
        (neuron(constants=lambda self: (0.5,)), r"neuron Mine.constants: got tuple, wanted a NamedTuple"),
        (neuron(lambda x, state, p, spike: spike(x - 1)), r"neuron step '<lambda>': got Tensor, wanted \(output, V\)"),
        (neuron(lambda x, state, p, spike: (spike(x - 1), W(x, x))), r"got \(output, W\), wanted \(output, V\)"),
    ],
)
def test_a_neuron_keeps_its_state(registered, tmp_path, made, line, back_end):
    registered("neuron", made)
    asked = [*SMALL, "model.neuron={kind='mine'}", f"compute.back_end='{back_end}'"]
    with pytest.raises(BitspikeError, match=line):
        bitspike.train("digits-st", tmp_path / "r", overrides=asked)


def test_what_a_neuron_draws_is_the_same_in_every_measurement(registered, tmp_path):
    def forward(self: Any, x: Tensor) -> Tensor:
        return Neuron.forward(self, x + torch.rand_like(x))

    registered("neuron", neuron(forward=forward))
    run = bitspike.train("digits-st", tmp_path / "r", overrides=[*SMALL, "model.neuron={kind='mine'}"])
    x = run.split("test").x[:20]
    assert torch.equal(run.predict(x), run.predict(x))
    assert run.evaluate()["nll"] == run.result["test"]["nll"]


def learner(change: Any) -> type[Learner]:
    def fit_batch(self: Any, events: Tensor, targets: Tensor, examples: Any = None) -> Any:
        self.model.train()
        loss = F.cross_entropy(self.model(events).mean(0), targets)
        self.updates += 1
        return change({"loss": float(loss.detach()), "examples": float(len(targets))}, loss)

    def outputs(self: Any, events: Tensor, every_step: bool = False) -> Tensor:
        return decode(self.model(events), "mean-logit", self.task)

    def __init__(self: Any, model: Any, optimisation: Any, task: str, seed: int) -> None:
        Learner.__init__(self, model, optimisation, task, seed)

    return type("Mine", (Learner,), {"fit_batch": fit_batch, "outputs": outputs, "__init__": __init__})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda m, loss: None, "Mine.fit_batch: got None, wanted a dict with 'loss' and 'examples'"),
        (lambda m, loss: {"loss": 1.0}, "Mine.fit_batch: got a dict with 'loss', wanted"),
        (lambda m, loss: m | {"loss": float("nan")}, "Mine.fit_batch 'loss': got nan at update 1, wanted a finite"),
        (lambda m, loss: m | {"loss": loss}, "Mine.fit_batch 'loss': got Tensor, wanted a number"),
        (lambda m, loss: m | {"examples": 0.0}, "Mine.fit_batch 'examples': got 0.0, wanted"),
    ],
)
def test_a_learner_tells_its_loss(registered, tmp_path, change, line):
    registered("learner", learner(change))
    with pytest.raises(BitspikeError, match=line):
        bitspike.train("digits-full", tmp_path / "r", overrides=[*SMALL, "learner={rule='mine'}"])


def test_a_learner_without_a_word_of_its_decoder_has_no_plan(registered, tmp_path):
    registered("learner", learner(lambda m, loss: m))
    run = bitspike.train("digits-full", tmp_path / "r", overrides=[*SMALL, "learner={rule='mine'}"])
    with pytest.raises(BitspikeError, match="learner 'mine': got no word of how it reads answers, wanted"):
        run.plan()
    run.learner.decoder = "mean-logit"
    x = run.split("test").x[:5]
    streamed = run.stream(scaled=False).feed(run.encode(x))
    assert torch.allclose(streamed[-1], run.predict(x, scaled=False), atol=1e-6)


def good() -> Any:
    x = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    return given((x, (x[:, 0] > 0.5).long()), time=False)[0]


def with_part(part: str, **changes: Any) -> Any:
    made = good()
    old = getattr(made, part)
    return replace(
        made, **{part: replace(old, **{name: change(getattr(old, name)) for name, change in changes.items()})}
    )


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: replace(good(), test=good().train), "data set 'mine': got .* examples that are in train and in test"),
        (lambda: with_part("train", index=lambda i: i * 0), r"data set 'mine' train.index: got torch.int64 \(\d+,\)"),
        (lambda: with_part("test", x=lambda x: x * torch.nan), r"data set 'mine' test.x: got .* not finite"),
        (
            lambda: with_part("test", x=lambda x: x[:, :3]),
            r"data set 'mine' test.x: got examples \(3,\), wanted \(4,\)",
        ),
        (lambda: with_part("train", y=lambda y: y[:-1]), r"data set 'mine' train.y: got \d+ examples, wanted the \d+"),
        (lambda: with_part("train", y=lambda y: y.float()), r"data set 'mine' train.y: got torch.float32"),
        (lambda: with_part("train", y=lambda y: y + 1), r"data set 'mine' train.y: got classes 1 to 2, wanted 0 to 1"),
        (lambda: replace(good(), validation=good().validation[:0]), "data set 'mine' validation: got no example"),
    ],
)
def test_a_data_set_is_what_it_says(registered, tmp_path, make, line):
    registered("data", lambda seed: make())
    with pytest.raises(BitspikeError, match=line):
        bitspike.train("digits-st", tmp_path / "r", overrides=["data={set='mine'}", *SMALL])


def test_a_file_that_leaves_python_is_an_error_of_that_file(tmp_path, monkeypatch):
    from bitspike import plugins

    (tmp_path / "own").mkdir()
    (tmp_path / "own/leaves.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "own"))
    with pytest.raises(BitspikeError, match=r"plug-in '.*leaves.py', line 2: SystemExit: 3"):
        plugins.ready()
    monkeypatch.setenv(plugins.VARIABLE, "")
    plugins.ready()
