"""Sessions: cut into turns, put aside and taken up, copied with other values, and ended as ordinary runs."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import random
import subprocess
import sys
import weakref

import pytest
import torch
from tests.states import same

import bitspike
from bitspike import Session, load_recipe
from bitspike.errors import BitspikeError
from bitspike.run.assemble import load_data
from bitspike.run.checkpoint import load_checkpoint
from bitspike.run.conclude import conclude, describe
from bitspike.run.folder import RunFolder

FAST = ["training.epochs=2", "model.layers=['32']", "encoder.steps=4", "evaluation.draws=3", "training.batch=200"]
MOONS = ["training.epochs=2", "encoder.steps=14", "model.layers=['16', '16']", "training.batch=50"]
RECIPES = {"digits-st": FAST, "digits-bayes": FAST, "two-moons-bayes": MOONS}


def finished(session):
    while not session.finished:
        session.advance(1000)
    return session.snapshot()


@pytest.mark.parametrize("name", RECIPES)
def test_sessions_in_turns_end_as_undisturbed_ones(name, tmp_path):
    recipe = load_recipe(name, RECIPES[name])
    dataset = load_data(recipe)
    keys = ((), ("client", 1))
    whole = [finished(Session(recipe, dataset, key=key)) for key in keys]
    assert not same(whole[0]["model"], whole[1]["model"])
    parts = [Session(recipe, dataset, key=key) for key in keys]
    turns = random.Random(3)
    for turn in itertools.count():
        for number, key in enumerate(keys):
            parts[number].advance(turns.randint(1, 7))
            state = parts[number].snapshot()
            if turn % 2:
                parts[number].save(tmp_path, f"part{number}")
                state = load_checkpoint(tmp_path, f"part{number}")
            parts[number].advance(1)  # a snapshot is no view of what goes on
            parts[number] = Session(recipe, dataset, key=key)
            parts[number].restore(state)
        if all(part.finished for part in parts):
            break
    for part, undisturbed in zip(parts, whole, strict=True):
        assert same(part.snapshot(), undisturbed)


def test_a_session_is_what_train_does(tmp_path):
    recipe = load_recipe("digits-bayes", FAST)
    run = bitspike.train(recipe, tmp_path / "a")
    session = Session(recipe)
    session.advance(10**6)
    assert [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()] == session.records
    folder = RunFolder(tmp_path / "b")
    folder.create(recipe, False, False)
    describe(session, folder)
    result = conclude(session, folder)
    folder.unlock()
    assert {**result, "seconds": 0} == {**run.result, "seconds": 0}
    other = bitspike.load(tmp_path / "b")
    x = session.dataset.test.x[:5]
    assert torch.equal(other.predict(x), run.predict(x))
    assert other.evaluate()["accuracy"] == result["test"]["accuracy"]


def test_other_values_keep_weights_moments_and_position():
    recipe = load_recipe("digits-bayes", FAST)
    session = Session(recipe)
    session.advance(3)
    before = session.snapshot()
    new = session.with_values({"optimizer.lr": 0.123, "learner.rho": 0.5, "weights.prior": 0.6}, key=("b",))
    assert same(new.snapshot()["model"], before["model"])
    moments = {
        kind: optimiser.state_dict()["state"] for kind, (optimiser, _) in new.learner.optimisation.optimisers.items()
    }
    assert same(moments, {kind: state["state"] for kind, state in before["learner"]["optimisation"].items()})
    assert (new.recipe.optimizer.lr, new.learner.rho, new.learner.updates) == (0.123, 0.5, 3)
    assert (new.epoch, new.batch) == (session.epoch, session.batch)
    new.advance(2)
    assert same(session.snapshot(), before)
    same_values = session.with_values()
    same_values.advance(2)
    session.advance(2)
    assert same(same_values.snapshot(), session.snapshot())
    assert not same(new.snapshot()["model"], session.snapshot()["model"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training.batch": 64}, r"with_values training.batch: got 64, wanted 7 batches an epoch"),
        ({"encoder.steps": 5}, "with_values: got another encoder, wanted it as it is"),
        ({"seed": 1}, "with_values: got another seed"),
        ({"model.layers": ["33"]}, "with_values: tensor '.*' has shape"),
        ({"weights.init": 0.3}, "with_values: got 'weights.init', which says what"),
        ({"optimizer.name": "SGD"}, "with_values optimizer.name: got SGD, wanted Adam, whose moments there are"),
        ({"optimizer.rate": 1}, "with_values: unknown key 'optimizer.rate'"),
    ],
)
def test_values_that_do_not_fit_are_one_line(values, message):
    session = Session(load_recipe("digits-st", FAST))
    session.advance(1)
    with pytest.raises(BitspikeError, match=message):
        session.with_values(values)


def test_no_batch_is_learned_behind_the_last_of_an_epoch():
    session = Session(load_recipe("two-moons-st", MOONS))
    for _ in range(session.per_epoch):
        session.learn()
    with pytest.raises(BitspikeError, match="the epoch is over; close_epoch"):
        session.learn()
    session.close_epoch()
    session.learn()
    assert (session.epoch, session.batch) == (1, 1)


def test_a_snapshot_of_another_is_refused():
    recipe = load_recipe("digits-st", FAST)
    session = Session(recipe)
    state = session.snapshot()
    with pytest.raises(BitspikeError, match=r"snapshot key: got \[\], wanted \['a'\]"):
        Session(recipe, session.dataset, key=("a",)).restore(state)
    with pytest.raises(BitspikeError, match="snapshot: saved by another recipe or seed"):
        Session(load_recipe("digits-st", FAST, 1), session.dataset).restore(state)


def averaged(parts):
    """The mean of what (weight, sent) senders have, their statistics summed."""
    total, found = sum(weight for weight, _ in parts), {}
    for role in ("latent", "real", "statistic"):
        sums = {name: sum(weight * sent[role][name] for weight, sent in parts) for name in parts[0][1][role]}
        found[role] = sums if role == "statistic" else {name: value / total for name, value in sums.items()}
    return found


def test_a_federation_ends_as_an_ordinary_run(tmp_path):
    """Clients that learn apart; a server that sees what they send alone, and ends as a run that every verb reads."""
    recipe = load_recipe("digits-bayes", [*FAST[1:4], "training.batch=50", "evaluation.ship='map'"])
    dataset = load_data(recipe)
    server = Session(recipe, dataset)
    clients = []
    for number in range(3):
        own = dataclasses.replace(dataset, train=dataset.train[torch.arange(number, len(dataset.train), 3)])
        clients.append(Session(recipe, own, key=("client", number)))
    for _ in range(6):
        for client in clients:
            client.learner.receive(server.learner.exchanged())
            client.advance(8)
        server.learner.receive(averaged([(len(c.dataset.train), c.learner.exchanged()) for c in clients]))
    held = dataset.validation
    events, _ = server.validation.events(torch.arange(len(held)), 0)

    def right():
        return float((server.learner.predict(events, 0)[-1].argmax(1) == held.y).double().mean())

    unsettled = right()
    for client in clients:
        client.learner.receive(server.learner.exchanged())
        client.learner.finish(lambda client=client: client.train.statistics(10, 1))
    settled = averaged([(len(c.dataset.train), c.learner.exchanged()) for c in clients])
    server.learner.receive({"statistic": settled["statistic"]})
    assert unsettled < 0.7 < 0.8 < right()
    folder = RunFolder(tmp_path / "r")
    folder.create(recipe, False, False)
    describe(server, folder)
    result = conclude(server, folder, settle=False)
    folder.unlock()
    run = bitspike.load(tmp_path / "r")
    assert run.predict(dataset.test.x[:5]).shape == (5, 10)
    assert run.evaluate()["accuracy"] == result["test"]["accuracy"]
    assert result["shipped"]["answer"] == "map"
    assert "digits-bayes" in bitspike.report(tmp_path / "r").read_text()
    assert bitspike.compare([tmp_path / "r"], tmp_path / "page.html").exists()


MEMORY = """
import dataclasses, sys, torch
from tests.resident import resident
from bitspike import Session, load_recipe
from bitspike.run.assemble import load_data

recipe = load_recipe("digits-st")
dataset = load_data(recipe)
for number in range(int(sys.argv[1])):
    rows = torch.arange(number % 5, len(dataset.train), 5)
    part = dataclasses.replace(dataset, train=dataset.train[rows])
    assert Session(recipe, part, key=("client", number)).advance(1) == 1
    if number == 4:
        print(resident())
print(resident())
"""


@pytest.mark.long
def test_clients_made_stepped_and_dropped_leave_no_memory():
    """Each holds its network and moments alone, 200 KB of them: the data are shared, and what is dropped is free."""
    ran = subprocess.run([sys.executable, "-c", MEMORY, "1000"], capture_output=True, text=True, check=True)
    first, last = map(int, ran.stdout.split())
    assert last - first < 1e8, f"{first / 1e6:.0f} MB after five, {last / 1e6:.0f} MB after a thousand"


def test_nothing_holds_a_session_that_was_dropped():
    recipe = load_recipe("digits-st")
    session = Session(recipe, load_data(recipe))
    session.advance(1)
    held = weakref.ref(session), weakref.ref(session.model), weakref.ref(next(session.model.parameters()))
    del session
    gc.collect()
    assert [one() for one in held] == [None] * 3
