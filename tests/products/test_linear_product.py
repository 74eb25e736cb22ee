"""Linear products of few-bit operands: exact where exact, else within twice float32's own error."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bitspike.errors import BitspikeError
from bitspike.products import linear, measure

from ..nearness import off

KINDS = [("spikes", "signs"), ("spikes", "integers"), ("integers", "signs"), ("integers", "integers"), ("signs",) * 2]


def grads(function, x, w, g):
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = function(x, w)
    y.backward(g)
    return y.detach(), x.grad, w.grad


@pytest.mark.parametrize("name", ["dense", "sparse"])
@pytest.mark.parametrize(("x_kind", "w_kind"), KINDS)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 2), (33, 70, 41), (64, 400, 24)])
def test_integer_products_are_bit_equal_to_float64(way, name, x_kind, w_kind, sizes):
    way(name)
    m, k, n = sizes
    x, w = measure.operand(x_kind, (m, k), 0.4), measure.operand(w_kind, (n, k))
    assert torch.equal(linear(x, w, x_kind, w_kind).double(), x.double() @ w.double().t())


def test_more_spikes_than_int8_counts_are_exact(way):
    way("sparse")
    x, w = (torch.rand(8, 1000) < 0.55).float(), torch.ones(16, 1000)
    assert torch.equal(linear(x, w, "spikes", "signs")[:, 0], x.sum(1))


SCALES = {
    "random": lambda *shape: torch.ones(shape),
    "rows": lambda m, n: 10.0 ** (6 * torch.rand(m, 1)).expand(m, n),
    "columns": lambda m, n: 10.0 ** (6 * torch.rand(1, n)).expand(m, n),
    "one large row": lambda m, n: torch.where(torch.arange(m)[:, None] == m - 1, 1e6, 1.0).expand(m, n),
    "one large column": lambda m, n: torch.where(torch.arange(n) == n - 1, 1e6, 1.0).expand(m, n),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("w_kind", ["signs", "real"])
@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_exact_keeps_twice_the_error_of_float32(way, name, w_kind, scale):
    way(name)
    torch.manual_seed(1)
    m, k, n = 700, 128, 96
    for density in (0.05, 0.5):
        x, g = (torch.rand(m, k) < density).float(), torch.randn(m, n) * SCALES[scale](m, n)
        w = measure.operand("signs", (n, k)) if w_kind == "signs" else torch.randn(n, k) * SCALES[scale](n, k)
        ours, plain = (grads(f, x, w, g) for f in (lambda a, b: linear(a, b, "spikes", w_kind), F.linear))
        truth = grads(F.linear, x.double(), w.double(), g.double())
        for mine, theirs, true in zip(ours, plain, truth, strict=True):
            assert (mine - true).abs().max() <= 2 * (theirs - true).abs().max() + 5e-7 * true.abs().max()


def test_fast_cuts_gradients_to_16_bits_and_leaves_the_output_exact(way):
    way("dense")
    torch.manual_seed(1)
    x, w, g = (torch.rand(300, 128) < 0.5).float(), measure.operand("signs", (96, 128)), torch.randn(300, 96)
    y, gx, gw = grads(lambda a, b: linear(a, b, "spikes", "signs", "fast"), x, w, g)
    truth = grads(F.linear, x.double(), w.double(), g.double())
    assert torch.equal(y.double(), truth[0])
    for mine, true, terms in ((gx, truth[1], 96), (gw, truth[2], 300)):
        error = (mine - true).abs().max()
        assert 0 < error <= terms * g.abs().max() / 32639 / 2 * 1.01


@pytest.mark.parametrize("name", ["dense", "sparse"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [("spikes", 0.5), ("spikes", float("nan")), ("signs", 0.0), ("integers", 1.5), ("integers", 128.0)],
)
def test_a_false_claim_is_refused_in_one_line(way, name, kind, value):
    way(name)
    if name == "sparse" and kind != "spikes":
        pytest.skip("only spikes are summed")
    x = measure.operand(kind, (40, 33))
    x[39, 32] = value
    with pytest.raises(BitspikeError, match=f"product x: got .* among '{kind}', wanted"):
        linear(x, measure.operand("signs", (20, 33)), kind, "signs")


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_a_false_claim_about_weights_is_refused(way, name):
    way(name)
    with pytest.raises(BitspikeError, match=r"product weight: got 0\.25 among 'signs'"):
        linear(measure.operand("spikes", (40, 33)), torch.full((20, 33), 0.25), "spikes", "signs")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("policy", ["exact", "fast"])
@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_nan_and_infinity_come_out_as_float32_gives_them(way, name, policy, bad):
    way(name)
    x, w, g = measure.operand("spikes", (40, 33), 0.3), measure.operand("real", (20, 33)), torch.randn(40, 20)
    w[3, 5] = bad
    g[7, 2] = bad
    signs = measure.operand("signs", (20, 33))
    for weight, kind in ((w, "real"), (signs, "signs")):
        ours = grads(lambda a, b, kind=kind: linear(a, b, "spikes", kind, policy), x, weight, g)
        for mine, theirs in zip(ours, grads(F.linear, x, weight, g), strict=True):
            assert torch.equal(mine.isnan(), theirs.isnan())
            assert torch.equal(mine == float("inf"), theirs == float("inf"))


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_strided_expanded_and_empty_operands(way, name):
    way(name)
    x, w = measure.operand("spikes", (33, 40), 0.3).t(), measure.operand("signs", (33, 20)).t()
    g = torch.randn(20, 40).t()
    for a, b, h in (
        (x, w, g),
        (x[::2], w, g[::2]),
        (x[:1].expand(40, 33), w, g),
        (x[:0], w, g[:0]),
        (x, w, g[:1].expand(40, 20)),
    ):
        mine, theirs = (grads(f, a, b, h) for f in (lambda a, b: linear(a, b, "spikes", "signs"), F.linear))
        for one, other in zip(mine, theirs, strict=True):
            assert off(one, other) < 1e-5
    empty = linear(torch.zeros(4, 0), torch.zeros(3, 0), "spikes", "signs")
    assert torch.equal(empty, torch.zeros(4, 3))
    assert linear(torch.zeros(2, 5, 33), w, "spikes", "signs").shape == (2, 5, 20)


def test_float64_takes_torchs_product(way):
    way("dense")
    x = measure.operand("spikes", (6, 5), 0.4).double().requires_grad_()
    w = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: linear(a, b, "spikes", "real"), (x, w))
    assert torch.autograd.gradgradcheck(lambda a, b: linear(a, b, "spikes", "real"), (x, w))


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_an_unneeded_gradient_is_skipped(way, name):
    way(name)
    x, w = measure.operand("spikes", (40, 33), 0.3), measure.operand("signs", (20, 33)).requires_grad_()
    linear(x, w, "spikes", "signs").sum().backward()
    torch.testing.assert_close(w.grad, x.sum(0).expand(20, 33))
    assert x.grad is None


def test_the_result_does_not_depend_on_the_number_of_threads(way):
    way("sparse")
    torch.manual_seed(1)
    x, w, g = (torch.rand(400, 128) < 0.2).float(), torch.randn(128, 128), torch.randn(400, 128)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y, _, gw = grads(lambda a, b: linear(a, b, "spikes", "real"), x, w, g)
            results.append((y, gw))
    finally:
        torch.set_num_threads(before)
    for y, gw in results[1:]:
        assert torch.equal(y, results[0][0])
        assert torch.equal(gw, results[0][1])


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_operators_are_well_formed_and_map_over_members(way, name):
    way(name)
    from bitspike.products.operator import product

    x, w = measure.operand("spikes", (20, 33), 0.3), measure.operand("signs", (16, 33))
    torch.library.opcheck(product, (x, w, "spikes", "signs", "exact", [], True))
    members = torch.stack([w, -w])
    mapped = torch.func.vmap(lambda weight: linear(x, weight, "spikes", "signs"))(members)
    assert torch.equal(mapped, torch.stack([x @ w.t(), -x @ w.t()]))

    def loss(weight, x):
        return (linear(x, weight, "spikes", "signs") ** 2).sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(members, x)
    wanted = torch.func.vmap(torch.func.grad(lambda v, x: (F.linear(x, v) ** 2).sum()), in_dims=(0, None))(members, x)
    assert off(found, wanted) < 1e-5


def test_autocast_keeps_its_dtype(way):
    way("dense")
    x, w = measure.operand("spikes", (40, 33), 0.3), measure.operand("signs", (20, 33))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, w, "spikes", "signs").dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, while tracing
def test_a_traced_call_gives_the_same(way):
    way("sparse")
    x, w = measure.operand("spikes", (40, 33), 0.3), measure.operand("signs", (20, 33)).requires_grad_()
    traced = torch.compile(lambda a, b: linear(a, b, "spikes", "signs"), backend="aot_eager", fullgraph=True)
    traced(x, w).sum().backward()
    torch.testing.assert_close(traced(x, w), x @ w.t())
    torch.testing.assert_close(w.grad, x.sum(0).expand(20, 33))


def test_unknown_names_and_sizes_are_refused():
    x, w = torch.zeros(2, 3), torch.zeros(4, 3)
    for arguments, line in (
        ((x, w, "bits"), "product x_kind: got 'bits', wanted one of spikes"),
        ((x, w, "spikes", "signs", "quick"), "product policy: got 'quick', wanted one of float32, exact, fast"),
        ((x, w[:, :2]), r"product sizes: got x \(2, 3\), weight \(4, 2\)"),
    ):
        with pytest.raises(BitspikeError, match=line):
            linear(*arguments)
