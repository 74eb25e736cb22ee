"""The choice of a method: what the processor lacks, what is measured, and that it never changes after that."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from bitspike.products import Capabilities, capabilities, choice, explain_product, linear, measure, table

SHAPES = ((2048, 128), (128, 128))


def files(folder):
    return sorted(folder.glob("products/*/*.json"))


@pytest.fixture
def old_processor(monkeypatch):
    """A processor with AVX2 alone."""
    old = Capabilities("an old one", vnni=False, amx=False, bfloat16=False, compiled=False)
    for module in ("problem", "conv_choice", "operands", "table"):
        monkeypatch.setattr(f"bitspike.products.{module}.capabilities", lambda: old)
    return old


def test_a_processor_without_the_instructions_takes_float32_and_says_so(old_processor, own_cache):
    assert explain_product(*SHAPES, "spikes", "signs") == ("float32", str(old_processor))
    assert str(old_processor).startswith("float32 only: no AVX512-VNNI/AMX")
    assert explain_product((256, 16, 14, 14), (32, 16, 3, 3), "spikes", "signs")[0] == "float32"
    x, w = measure.operand("spikes", SHAPES[0], 0.3), measure.operand("signs", SHAPES[1])
    assert torch.equal(linear(x, w, "spikes", "signs"), x @ w.t())
    assert not files(own_cache)


def test_kinds_are_checked_without_numba_too(old_processor):
    from bitspike.errors import BitspikeError
    from bitspike.products.operands import to_int8

    x8, ones = to_int8("x", torch.tensor([[0.0, 1.0, 1.0]]), "spikes")
    assert (x8.tolist(), ones) == ([[0, 1, 1]], 2)
    with pytest.raises(BitspikeError, match="product x: got nan among 'integers'"):
        to_int8("x", torch.tensor([[float("nan")]]), "integers")


def test_reasons():
    assert explain_product((8, 4), (4, 4), "spikes", "signs")[1].startswith("small: 128 multiplications")
    assert explain_product(*SHAPES)[1] == "both operands are real"
    assert explain_product(*SHAPES, "spikes", "signs", "float32")[1] == "asked for by the policy"
    assert explain_product(*SHAPES, "spikes", "signs", part="grad_input")[0] == "float32"
    assert str(capabilities())


def test_a_class_is_measured_once_and_its_first_times_stay(own_cache, monkeypatch):
    first = explain_product(*SHAPES, "spikes", "real")
    if not capabilities().compiled:
        pytest.skip("Numba is not installed")
    (path,) = files(own_cache)
    stored = json.loads(path.read_text())
    assert stored["class"] == "forward-spikes-real-2048x128x128"
    assert stored["on"]["torch"] == torch.__version__
    # A later process, and one that measured something else at the same moment, both take what is there.
    table.forget()
    monkeypatch.setattr(measure, "linear", lambda problem: {"float32": 1.0})
    assert explain_product(*SHAPES, "spikes", "real") == first
    assert table._publish(path, stored["class"], lambda: {"float32": 1.0}) == stored["seconds"]
    assert json.loads(path.read_text()) == stored
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["", "{", '{"class": "other"}', '{"class": 3, "seconds": {"float32": "x"}}', "[1]"])
def test_a_damaged_file_is_measured_again(own_cache, monkeypatch, damage):
    if not capabilities().compiled:
        pytest.skip("Numba is not installed")
    monkeypatch.setattr(measure, "linear", lambda problem: {"float32": 1.0, "sparse 0.02": 0.1, "sparse 0.2": 0.9})
    first = explain_product(*SHAPES, "spikes", "real")
    (path,) = files(own_cache)
    whole = path.read_text()
    path.write_text(damage)
    table.forget()
    assert explain_product(*SHAPES, "spikes", "real") == first
    assert path.read_text() == whole


def test_where_no_table_can_be_kept_only_exact_methods_are_taken(monkeypatch):
    monkeypatch.setattr(table, "seconds", lambda *_: None)
    assert explain_product(*SHAPES, "spikes", "real")[0] == "float32"
    assert explain_product(*SHAPES, "spikes", "signs")[0] == ("int8" if capabilities().integers else "float32")


def test_the_density_decides_between_sums_and_dense_products():
    times = {"float32": 1.0, "int8": 0.4, "sparse 0.02": 0.1, "sparse 0.2": 0.3}
    found = choice.from_times(("int8", "sparse"), times)
    assert found.sparse_below == pytest.approx(0.02 + (0.95 * 0.4 - 0.1) / (0.2 / 0.18))
    assert [found.method(d) for d in (0.0, 0.1, 0.3, 1.0)] == ["sparse", "sparse", "int8", "int8"]
    # A gain of a twentieth is not worth another rounding.
    assert choice.from_times(("digits",), {"float32": 1.0, "digits": 0.96}).dense == "float32"
    assert (
        choice.from_times(("sparse",), {"float32": 1.0, "sparse 0.02": 0.01, "sparse 0.2": 0.011}).sparse_below == 0.6
    )


@pytest.mark.long
def test_two_processes_at_once_choose_alike_and_give_the_same_bits(own_cache):
    program = """if True:
        import torch, hashlib
        from bitspike.products import linear
        g = torch.Generator().manual_seed(0)
        x = (torch.rand(2048, 128, generator=g) < 0.1).float()
        w = torch.randn(128, 128, generator=g, requires_grad=True)
        y = linear(x, w, "spikes", "real")
        y.backward(y.detach())
        print(hashlib.sha256(y.detach().numpy().tobytes() + w.grad.numpy().tobytes()).hexdigest())
    """
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    own = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert other.communicate()[0] == own
    assert other.returncode == 0
    assert len(own.strip()) == 64
