"""The compiled loop of probabilistic circuits against the plain one: same symbols, weights equal in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.resident import resident

from bitspike.draws import key_words
from bitspike.errors import BitspikeError
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.kernels.cpu.works import side_by_side
from bitspike.learners.circuits import GLM, CircuitLearner, Vowel, plain
from bitspike.models.circuits import Circuits, topology
from bitspike.models.circuits.likelihood import class_log_p, in_one_presentation

INPUTS, OUTPUTS, HIDDEN, STEPS = 7, 3, 4, 60
RULES = [
    *((Vowel, {"baseline": base}) for base in ("before", "with", "none")),
    (Vowel, {"parity": ["V1", "V4"]}),
    (Vowel, {"parity": ["V3"]}),
    *((GLM, {"baseline": base}) for base in ("before", "with", "none")),
    (GLM, {"parity": ["F1", "F2", "F4", "V4"]}),
]


def network(symbols: int = 2, name: str = "full") -> Circuits:
    return Circuits(INPUTS, OUTPUTS, hidden=HIDDEN, symbols=symbols, mask=name).double()


def learner(kind: type[CircuitLearner], symbols: int = 2, name: str = "full", **options: object) -> CircuitLearner:
    return kind(network(symbols, name), seed=3, **{"rate": 0.005, "divergence": 0.7, **options})  # type: ignore[arg-type]


def stream(streams: int, steps: int = STEPS) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes with a long silence, an input that never fires, and classes for each step, some of them unknown."""
    source = torch.Generator().manual_seed(streams)
    x = (torch.rand(steps, streams, INPUTS, generator=source) < 0.1).double()
    x[:, :, 3] = 0
    x[20:45] = 0
    return x, torch.randint(-1, OUTPUTS, (streams, steps), generator=source)


def both(made: CircuitLearner, x: torch.Tensor, classes: torch.Tensor) -> tuple[Circuits, float]:
    """Learn by both; returns the plain loop's network and its loss."""
    streams = x.shape[1] * made.samples
    other = Circuits(INPUTS, OUTPUTS, hidden=HIDDEN, symbols=made.model.symbols, mask="full").double()
    other.output_memory = made.model.output_memory
    other.load_state_dict(made.model.state_dict())
    other.mask = made.model.mask
    words = [key_words(*made.keys, "circuits", b) for b in range(streams)]
    wanted = made.clamped(classes, len(x)).expand(-1, streams, -1)
    x_all = x.expand(-1, streams, -1)
    _, log_p, _ = plain.learn(other, plain.begin(other, streams), x_all, wanted, words, made.rule())
    loss = made.fit_batch(x, classes)["loss"]
    assert loss == pytest.approx(float(-log_p.mean()), rel=1e-9)
    return other, loss


@pytest.mark.parametrize(("kind", "options"), RULES)
@pytest.mark.parametrize("symbols", [1, 2])
def test_rules(kind: type[CircuitLearner], options: dict[str, object], symbols: int) -> None:
    made = learner(kind, symbols, **options)
    before = made.model.weight.detach().clone()
    other, _ = both(made, *stream(1))
    assert (made.model.weight - before).abs().max() > 1e-4
    assert torch.allclose(made.model.weight, other.weight, atol=1e-8, rtol=0)
    assert torch.allclose(made.model.own, other.own, atol=1e-8, rtol=0)


@pytest.mark.parametrize(("kind", "options"), [RULES[0], RULES[5]])
def test_streams_that_share_weights_and_samples_of_one(kind: type[CircuitLearner], options: dict[str, object]) -> None:
    for samples, streams in ((1, 3), (3, 1)):
        made = learner(kind, samples=samples, **options)
        other, _ = both(made, *stream(streams))
        assert torch.allclose(made.model.weight, other.weight, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", ["full", "no-return", "recurrent", "feed-forward"])
@pytest.mark.parametrize("kappa", [0.0, 0.7])
def test_topologies_and_short_and_long_traces(name: str, kappa: float) -> None:
    made = learner(Vowel, name=name, kappa=kappa, rate=0.005)
    other, _ = both(made, *stream(1))
    assert torch.allclose(made.model.weight, other.weight, atol=1e-8, rtol=0)
    assert not made.model.weight[~made.model.mask[:, None, :, None].expand_as(made.model.weight)].any()


def test_outputs_without_memory_hear_no_output() -> None:
    model = Circuits(INPUTS, OUTPUTS, hidden=HIDDEN, output_memory=False).double()
    made = Vowel(model, seed=3, rate=0.005)
    other, _ = both(made, *stream(2))
    assert torch.allclose(model.weight, other.weight, atol=1e-8, rtol=0)
    assert torch.allclose(model.own, other.own, atol=1e-8, rtol=0)
    assert not model.own[1, HIDDEN:].any()
    assert not model.weight[INPUTS + HIDDEN * 2 :].any()
    x, _ = stream(2)
    a, b = (made.presented(x, torch.full((2,), c), (0, "t")).log_p for c in (0, 1))
    held = made.clamped(torch.full((2,), 0), STEPS)
    held[::2] = made.clamped(torch.full((2,), 1), STEPS)[::2]
    mixed = model(x, held, (0, "t")).log_p
    assert torch.equal(mixed[::2], b[::2])  # what outputs emitted before changes nothing
    assert torch.equal(mixed[1::2], a[1::2])


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("symbols", [1, 2])
@pytest.mark.parametrize("hidden", [0, HIDDEN])
def test_classes_from_one_presentation_are_those_of_one_each(memory: bool, symbols: int, hidden: int) -> None:
    model = Circuits(INPUTS, OUTPUTS, hidden=hidden, symbols=symbols, spread=0.8, output_memory=memory).double()
    made = Vowel(model)
    x, _ = stream(5)
    assert in_one_presentation(model)
    each = [made.presented(x, torch.full((5,), c), (0, "t")).log_p for c in range(OUTPUTS)]
    assert torch.allclose(class_log_p(model, x, (0, "t")), torch.stack(each, -1), atol=1e-10, rtol=0)
    assert not in_one_presentation(network())


def test_slices_of_a_stream_are_the_whole_bit_for_bit() -> None:
    x, classes = stream(2)
    whole, pieces = learner(Vowel), learner(Vowel)
    whole.fit_batch(x, classes)
    cuts = [0, 1, 2, 14, 15, 31, 58, STEPS]
    for number, (lo, hi) in enumerate(itertools.pairwise(cuts)):
        part = classes[:, lo:hi]
        pieces.fit_batch(x[lo:hi], part if bool((part >= 0).any()) else classes[:, :1], reset=number == 0)
    assert torch.equal(whole.model.weight, pieces.model.weight)
    assert torch.equal(whole.model.own, pieces.model.own)


def test_separate_learners_learn_in_one_call_what_each_learns_by_itself() -> None:
    """Of other rules, weights, draws, numbers of streams and lengths; each goes on from where it was."""
    kinds = [(Vowel, 1, 60, {}), (GLM, 3, 25, {}), (Vowel, 1, 40, {"samples": 2}), (GLM, 2, 60, {"parity": ["F1"]})]
    ends, before = [], torch.get_num_threads()
    for at_once in (True, False):
        made = [learner(kind, **options) for kind, _, _, options in kinds]
        for number, one in enumerate(made):
            one.key = ("client", number)
        for part, reset in ((slice(0, 7), True), (slice(7, None), False)):
            given = []
            for one, (_, streams, steps, _) in zip(made, kinds, strict=True):
                x, classes = stream(streams, steps)
                given.append((one, x[part], classes[:, part].clamp_min(0), reset))
            if at_once:
                torch.set_num_threads(2)
                try:
                    losses = side_by_side([one.fitting(x, classes, reset=new) for one, x, classes, new in given])
                finally:
                    torch.set_num_threads(before)
            else:
                losses = [one.fit_batch(x, classes, reset=new) for one, x, classes, new in given]
        ends.append((losses, [(one.model.state_dict(), one.state_dict()["carried"]) for one in made]))
    assert ends[0][0] == ends[1][0]
    for ours, theirs in zip(ends[0][1], ends[1][1], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_what_a_stream_carries_is_saved_and_taken_up() -> None:
    x, classes = stream(1)
    whole = learner(Vowel)
    whole.fit_batch(x, classes)
    again = learner(Vowel)
    again.model.load_state_dict(whole.model.state_dict())
    again.load_state_dict(whole.state_dict())
    x, classes = stream(1, 30)
    for one in (whole, again):
        one.fit_batch(x, classes)
    assert torch.equal(whole.model.weight, again.model.weight)
    for name, value in (("live", 10**6), ("clock", -1), ("done", 10**6), ("quiet", 99), ("bits", -1)):
        state = whole.state_dict()
        state["carried"][name].view(-1)[0] = value
        with pytest.raises(BitspikeError, match="learner state: got numbers that no run leaves"):
            again.load_state_dict(state)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (Vowel, {"kappa": 0.2}, {"kappa": 0.7}),
        (Vowel, {"kappa": 0.7}, {"kappa": 0.2}),
        (GLM, {"kappa": 0.7}, {"kappa": 0.0}),
        (Vowel, {"baseline": "none"}, {"baseline": "before"}),
        (GLM, {"baseline": "none"}, {"baseline": "with", "kappa": 0.5}),
        (Vowel, {"baseline": "with"}, {"baseline": "none"}),
    ],
)
def test_what_a_stream_carries_is_taken_up_by_another_rule(
    kind: type[CircuitLearner], before: dict[str, object], after: dict[str, object]
) -> None:
    made, then = learner(kind, **before), learner(kind, **after)
    x, classes = stream(2)
    other = network()
    other.load_state_dict(made.model.state_dict())
    words, state = [key_words(*made.keys, "circuits", b) for b in range(2)], plain.begin(other, 2)
    plain.learn(other, state, x, made.clamped(classes, len(x)), words, made.rule())
    if made.baseline == "none":  # the oracle keeps averages for all rules
        for part in (*state.parts["n"], *state.parts["m"]):
            part.zero_()
    plain.learn(other, state, x, made.clamped(classes, len(x)), words, then.rule())
    made.fit_batch(x, classes)
    then.model.load_state_dict(made.model.state_dict())
    then.load_state_dict(made.state_dict())
    then.fit_batch(x, classes, reset=False)
    assert torch.allclose(then.model.weight, other.weight, atol=1e-7, rtol=0)
    assert torch.allclose(then.model.own, other.own, atol=1e-7, rtol=0)


def test_the_gap_empties_filters_and_nothing_else() -> None:
    x, classes = stream(1)
    made = learner(GLM)
    made.fit_batch(x, classes)
    assert made.state is not None
    before = made.state.state_dict()
    made.state.forget()
    after = made.state.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"bits"}


def test_memory_does_not_grow_with_time() -> None:
    x, classes = stream(1)
    made = learner(Vowel)
    made.fit_batch(x, classes)
    sizes = {name: tuple(part.shape) for name, part in made.state_dict()["carried"].items()}
    for _ in range(20):
        made.fit_batch(x, classes, reset=False)
    assert {name: tuple(part.shape) for name, part in made.state_dict()["carried"].items()} == sizes
    assert made.updates == 21 * STEPS


@pytest.mark.long
def test_a_million_steps_take_the_memory_of_a_thousand() -> None:
    made = GLM(Circuits(64, 4, hidden=8, symbols=1))
    x = (torch.rand(1000, 1, 64, generator=torch.Generator().manual_seed(0)) < 0.05).float()
    sizes = []
    for _ in range(1000):
        made.fit_batch(x, torch.tensor([1]), reset=False)
        sizes.append(resident("VmRSS"))
    assert max(sizes) - sizes[0] < 16 << 20
    assert made.updates == 10**6


def test_masks() -> None:
    full, none = topology("full", 2, 2, 1), topology("no-return", 2, 2, 1)
    assert full.int().tolist() == [[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert none.int().tolist() == [[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 1], [0, 0, 0]]
    assert topology("feed-forward", 2, 2, 1).int().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert topology("feed-forward", 2, 0, 1).int().tolist() == [[1], [1], [0]]
    assert topology("recurrent", 1, 2, 1).int().tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]]


def test_silent_rows_are_replayed_for_as_long_as_they_matter() -> None:
    assert codes.quiet_steps(0.2) == 18
    assert 0.2 ** codes.quiet_steps(0.2) < codes.TINY


def test_streams_that_begin_anew_draw_numbers_of_their_own() -> None:
    made = learner(Vowel, rate=1e-12)
    losses = [
        made.fit_batch(*stream(3))["loss"],
        made.fit_batch(*stream(2))["loss"],
        made.fit_batch(*stream(3))["loss"],
    ]
    assert abs(losses[2] - losses[0]) > 1e-6  # the same presentation from rest, but for what is drawn
    again = learner(Vowel, rate=1e-12)
    again.fit_batch(*stream(3))
    again.fit_batch(*stream(2))
    other = learner(Vowel, rate=1e-12)
    other.load_state_dict(again.state_dict())
    assert other.fit_batch(*stream(3))["loss"] == pytest.approx(losses[2], rel=1e-9)
