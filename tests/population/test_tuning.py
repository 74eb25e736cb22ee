"""Populations of a recipe: inheritance, log and lineage, resuming, replaying; they end as ordinary runs."""

from __future__ import annotations

import json

import pytest
from tests.population.small import UPDATES, small, untimed
from tests.states import same

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.population.lineage import ancestors, schedule
from bitspike.population.local import evolve
from bitspike.population.member import Learning
from bitspike.population.record import read
from bitspike.population.store import Folder
from bitspike.population.turn import Turn
from bitspike.reports.population import Busy, progress
from bitspike.run.assemble import load_data
from bitspike.run.checkpoint import load_checkpoint
from bitspike.run.signals import Interrupted
from bitspike.tables.population import Population


@pytest.fixture(scope="module")
def digits():
    return load_data(small())


@pytest.fixture(scope="module")
def tuned(digits, tmp_path_factory):
    return bitspike.tune(small(), tmp_path_factory.mktemp("tuned") / "run", dataset=digits)


def shipped(run):
    return load_checkpoint(run.path / "checkpoints", "shipped")["model"]


def test_a_population_ends_as_an_ordinary_run(tuned):
    assert tuned.evaluate()["accuracy"] == tuned.result["test"]["accuracy"] > 0.2
    assert tuned.recipe.population is None
    found, turns = read(tuned.path / "population.json")
    last = turns[-4:]
    assert [turn.updates for turn in last] == [UPDATES] * 4
    assert found["winner"]["score"] == min(turn.score for turn in last)
    winner = next(turn for turn in last if turn.member == found["winner"]["member"])
    assert tuned.recipe.optimizer.lr == winner.values["optimizer.lr"]
    page = bitspike.report(tuned.path).read_text()
    assert "How members evolved" in page
    assert "The schedule that was found" in page
    assert "The best so far" in page
    assert progress([turn | {"ended": 0.0} for turn in found["turns"]], "nll", False) == []


def test_time_counts_once_where_turns_overlap_and_not_at_all_in_a_pause():
    clock = Busy()
    assert [clock.until(*pair) for pair in ((0, 2), (1, 3), (10, 12), (11, 12.5))] == [2, 3, 5, 5.5]
    assert clock.until(2, 13) == 13


def test_the_log_says_who_came_from_whom(tuned):
    _, turns = read(tuned.path / "population.json")
    copies = [turn for turn in turns if turn.copied]
    assert copies
    known = {turn.node: turn for turn in turns}
    for turn in copies:
        old, source = known[turn.member, turn.generation - 1], known[turn.parent]
        assert turn.updates - turn.made == source.updates == old.updates
        assert turn.taught_by == turn.parent
        assert turn.values != source.values
        assert turn.began_with is not None
        assert source.score < old.score
    for turn in turns[-4:]:
        line = ancestors(turns, turn.node)
        assert line[0].parent is None
        assert [one.values for one in line][-1] == turn.values
        stretches = schedule(turns, turn.node)
        assert (stretches[0].begin, stretches[-1].end) == (0, UPDATES)


def test_a_replay_is_the_network_itself(tuned, digits, tmp_path):
    again = bitspike.replay(tuned, tmp_path / "again", dataset=digits)
    assert same(shipped(again), shipped(tuned))
    assert again.result["test"] == tuned.result["test"]
    _, turns = read(tuned.path / "population.json")
    losers = [turn.member for turn in turns[-4:] if turn.values != turns[-1].values]
    other = bitspike.replay(tuned.path, tmp_path / "other", member=losers[0], dataset=digits)
    assert not same(shipped(other), shipped(tuned))


def test_a_replay_of_another_seed_is_the_schedule_on_another_network(tuned, digits, tmp_path):
    seeded = [bitspike.replay(tuned, tmp_path / str(k), seed=seed, dataset=digits) for k, seed in enumerate((7, 7, 0))]
    assert same(shipped(seeded[0]), shipped(seeded[1]))
    assert not same(shipped(seeded[0]), shipped(tuned))
    assert same(shipped(seeded[2]), shipped(tuned)), "the run's own seed"
    assert seeded[0].recipe.seed == 7
    assert seeded[0].recipe.optimizer == tuned.recipe.optimizer
    with pytest.raises(BitspikeError, match="seed"):
        bitspike.replay(tuned, tmp_path / "none", seed=-1, dataset=digits)


def test_it_ends_the_same_wherever_it_was_stopped(tuned, digits, tmp_path, monkeypatch):
    count = 0
    for stop_at in (3, 11, 17):
        tuning_step = Learning.step

        def step(self, updates, stop_at=stop_at, tuning_step=tuning_step):
            nonlocal count
            count += 1
            if count == stop_at:
                raise Interrupted("stopped")
            return tuning_step(self, updates)

        with monkeypatch.context() as patch:
            patch.setattr(Learning, "step", step)
            with pytest.raises(Interrupted):
                bitspike.tune(small(), tmp_path / "run", resume=stop_at > 3, dataset=digits)
        count = stop_at
    with pytest.raises(BitspikeError, match="another recipe"):
        bitspike.tune(small(seed=1), tmp_path / "run", resume=True, dataset=digits)
    run = bitspike.tune(small(), tmp_path / "run", resume=True, dataset=digits)
    assert same(shipped(run), shipped(tuned))
    assert untimed(read(run.path / "population.json")[1]) == untimed(read(tuned.path / "population.json")[1])
    assert bitspike.tune(small(), tmp_path / "run", resume=True, dataset=digits).result == run.result


def test_a_copy_has_all_of_its_source_but_values_and_key(digits):
    recipe = small()
    member = Learning(recipe, digits)
    first = {"optimizer.lr": 0.01, "latent_optimizer.lr": 0.1, "model.neuron.tau": 2.0}
    first["model.neuron.surrogate.width"] = 1.0
    member.load(None, first, ("member", 0))
    member.step(7)
    state = member.save()
    member.load(state, {**first, "model.neuron.tau": 3.0, "optimizer.lr": 0.02}, ("member", 1))
    copy = member.save()
    assert copy["key"] == ["member", 1]
    mine = ("recipe_hash", "key")
    assert same({k: v for k, v in copy.items() if k not in mine}, {k: v for k, v in state.items() if k not in mine})
    assert member.session.recipe.model.neuron.tau == 3.0
    member.step(1)
    child = member.save()
    for key in (("member", 0), ("member", 1)):
        member.load(state, first, key)
        member.step(1)
        assert not same(member.save()["model"], child["model"])


@pytest.mark.parametrize(
    ("more", "members"),
    [(["population.strategy=random", "population.exploit={}"], 4),
     (['population={strategy = "grid", every = 6, space = {"optimizer.lr" = {kind = "log-uniform", low = 0.001, '
       'high = 0.1, points = 2}, "model.neuron.reset" = {kind = "choice", of = ["soft", "hard"]}}}'], 4)],
)  # fmt: skip
def test_random_search_and_a_grid_copy_nobody(more, members, digits, tmp_path):
    run = bitspike.tune(small(*more), tmp_path / "run", dataset=digits)
    found, turns = read(run.path / "population.json")
    assert (found["copies"], found["survivors"]) == (0, list(range(members)))
    assert len({json.dumps(turn.values) for turn in turns}) == members
    assert (
        "copies"
        not in bitspike.report(run.path)
        .read_text()
        .partition("How members evolved")[2][:20000]
        .partition("</table>")[0]
    )


def test_asynchronous_turns_in_one_process_end_too(digits, tmp_path):
    run = bitspike.tune(small("population.mode=asynchronous"), tmp_path / "run", dataset=digits)
    assert all(turn.updates <= UPDATES for turn in read(run.path / "population.json")[1])


class Fragile:
    """A member that breaks at high rates, once it is two updates old."""

    def load(self, state, values, key):
        self.age, self.rate = 0 if state is None else state["age"], values["rate"]

    def step(self, updates):
        self.age += updates
        if self.age > 2 and self.rate > 0.5:
            raise BitspikeError("the loss became nan")
        return updates

    def evaluate(self):
        return {"nll": 1 / self.age - self.rate}

    def save(self):
        return {"age": self.age}


@pytest.mark.parametrize("mode", ["synchronous", "asynchronous"])
def test_learning_that_breaks_is_said_and_copied_over(mode):
    space = {"rate": {"kind": "uniform", "low": 0.0, "high": 1.0}}
    part = Population(space=space, every=2, mode=mode, size=6, explore={"kind": "perturb", "high": 1.01})
    found = evolve(Fragile(), part, 12)
    broken = [turn for turn in found.turns if turn.broken]
    assert broken
    assert all((turn.score, turn.broken) == (None, "the loss became nan") for turn in broken)
    after = [turn for turn in found.turns if any(turn.node == (b.member, b.generation + 1) for b in broken)]
    assert after
    assert all(turn.copied for turn in after)
    assert found.winner.score is not None
    alone = evolve(Fragile(), Population(space=space, every=2, strategy="random"), 12)
    assert all(turn.finished for turn in alone.turns if turn.broken and turn.generation == 3)
    with pytest.raises(BitspikeError, match="broke for every member"):
        evolve(Fragile(), Population(space=space, every=2, strategy="random"), 12, first=[{"rate": 0.9}])


@pytest.mark.parametrize(
    ("more", "said"),
    [(["population.space={'seed' = {kind = 'integer', low = 0, high = 3}}"], "got .seed., wanted one"),
     (["population.space={'optimizer.rate' = {low = 0.1, high = 1.0}}"], "unknown key 'optimizer.rate'"),
     (["population.space={'training.batch' = {kind = 'integer', low = 10, high = 200}}"], "changes how"),
     (["population.space={'model.layers' = {kind = 'choice', of = ['[8]', '[9]']}}"], "model.layers"),
     (["population.metric=rmse"], "population.metric: got 'rmse', wanted one that is measured: accuracy"),
     (["training.keep=best"], "training.keep"), (["population.strategy=random"], "population.exploit")],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_in_a_line(more, said, digits, tmp_path):
    with pytest.raises(BitspikeError, match=said) as error:
        bitspike.tune(small(*more), tmp_path / "run", dataset=digits)
    assert "\n" not in str(error.value)


def test_verbs_know_what_is_theirs(tmp_path):
    with pytest.raises(BitspikeError, match="bitspike tune"):
        bitspike.train(small(), tmp_path / "run")
    with pytest.raises(BitspikeError, match=r"no table \[population\]"):
        bitspike.tune(load_recipe("digits-st"), tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("")
    with pytest.raises(BitspikeError, match="a finished run of `bitspike tune`"):
        bitspike.replay(tmp_path / "run")


def test_lines_that_were_never_published_do_not_count(tmp_path):
    store = Folder(tmp_path)
    turns = [Turn(0, k, 2 * k, 2, {"x": float(k)}, 1.0, history=[(2 * k, 1.0)]) for k in (1, 2, 3)]
    store.publish(turns[0], {"a": 1})
    store._log(turns[1])  # killed before it was published, and taken again
    path = tmp_path / "0.jsonl"
    path.write_bytes(path.read_bytes() + b'{"member": 0, "gen')
    again = Turn(0, 2, 4, 2, {"x": 9.0}, 2.0, history=[(4, 2.0)])
    store.publish(again, {"a": 2})
    store._log(turns[2])
    assert [turn.values["x"] for turn in store.turns()] == [1.0, 9.0]
    assert store.state(store.latest(0))[1] == {"a": 2}
    assert store.state(store.at(0, 1))[1] == {"a": 1}
