"""Many clients in one process: their number costs no memory where their state is reset, or kept on disk."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from tests.resident import resident
import bitspike
from bitspike.data.base import drawn
from bitspike.data.normalise import NONE

layers, clients, asked, state, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
source = torch.Generator().manual_seed(0)
y = torch.arange(22_000) % 10
x = torch.rand(22_000, 784, generator=source) * 0.5 + torch.eye(10).repeat_interleave(79, 1)[:, :784][y] * 0.5
parts = [slice(0, 20_000), slice(20_000, 20_500), slice(20_500, 21_000)]
dataset = drawn("blocks", [x[p] for p in parts], [y[p] for p in parts], dict(NONE), tuple("0123456789"), digests={})
run = bitspike.federate(
    "federated-digits", folder, dataset=dataset,
    overrides=[f"model.layers={layers}", "encoder.steps=1", "weights.precision=full", f"federation.clients={clients}",
               f"federation.participants={asked}", "federation.rounds=3", "federation.epochs=1",
               f"federation.state={state}", "federation.partition.kind=iid", "evaluation.energy_examples=50"],
)
print(resident() / 1e9, run.result["test"]["accuracy"])
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("layers", "clients", "asked", "state"),
    [("['1000', '200']", 1000, 10, "reset"), ("['1000', '200']", 1000, 10, "disk"), ("['32']", 10_000, 100, "reset")],
)  # fmt: skip
def test_many_clients_fit(layers, clients, asked, state, tmp_path):
    """Under 4 GB: 1,000 clients of a million weights, 10,000 of 784-32-10."""
    command = [sys.executable, "-c", SCRIPT, layers, str(clients), str(asked), state, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    gigabytes, accuracy = map(float, done.stdout.split())
    assert gigabytes < 4
    assert 0 <= accuracy <= 1
