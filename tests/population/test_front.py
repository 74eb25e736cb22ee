"""Several objectives: the order of fronts, what a front is worth, and the runs that a population hands back."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from tests.population.small import small

import bitspike
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.population.front import crowding, dominates, fronts, hypervolume, ordered
from bitspike.population.local import evolve
from bitspike.population.turn import Evolution, Turn, front_of
from bitspike.run.assemble import load_data
from bitspike.tables.population import Population

WEIGHED = ["population.objectives=['nll', 'energy']", "population.space={'model.neuron.theta' = {kind = 'log-uniform', "
           "low = 0.25, high = 8.0}}"]  # fmt: skip
SPACE = {"rate": {"kind": "uniform", "low": 0.0, "high": 1.0}}


def cloud(count, axes, *key):
    rows = torch.rand(count, axes, generator=generator("front", *key), dtype=torch.float64)
    return dict(enumerate(rows.tolist()))


def test_front_by_front_each_point_is_dominated_by_one_before_and_by_none_beside_it():
    points = cloud(60, 2)
    found = fronts(points)
    assert sorted(itertools.chain(*found)) == list(range(60))
    assert 3 < len(found) < 30
    for before, front in itertools.pairwise(found):
        assert all(any(dominates(points[a], points[b]) for a in before) for b in front)
    assert not any(dominates(points[a], points[b]) for front in found for a in front for b in front)


def test_the_ends_of_a_front_come_first_then_the_lonelier():
    points = {0: [0.0, 10.0], 1: [1.0, 9.0], 2: [2.0, 8.0], 3: [6.0, 4.0], 4: [10.0, 0.0], 5: [10.0, 10.0]}
    lonely = crowding({k: points[k] for k in range(5)})
    assert (lonely[0], lonely[4]) == (math.inf, math.inf)
    assert lonely[1] == pytest.approx((2 - 0) / 10 / 2 + (10 - 8) / 10 / 2)
    assert ordered(points) == [0, 4, 3, 2, 1, 5]
    assert ordered({0: [1.0, 1.0], 1: [1.0, 1.0], 2: [0.0, 2.0], 3: [2.0, 0.0]}) == [2, 3, 0, 1]


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_the_volume_is_the_share_of_random_points_that_are_dominated(axes):
    points = list(cloud(7, axes).values())
    thrown = torch.rand(20_000, axes, generator=generator("thrown"), dtype=torch.float64) * 1.2
    hit = torch.stack([(thrown >= torch.tensor(point, dtype=torch.float64)).all(1) for point in points]).any(0)
    assert hypervolume(points, [1.2] * axes) == pytest.approx(float(hit.double().mean()) * 1.2**axes, abs=0.02)
    assert hypervolume([[1.0] * axes], [1.0] * axes) == 0.0
    assert hypervolume([*points, *points], [1.2] * axes) == hypervolume(points, [1.2] * axes)


class Split:
    """Pulled by its rate to one end of the front or the other."""

    def load(self, state, values, key):
        self.at, self.rate = 0.5 if state is None else state["at"], values["rate"]

    def step(self, updates):
        self.at += 0.2 * (self.rate - self.at)
        return updates

    def evaluate(self):
        return {"score": self.at, "energy": self.at**2}

    def save(self):
        return {"at": self.at}


def part(**more):
    options = {"metric": "score", "objectives": ["score", "energy"], "every": 1, "space": SPACE, "size": 10}
    return Population(mode="synchronous", **options | more)


def test_members_spread_along_the_front_and_copies_compare_equal_ages():
    found = evolve(Split(), part(exploit={"kind": "truncation", "fraction": 0.3}), 20)
    assert found.winner.score == max(turn.score for turn in found.turns if turn.generation == 20)
    ends = [turn.score for turn in found.turns if turn.generation == 20]
    assert max(ends) - min(ends) > 0.5
    rules = Evolution(part(), 0)
    known = {turn.node: turn for turn in found.turns}
    for turn in found.turns:
        if turn.copied:
            assert known[turn.parent].updates == known[turn.member, turn.generation - 1].updates
    front = front_of(rules, [turn for turn in found.turns if turn.generation == 20])
    assert len({tuple(rules.point(turn)) for turn in front}) == len(front) > 3
    energies = [turn.metrics["energy"] for turn in front]
    assert energies == sorted(energies)
    assert Turn.read(json.loads(json.dumps(front[0].to_dict())), "there") == front[0]


def test_what_lies_beyond_the_reference_comes_last_and_is_not_handed_back():
    rules = Evolution(part(reference=[0.4, 2.0]), 0)

    def turn(member, at):
        point = [at, at**2]
        metrics = dict(zip(("score", "energy"), point, strict=True))
        return Turn(member, 1, 1, 1, {"rate": 0.5}, at, metrics, history=[(1, at)], points=[(1, point)])

    turns = [turn(0, 0.1), turn(1, 0.9), turn(2, 0.5)]
    places = rules.standings(turns[0], turns[1:])
    assert sorted(places, key=lambda member: -places[member][0]) == [1, 2, 0]
    assert [one.member for one in front_of(rules, turns)] == [2, 1]
    assert [one.member for one in front_of(rules, turns[:1])] == [0]


@pytest.fixture(scope="module")
def digits():
    return load_data(small())


@pytest.fixture(scope="module")
def tuned(digits, tmp_path_factory):
    recipe = small(*WEIGHED, "population.size=5")
    return bitspike.tune(recipe, tmp_path_factory.mktemp("front") / "run", dataset=digits)


def test_every_network_of_the_front_is_a_run(tuned):
    content = json.loads((tuned.path / "population.json").read_text())
    front = content["front"]
    assert front["objectives"] == ["nll", "energy"]
    assert front["hypervolume"] > 0
    members = [row["member"] for row in front["networks"]]
    assert sorted(path.name for path in (tuned.path / "front").iterdir()) == sorted(map(str, members))
    assert content["winner"]["member"] in members
    last = {turn["member"]: turn for turn in content["turns"]}
    for row in front["networks"]:
        run = bitspike.load(tuned.path / "front" / str(row["member"]))
        assert run.recipe.model.neuron.theta == last[row["member"]]["values"]["model.neuron.theta"]
        assert run.evaluate()["accuracy"] == run.result["test"]["accuracy"]
        assert row["point"] == [last[row["member"]]["metrics"][name] for name in ("nll", "energy")]
    assert "Hypervolume" in bitspike.report(tuned.path).read_text()


def test_random_search_has_its_front_too(digits, tmp_path):
    recipe = small(*WEIGHED, "population.strategy=random", "population.exploit={}", "training.epochs=1")
    run = bitspike.tune(recipe, tmp_path / "run", dataset=digits)
    found = json.loads((run.path / "population.json").read_text())
    assert found["copies"] == 0
    assert found["front"]["networks"]


@pytest.mark.parametrize(
    ("more", "said"),
    [({"objectives": ["nll"]}, "two or more"), ({"objectives": ["accuracy", "energy"]}, "metric = 'nll' among"),
     ({"objectives": ["nll", "energy"], "exploit": {"kind": "t-test"}}, "truncation or tournament"),
     ({"objectives": ["nll", "energy"], "reference": [1.0]}, "a value for each"), ({"reference": [1.0]}, "for each"),
     ({"objectives": ["nll", "energy"], "size": 1001}, "1000 at most")],
)  # fmt: skip
def test_objectives_that_cannot_be_are_refused(more, said):
    with pytest.raises(ValueError, match=said):
        Population(space=SPACE, **more)


def test_a_metric_that_nobody_measures_is_refused_in_a_line(digits, tmp_path):
    with pytest.raises(BitspikeError, match=r"population.metric: got 'score', wanted one that is measured: accuracy"):
        bitspike.tune(small("population.metric=score"), tmp_path / "run", dataset=digits)
