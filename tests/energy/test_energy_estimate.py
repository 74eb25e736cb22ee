"""The energy estimate, by hand, and the table of constants."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitspike.energy import Counts, LayerCount, NeuronCount, account, constants
from bitspike.errors import BitspikeError

UNVERIFIED = {"int8_add", "int8_multiply", "sram_32kB", "sram_1MB", "dram"}


def energy(counts: Counts, **options: Any) -> dict[str, Any]:
    return account(counts, **options).to_dict()


def network() -> Counts:
    """An image layer (shown once, one pixel in four lit) and a binary layer on spikes over 5 steps."""
    image = LayerCount("in", "Linear", 800, 32, 800, mac=200, reads=200, graded=200, rows=1, input_values=40,
                       input_bits=40 * 32, real_input=True)  # fmt: skip
    spikes = LayerCount("out", "Linear", 100, 1, 100, ac=160, reads=160, events=160, rows=5, input_values=100,
                        input_bits=100)  # fmt: skip
    neurons = NeuronCount("n", 20, updates=100, state=200, values=100, spikes=30, significant=30, bits=100)
    return Counts(7, (image, spikes), (neurons,), (), False)


def test_the_45_nm_estimate_by_hand() -> None:
    got = energy(network())
    net, twin = got["network"], got["non_spiking_twin"]
    assert (net["mac"], net["ac"], net["add_real"], net["neuron_updates"]) == (200, 160, 0, 100)
    assert net["joules_compute"] == pytest.approx((200 * 4.6 + 160 * 0.9) * 1e-12)
    assert net["joules_neurons"] == pytest.approx(100 * 4.6e-12)
    assert twin["mac"] == 900
    assert twin["joules_compute"] == pytest.approx(900 * 4.6e-12)
    assert twin["mac_input_zeros_skipped"] == 200 + 100
    assert got["label"] == "analytic, not measured"


def test_bytes_and_cache_by_hand() -> None:
    got = energy(network())
    weights, activations, state = (200 * 32 + 160) / 8, 2 * (40 * 32 + 100) / 8, 8 * 200
    assert got["network"]["bytes"] == {
        "weights": weights, "activations": activations, "state": state, "total": weights + activations + state,
    }  # fmt: skip
    compute = 200 * 4.6 + 160 * 0.9 + 100 * 4.6
    wanted = compute + (weights + activations + state) * 10 / 8
    assert got["network"]["joules_with_memory"]["cache_8kB"] == pytest.approx(wanted * 1e-12)
    twin = got["non_spiking_twin"]["bytes"]
    assert (twin["weights"], twin["activations"], twin["state"]) == (3600, 2 * 4 * (40 + 20), 0)


def test_real_inputs_on_binary_weights_cost_additions() -> None:
    layer = LayerCount("in", "Linear", 10, 1, 10, add_real=10, reads=10, rows=1, input_values=2, input_bits=64)
    got = energy(Counts(1, (layer,), (), (), False))
    assert got["network"]["joules_compute"] == pytest.approx(9e-12)


def test_an_ensemble_costs_its_draws_and_the_twin_does_not() -> None:
    one, ten = energy(network()), energy(network(), draws=10)
    for name in ("mac", "ac", "neuron_updates", "joules_compute", "joules_neurons"):
        assert ten["network"][name] == pytest.approx(10 * one["network"][name])
    assert ten["network"]["bytes"]["total"] == pytest.approx(10 * one["network"]["bytes"]["total"])
    assert ten["non_spiking_twin"] == one["non_spiking_twin"]
    assert any("10 draws" in line for line in ten["assumptions"])


def test_unverified_constants_give_no_joules_until_set() -> None:
    table = constants()
    assert {name for name, entry in table.items() if not entry.usable} == UNVERIFIED
    got = energy(network())
    for part in ("network", "non_spiking_twin"):
        memory = got[part]["joules_with_memory"]
        assert {level for level, joules in memory.items() if joules is None} == {"sram_32kB", "sram_1MB", "dram"}
    assert any("sram_32kB, sram_1MB, dram: the constant is unverified" in line for line in got["assumptions"])
    assert not UNVERIFIED & set(got["constants"])
    user = energy(network(), overrides={"dram": 100.0})
    total = user["network"]["bytes"]["total"]
    compute = user["network"]["joules_compute"] + user["network"]["joules_neurons"]
    assert user["network"]["joules_with_memory"]["dram"] == pytest.approx(compute + total * 25e-12)
    assert user["constants"]["dram"]["status"] == "set by the user"


def test_no_figure_changes_with_an_unverified_value() -> None:
    same = energy(network())
    unused = energy(network(), overrides={"int8_add": 1e6, "int8_multiply": 1e6})
    assert unused["network"] == same["network"]


def test_the_table_has_the_sourced_values() -> None:
    table = constants()
    add, multiply = table["float32_add"].value, table["float32_multiply"].value
    assert table["float32_mac"].value == pytest.approx(add + multiply)
    assert all(entry.source and entry.unit for entry in table.values())


def test_overrides_reach_the_estimate_and_wrong_ones_are_refused() -> None:
    got = energy(network(), overrides={"float32_mac": 2.0, "float32_add": 1})
    assert got["network"]["joules_compute"] == pytest.approx((200 * 2 + 160) * 1e-12)
    with pytest.raises(BitspikeError, match="energy constant: got 'float32_mca', wanted 'float32_mac'"):
        constants({"float32_mca": 1.0})
    with pytest.raises(BitspikeError, match=r"energy constant dram: got -1, wanted a number of pJ per 32 bit"):
        constants({"dram": -1})


def test_the_result_is_plain_json_and_says_what_it_left_out() -> None:
    counts = Counts(7, network().layers, network().neurons, ("mix (Bilinear)",), True)
    got = energy(counts)
    assert json.loads(json.dumps(got)) == got
    assert "not counted: mix (Bilinear)" in got["assumptions"]
    assert any("presynaptic traces" in line for line in got["assumptions"])
    assert [layer["name"] for layer in got["by_layer"]] == ["in", "out"]
