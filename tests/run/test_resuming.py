"""A run that was stopped goes on to the bit; damaged checkpoints and other circumstances are one line."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
import torch

import bitspike
from bitspike import notices
from bitspike.errors import BitspikeError
from bitspike.run.batches import Batches
from bitspike.run.trainer import Interrupted, Trainer

from .fast import FAST, without_seconds


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bitspike.train("digits-bayes", tmp_path_factory.mktemp("runs") / "r", overrides=FAST)


@pytest.mark.parametrize("recipe", ["digits-st", "digits-bayes", "two-moons-bayes"])
def test_an_interrupted_run_resumes_to_the_bit(recipe, tmp_path, monkeypatch):
    overrides = ["training.epochs=2", "training.checkpoint_seconds=0"]
    if recipe.startswith("digits"):
        overrides += FAST[1:]
    else:
        overrides += ["encoder.steps=14", "model.layers=['16', '16']"]
    whole = bitspike.train(recipe, tmp_path / "whole", overrides=overrides)
    calls = []

    def stop_in_the_second_epoch(self, asked):
        calls.append(1)
        return int((self.session.epoch, self.session.batch) == (1, 3))

    monkeypatch.setattr(Trainer, "_any_process", stop_in_the_second_epoch)
    with pytest.raises(Interrupted, match="everything is saved in"):
        bitspike.train(recipe, tmp_path / "parts", overrides=overrides)
    stopped_after = len(calls)
    monkeypatch.setattr(Trainer, "_any_process", lambda self, asked: calls.append(1) or 0)
    parts = bitspike.train(recipe, tmp_path / "parts", overrides=overrides, resume=True)
    assert without_seconds(parts.result) == without_seconds(whole.result)
    assert (parts.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    # It went on where it stopped: together both parts did every batch once.
    assert 0 < stopped_after < len(calls) == whole_batches(whole)


def whole_batches(run):
    from bitspike.run.assemble import load_data

    split = load_data(run.recipe).train
    return 2 * Batches(run.recipe, run.encoder, split, torch.device("cpu"), torch.float32).per_epoch()


def test_ctrl_c_while_processes_exchange_signals_saves_and_stops_after_the_next_update(tmp_path, monkeypatch):
    exchange, asked = Trainer._any_process, []

    def interrupted(self, own):
        agreed = exchange(self, own)
        asked.append(own)
        if len(asked) == 2:
            signal.raise_signal(signal.SIGINT)
        return agreed

    monkeypatch.setattr(Trainer, "_any_process", interrupted)
    with pytest.raises(Interrupted, match="stopped at epoch"):
        bitspike.train("digits-st", tmp_path / "r", overrides=["training.epochs=1", "model.layers=['4']"])
    assert asked == [0, 0, signal.SIGINT]
    assert (tmp_path / "r" / "checkpoints" / "last.json").exists()


def _go_on_with(path, tmp_path, change):
    """Resume a copy of the run in `path` whose last.json was changed."""
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    shutil.copytree(path, tmp_path / "copy")
    last = tmp_path / "copy" / "checkpoints" / "last.json"
    content = json.loads(last.read_text())
    change(content["state"])
    last.write_text(json.dumps(content))
    bitspike.train("digits-bayes", tmp_path / "copy", overrides=FAST, resume=True)


def test_a_damaged_checkpoint_is_one_line_when_it_is_loaded(run, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(run.path, half)
    (half / "result.json").unlink()

    def histogram(state):
        state["history"][0][1][3] = 10**300

    def stranger(state):
        state["learner"]["optimisation"]["real"]["state"]["__pairs__"][0][0] = "\ud800"

    for change, message in (
        (histogram, r"last.json' history.0.1.3: input should be less than or equal to"),
        (lambda s: s["history"][1][1].pop(), "history, wanted 40 bins of 2 tensors at 2 measurements"),
        (lambda s: s["history"].pop(), "history, wanted 40 bins of 2 tensors at 2 measurements"),
        (lambda s: s["records"][0]["train"].update(loss={"__tensor__": "/model/w"}), "damaged"),
        (lambda s: s["records"][0].update(note="a"), "records.0.note: extra inputs are not permitted"),
        (lambda s: s["records"][0]["train"].update({"\ud800": 1.0}), "records.0.train"),
        (lambda s: s["records"].pop(), "1 records of 2 epochs"),
        (lambda s: s.update(batch=3), "sums that are not those of the batches since the last record"),
        (lambda s: s.update(best_epoch=9), "a best epoch that is still to come"),
        (lambda s: s["learner"].update(updates=2**60), "updates: got 1152921504606846976"),
        (lambda s: s.update(key=3), r"last.json' key: got 3, wanted \[\]"),
        (stranger, "real: moments of a parameter that is not there"),
    ):
        with pytest.raises(BitspikeError, match=message):
            _go_on_with(half, tmp_path, change)
    _go_on_with(half, tmp_path, lambda state: None)
    shipped = tmp_path / "copy" / "checkpoints" / "shipped.json"
    content = json.loads(shipped.read_text())
    content["state"]["model"] = {}
    shipped.write_text(json.dumps(content))
    with pytest.raises(BitspikeError, match=r"^run '.*copy': damaged, or of another version \(StopIteration: \)"):
        bitspike.load(tmp_path / "copy")


def test_records_every_few_epochs_go_on(tmp_path, monkeypatch):
    overrides = [*FAST[1:], "training.epochs=5", "training.validate_every=2", "training.checkpoint_seconds=0"]
    whole = bitspike.train("digits-st", tmp_path / "whole", overrides=overrides)
    monkeypatch.setattr(Trainer, "_any_process", lambda self, _: (self.session.epoch, self.session.batch) == (3, 2))
    with pytest.raises(Interrupted):
        bitspike.train("digits-st", tmp_path / "parts", overrides=overrides)
    monkeypatch.undo()
    parts = bitspike.train("digits-st", tmp_path / "parts", overrides=overrides, resume=True)
    assert without_seconds(parts.result) == without_seconds(whole.result)
    assert (parts.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


def test_a_run_that_goes_on_with_other_threads_says_so(tmp_path, monkeypatch, capsys):
    overrides = [*FAST[1:], "training.epochs=3", "training.checkpoint_seconds=0"]

    def cut(epoch, **how):
        monkeypatch.setattr(Trainer, "_any_process", lambda self, _: self.session.epoch == epoch)
        with pytest.raises(Interrupted):
            bitspike.train("digits-st", tmp_path / "run", overrides=overrides, **how)
        monkeypatch.undo()

    threads = torch.get_num_threads()
    cut(0)
    cut(1, resume=True)
    assert "earlier" not in json.loads((tmp_path / "run/environment.json").read_text())
    torch.set_num_threads(threads + 1)
    try:
        monkeypatch.setattr(notices, "always", True)
        run = bitspike.train("digits-st", tmp_path / "run", overrides=overrides, resume=True)
    finally:
        torch.set_num_threads(threads)
    assert f"--resume: threads {threads + 1} in place of {threads}: it goes on, but may end" in capsys.readouterr().err
    assert run.environment["threads"] == threads + 1
    assert [stretch["threads"] for stretch in run.environment["earlier"]] == [threads]
