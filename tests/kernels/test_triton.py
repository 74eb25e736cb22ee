"""The CUDA back end without a GPU: in Triton's interpreter, and compiled for one that is not there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.kernels import Recurrence, run
from bitspike.kernels.cuda import back_end as cuda
from bitspike.kernels.cuda.source import backward_arguments, forward_arguments
from bitspike.kernels.recurrence import variant
from bitspike.neurons import LIF, BiSNN, Surrogate

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (pip install 'bitspike[cuda]')"
)
compiled = pytest.mark.skipif(cuda.interpreted(), reason="TRITON_INTERPRET is set: nothing is compiled")
NEURONS = {
    "lif": LIF(reset="hard", surrogate=Surrogate("fast-sigmoid", 0.3)),
    "slayer": LIF(reset="soft", surrogate=Surrogate("slayer", 0.3)),
    "bisnn": BiSNN(),
}


@needs_triton
def test_in_the_interpreter():
    if metadata.version("triton").startswith("3.6."):
        pytest.skip("the interpreter of triton 3.6 does not work with today's NumPy")
    # In a process of its own: whatever imported triton here, it is too late to ask for the interpreter.
    cases = Path(__file__).with_name("triton_cases.py")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", str(cases)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def recurrence_of(neuron):
    return Recurrence(neuron.step, type(neuron.initial(torch.zeros(1, 1))), type(neuron.constants()), neuron.spike)


def ptx(kernel, arguments, dtype):
    """Assembly for compute capability 8.0; ptxas, which triton brings along, must take it too."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    pointer = {"float32": "*fp32", "float64": "*fp64"}[dtype]
    kinds = {name: "i32" if name in ("steps", "count", "dx") else pointer for name in arguments}
    source = ASTSource(kernel, {**kinds, "BLOCK": "constexpr", "STAGES": "constexpr"}, {"BLOCK": 128, "STAGES": 4})
    options = {"num_warps": cuda.WARPS, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]


@needs_triton
@compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NEURONS)
def test_compiled_kernels_round_as_the_reference(name, dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    neuron = NEURONS[name]
    traced = recurrence_of(neuron).traced
    found, none = variant(traced, tuple(traced.constants), True, True, tuple(traced.state)), frozenset()
    ends = frozenset(found.carries)
    forward = cuda._forward_kernel(traced, found.kept, none, dtype)
    backward = cuda._backward_kernel(found, none, ends, dtype)
    text = ptx(forward, forward_arguments(traced, found.kept), dtype)
    text += ptx(backward, backward_arguments(found, ends), dtype)
    assert re.search(r"\bmul\.", text)
    text = text.replace("cvt.rmi.ftz", "floor")  # `cuda_math.floor` makes up for it
    assert not re.search(r"\bfma\.|\.approx|\.full|\.ftz|\bmad\.rn", text)
    # Nothing is computed in the other precision.
    assert not re.search(rf"\b(add|sub|mul|div|cvt)\S*\.{'f64' if dtype == 'float32' else 'f32'}\b", text)


def test_source_can_be_printed_and_is_python():
    for neuron in NEURONS.values():
        text = cuda.source(recurrence_of(neuron).adjoint(()), "float64")
        assert "def forward(" in text
        assert "def backward(" in text
        assert "float32" not in text
        compile(text, "generated", "exec")


def test_it_says_why_it_cannot_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install -e '.[cuda]'" in str(cuda.unavailable())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert cuda.unavailable() == "torch finds no CUDA device"
    neuron, x = NEURONS["lif"], torch.zeros(2, 1, 1)
    with pytest.raises(BitspikeError, match=r"back end: got 'cuda', wanted one that can run here"):
        run(recurrence_of(neuron), x, neuron.initial(x[0]), neuron.constants(), "cuda")
