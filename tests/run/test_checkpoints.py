"""Checkpoints: exact round trips, atomic replacement, and one line for what is cut or foreign."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
import torch
from torch import nn

from bitspike.errors import BitspikeError
from bitspike.run.checkpoint import load_checkpoint, load_model_state, save_checkpoint, write_json


def state():
    return {
        "model": {"w": torch.randn(3, 2), "n": torch.tensor(3)},
        "optimiser": {"state": {0: {"step": torch.tensor(4.0)}, 1: {}}, "betas": (0.9, 0.1 + 0.2)},
        "list": [1, None, "a", [torch.zeros(0)]],
    }


def test_round_trip_is_exact(tmp_path):
    before = state()
    save_checkpoint(tmp_path, "last", before)
    after = load_checkpoint(tmp_path, "last")
    assert torch.equal(after["model"]["w"], before["model"]["w"])
    assert after["model"]["n"].dtype == torch.int64
    assert after["optimiser"]["state"][0]["step"] == 4.0
    assert after["optimiser"]["betas"] == (0.9, 0.1 + 0.2)
    assert after["list"][:3] == [1, None, "a"]


def test_saving_again_keeps_the_generation_before_and_no_other(tmp_path):
    for _ in range(3):
        save_checkpoint(tmp_path, "last", state())
    names = {json.loads((tmp_path / "last.json").read_text())["tensors"]}
    assert names < {path.name for path in tmp_path.glob("*.safetensors")}
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert not list(tmp_path.glob(".*part"))


def test_names_that_begin_alike_leave_each_other_alone(tmp_path):
    for name in ("client-7", "client-abcdefabcdef", "client", "client.7", "client"):
        save_checkpoint(tmp_path, name, state())
        save_checkpoint(tmp_path, name, state())
    for name in ("client-7", "client-abcdefabcdef", "client", "client.7"):
        assert load_checkpoint(tmp_path, name)["list"][2] == "a"


READER = """
import sys
from pathlib import Path
from bitspike.run.checkpoint import load_checkpoint

folder, read = Path(sys.argv[1]), 0
print("ready", flush=True)
while not (folder / "done").exists():
    state = load_checkpoint(folder, "last")
    assert (state["w"] == state["number"]).all(), state["number"]
    read += 1
print(read)
"""


def test_a_checkpoint_can_be_read_while_it_is_replaced(tmp_path):
    """A reader that loads all the time, in a process of its own, meets whole checkpoints only."""
    save_checkpoint(tmp_path, "last", {"w": torch.zeros(50_000), "number": 0})
    with subprocess.Popen([sys.executable, "-c", READER, tmp_path], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for number in range(1, 200):
            save_checkpoint(tmp_path, "last", {"w": torch.full((50_000,), float(number)), "number": number})
        (tmp_path / "done").touch()
        assert int(reader.stdout.read()) > 0
    assert reader.returncode == 0


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_cut_tensor_file_is_one_line(tmp_path, keep):
    save_checkpoint(tmp_path, "last", state())
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BitspikeError, match=rf"{file.name}': {keep} bytes that do not match their SHA-256"):
        load_checkpoint(tmp_path, "last")


def test_a_cut_or_foreign_json_is_one_line(tmp_path):
    save_checkpoint(tmp_path, "last", state())
    path = tmp_path / "last.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(BitspikeError, match=r"last.json': not readable as JSON"):
        load_checkpoint(tmp_path, "last")
    path.write_text(json.dumps({"weights": 1}))
    with pytest.raises(BitspikeError, match="not a checkpoint"):
        load_checkpoint(tmp_path, "last")
    with pytest.raises(BitspikeError, match="no such file"):
        load_checkpoint(tmp_path, "best")


def test_a_failed_save_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    from bitspike.run import checkpoint

    target = tmp_path / "x.json"
    write_json(target, {"a": 1})
    # The file written beside the target is the full device itself.
    beside = target.with_name(f".{target.name}.{checkpoint.os.getpid()}.part")
    beside.symlink_to("/dev/full")
    with pytest.raises(BitspikeError, match=r"saving '.*x.json': No space left on device; earlier files are unchanged"):
        write_json(target, {"a": "b" * 100_000})
    assert json.loads(target.read_text()) == {"a": 1}


def test_what_is_no_file_is_never_replaced(tmp_path):
    """As root a rename would put a file in the place of a device."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder"), ("link", "a pipe")):
        with pytest.raises(BitspikeError, match=f"saving: got '.*{name}', {kind}, wanted a file, or a name that is"):
            write_json(tmp_path / name, {"a": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "folder", "link"}
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_tensors_of_another_model_are_refused():
    model = nn.Linear(2, 3)
    with pytest.raises(BitspikeError, match=r"source: tensors do not fit .* \(first difference: 'bias'\)"):
        load_model_state(model, {"weight": torch.zeros(3, 2)}, "source")
    with pytest.raises(BitspikeError, match=r"source: tensor 'weight' has shape \(3, 4\), wanted \(3, 2\)"):
        load_model_state(model, {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, "source")
